"""Elementwise computations as trees, and the C loops that compute them.

    Expr ::= right-hand side in C with {0}, {1}, … for its arguments (Expr | View | literal), dtype, shape

A chain of elementwise ops becomes one loop: an Expr that has one reader is taken up into the reader's Expr.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from irc.backends.c.program import Function
from irc.backends.c.views import View
from irc.errors import GraphError
from irc.types import DType

_FEW = 4  # rounds of a loop that are too few to share
_DEEPEST = 64  # expressions within one another in a loop: the trees are walked by recursion

C_TYPES = {
    DType.F32: "float", DType.F64: "double", DType.BOOL: "uint8_t", DType.I8: "int8_t", DType.U8: "uint8_t",
    DType.I16: "int16_t", DType.U16: "uint16_t", DType.I32: "int32_t", DType.U32: "uint32_t", DType.I64: "int64_t",
    DType.U64: "uint64_t",
}  # fmt: skip


def c_type(dtype: DType) -> str:
    """The C type of an element."""
    if dtype not in C_TYPES:
        raise GraphError(f"the C backend has no type for {dtype}")
    return C_TYPES[dtype]


def c_literal(value: float | int | bool | np.generic, dtype: DType) -> str:
    """A number as C writes it, exactly: floats in hexadecimal."""
    if dtype.is_float:
        number = float(value)
        if math.isnan(number):
            return "NAN"
        if math.isinf(number):
            return "INFINITY" if number > 0 else "-INFINITY"
        return number.hex() + ("f" if dtype is DType.F32 else "")
    whole = int(value)
    if dtype is DType.I64:
        return "INT64_MIN" if whole == -(1 << 63) else f"INT64_C({whole})"
    if dtype is DType.U64:
        return f"UINT64_C({whole})"
    return "INT32_MIN" if whole == -(1 << 31) else f"{whole}" + ("u" if dtype is DType.U32 else "")


@dataclass(frozen=True, eq=False)
class Expr:
    """An elementwise computation; compared by identity.

    depth : how many expressions are within one another, itself among them
    """

    dtype: DType
    shape: tuple[int, ...]
    rhs: str
    arguments: tuple[Expr | View, ...] = ()
    depth: int = field(init=False)

    def __post_init__(self) -> None:
        inner = max((a.depth for a in self.arguments if isinstance(a, Expr)), default=0)
        object.__setattr__(self, "depth", inner + 1)

    @staticmethod
    def of(view: View) -> Expr:
        """The elements of a view."""
        return Expr(view.dtype, view.shape, "{0}", (view,))

    @staticmethod
    def literal(value: float | int | np.generic, dtype: DType, shape: Sequence[int] = ()) -> Expr:
        """One number everywhere."""
        return Expr(dtype, tuple(shape), c_literal(value, dtype))

    @property
    def is_deep(self) -> bool:
        """Whether it is nested so deeply that a loop of its own should compute it."""
        return self.depth >= _DEEPEST

    def cast(self, dtype: DType) -> Expr:
        """Converted as C converts."""
        return self if dtype is self.dtype else Expr(dtype, self.shape, f"({c_type(dtype)}){{0}}", (self,))

    def views(self) -> list[View]:
        """The views that it reads, each once, in order."""
        found: dict[View, None] = {}
        for argument in self.arguments:
            found.update(dict.fromkeys([argument] if isinstance(argument, View) else argument.views()))
        return list(found)

    def largest(self) -> View | None:
        """The first view of the expression's own shape that it reads."""
        views = self.views()
        own = [v for v in views if v.shape == self.shape]
        return own[0] if own else None


@dataclass(frozen=True)
class Axis:
    """One loop: how often, and the stride of each operand, the output last."""

    count: int
    strides: tuple[int, ...]


def loops(shape: Sequence[int], operands: Sequence[View]) -> list[Axis]:
    """The loops over `shape`, slowest first in the memory of the last operand, merged where all operands allow it."""
    order = sorted(range(len(shape)), key=lambda a: (-operands[-1].strides[a], a))
    merged: list[Axis] = []
    for axis in order:
        if shape[axis] == 1:
            continue
        strides = tuple(o.strides[axis] for o in operands)
        if merged and all(a == b * shape[axis] for a, b in zip(merged[-1].strides, strides, strict=True)):
            merged[-1] = Axis(merged[-1].count * shape[axis], strides)
        else:
            merged.append(Axis(shape[axis], strides))
    return merged or [Axis(1, (0,) * len(operands))]


def _broadcast(expr: Expr, shape: tuple[int, ...], made: dict[int, Expr]) -> Expr:
    """The expression at a larger shape; parts that are shared stay shared."""
    if id(expr) not in made:
        arguments = [a.broadcast(shape) if isinstance(a, View) else _broadcast(a, shape, made) for a in expr.arguments]
        made[id(expr)] = replace(expr, shape=shape, arguments=tuple(arguments))
    return made[id(expr)]


def generate(expr: Expr, target: View) -> tuple[Function, list[View]]:
    """The function that computes `expr` into `target`, and the views it takes before it."""
    full = _broadcast(expr, target.shape, {})
    operands = full.views()
    axes = loops(target.shape, [*operands, target])
    parameters = [f"const {c_type(o.dtype)} *a{i}" for i, o in enumerate(operands)] + [f"{c_type(target.dtype)} *y"]
    lines = _Statements({view: i for i, view in enumerate(operands)})
    result = lines.add(full.cast(target.dtype))
    loaded = [f"const {c_type(operands[i].dtype)} v{i} = a{i}[{index(axes, i)}];" for i in lines.loaded]
    body = [*loaded, *lines.text, f"y[{index(axes, len(operands))}] = {result};"]
    return Function((*parameters, "int thread", "int threads"), nest(axes, body)), operands


def nest(axes: Sequence[Axis], body: Sequence[str]) -> str:
    """Loops i0, i1, … around the statements of `body`; the threads share one of them."""
    split = max(range(len(axes) - 1), key=lambda i: axes[i].count, default=0)
    if len(axes) > 1 and axes[split].count < _FEW and axes[-1].count > axes[split].count:
        split = len(axes) - 1  # the innermost
    text = ["    int64_t begin, end;", f"    irc_share({axes[split].count}, thread, threads, &begin, &end);"]
    indent = "    "
    for depth, axis in enumerate(axes):
        start, stop = ("begin", "end") if depth == split else ("0", f"{axis.count}")
        text.append(f"{indent}for (int64_t i{depth} = {start}; i{depth} < {stop}; ++i{depth}) {{")
        indent += "    "
    text += [f"{indent}{line}" for line in body]
    for depth in reversed(range(len(axes))):
        text.append("    " * (depth + 1) + "}")
    return "\n".join(text)


def index(axes: Sequence[Axis], operand: int, name: str = "i") -> str:
    """Where in its memory an operand's element of the innermost loop lies, as C; loops count in `name`0, `name`1 …"""
    terms = []
    for depth, axis in enumerate(axes):
        stride = axis.strides[operand]
        if stride:
            terms.append(f"{name}{depth}" if stride == 1 else f"{name}{depth} * {stride}")
    return " + ".join(terms) or "0"


class _Statements:
    """C statements that compute an expression, each part once."""

    def __init__(self, operands: dict[View, int]) -> None:
        self.operands = operands
        self.loaded: dict[int, None] = {}
        self.text: list[str] = []
        self._names: dict[int, str] = {}
        self._kept: list[Expr] = []  # an id must not be used again while it is a key

    def add(self, expr: Expr | View) -> str:
        """The name of the variable, or the literal, that holds the expression's value."""
        if isinstance(expr, View):
            index = self.operands[expr]
            self.loaded[index] = None
            return f"v{index}"
        if id(expr) not in self._names:
            self._kept.append(expr)
            rhs = expr.rhs.format(*[self.add(a) for a in expr.arguments])
            if not expr.arguments or expr.rhs == "{0}":
                self._names[id(expr)] = rhs
            else:
                name = f"t{len(self.text)}"
                self.text.append(f"const {c_type(expr.dtype)} {name} = {rhs};")
                self._names[id(expr)] = name
        return self._names[id(expr)]

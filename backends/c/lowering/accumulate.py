"""Sums over axes as generated loops, for whatever has no kernel of its own: products of integers, windows over three
axes, Einstein sums.

    acc(o) = start
    acc(o) = step(acc(o), operand0(o, r), operand1(o, r), ...)      for every inner index r
    y(o) = finish(acc(o), extra(o))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from irc.backends.c.lowering.builder import Builder
from irc.backends.c.lowering.expressions import c_type, index, loops, nest
from irc.backends.c.program import Call, Function, Step
from irc.backends.c.views import View
from irc.graph import Node
from irc.types import DType


@dataclass(frozen=True)
class Sum:
    """What is done with the elements, as right-hand sides in C.

    type : of the accumulator
    start : its first value
    step : from `acc` and the operands v0, v1, ...
    finish : the result, from `acc` and the extra operands e0, e1, ...
    """

    type: DType
    start: str = "0"
    step: str = "acc + v0 * v1"
    finish: str = "acc"


def spread(view: View, axes: Sequence[int | None], shape: Sequence[int]) -> View:
    """A view of `shape` whose axis i is the view's axis `axes[i]`; None stands for one along which it is repeated."""
    strides = tuple(0 if a is None else view.strides[a] for a in axes)
    return View(view.buffer, tuple(shape), strides, view.offset)


def accumulate(
    b: Builder, node: Node, y: View, operands: Sequence[View], what: Sum, extra: Sequence[View] = (), macs: int = 0
) -> None:
    """A step that computes every element of `y` from the operands.

    operands : views of shape (*y.shape, *inner); the inner axes are summed over, the slowest of the last operand first
    extra : views of y's shape
    """
    if not y.elements:
        return
    rank = y.rank
    heads = [View(v.buffer, y.shape, v.strides[:rank], v.offset) for v in operands]
    tails = [View(v.buffer, v.shape[rank:], v.strides[rank:], v.offset) for v in operands]
    outer = loops(y.shape, [*heads, *extra, y])
    inner = loops(operands[-1].shape[rank:], tails)
    body = [f"{c_type(what.type)} acc = {what.start};"]
    for depth, axis in enumerate(inner):
        body.append("    " * depth + f"for (int64_t k{depth} = 0; k{depth} < {axis.count}; ++k{depth}) {{")
    indent = "    " * len(inner)
    for i, view in enumerate(operands):
        at = f"{index(outer, i)} + {index(inner, i, 'k')}"
        body.append(f"{indent}const {c_type(view.dtype)} v{i} = a{i}[{at}];")
    body.append(f"{indent}acc = {what.step};")
    body += ["    " * depth + "}" for depth in reversed(range(len(inner)))]
    for i, view in enumerate(extra):
        body.append(f"const {c_type(view.dtype)} e{i} = b{i}[{index(outer, len(operands) + i)}];")
    body.append(f"y[{index(outer, len(operands) + len(extra))}] = ({c_type(y.dtype)})({what.finish});")
    parameters = [f"const {c_type(v.dtype)} *a{i}" for i, v in enumerate(operands)]
    parameters += [f"const {c_type(v.dtype)} *b{i}" for i, v in enumerate(extra)]
    function = Function((*parameters, f"{c_type(y.dtype)} *y", "int thread", "int threads"), nest(outer, body))
    call = Call(function, (*operands, *extra, y), "elementwise.h")
    b.steps.append(Step(call, node, tuple(v.buffer for v in (*operands, *extra)), (y.buffer,), macs=macs))

"""Symbolic sizes: what they are called in types, and how a graph computes them.

A `SymInt` of torch is a sympy expression over the sizes of the inputs. Its name is the expression with the user's
names for the dimensions (`batch`, `49*batch`); its value is computed from the shapes of the inputs.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import sympy
import torch

from irc.frontends.torch.onnx_ops import make_op
from irc.frontends.torch.rules import Unsupported
from irc.frontends.torch.weights import dtype_of
from irc.graph import Graph, Origin, Value
from irc.types import DType, TensorType, product

Size = int | str

_PRINTABLE = re.compile(r"[\w*+\-/().]+")
_BINARY = {"FloorDiv": "floor", "CleanDiv": "Div", "Mod": "Mod", "PythonMod": "Mod"}
_VARIADIC = {"Add": "Add", "Mul": "Mul", "Max": "Max", "Min": "Min"}


class Symbols:
    """The symbolic sizes of one model.

    names : what the user calls torch's symbols, by torch's name (`s77` -> `batch`)
    """

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names
        self._expressions: dict[str, Any] = {}
        self._sources: dict[Any, tuple[Value, int | None]] = {}
        self._values: dict[Any, Value] = {}

    def size(self, size: int | torch.SymInt) -> Size:
        """The size as a number, or as the name of its expression."""
        if isinstance(size, int):
            return int(size)
        expression = size.node.expr
        if expression.is_Integer:
            return int(expression)
        name = self._name(expression)
        self._expressions[name] = expression
        return name

    def type(self, tensor: torch.Tensor) -> TensorType:
        """The type of a (fake) tensor of the exported program."""
        sizes = [self.size(d) for d in tensor.shape]
        dims = tuple(d if isinstance(d, int) or _PRINTABLE.fullmatch(d) else None for d in sizes)
        return TensorType(dtype_of(tensor.dtype), dims)

    def add_source(self, value: Value, fake: Any) -> None:
        """Note that `value`, an input, is or has in its shape the symbols of `fake`."""
        if isinstance(fake, torch.SymInt):
            self._sources.setdefault(fake.node.expr, (value, None))
        elif isinstance(fake, torch.Tensor):
            for axis, size in enumerate(fake.shape):
                if isinstance(size, torch.SymInt) and size.node.expr.is_Symbol:
                    self._sources.setdefault(size.node.expr, (value, axis))

    def value(self, graph: Graph, name: str) -> Value:
        """The size called `name` as an int64 tensor of one element, computed once for the graph."""
        return self._value(graph, self._expressions[name])

    def _name(self, expression: Any) -> str:
        if expression.is_Symbol:
            return self._names.get(str(expression), str(expression))
        factors = sympy.Mul.make_args(expression)
        if all(f.is_Integer or f.is_Symbol for f in factors):
            return str(product(int(f) if f.is_Integer else self._name(f) for f in factors))
        named = expression.xreplace({s: sympy.Symbol(self._name(s), integer=True) for s in expression.free_symbols})
        return str(named).replace(" ", "")

    def _value(self, graph: Graph, expression: Any) -> Value:
        if expression not in self._values:
            self._values[expression] = self._compute(graph, expression)
        return self._values[expression]

    def _compute(self, graph: Graph, expression: Any) -> Value:
        if expression.is_Integer:
            return graph.add_constant(np.array([int(expression)], np.int64), "size")
        if expression in self._sources:
            value, axis = self._sources[expression]
            if axis is None:
                return self._insert(graph, "Reshape", value, graph.add_constant(np.array([1], np.int64), "size.shape"))
            return self._insert(graph, "Shape", value, start=axis, end=axis + 1)
        kind = type(expression).__name__
        if kind in _BINARY and len(expression.args) == 2:
            left, right = (self._value(graph, a) for a in expression.args)
            if _BINARY[kind] != "floor":
                return self._insert(graph, _BINARY[kind], left, right)
            rest = self._insert(graph, "Mod", left, right)  # has the sign of the divisor: Div of the rest is exact
            return self._insert(graph, "Div", self._insert(graph, "Sub", left, rest), right)
        if kind in _VARIADIC:
            values = [self._value(graph, a) for a in expression.args]
            result = values[0]
            for value in values[1:]:
                result = self._insert(graph, _VARIADIC[kind], result, value)
            return result
        if kind == "Pow" and expression.args[1].is_Integer and expression.args[1] > 0:
            base = result = self._value(graph, expression.args[0])
            for _ in range(int(expression.args[1]) - 1):
                result = self._insert(graph, "Mul", result, base)
            return result
        raise Unsupported(f"the size {expression}, which does not follow from the shapes of the inputs")

    def _insert(self, graph: Graph, op: str, *inputs: Value, **attributes: Any) -> Value:
        one = TensorType(DType.I64, (1,))
        return graph.insert(
            make_op(op, **attributes), inputs, name=f"size.{op.lower()}", types=[one], origin=Origin()
        ).output

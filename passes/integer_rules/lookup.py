"""Any function of one code is a table of 256: Q(f(DQ(c))) -> QLookup(c, table).

f is made of elementwise ops, constants of one element, and quantizations in between; c may come in several times, as in
x * sigmoid(x). The table holds what the float ops give for each code, so it is exact. A table that changes nothing is
no op at all. Concat of unlike scales: each input that has not the scale of the result goes through a table first.
"""

from __future__ import annotations

import numpy as np
import torch

from irc.execution.convert import to_numpy, to_torch
from irc.graph import Node, Value
from irc.ops.index import Concat
from irc.ops.int8.lookup import QLookup
from irc.ops.quantize import DequantizeLinear, QuantizeLinear
from irc.passes.base import Outcome
from irc.passes.edit import remove_dead
from irc.passes.integer_rules.codes import become, coded, constant_of, destination, has_dtype, quantizer_grid
from irc.types import Array, DType

# x and constants in, a value of x's shape out, element by element
ELEMENTWISE = frozenset(["Abs", "Acos", "Acosh", "Add", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu", "Clip"])
ELEMENTWISE |= {"Cos", "Cosh", "Div", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity"}
ELEMENTWISE |= {"LeakyRelu", "Log", "Max", "Mean", "Min", "Mish", "Mul", "Neg", "PRelu", "Pow", "Reciprocal", "Relu"}
ELEMENTWISE |= {"Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Sub"}
ELEMENTWISE |= {"Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu"}

_LONGEST = 64  # nodes of one function; of what is longer, the last ones may be one


class _Walk:
    """The way back from a value to the one code that it is a function of.

    root : uint8, the value itself if it is codes and a function of no other's; None if there is no such code
    steps : the nodes that compute the value from the root's codes, in order, and maybe others
    """

    def __init__(self, value: Value) -> None:
        self.steps: list[Node] = []
        self._roots: dict[Value, Value | None] = {}
        self._arguments: dict[Value, list[Value]] = {}
        pending, nodes = [value], 0
        while pending:  # no recursion, as a chain may be longer than Python's stack is deep
            at = pending[-1]
            if at not in self._arguments:
                found = _arguments(at.producer) if at.producer is not None and nodes < _LONGEST else None
                self._arguments[at] = found or []
                nodes += bool(found)
            unknown = [v for v in self._arguments[at] if v not in self._roots]
            if unknown:
                pending += unknown
                continue
            pending.pop()
            if at not in self._roots:
                self._settle(at)
        self.root = self._roots[value]

    def _settle(self, value: Value) -> None:
        """Find the root of a value, those of its arguments being known."""
        roots = {self._roots[v] for v in self._arguments[value]}
        found = roots.pop() if len(roots) == 1 else None
        if self._arguments[value] and value.producer is not None:
            self.steps.append(value.producer)
        if found is None and has_dtype(value, DType.U8) and not value.is_constant:
            found = value
        self._roots[value] = found


def _arguments(node: Node) -> list[Value] | None:
    """The inputs that an elementwise node of one output takes elements of, None if it is no such node."""
    first, op = node.input(0), node.op
    if first is None:
        return None
    if isinstance(op, DequantizeLinear):
        return [first] if coded(node.output) is not None else None
    if isinstance(op, QuantizeLinear):
        return [first] if quantizer_grid(node) is not None else None
    if isinstance(op, QLookup):
        return [first] if node.constant(1) is not None else None
    if op.domain or op.name not in ELEMENTWISE or len(node.outputs) != 1:
        return None
    data = [v for v in node.inputs if v is not None and constant_of(v) is None]
    settings = [array for v in node.inputs if v is not None and (array := constant_of(v)) is not None]
    rank = 0 if not data or data[0].tensor_type is None else data[0].tensor_type.rank or 0
    return data if all(array.size == 1 and array.ndim <= rank for array in settings) else None


def function_of(value: Value) -> tuple[Value, Array] | None:
    """The code that a uint8 value is a function of, and the table of that function: uint8, shape (256,)."""
    walk = _Walk(value)
    if walk.root is None or walk.root is value:
        return None
    held: dict[Value, torch.Tensor] = {walk.root: torch.arange(256, dtype=torch.uint8)}
    for node in walk.steps:
        inputs = [v if v is None else held.get(v, _setting(node, v)) for v in node.inputs]
        if node.output not in held and not any(isinstance(x, Value) for x in inputs):
            held[node.output] = node.op.run(*inputs)
    return walk.root, to_numpy(held[value])


def _setting(node: Node, value: Value) -> torch.Tensor | Value:
    """A constant that a step takes: a scalar, or a table; the value itself if it is none."""
    array = constant_of(value)
    if array is None:
        return value
    made: torch.Tensor = to_torch(array if isinstance(node.op, QLookup) else array.reshape(()))
    return made


def is_function(value: Value) -> bool:
    """Whether the value is a function of one code."""
    return _Walk(value).root not in (None, value)


def lower_function(node: Node) -> Outcome:
    """Make a QuantizeLinear, and the functions in front of it, a table; or nothing, if the table says so."""
    source = node.input(0)
    if quantizer_grid(node) is None or source is None:
        return None
    if (codes := constant_of(node.output)) is not None:
        node.output.replace_uses(node.graph.add_constant(codes, node.output.name))
        remove_dead(node)
        return True
    found = function_of(node.output)
    if found is None:
        return None
    root, table = found
    if np.array_equal(table, np.arange(256)):
        node.output.replace_uses(root)
        remove_dead(node)
        return True
    maker, goal = source.producer, destination(source)
    constant = node.graph.add_constant(table, f"{node.output.name}.table")
    if maker is None or goal is None or maker.graph is not node.graph or isinstance(maker.op, DequantizeLinear):
        become(node, QLookup(), [root, constant])
    else:
        become(maker, QLookup(), [root, constant], goal.quantizers)
    return True


def lift_quantize(node: Node) -> Outcome:
    """Quantize the inputs of a Concat instead of its result: Q(Concat(x, y)) -> Concat(Q(x), Q(y)). Exact."""
    if not isinstance(node.op, Concat) or all(coded(v) is None for v in node.inputs):
        return None
    goal = destination(node.output)
    if goal is None or any(quantizer.input(0) is not node.output for quantizer in goal.quantizers):
        return None
    first, inputs = goal.quantizers[0], []
    for index, value in enumerate(node.inputs):
        parameters = [first.input(1), first.input(2)]
        made = node.graph.insert(first.op, [value, *parameters], before=node, name=f"{node.name}.quantize.{index}")
        inputs.append(made.output)
    become(node, node.op, inputs, goal.quantizers)
    return True

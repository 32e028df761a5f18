"""Elementwise ops that change nothing, or undo each other.

    x + 0, 0 + x, x - 0, x * 1, 1 * x, x / 1, x ^ 1      =  x       (where the constant does not broadcast x)
    -(-x), not not x                                     =  x
    Sum(x), Mean(x), Max(x), Min(x)                      =  x       (of one input)
    Where(true, a, b) = a     Where(false, a, b) = b                (where that has the shape of the result)
    PRelu(x, slope)                                      =  LeakyRelu(x)      (of one slope: a function of x alone)

x + 0.0 turns -0.0 into 0.0; the two are equal, and here they count as the same.
"""

from __future__ import annotations

import math

from irc.graph import Node
from irc.ops.activation import LeakyRelu, PRelu
from irc.ops.binary import Add, Div, Max, Mean, Min, Mul, Pow, Sub, Sum
from irc.ops.logic import Where
from irc.ops.unary import Neg, Not
from irc.passes.base import Outcome
from irc.passes.edit import broadcasts_into, same_known_shape, scalar_of, substitute
from irc.passes.simplify_rules.rule import Table
from irc.types import DType


def _neutral(node: Node, index: int, neutral: int) -> Outcome:
    """Drop the op if its input `index` is nothing but `neutral`, and give out the other input."""
    data, other = node.constant(index), node.inputs[1 - index]
    if data is None or other is None or scalar_of(data) != neutral or not broadcasts_into(data, other):
        return None
    substitute(node, other)
    return True


def _add(node: Node) -> Outcome:
    return _neutral(node, 1, 0) or _neutral(node, 0, 0)


def _sub(node: Node) -> Outcome:
    return _neutral(node, 1, 0)


def _mul(node: Node) -> Outcome:
    return _neutral(node, 1, 1) or _neutral(node, 0, 1)


def _div(node: Node) -> Outcome:
    return _neutral(node, 1, 1)


def _of_one(node: Node) -> Outcome:
    if len(node.inputs) != 1 or node.inputs[0] is None:
        return None
    substitute(node, node.inputs[0])
    return True


def _twice(node: Node) -> Outcome:
    """f(f(x)) = x."""
    inner = node.inputs[0].producer if node.inputs[0] is not None else None
    if inner is None or inner.op != node.op or inner.inputs[0] is None:
        return None
    substitute(node, inner.inputs[0])
    return True


def _where(node: Node) -> Outcome:
    condition = scalar_of(node.constant(0))
    if condition is None:
        return None
    chosen = node.inputs[1 if condition else 2]
    if chosen is None or not same_known_shape(chosen, node.output):
        return None
    substitute(node, chosen)
    return True


def _one_slope(node: Node) -> Outcome:
    type, slope = node.output.tensor_type, scalar_of(node.constant(1))
    if slope is None or type is None or type.dtype not in (DType.F16, DType.F32) or not math.isfinite(slope):
        return None
    node.set_input(1, None)
    node.set_op(LeakyRelu(float(slope)))
    return True


RULES: Table = {
    Add: (_add,),
    Sub: (_sub,),
    Mul: (_mul,),
    Div: (_div,),
    Pow: (_div,),  # x ^ 1, as x / 1
    Sum: (_of_one,),
    Mean: (_of_one,),
    Max: (_of_one,),
    Min: (_of_one,),
    Neg: (_twice,),
    Not: (_twice,),
    Where: (_where,),
    PRelu: (_one_slope,),
}

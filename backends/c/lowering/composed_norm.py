"""Normalizations as means and squares; see `composed`.

y = (x - mean) / sqrt(mean((x - mean)^2) + epsilon) * scale + bias
"""

from __future__ import annotations

from collections.abc import Sequence

from irc.backends.c.lowering.composed import Nodes, composes, dims, number
from irc.graph import Node, Value
from irc.ops.binary import Add, Div, Mul, Sub
from irc.ops.logic import Equal, Where
from irc.ops.norm import (
    BatchNormalization,
    GroupNormalization,
    InstanceNormalization,
    LayerNormalization,
    LpNormalization,
    MeanVarianceNormalization,
)
from irc.ops.reduce import ReduceL1, ReduceL2, ReduceMean
from irc.ops.shape import Reshape
from irc.ops.unary import Reciprocal, Sqrt


def _standardized(new: Nodes, x: Value, axes: Sequence[int], epsilon: float) -> tuple[Value, Value, Value]:
    """(x - mean) / deviation over the axes, the mean, and 1 / deviation."""
    mean = new(ReduceMean(), x, dims(*axes))
    centred = new(Sub(), x, mean)
    variance = new(ReduceMean(), new(Mul(), centred, centred), dims(*axes))
    inverse = new(Reciprocal(), new(Sqrt(), new(Add(), variance, number(epsilon, x))))
    return new(Mul(), centred, inverse), mean, inverse


def _per_channel(new: Nodes, value: Value, rank: int) -> Value:
    """A vector over axis 1, in the shape that broadcasts against the input."""
    return new(Reshape(), value, dims(-1, *(1,) * (rank - 2)))


def _affine(new: Nodes, y: Value, scale: Value, bias: Value | None) -> Value:
    y = new(Mul(), y, scale)
    return y if bias is None else new(Add(), y, bias)


@composes(BatchNormalization)
def batch_norm(new: Nodes, node: Node) -> list[Value] | None:
    """Only where a parameter or statistic is computed: there is a rule for constant ones."""
    op, shape = node.op, new.shape(0)
    assert isinstance(op, BatchNormalization)
    if shape is None or op.training_mode or all(node.constant(i) is not None for i in range(1, 5)):
        return None
    scale, bias, mean, var = (new.given(i) for i in range(1, 5))
    gain = new(Div(), scale, new(Sqrt(), new(Add(), var, number(op.epsilon, var))))
    shift = new(Sub(), bias, new(Mul(), mean, gain))
    y = new(Mul(), new.given(0), _per_channel(new, gain, len(shape)))
    return [new(Add(), y, _per_channel(new, shift, len(shape)))]


@composes(InstanceNormalization)
def instance_norm(new: Nodes, node: Node) -> list[Value] | None:
    """Each channel of each sample over its spatial axes."""
    assert isinstance(node.op, InstanceNormalization)
    x, shape = new.given(0), new.shape(0)
    if shape is None:
        return None
    rank = len(shape)
    y, _, _ = _standardized(new, x, range(2, rank), node.op.epsilon)
    return [_affine(new, y, _per_channel(new, new.given(1), rank), _per_channel(new, new.given(2), rank))]


@composes(GroupNormalization)
def group_norm(new: Nodes, node: Node) -> list[Value] | None:
    """Groups of channels, as an axis of their own."""
    assert isinstance(node.op, GroupNormalization)
    x, shape = new.given(0), new.shape(0)
    if shape is None:
        return None
    rank, groups = len(shape), node.op.num_groups
    apart = new(Reshape(), x, dims(shape[0], groups, shape[1] // groups, *shape[2:]))
    y, _, _ = _standardized(new, apart, range(2, rank + 1), node.op.epsilon)
    whole = new(Reshape(), y, dims(*shape))
    return [_affine(new, whole, _per_channel(new, new.given(1), rank), _per_channel(new, new.given(2), rank))]


@composes(MeanVarianceNormalization)
def mean_variance_norm(new: Nodes, node: Node) -> list[Value] | None:
    """1e-9 is added to the deviation, not to the variance."""
    assert isinstance(node.op, MeanVarianceNormalization)
    x, axes = new.given(0), dims(*node.op.axes)
    centred = new(Sub(), x, new(ReduceMean(), x, axes))
    deviation = new(Sqrt(), new(ReduceMean(), new(Mul(), centred, centred), axes))
    return [new(Div(), centred, new(Add(), deviation, number(1e-9, x)))]


@composes(LpNormalization)
def lp_norm(new: Nodes, node: Node) -> list[Value] | None:
    """x / norm, where that is not 0."""
    assert isinstance(node.op, LpNormalization)
    x = new.given(0)
    norm = new(ReduceL1() if node.op.p == 1 else ReduceL2(), x, dims(node.op.axis))
    safe = new(Where(), new(Equal(), norm, number(0, x)), number(1, x), norm)
    return [new(Div(), x, safe)]


@composes(LayerNormalization)
def layer_norm(new: Nodes, node: Node) -> list[Value] | None:
    """Only where the mean or the deviation is read too: for the result alone there is a kernel."""
    assert isinstance(node.op, LayerNormalization)
    shape = new.shape(0)
    if shape is None or not any(v.use_count for v in node.outputs[1:]):
        return None
    first = node.op.axis % len(shape)
    y, mean, inverse = _standardized(new, new.given(0), range(first, len(shape)), node.op.epsilon)
    return [_affine(new, y, new.given(1), node.input(2)), mean, inverse]

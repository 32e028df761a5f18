"""Ops that choose by place, as comparisons with the places; see `composed`."""

from __future__ import annotations

import numpy as np

from irc.backends.c.lowering.composed import Nodes, composes, dims, number
from irc.graph import Node, Value
from irc.ops.binary import Add, Sub
from irc.ops.cast import Cast
from irc.ops.index import Gather, GatherElements, ReverseSequence, Trilu
from irc.ops.logic import Equal, Less, Where
from irc.ops.misc import EyeLike, OneHot
from irc.ops.reduce import ArgMax
from irc.ops.shape import Expand, Identity, Reshape, Unsqueeze
from irc.ops.softmax import Hardmax
from irc.types import Array, DType


def _places(count: int, axis: int, rank: int) -> Array:
    """0, 1, ... along one axis of a tensor of that rank, int64."""
    return np.arange(count, dtype=np.int64).reshape([-1 if a == axis else 1 for a in range(rank)])


@composes(OneHot)
def one_hot(new: Nodes, node: Node) -> list[Value] | None:
    """y = index == place ? on : off; an index from the end is counted from the start first."""
    op, depth, shape = node.op, node.constant(1), new.shape(0)
    assert isinstance(op, OneHot)
    if depth is None or shape is None:
        return None
    rank, size = len(shape) + 1, int(depth.reshape(())[()])
    index = new(Cast(to=DType.I64.onnx_type), new.given(0))
    zero, count = np.array(0, np.int64), np.array(size, np.int64)  # scalars, so that one index stays one
    index = new(Where(), new(Less(), index, zero), new(Add(), index, count), index)
    axis = op.axis % rank
    hot = new(Equal(), new(Unsqueeze(), index, dims(axis)), _places(size, axis, rank))
    off, on = (new(Gather(axis=0), new.given(2), np.array(i, np.int64)) for i in (0, 1))
    return [new(Where(), hot, on, off)]


@composes(Hardmax)
def hardmax(new: Nodes, node: Node) -> list[Value] | None:
    """y = place == argmax."""
    op, shape, type = node.op, new.shape(0), new.given(0).tensor_type
    assert isinstance(op, Hardmax)
    if shape is None or type is None:
        return None
    axis = op.axis % len(shape)
    first = new(ArgMax(axis=axis), new.given(0))
    return [new(Cast(to=type.dtype.onnx_type), new(Equal(), first, _places(shape[axis], axis, len(shape))))]


@composes(Trilu)
def triangle(new: Nodes, node: Node) -> list[Value] | None:
    """y = column - row >= k ? x : 0, or <= k."""
    op, shape = node.op, new.shape(0)
    assert isinstance(op, Trilu)
    if shape is None or (node.input(1) is not None and node.constant(1) is None):
        return None
    given = node.constant(1)
    k = 0 if given is None else int(given.reshape(())[()])
    kept = np.triu(np.ones(shape[-2:], bool), k) if op.upper else np.tril(np.ones(shape[-2:], bool), k)
    return [new(Where(), kept, new.given(0), number(0, new.given(0)))]


@composes(EyeLike)
def eye_like(new: Nodes, node: Node) -> list[Value] | None:
    """A constant, once the shape is known."""
    op, shape, type = node.op, new.shape(0), node.output.tensor_type
    assert isinstance(op, EyeLike)
    if shape is None or type is None:
        return None
    return [new(Identity(), np.eye(shape[0], shape[1], k=op.k).astype(type.dtype.numpy))]


@composes(ReverseSequence)
def reverse_sequence(new: Nodes, node: Node) -> list[Value] | None:
    """y[t] = x[t < length ? length - 1 - t : t], for each sample."""
    op, shape = node.op, new.shape(0)
    assert isinstance(op, ReverseSequence)
    if shape is None:
        return None
    batch, axis = op.batch_axis % len(shape), op.time_axis % len(shape)
    lengths = new(Reshape(), new.given(1), dims(*(-1 if a == batch else 1 for a in range(len(shape)))))
    place = _places(shape[axis], axis, len(shape))
    mirrored = new(Sub(), new(Sub(), lengths, dims(1)), place)
    source = new(Where(), new(Less(), place, lengths), mirrored, place)
    return [new(GatherElements(axis=axis), new.given(0), new(Expand(), source, dims(*shape)))]

"""Padding as part of the convolution or pool behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from irc.graph import Graph, Node, Value
from irc.op import Op
from irc.ops.activation import Clip, Relu, Sigmoid
from irc.ops.conv import Conv
from irc.ops.index import Pad
from irc.ops.pool import AveragePool, MaxPool
from irc.passes.base import Declined, Outcome, Rewrite
from irc.passes.edit import only_first_output_read, scalar_of

if TYPE_CHECKING:
    from irc.passes.context import Context


@dataclass(frozen=True)
class FoldPad(Rewrite):
    """Fold constant padding of the spatial axes into the convolutions and pools that read it.

        Conv[pads=q](Pad[p, 0](x))                             =  Conv[pads=q + p](x)
        AveragePool[pads=q, count_include_pad=1](Pad[p, 0](x)) =  AveragePool[pads=q + p, count_include_pad=1](x)
        MaxPool[pads=q](Pad[p, -inf](x))                       =  MaxPool[pads=q + p](x)

    Valid because a convolution and an average that counts its padding pad with zeros themselves, and a maximum with
    minus infinity; behind Relu and the like, where nothing is negative, zeros do for a maximum too. An average that
    does not count its padding and has none is made to count it. A pool needs padding smaller than its window, and none
    is touched that rounds its size up (`ceil_mode`), because the padding then decides which windows there are. Each
    reader is served by itself; the Pad goes when none is left. Exact: the same products are summed.

    Source: ONNX Pad-25, Conv-22, AveragePool-22, MaxPool-22.
    """

    def rewrite(self, node: Node, context: Context) -> Outcome:
        if not isinstance(node.op, Pad):
            return None
        padding = _padding_of(node)
        if isinstance(padding, Declined):
            return padding
        source = node.inputs[0]
        assert source is not None
        changed, refused = False, None
        for user, index in node.output.uses:
            op = _absorbed(user, index, padding, source)
            if isinstance(op, Declined):
                refused = refused or op
                continue
            assert isinstance(user, Node)
            user.set_input(0, source)
            user.set_op(op)
            changed = True
        if node.output.use_count == 0:
            node.graph.remove(node)
        return changed or refused


class _Padding(NamedTuple):
    """What a Pad puts around the spatial axes: ONNX's (begin..., end...), and the value."""

    pads: tuple[int, ...]
    value: float


def _padding_of(node: Node) -> _Padding | Declined:
    op, source = node.op, node.inputs[0]
    assert isinstance(op, Pad)
    type = source.tensor_type if source is not None else None
    if op.mode != "constant":
        return Declined(f"it pads in mode '{op.mode}', not with a constant")
    if type is None or type.rank is None or type.rank < 3:
        return Declined("its input is not known to have spatial axes")
    pads, given = node.constant(1), node.constant(3)
    if pads is None or (node.input(3) is not None and given is None):
        return Declined("how much it pads is not a constant")
    value = 0.0 if node.input(2) is None else scalar_of(node.constant(2))
    if value is None:
        return Declined("what it pads with is not a constant")
    axes = range(type.rank) if given is None else [int(a) % type.rank for a in given]
    begin, end = [0] * type.rank, [0] * type.rank
    for axis, low, high in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        begin[axis], end[axis] = int(low), int(high)
    if any(begin[:2] + end[:2]):
        return Declined("it pads the batch or the channels")
    if min(begin + end) < 0:
        return Declined("it crops")
    return _Padding((*begin[2:], *end[2:]), float(value))


def _absorbed(user: Node | Graph, index: int, padding: _Padding, source: Value) -> Op | Declined:
    """The op of the reader `user` with the padding in it."""
    if isinstance(user, Graph):
        return Declined("it is given out")
    if index == 0:
        match user.op:
            case Conv():
                return _conv(user, user.op, padding)
            case AveragePool():
                return _average(user, user.op, padding)
            case MaxPool():
                return _maximum(user, user.op, padding, source)
    return Declined(f"{user!r} reads it, which does not pad by itself")


def _conv(user: Node, op: Conv, padding: _Padding) -> Op | Declined:
    if padding.value != 0:
        return Declined(f"{user!r} pads with 0, not with {padding.value:g}")
    if op.auto_pad.startswith("SAME"):
        return Declined(f"{user!r} computes its own padding from the size of its input ({op.auto_pad})")
    return replace(op, auto_pad="NOTSET", pads=_sum(op.pads, padding))


def _sum(pads: tuple[int, ...] | None, padding: _Padding) -> tuple[int, ...]:
    old = pads or (0,) * len(padding.pads)
    return tuple(a + b for a, b in zip(old, padding.pads, strict=True))


def _average(user: Node, op: AveragePool, padding: _Padding) -> Op | Declined:
    if padding.value != 0:
        return Declined(f"{user!r} pads with 0, not with {padding.value:g}")
    pads = _pool_pads(user, op, padding)
    if isinstance(pads, Declined):
        return pads
    if any(op.pads or ()) and not op.count_include_pad:
        return Declined(f"{user!r} does not count its own padding")
    return replace(op, auto_pad="NOTSET", pads=pads, count_include_pad=1)


def _maximum(user: Node, op: MaxPool, padding: _Padding, source: Value) -> Op | Declined:
    if padding.value != -math.inf and not (padding.value == 0 and _nonnegative(source)):
        return Declined(f"{user!r} pads with -inf, not with {padding.value:g}")
    if not only_first_output_read(user):
        return Declined(f"{user!r} gives out where each maximum stood, counted with the padding")
    if any(d != 1 for d in op.dilations or ()):
        return Declined(f"{user!r} is dilated: a window of it may hold nothing but padding")
    pads = _pool_pads(user, op, padding)
    return pads if isinstance(pads, Declined) else replace(op, auto_pad="NOTSET", pads=pads)


def _pool_pads(user: Node, op: AveragePool | MaxPool, padding: _Padding) -> tuple[int, ...] | Declined:
    if op.auto_pad.startswith("SAME"):
        return Declined(f"{user!r} computes its own padding from the size of its input ({op.auto_pad})")
    if op.ceil_mode:
        return Declined(f"{user!r} rounds its size up, and then padding decides which windows there are")
    pads = _sum(op.pads, padding)
    if any(p >= k for p, k in zip(pads, op.kernel_shape * 2, strict=True)):
        return Declined(f"{user!r} would pad by as much as its window")
    return pads


def _nonnegative(value: Value) -> bool:
    """Whether no element can be negative, by what computes the value."""
    producer = value.producer
    if producer is None:
        return False
    if isinstance(producer.op, Clip):
        low = scalar_of(producer.constant(1))
        return low is not None and low >= 0
    return isinstance(producer.op, Relu | Sigmoid)

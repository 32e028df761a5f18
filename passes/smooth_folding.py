"""Factors for the channels of a value, folded into the constants of what makes the value. Exact up to one rounding.

    f LN(z)          =  LN with scale f scale, bias f bias                 (RMS normalization likewise)
    f (W z + c)      =  (f W) z + f c                                      Gemm, and MatMul
    f relu(z)        =  relu(f z)                                          f > 0; LeakyRelu likewise
    f (z + c)        =  f z + f c
    f (z v)          =  (f z) v   or   z (f v)                             v a constant vector or another value

The channels are the last axis of the value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from irc.graph import Node, Value
from irc.ops.activation import LeakyRelu, Relu
from irc.ops.binary import Add, Mul
from irc.ops.linear import Gemm, MatMul
from irc.ops.norm import LayerNormalization, RMSNormalization
from irc.ops.shape import Identity
from irc.passes.edit import only_first_output_read, set_constant
from irc.types import Array


@dataclass(frozen=True)
class Edit:
    """Input `index` of the node, a constant, is multiplied by the factors along its last axis, or along axis `axis`."""

    node: Node
    index: int
    axis: int = -1

    def apply(self, factors: Array) -> None:
        """Multiply by the factors: float64, shape (K,)."""
        held = self.node.constant(self.index)
        assert held is not None
        wide = np.asarray(held, np.float64)
        wide = wide * (factors[:, None] if self.axis == 0 else factors)
        set_constant(self.node, self.index, wide.astype(held.dtype), self.node.name)
        self.node.set_op(self.node.op)  # so that its origin tells


# one way to multiply a value: these edits, and then the channels of another value, None if that is all
_Way = tuple[Value | None, list[Edit]]
_Behind = tuple[list[Edit], "_Behind"] | None  # the edits that were chosen on the way to a value, the latest first


def folding(value: Value, readers: Sequence[Node]) -> list[Edit] | None:
    """The edits that multiply the channels of the value; None if anything but `readers`, as input 0, would notice."""
    if any(use.user not in readers or use.index != 0 for use in value.uses):
        return None
    waiting: list[tuple[Value | None, _Behind]] = [(value, None)]
    while waiting:  # no recursion: a chain may be as long as the graph
        before, behind = waiting.pop()
        if before is None:
            return _in_order(behind)
        waiting += [(further, (edits, behind)) for further, edits in reversed(_ways(before))]
    return None


def _in_order(behind: _Behind) -> list[Edit]:
    found: list[Edit] = []
    while behind is not None:
        edits, behind = behind
        found += edits
    return found


def _ways(value: Value) -> list[_Way]:
    """The ways to multiply the channels of the value, whoever reads it; the first that leads to an end is taken."""
    maker = value.producer
    if maker is None or maker.graph is not value.graph:
        return []
    channels = _channels(value)
    if channels is None or not only_first_output_read(maker):
        return []
    match maker.op:
        case LayerNormalization() | RMSNormalization():
            return _end(_of_constants(maker, range(1, len(maker.inputs)), channels, vectors=True))
        case Gemm() | MatMul():
            return _end(_of_linear(maker, channels))
        case Relu() | LeakyRelu() | Identity():
            return _through(maker, 0, [])
        case Add() | Mul():
            return _of_arithmetic(maker, channels)
    return []


def _end(edits: list[Edit] | None) -> list[_Way]:
    return [] if edits is None else [(None, edits)]


def _channels(value: Value | None) -> int | None:
    """The size of the last axis, if it is known."""
    type = value.tensor_type if value is not None else None
    last = type.shape[-1] if type is not None and type.shape else None
    return last if isinstance(last, int) else None


def _through(node: Node, index: int, edits: list[Edit]) -> list[_Way]:
    """The way by input `index` of the node, if it has the channels of the node's output; `edits` are the node's own."""
    value = node.input(index)
    if value is None or _channels(value) != _channels(node.output):
        return []
    if isinstance(node.op, LeakyRelu) and node.op.alpha < 0:
        return []
    return [(value, edits)] if value.use_count == 1 else []


def _of_constants(node: Node, indices: Sequence[int], channels: int, *, vectors: bool) -> list[Edit] | None:
    """Edits of these inputs, if they are float constants, one number a channel where `vectors` are wanted."""
    for index in indices:
        data = node.constant(index)
        if data is None or data.dtype != np.float32 or data.shape[-1:] not in ((), (1,), (channels,)):
            return None
        if vectors and data.shape != (channels,):
            return None
    return [Edit(node, index) for index in indices]


def _of_linear(node: Node, channels: int) -> list[Edit] | None:
    weight = node.constant(1)
    held = node.input(1)
    if weight is None or held is None or weight.ndim != 2 or weight.dtype != np.float32 or held.use_count != 1:
        return None  # a shared weight would be copied
    edits = [Edit(node, 1, 0 if getattr(node.op, "transB", 0) else -1)]
    if node.input(2) is None:
        return edits
    bias = _of_constants(node, (2,), channels, vectors=False)
    return None if bias is None else edits + bias


def _of_arithmetic(node: Node, channels: int) -> list[_Way]:
    ways: list[_Way] = []
    for index in (0, 1):
        own = _of_constants(node, (index,), channels, vectors=isinstance(node.op, Mul))
        if own is not None and isinstance(node.op, Mul):
            ways += _end(own)
        elif own is not None or isinstance(node.op, Mul):
            ways += _through(node, 1 - index, own or [])
    return ways

"""Labels through LSTM and GRU: a hidden unit goes from all gates of its direction at once."""

from __future__ import annotations

import numpy as np

from irc.analysis.channels.arrays import varying
from irc.analysis.channels.labels import Block
from irc.analysis.channels.trace import Trace
from irc.graph import Node, Use, Value
from irc.ops.onnx_op import OnnxOp
from irc.ops.schema import attribute_of
from irc.types import Array

_GATES = {"LSTM": 4, "GRU": 3}
STATES = {"LSTM": (5, 6), "GRU": (5,)}
_PEEPHOLES = 7


def recurrent(trace: Trace, node: Node) -> None:
    """LSTM and GRU: W (D, gates*H, inputs), R (D, gates*H, H), B (D, 2*gates*H), D directions of H hidden units."""
    x, w, r = (node.input(k) for k in range(3))
    states = [None if is_zero(trace, value) else value for value in map(node.input, STATES[node.op.name])]
    weights = [w, r, node.input(3), node.input(_PEEPHOLES)]
    assert isinstance(node.op, OnnxOp)
    if attribute_of(node.op, "layout") or not all(v is None or trace.is_weight(v) for v in (*weights, *states)):
        trace.barrier(node, "its weights or first states are computed, or its batch stands first")
        return
    assert x is not None
    assert w is not None
    assert r is not None
    gates = _GATES[node.op.name]
    directions, _, hidden = trace.shape(r)
    _input(trace, node, x, w)
    units = trace.labels.fresh((directions, hidden), trace.number[node])
    if directions > 1:
        trace.labels.blocks.append(Block(units))
    trace.role(w, np.tile(units, gates)[:, :, None], Use(node, 1), tied=True)
    trace.role(r, np.tile(units, gates)[:, :, None], Use(node, 2), tied=True)
    trace.role(r, units[:, None, :], Use(node, 2), tied=True)
    for index, times in ((3, 2 * gates), (_PEEPHOLES, 3)):
        value = node.input(index)
        if value is not None:
            trace.role(value, np.tile(units, times), Use(node, index), tied=True)
    for index, value in zip(STATES[node.op.name], states, strict=True):
        if value is not None:
            trace.role(value, units[:, None, :], Use(node, index))
    made = (units[None, :, None, :], units[:, None, :], units[:, None, :])
    for output, labels in zip(node.outputs, made, strict=False):
        if not output.is_omitted:
            trace.give(output, labels)


def is_zero(trace: Trace, value: Value | None) -> bool:
    """Whether a first state is zero, which it is without being given too."""
    known = trace.static(value)
    return known is not None and not known.any()


def _input(trace: Trace, node: Node, x: Value, w: Value) -> None:
    held = trace.read(x)
    if held is None or held.ndim - 1 not in varying(held):
        return
    taken: Array = trace.labels.collapse(held, (0, 1), force=False).reshape(-1)
    trace.role(w, taken.reshape(1, 1, -1), Use(node, 1), tied=True)

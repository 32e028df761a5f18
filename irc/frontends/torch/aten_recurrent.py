"""LSTM and GRU: one ONNX node a layer, with the gates in ONNX's order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from irc.frontends.torch.emitter import Emitter
from irc.frontends.torch.rules import Result, Unsupported, rule
from irc.graph import Value
from irc.types import Array

_ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}  # torch: i f g o -> i o f g;  r z n -> z r n


@rule("aten.lstm.input")
def lstm(
    e: Emitter,
    x: Value,
    state: Sequence[Value],
    weights: Sequence[Value],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> Result:
    lost = dropout if train else 0.0
    y, finals = _recurrent(e, "LSTM", x, state, weights, has_biases, num_layers, lost, bidirectional, batch_first)
    return (y, *finals)


@rule("aten.gru.input")
def gru(
    e: Emitter,
    x: Value,
    state: Value,
    weights: Sequence[Value],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> Result:
    lost = dropout if train else 0.0
    y, finals = _recurrent(e, "GRU", x, [state], weights, has_biases, num_layers, lost, bidirectional, batch_first)
    return (y, *finals)


def _recurrent(
    e: Emitter,
    op: str,
    x: Value,
    states: Sequence[Value],
    weights: Sequence[Value],
    has_biases: bool,
    layers: int,
    dropout: float,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Value, list[Value]]:
    """The output sequence, and the final states, each (layers * directions, batch, hidden)."""
    if dropout:
        raise Unsupported("dropout in training mode")
    directions = 2 if bidirectional else 1
    arrays = [w.data for w in weights]
    per_direction = 4 if has_biases else 2
    if any(a is None for a in arrays) or len(arrays) != layers * directions * per_direction:
        raise Unsupported(f"an {op} with computed weights or a projection")
    data = [a for a in arrays if a is not None]
    x = e.transpose(x, (1, 0, 2), part="time.first") if batch_first else x
    finals: list[list[Value]] = [[] for _ in states]
    for layer in range(layers):
        first = layer * directions * per_direction
        sets = [data[first + d * per_direction : first + (d + 1) * per_direction] for d in range(directions)]
        begin = [_layer_state(e, s, layer, directions, layers) for s in states]
        x, ends = _layer(e, op, x, begin, sets, f"layer{layer}" if layers > 1 else "")
        for kept, end in zip(finals, ends, strict=True):
            kept.append(end)
    joined = [f[0] if len(f) == 1 else e.emit("Concat", *f, part="state", axis=0) for f in finals]
    return (e.transpose(x, (1, 0, 2), part="batch.first") if batch_first else x), joined


def _layer_state(e: Emitter, state: Value, layer: int, directions: int, layers: int) -> Value:
    if layers == 1:
        return state
    return e.slice(state, 0, layer * directions, (layer + 1) * directions, part="state")


def _layer(
    e: Emitter, op: str, x: Value, begin: Sequence[Value], sets: Sequence[Sequence[Array]], part: str
) -> tuple[Value, tuple[Value, ...]]:
    """One layer: its output (time, batch, directions * hidden) and its final states."""
    hidden = sets[0][1].shape[1]

    def reordered(array: Array) -> Array:
        gates = np.split(array, len(_ORDER[op]), axis=0)
        return np.concatenate([gates[g] for g in _ORDER[op]], axis=0)

    prefix = f"{part}." if part else ""
    w = e.constant(np.stack([reordered(s[0]) for s in sets]), f"{prefix}W")
    r = e.constant(np.stack([reordered(s[1]) for s in sets]), f"{prefix}R")
    b = None
    if len(sets[0]) == 4:
        b = e.constant(np.stack([np.concatenate([reordered(s[2]), reordered(s[3])]) for s in sets]), f"{prefix}B")
    direction = "bidirectional" if len(sets) == 2 else None
    more: dict[str, Any] = {"linear_before_reset": 1} if op == "GRU" else {}
    made = e.emit_many(
        op, [x, w, r, b, None, *begin], 1 + len(begin), part=part, hidden_size=hidden, direction=direction, **more
    )
    if len(sets) == 1:
        return e.squeeze(made[0], 1), made[1:]
    time_first = e.transpose(made[0], (0, 2, 1, 3), part=f"{prefix}directions")
    return e.emit("Reshape", time_first, [0, 0, -1], part=f"{prefix}joined"), made[1:]

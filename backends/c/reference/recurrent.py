"""The kernels of recurrent.h: the same bits. Weights as ONNX has them, (directions, gates, inputs or hidden)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from irc.backends.c.reference.arithmetic import f32, fma, limit
from irc.backends.c.reference.functions import sigmoid, tanh
from irc.backends.c.reference.functions_f64 import expm1, softplus
from irc.types import Array

_ONE = np.float32(1)


def _hard_sigmoid(x: Array, a: np.float32, b: np.float32) -> Array:
    y = a * x + b
    return np.where(y > _ONE, _ONE, np.where(y < 0, np.float32(0), y))


# In the order of the enumeration in recurrent.h; a and b are alpha and beta.
ACTIVATIONS: tuple[Callable[[Array, np.float32, np.float32], Array], ...] = (
    lambda x, a, b: sigmoid(x),
    lambda x, a, b: tanh(x),
    lambda x, a, b: np.where(x < 0, np.float32(0), x),
    lambda x, a, b: a * x + b,
    lambda x, a, b: np.where(x < 0, a * x, x),
    lambda x, a, b: np.where(x <= a, np.float32(0), x),
    lambda x, a, b: a * tanh(b * x),
    _hard_sigmoid,
    lambda x, a, b: np.where(x < 0, a * f32(expm1(x.astype(np.float64))), x),
    lambda x, a, b: x / (_ONE + np.abs(x)),
    lambda x, a, b: f32(softplus(x.astype(np.float64))),
)


@dataclass(frozen=True)
class Cell:
    """One direction of an LSTM or GRU: what its steps share.

    w : float32 (gates * hidden, inputs);  r : (gates * hidden, hidden);  bias : (2 * gates * hidden) or None
    activations : (index into ACTIVATIONS, alpha, beta) of f, g and, for an LSTM, h
    """

    w: Array
    r: Array
    bias: Array | None
    activations: Sequence[tuple[int, float, float]]
    clip: float = 0.0
    peephole: Array | None = None
    input_forget: bool = False
    linear_before_reset: bool = False
    hidden: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", self.r.shape[1])

    def gate(self, which: int, x: Array) -> Array:
        """The activation of a gate's clipped sums."""
        return self.act(which, limit(x, np.float32(self.clip)) if self.clip > 0 else x)

    def act(self, which: int, x: Array) -> Array:
        """The activation."""
        kind, alpha, beta = self.activations[which]
        return f32(ACTIVATIONS[kind](x, np.float32(alpha), np.float32(beta)))


def _chain(start: Array, x: Array, w: Array) -> Array:
    """start, then fma of x[k] and w[:, k] for k ascending."""
    for k in range(w.shape[1]):
        start = fma(x[k], w[:, k], start)
    return start


def lstm_step(cell: Cell, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    """The next hidden and cell state of one batch entry."""
    n = cell.hidden
    sums = np.zeros(4 * n, np.float32) if cell.bias is None else cell.bias[: 4 * n] + cell.bias[4 * n :]
    i, o, f, g = _chain(_chain(sums, x, cell.w), h, cell.r).reshape(4, n)
    if cell.peephole is not None:
        i, f = fma(cell.peephole[:n], c, i), fma(cell.peephole[2 * n :], c, f)
    i, g = cell.gate(0, i), cell.gate(1, g)
    f = _ONE - i if cell.input_forget else cell.gate(0, f)
    c = fma(f, c, i * g)
    if cell.peephole is not None:
        o = fma(cell.peephole[n : 2 * n], c, o)
    return cell.act(2, c) * cell.gate(0, o), c


def gru_step(cell: Cell, x: Array, h: Array) -> Array:
    """The next hidden state of one batch entry."""
    n = cell.hidden
    bias = np.zeros(6 * n, np.float32) if cell.bias is None else cell.bias
    sums = np.concatenate([bias[: 2 * n] + bias[3 * n : 5 * n], bias[2 * n : 3 * n]])
    sums = _chain(sums, x, cell.w)
    z, r = cell.gate(0, _chain(sums[: 2 * n], h, cell.r[: 2 * n])).reshape(2, n)
    to_g, g = cell.r[2 * n :], sums[2 * n :]
    shift = bias[5 * n :]
    g = fma(r, _chain(shift, h, to_g), g) if cell.linear_before_reset else _chain(g + shift, r * h, to_g)
    return fma(z, h, (_ONE - z) * cell.gate(1, g))


def run(
    cells: Sequence[Cell], reverse: bool, x: Array, lengths: Array | None, initial_h: Array, initial_c: Array | None
) -> tuple[Array, Array, Array]:
    """All steps of an LSTM, or of a GRU if initial_c is None: y (steps, directions, batch, hidden) and the last states.

    x : float32 (steps, batch, inputs);  lengths : int32 (batch);  states : (directions, batch, hidden)
    """
    y = np.zeros((x.shape[0], *initial_h.shape), np.float32)
    last_h, last_c = initial_h.copy(), np.zeros_like(initial_h) if initial_c is None else initial_c.copy()
    for d, b in np.ndindex(*initial_h.shape[:2]):
        length = x.shape[0] if lengths is None else int(lengths[b])
        steps = range(length - 1, -1, -1) if reverse or d else range(length)
        for t in steps:
            if initial_c is None:
                last_h[d, b] = gru_step(cells[d], x[t, b], last_h[d, b])
            else:
                last_h[d, b], last_c[d, b] = lstm_step(cells[d], x[t, b], last_h[d, b], last_c[d, b])
            y[t, d, b] = last_h[d, b]
    return y, last_h, last_c

"""The kernels of matmul_f32.h and conv_f32.h: one chain of fused multiply-adds for each output, the same bits.

`packed` gives the weights as those kernels read them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from irc.backends.c.reference.arithmetic import fma
from irc.types import Array

PANEL = 16  # columns of a panel of packed weights: IRC_TILE_COLS


def packed(b: Array) -> Array:
    """Weights (..., k, n) as panels (..., ceil(n / 16), k, 16), filled up with zeros."""
    *lead, k, n = b.shape
    panels = -(-n // PANEL)
    wide = np.zeros((*lead, k, panels * PANEL), np.float32)
    wide[..., :n] = b
    return np.ascontiguousarray(np.moveaxis(wide.reshape(*lead, k, panels, PANEL), -2, -3))


def matmul(a: Array, b: Array, bias: Array | None = None) -> Array:
    """bias or 0, then fma over k ascending; a (..., m, k), b (..., k, n), batches broadcast."""
    shape = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    start = np.float32(0) if bias is None else bias
    acc = np.broadcast_to(start, (*shape, a.shape[-2], b.shape[-1])).astype(np.float32)
    for k in range(a.shape[-1]):
        acc = fma(a[..., :, k, None], b[..., None, k, :], acc)
    return acc


def conv(
    x: Array,
    w: Array,
    bias: Array | None,
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    groups: int,
) -> Array:
    """A convolution, channels innermost: fma over kernel rows, columns and channels in turn.

    x : float32 (N, rows, cols, C);  w : (kh, kw, C / groups, M), group after group along M;
    pads : top, left, bottom, right
    """
    x = np.pad(x, ((0, 0), (pads[0], pads[2]), (pads[1], pads[3]), (0, 0)))
    kh, kw, c, m = w.shape
    rows = (x.shape[1] - (kh - 1) * dilations[0] - 1) // strides[0] + 1
    cols = (x.shape[2] - (kw - 1) * dilations[1] - 1) // strides[1] + 1
    y = np.zeros((x.shape[0], rows, cols, m), np.float32)
    if bias is not None:
        y += bias
    for g in range(groups):
        out = slice(g * m // groups, (g + 1) * m // groups)
        for i in range(kh):
            for j in range(kw):
                top, left = i * dilations[0], j * dilations[1]
                part = x[:, top:, left:][:, :: strides[0], :: strides[1]][:, :rows, :cols]
                for k in range(c):
                    y[..., out] = fma(part[..., g * c + k, None], w[i, j, k, out], y[..., out])
    return y


def conv_transpose(
    x: Array,
    w: Array,
    bias: Array | None,
    strides: Sequence[int],
    begin: Sequence[int],
    dilations: Sequence[int],
    groups: int,
    out: Sequence[int],
) -> Array:
    """ONNX ConvTranspose, channels innermost: fma over kernel rows, columns and channels in turn.

    x : float32 (N, rows, cols, C);  w : (kh, kw, C / groups, M), group after group along M;
    begin : pads at the top and left;  out : rows and columns of the output
    """
    kh, kw, c, m = w.shape
    y = np.zeros((x.shape[0], *out, m), np.float32)
    if bias is not None:
        y += bias
    for row, col, i, j in np.ndindex(*out, kh, kw):
        r, r_rest = divmod(row + begin[0] - i * dilations[0], strides[0])
        q, q_rest = divmod(col + begin[1] - j * dilations[1], strides[1])
        if r_rest or q_rest or not (0 <= r < x.shape[1] and 0 <= q < x.shape[2]):
            continue
        for g in range(groups):
            part = slice(g * m // groups, (g + 1) * m // groups)
            for k in range(c):
                y[:, row, col, part] = fma(x[:, r, q, g * c + k, None], w[i, j, k, part], y[:, row, col, part])
    return y

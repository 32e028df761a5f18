"""The kernels of resize.h, channels innermost: the same bits."""

from __future__ import annotations

import numpy as np

from irc.backends.c.reference.arithmetic import fma
from irc.types import Array


def nearest(x: Array, row_index: Array, col_index: Array, extrapolation: float) -> Array:
    """y[i][j] = x[row_index[i]][col_index[j]], `extrapolation` where an index is -1. x : (N, rows, cols, C)."""
    y = x[:, row_index][:, :, col_index]
    outside = (row_index < 0)[:, None] | (col_index < 0)
    return np.where(outside[..., None], np.asarray(extrapolation).astype(x.dtype), y)


def weighted(
    x: Array, row_index: Array, row_weight: Array, col_index: Array, col_weight: Array, extrapolation: float
) -> Array:
    """Sums of fma over column taps within sums of fma over row taps.

    x : float32 (N, rows, cols, C);  indices and weights : (output size, taps); a first index of -1 is outside
    """
    y = np.zeros((x.shape[0], len(row_index), len(col_index), x.shape[3]), np.float32)
    for i in range(row_index.shape[1]):
        part = np.zeros_like(y)
        for j in range(col_index.shape[1]):
            part = fma(x[:, row_index[:, i]][:, :, col_index[:, j]], col_weight[:, j, None], part)
        y = fma(part, row_weight[:, i, None, None], y)
    outside = (row_index[:, 0] < 0)[:, None] | (col_index[:, 0] < 0)
    return np.where(outside[..., None], np.float32(extrapolation), y)

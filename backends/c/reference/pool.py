"""The kernels of pool.h, channels innermost: the same bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from irc.backends.c.reference.arithmetic import requantize
from irc.types import Array


@dataclass(frozen=True)
class Pool:
    """Windows over rows and columns; pairs are (rows, columns), pads (top, left, bottom, right)."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]
    out: tuple[int, int]
    count_include_pad: bool = False

    def windows(self, rows: int, cols: int) -> Iterator[tuple[int, int, list[tuple[int, int]], int]]:
        """Row and column of each window, the cells of it that are in the input, and the count for the mean."""
        for i in range(self.out[0]):
            for j in range(self.out[1]):
                ys = [i * self.strides[0] - self.pads[0] + k * self.dilations[0] for k in range(self.kernel[0])]
                xs = [j * self.strides[1] - self.pads[1] + k * self.dilations[1] for k in range(self.kernel[1])]
                cells = [(y, x) for y in ys for x in xs if 0 <= y < rows and 0 <= x < cols]
                count = len(cells)
                if self.count_include_pad:
                    tall = sum(-self.pads[0] <= y < rows + self.pads[2] for y in ys)
                    count = tall * sum(-self.pads[1] <= x < cols + self.pads[3] for x in xs)
                yield i, j, cells, count


def max_pool(x: Array, pool: Pool) -> Array:
    """The largest element; x (N, rows, cols, C) of any dtype. NaN is passed over."""
    least = -np.inf if x.dtype == np.float32 else np.iinfo(x.dtype).min
    y = np.full((x.shape[0], *pool.out, x.shape[3]), least, x.dtype)
    for i, j, cells, _ in pool.windows(x.shape[1], x.shape[2]):
        for row, col in cells:
            y[:, i, j] = np.where(x[:, row, col] > y[:, i, j], x[:, row, col], y[:, i, j])
    return y


def average_pool(x: Array, pool: Pool) -> Array:
    """The mean; x float32 (N, rows, cols, C). Cells are added in order of rows, then columns."""
    y = np.zeros((x.shape[0], *pool.out, x.shape[3]), np.float32)
    for i, j, cells, count in pool.windows(x.shape[1], x.shape[2]):
        for row, col in cells:
            y[:, i, j] += x[:, row, col]
        y[:, i, j] /= np.float32(count)
    return y


def average_pool_u8(x: Array, pool: Pool, zero_point: int, scale: float, bias: float, lo: int, hi: int) -> Array:
    """QAveragePool; x uint8 (N, rows, cols, C)."""
    y = np.zeros((x.shape[0], *pool.out, x.shape[3]), np.uint8)
    for i, j, cells, count in pool.windows(x.shape[1], x.shape[2]):
        acc = np.zeros((x.shape[0], x.shape[3]), np.int64)
        for row, col in cells:
            acc += x[:, row, col].astype(np.int64) - zero_point
        y[:, i, j] = requantize(acc, np.float32(scale) / np.float32(count), bias, lo, hi)
    return y

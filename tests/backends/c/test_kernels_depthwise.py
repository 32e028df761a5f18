"""Depthwise convolutions give the bits of the contract on every instruction set, for any shape."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irc.backends.c.packing import codes_fit, pack_depthwise
from irc.types import Array
from tests.backends.c import kernel_driver as driver

CODES_FIT = 4


class Case:
    """A drawn depthwise convolution: its parameters, its data, and what it must give."""

    def __init__(self, draw: st.DrawFn) -> None:
        def pick(low: int, high: int) -> int:
            return draw(st.integers(low, high))

        self.rng = np.random.default_rng(draw(st.integers(0, 2**32)))
        self.batch, self.rows, self.cols, self.channels = pick(1, 2), pick(1, 9), pick(1, 39), pick(1, 70)
        self.kernel = (pick(1, 5), pick(1, 5)) if draw(st.booleans()) else (pick(1, 3) * 2 - 1,) * 2
        self.stride, self.dilation = (pick(1, 3), pick(1, 3)), (pick(1, 3), pick(1, 3))
        if draw(st.booleans()):
            self.stride, self.dilation = (pick(1, 2),) * 2, (1, 1)
        self.threads, self.float_output, self.with_residual = pick(1, 3), pick(0, 4) == 0, pick(0, 4) == 0
        self.extreme, self.highest, self.huge = (draw(st.booleans()) for _ in range(3))
        self.lo, self.hi = sorted((pick(0, 255), pick(0, 255))) if draw(st.booleans()) else (0, 255)
        self.more = pick(0, 5)  # channels of wider images
        self._data()

    def _data(self) -> None:
        rng, n = self.rng, self.channels
        sizes = zip((self.rows, self.cols), self.kernel, self.stride, self.dilation, strict=True)
        reach = [(size - 1) * s + (k - 1) * d + 1 for size, k, s, d in sizes]
        x = rng.integers(0, 256, (self.batch, *reach, n + self.more))
        self.x = driver.with_slack((np.full(x.shape, 255) if self.highest else x).astype(np.uint8))
        size = (*self.kernel, n)
        w = rng.choice([-128, -128, 127], size) if self.extreme else rng.integers(-128, 128, size)
        self.w = w.astype(np.int8)
        self.scale = driver.with_slack((rng.uniform(-1, 1, n) * (1e30 if self.huge else 2e-2)).astype(np.float32))
        self.bias = driver.with_slack(rng.uniform(-300, 300, n).astype(np.float32))
        self.residual_scale = float(np.float32(rng.uniform(-2, 2)))
        residual = driver.with_slack(rng.integers(0, 256, (self.batch, self.rows, self.cols, n)).astype(np.uint8))
        self.residual = residual if self.with_residual else None

    def wanted(self) -> Array:
        (down, right), (below, beside) = self.stride, self.dilation
        acc = np.zeros((self.batch, self.rows, self.cols, self.channels), np.int64)
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                tap = self.x[:, i * below :: down, j * beside :: right, : self.channels]
                acc += tap[:, : self.rows, : self.cols].astype(np.int64) * self.w[i, j]
        return driver.expected(
            acc, self.scale, self.bias, self.residual, self.residual_scale, self.lo, self.hi, self.float_output
        )

    def run(self, isa: str) -> Array:
        library, n = driver.library(isa), self.channels
        _, height, width, step = self.x.shape
        y_col, (kh, kw) = n + self.more, self.kernel
        fits = codes_fit(self.w.reshape(-1, n).T, self.scale, self.bias, self.residual_scale)
        struct = driver.fields(
            driver.Depthwise, batch=self.batch, rows=self.rows, cols=self.cols, channels=n, kh=kh, kw=kw,
            x_batch=height * width * step, x_row=width * step * self.stride[0], x_col=step * self.stride[1],
            tap_row=width * step * self.dilation[0], tap_col=step * self.dilation[1],
            y_batch=self.rows * self.cols * y_col, y_row=self.cols * y_col, y_col=y_col,
            r_batch=self.rows * self.cols * n, r_row=self.cols * n, r_col=n, residual_scale=self.residual_scale,
            lo=self.lo, hi=self.hi, float_output=self.float_output, flags=CODES_FIT if fits else 0,
        )  # fmt: skip
        weights = driver.with_slack(pack_depthwise(self.w.reshape(-1, n)))
        _raw, output, check = driver.guarded(self.batch * self.rows * self.cols * y_col, self.float_output)
        inputs = (self.x, weights, self.scale, self.bias, self.residual, output)
        library.run_depthwise(ctypes.byref(struct), *map(driver.pointer, inputs), self.threads)
        written = np.zeros((self.batch, self.rows, self.cols, y_col), bool)
        written[..., :n] = True
        check(written.reshape(-1))
        return output.reshape(written.shape)[..., :n]


@pytest.mark.parametrize("isa", driver.kernels())
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_depthwise(isa: str, data: st.DataObject) -> None:
    case = data.draw(st.composite(Case)())
    np.testing.assert_array_equal(case.run(isa), case.wanted())

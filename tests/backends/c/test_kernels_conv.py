"""Convolutions, Gemms and Winograd convolutions give the bits of the contract on every ISA, for any shape."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irc.backends.c.packing import codes_fit, fit_flags, pack_dense
from irc.types import Array
from tests.backends.c import kernel_driver as driver

CODES_FIT = 4


class Case:
    """A drawn convolution: its parameters, its data, and what it must give."""

    def __init__(self, draw: st.DrawFn, winograd: bool) -> None:
        def pick(low: int, high: int) -> int:
            return draw(st.integers(low, high))

        self.rng = np.random.default_rng(draw(st.integers(0, 2**32)))
        self.batch, self.rows, self.cols = pick(1, 2), pick(1, 11), pick(1, 13)
        self.groups = 1 if winograd else pick(1, 3) if pick(0, 3) == 0 else 1
        self.n, self.channels = pick(1, 41), 4 * pick(1, 17) if winograd else pick(0, 45)
        self.kernel = (3, 3) if winograd else (pick(1, 4), pick(1, 4))
        self.stride, self.dilation = (1, 1) if winograd else (pick(1, 2), pick(1, 2))
        self.threads, self.block = pick(1, 3), pick(0, 300) if draw(st.booleans()) else 0
        self.float_output, self.with_residual = draw(st.booleans()), draw(st.booleans())
        self.with_init, self.with_rows = (not winograd and draw(st.booleans()) for _ in range(2))
        self.weights = draw(st.sampled_from(("tiny", "half", "bell", "full", "extreme")))
        if winograd and draw(st.booleans()):  # more than a block of channels and than a tile of tiles
            self.rows, self.channels = self.rows + 8, 4 * pick(33, 40)
        if self.channels > 100 and self.weights == "extreme":
            self.weights = "full"  # sums of Winograd's algorithm must stay below 2^25
        self.codes = draw(st.sampled_from(("any", "any", "highest", "ends")))
        self.scales = draw(st.sampled_from(("usual", "usual", "huge", "ends")))
        self.lo, self.hi = sorted((pick(0, 255), pick(0, 255))) if draw(st.booleans()) else (0, 255)
        self.more = pick(0, 5)  # channels of a wider output
        self.with_scratch = winograd or draw(st.booleans())
        self.in_place = self.with_residual and not self.float_output and not self.more and draw(st.booleans())
        self._data()

    def _data(self) -> None:
        rng, (kh, kw), n = self.rng, self.kernel, self.n * self.groups
        step, gap = self.stride, self.dilation
        height, width = ((m - 1) * step + (k - 1) * gap + 1 for m, k in ((self.rows, kh), (self.cols, kw)))
        shape = (self.batch, height, width, self.channels * self.groups)
        low = {"any": 0, "highest": 255, "ends": 0}[self.codes]
        x = rng.choice([0, 255], shape) if self.codes == "ends" else rng.integers(low, 256, shape)
        self.x = driver.with_slack(x.astype(np.uint8))
        size = (n, kh, kw, self.channels)
        most = {"tiny": 30, "half": 64, "bell": 127, "full": 127, "extreme": 127}[self.weights]
        w = rng.integers(-most, most + 1, size).astype(np.float64)
        if self.weights == "bell":
            w = np.clip(np.rint(rng.normal(0, 36, size)), -127, 127)
        elif self.weights == "extreme":
            w = rng.choice([-128.0, -128.0, 127.0], size)
        self.w = w.astype(np.int8)
        scale = rng.uniform(-1, 1, n) * {"usual": 3e-3, "huge": 1e30, "ends": 1.0}[self.scales]
        self.scale = driver.with_slack(scale.astype(np.float32))
        self.bias = driver.with_slack(rng.uniform(-300, 300, n).astype(np.float32))
        self.residual_scale = float(np.float32(rng.uniform(-2, 2)))
        outputs = (self.batch, self.rows, self.cols, n)
        positions = (self.groups, self.batch * self.rows * self.cols)
        residual = driver.with_slack(rng.integers(0, 256, outputs).astype(np.uint8))
        init = driver.with_slack(rng.integers(-(10**6), 10**6, n).astype(np.int32))
        row = driver.with_slack(rng.integers(-(10**6), 10**6, positions).astype(np.int32))
        self.residual = residual if self.with_residual else None
        self.init = init if self.with_init else None
        self.row = row if self.with_rows else None

    def accumulators(self) -> Array:
        """int64 (batch, rows, cols, groups * n)."""
        (kh, kw), s, d, c = self.kernel, self.stride, self.dilation, self.channels
        acc = np.zeros((self.batch, self.rows, self.cols, self.groups * self.n), np.int64)
        for i in range(kh):
            for j in range(kw):
                tap = self.x[:, i * d :: s, j * d :: s][:, : self.rows, : self.cols].astype(np.int64)
                for g in range(self.groups):
                    here = slice(g * self.n, (g + 1) * self.n)
                    acc[..., here] += tap[..., g * c : (g + 1) * c] @ self.w[here, i, j].astype(np.int64).T
        if self.init is not None:
            acc += self.init
        if self.row is not None:
            per = self.row.reshape(self.groups, self.batch, self.rows, self.cols)
            acc += np.repeat(np.moveaxis(per, 0, -1), self.n, axis=-1)
        return acc

    def wanted(self) -> Array:
        sums, factors = self.accumulators(), (self.scale, self.bias, self.residual, self.residual_scale)
        return driver.expected(sums, *factors, self.lo, self.hi, self.float_output)

    def struct(self) -> tuple[ctypes.Structure, Array, list[Array]]:
        """The parameters, the packed weights, and what must stay alive."""
        (kh, kw), d, step = self.kernel, self.dilation, self.channels * self.groups
        line, height = step * self.x.shape[2], self.x.shape[1]
        joined = d == 1 and self.groups == 1
        offsets = [i * line * d + j * step * d for i in range(kh) for j in range(1 if joined else kw)]
        length = kw * self.channels if joined else self.channels
        parts = np.split(self.w.reshape(len(self.w), len(offsets), length), self.groups)
        packed = np.concatenate([pack_dense(part) for part in parts]) if length else np.zeros(0, np.int8)
        flags = fit_flags(packed)
        if codes_fit(self.w, self.scale, self.bias, self.residual_scale) and self.init is None and self.row is None:
            flags |= CODES_FIT
        table, y_col = np.array(offsets, np.int32), self.n * self.groups + self.more
        r_col = self.n * self.groups
        made = driver.fields(
            driver.Conv, batch=self.batch, rows=self.rows, cols=self.cols, n=self.n, groups=self.groups,
            runs=len(offsets), run_length=length, run_offset=table.ctypes.data, x_batch=height * line,
            x_row=line * self.stride, x_col=step * self.stride, x_group=self.channels,
            y_batch=self.rows * self.cols * y_col, y_row=self.cols * y_col, y_col=y_col, y_group=self.n,
            r_batch=self.rows * self.cols * r_col, r_row=self.cols * r_col, r_col=r_col, r_group=self.n,
            residual_scale=self.residual_scale, lo=self.lo, hi=self.hi, float_output=self.float_output, flags=flags,
            positions=self.block,
        )  # fmt: skip
        return made, driver.with_slack(packed), [table]

    def run(self, isa: str, winograd: bool, compiler: str = "gcc") -> Array:
        library = driver.library(isa, compiler)
        struct, packed, alive = self.struct()
        n = self.n * self.groups
        raw, output, check = driver.guarded(self.batch * self.rows * self.cols * (n + self.more), self.float_output)
        scratch = driver.scratch(library) if self.with_scratch else None
        residual = self.residual
        if self.in_place and residual is not None:
            output[:] = residual.reshape(-1)
            residual = output
        inputs = [ctypes.byref(struct), driver.pointer(self.x), driver.pointer(packed)]
        if not winograd:
            inputs += [driver.pointer(self.init), driver.pointer(self.row)]
        inputs += [driver.pointer(self.scale), driver.pointer(self.bias), driver.pointer(residual)]
        function = library.run_winograd if winograd else library.run_conv
        function(*inputs, driver.pointer(output), driver.pointer(scratch), self.threads)
        written = np.zeros((self.batch, self.rows, self.cols, n + self.more), bool)
        written[..., :n] = True
        check(written.reshape(-1))
        del raw, alive
        return output.reshape(written.shape)[..., :n]


@pytest.mark.parametrize("isa", driver.kernels())
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_convolutions(isa: str, data: st.DataObject) -> None:
    case = data.draw(st.composite(Case)(winograd=False))
    np.testing.assert_array_equal(case.run(isa, False), case.wanted())


@pytest.mark.parametrize("isa", driver.kernels())
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_winograd(isa: str, data: st.DataObject) -> None:
    case = data.draw(st.composite(Case)(winograd=True))
    np.testing.assert_array_equal(case.run(isa, True), case.wanted())


@pytest.mark.parametrize("isa", driver.kernels())
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_clang_gives_the_same_bits(isa: str, data: st.DataObject) -> None:
    case = data.draw(st.composite(Case)(winograd=False))
    np.testing.assert_array_equal(case.run(isa, False, "clang"), case.wanted())

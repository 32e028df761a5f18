"""Products of two activations: packing the second one at run time, and the terms of its zero points, are exact."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irc.backends.c.packing import pack_dense
from tests.backends.c import kernel_driver as driver


@pytest.mark.parametrize("isa", driver.kernels())
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_packed_products(isa: str, data: st.DataObject) -> None:
    """acc = sum (a - za) (b - zb): packed b, column and row terms together, b lying either way."""

    def pick(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    library = driver.library(isa)
    matrices, m, k, n = pick(1, 3), pick(1, 7), pick(1, 70), pick(1, 40)
    za, zb, threads, transposed, more = pick(0, 255), pick(0, 255), pick(1, 3), pick(0, 1), pick(0, 3)
    rng = np.random.default_rng(pick(0, 2**32))
    a = driver.with_slack(rng.integers(0, 256, (matrices, m, k)).astype(np.uint8))
    stored = (n, k + more) if transposed else (k, n + more)
    b = driver.with_slack(rng.integers(0, 256, (matrices, *stored)).astype(np.uint8))
    strides = (1, stored[1]) if transposed else (stored[1], 1)
    logical = (b[:, :, :k].transpose(0, 2, 1) if transposed else b[:, :, :n]).astype(np.int64)
    pack = driver.fields(
        driver.PackB, matrices=matrices, k=k, n=n, b_matrix=b[0].size, b_k=strides[0], b_n=strides[1],
        a_zero_point=za, b_zero_point=zb,
    )  # fmt: skip
    size = matrices * -(-n // 16) * -(-k // 4) * 64
    _raw, packed, check = driver.guarded(size, False)
    columns, rows = np.zeros((matrices, n), np.int32), np.zeros((matrices, m), np.int32)
    library.run_pack_b(ctypes.byref(pack), *map(driver.pointer, (b, packed, columns)), threads)
    check(np.ones(size, bool))
    expected = [pack_dense((each.T[:, None] - 128).astype(np.int8)) for each in logical]
    np.testing.assert_array_equal(packed.view(np.int8), np.concatenate(expected))
    sums = driver.fields(driver.RowSums, matrices=matrices, m=m, k=k, a_matrix=m * k, a_row=k, multiplier=128 - zb)
    library.run_row_sums(ctypes.byref(sums), *map(driver.pointer, (a, rows)), threads)
    wide = a.astype(np.int64)
    acc = wide @ (logical - 128) + columns[:, None] + rows[:, :, None]
    np.testing.assert_array_equal(acc, (wide - za) @ (logical - zb))

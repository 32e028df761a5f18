"""Tensors are taken and given as arrays of the same memory, without torch for those who do not use it."""

from __future__ import annotations

import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import torch

from irc.arrays import as_tensor, has_tensor, is_tensor, without_tensors


def test_tensors_are_told_from_the_rest() -> None:
    x = torch.ones(2)
    assert is_tensor(x)
    assert not is_tensor(x.numpy())
    assert has_tensor(x)
    assert has_tensor([x.numpy(), x])
    assert has_tensor({"a": 1, "b": x})
    assert not has_tensor((x.numpy(), 3.0, None))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool])
def test_memory_is_shared_both_ways(dtype: torch.dtype) -> None:
    x = torch.zeros(2, 3, dtype=dtype)
    array = without_tensors(x)
    array[1, 2] = 1
    assert x[1, 2] == 1
    back = as_tensor(array)
    assert back.dtype is dtype
    assert back.data_ptr() == x.data_ptr()


def test_a_type_that_numpy_lacks() -> None:
    array = without_tensors(torch.ones(2, dtype=torch.bfloat16))
    assert array.dtype == ml_dtypes.bfloat16
    assert as_tensor(array).dtype is torch.bfloat16


def test_gradients_conjugates_and_lists() -> None:
    x = torch.ones(2, requires_grad=True)
    np.testing.assert_array_equal(np.asarray(without_tensors([x, (x, 2 * x)][1])), [[1, 1], [2, 2]])
    np.testing.assert_array_equal(without_tensors(torch.full((1,), 1 + 2j).conj()), [1 - 2j])
    assert without_tensors([1.0, [x]])[0] == 1.0


def test_arrays_need_no_torch() -> None:
    code = (
        "import sys, numpy as np; from irc.arrays import has_tensor, without_tensors; x = np.ones(2)\n"
        "assert not has_tensor([x]) and without_tensors(x) is x and 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0

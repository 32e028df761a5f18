"""Element types are onnx's and numpy's; products of symbolic dimensions are equal only where the dimensions are."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from irc.types import Dim, DType, product


@pytest.mark.parametrize(
    ("dims", "expected"),
    [
        ((), 1),
        ((2, 3), 6),
        (("N",), "N"),
        ((7, "N", 7), "49*N"),
        (("N", "M"), "M*N"),
        ((3, "2*N"), "6*N"),
        (("2*N", "3*M*N"), "6*M*N*N"),
        ((0, "N"), 0),
        (("N", None), None),
        (("2*N+1",), "2*N+1"),
        ((2, "N+1"), "2*(N+1)"),
        ((1, "N+1"), "N+1"),
    ],
)
def test_product(dims: tuple[Dim, ...], expected: Dim) -> None:
    assert product(dims) == expected


def test_twice_a_sum_is_not_the_sum_with_its_first_term_doubled() -> None:
    assert product((2, "N+1")) != "2*N+1"


@pytest.mark.parametrize("dtype", DType)
def test_element_types_are_those_of_onnx(dtype: DType) -> None:
    """Whose numbers are written down, so that nobody needs onnx to know a type."""
    assert dtype.numpy == np.dtype(onnx.helper.tensor_dtype_to_np_dtype(dtype.onnx_type))
    assert DType.of_onnx(dtype.onnx_type) is dtype
    assert DType.of_numpy(dtype.numpy) is dtype
    short = onnx.TensorProto.DataType.Name(dtype.onnx_type).lower()
    for whole, letter in (("bfloat", "bf"), ("float", "f"), ("uint", "u"), ("int", "i")):
        short = short.replace(whole, letter)
    known = {"f": "f32", "double": "f64", "complex64": "c64", "complex128": "c128"}
    assert known.get(short, short) == dtype.text

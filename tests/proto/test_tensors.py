"""An array becomes a TensorProto and comes back the same, whatever its element type, packed as ONNX packs it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from irc.errors import ModelError
from irc.proto.tensors import array_of_constant, array_of_tensor, packed_bytes, tensor_of_array
from irc.types import DType

NUMERIC = [d for d in DType if d is not DType.STRING]


def array_of(dtype: DType, *shape: int) -> np.ndarray:
    size = int(np.prod(shape))
    return (np.arange(size) % 2).reshape(shape).astype(dtype.numpy)


@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3), (0, 3)])
@pytest.mark.parametrize("dtype", NUMERIC, ids=str)
def test_there_and_back(dtype: DType, shape: tuple[int, ...]) -> None:
    array = array_of(dtype, *shape)
    proto = tensor_of_array(array, "t")
    onnx.checker.check_tensor(proto)
    back = array_of_tensor(TensorProto.FromString(proto.SerializeToString()))
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()
    assert bytes(packed_bytes(array)) == proto.raw_data
    assert len(packed_bytes(array)) == (array.size * dtype.bits + 7) // 8


def test_strings() -> None:
    array = np.array(["", "äö", "x"], object)
    back = array_of_tensor(tensor_of_array(array, "t"))
    assert back.tolist() == array.tolist()
    assert DType.of_numpy(back.dtype) is DType.STRING


@given(st.permutations(range(3)))
def test_the_order_in_memory_does_not_matter(axes: list[int]) -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(axes)
    assert np.array_equal(array_of_tensor(tensor_of_array(array, "t")), array)
    assert bytes(packed_bytes(array)) == np.ascontiguousarray(array).tobytes()


def test_packing_copies_nothing_where_it_need_not() -> None:
    array = np.arange(1000, dtype=np.float32)
    assert np.shares_memory(np.frombuffer(packed_bytes(array), np.uint8), array)


CONSTANTS = [
    ("value", tensor_of_array(np.array([1, 2], np.int8), "t"), np.array([1, 2], np.int8)),
    ("value_float", 1.5, np.array(1.5, np.float32)),
    ("value_floats", [1.5, 2.5], np.array([1.5, 2.5], np.float32)),
    ("value_int", 3, np.array(3, np.int64)),
    ("value_ints", [3, 4], np.array([3, 4], np.int64)),
    ("value_string", "ä", np.array("ä", object)),
    ("value_strings", ["a", "ä"], np.array(["a", "ä"], object)),
]


@pytest.mark.parametrize(("name", "value", "wanted"), CONSTANTS, ids=[c[0] for c in CONSTANTS])
def test_every_form_of_constant(name: str, value: object, wanted: np.ndarray) -> None:
    made = array_of_constant(onnx.helper.make_attribute(name, value))
    assert (made.dtype, made.shape, made.tolist()) == (wanted.dtype, wanted.shape, wanted.tolist())


def test_an_unknown_form_of_constant() -> None:
    with pytest.raises(ModelError, match="Constant: unknown attribute 'odd'"):
        array_of_constant(onnx.helper.make_attribute("odd", 1))

"""Arrays as onnx `TensorProto`s, both ways.

External data is mapped, not read: the array is a view of the file, and its pages come in when someone needs them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto

from irc.errors import ModelError
from irc.types import Array, DType


def array_of_tensor(tensor: TensorProto, folder: Path | None = None) -> Array:
    """The tensor's data.

    Parameters
    ----------
    tensor : dense tensor, its data inline or external
    folder : where the model file lies; external data must lie in it

    Raises
    ------
    ModelError : the data is missing, too short, of an unknown type, or outside `folder`.
    """
    if tensor.data_type not in {d.onnx_type for d in DType}:
        raise ModelError(f"tensor '{tensor.name}': unknown element type {tensor.data_type}")
    if tensor.data_location == TensorProto.EXTERNAL:
        return _external(tensor, folder)
    try:
        return np.asarray(onnx.numpy_helper.to_array(tensor))
    except (ValueError, TypeError) as error:
        raise ModelError(f"tensor '{tensor.name}' of shape {list(tensor.dims)}: {error}") from None


def _external(tensor: TensorProto, folder: Path | None) -> Array:
    entries = {e.key: e.value for e in tensor.external_data}
    where = f"tensor '{tensor.name}': external data '{entries.get('location', '')}'"
    if folder is None:
        raise ModelError(f"{where}: a model given as a ModelProto has no folder; give the path of its file instead")
    path = Path(os.path.realpath(folder / entries.get("location", "")))
    if not path.is_relative_to(os.path.realpath(folder)) or path == folder:
        raise ModelError(f"{where} lies outside the model's folder; move the file beside the model")
    dtype = DType.of_onnx(tensor.data_type)
    if dtype is DType.STRING:
        raise ModelError(f"{where}: strings cannot be external")
    count = int(np.prod(tensor.dims, dtype=np.int64))
    size = (count * dtype.bits + 7) // 8
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
    except ValueError:
        raise ModelError(f"{where}: offset and length must be numbers") from None
    if not path.is_file():
        raise ModelError(f"{where} does not exist in '{folder}'")
    if length != size or offset < 0 or offset + size > path.stat().st_size:
        raise ModelError(f"{where}: {size} bytes wanted at {offset}, the file has {path.stat().st_size}; truncated?")
    if size == 0:
        return np.zeros(tuple(tensor.dims), dtype.numpy)
    raw = np.memmap(path, np.uint8, "r", offset, (size,))
    if dtype.bits < 8:
        small = TensorProto(data_type=tensor.data_type, dims=tensor.dims, raw_data=raw.tobytes())
        return np.asarray(onnx.numpy_helper.to_array(small))
    return raw.view(dtype.numpy).reshape(tuple(tensor.dims))


def dense_of_sparse(sparse: onnx.SparseTensorProto, folder: Path | None = None) -> Array:
    """The dense array that a sparse tensor stands for (ONNX `SparseTensorProto`: linear or coordinate indices)."""
    values = array_of_tensor(sparse.values, folder)
    indices = array_of_tensor(sparse.indices, folder)
    dense = np.zeros(tuple(sparse.dims), values.dtype)
    try:
        dense[tuple(indices.T) if indices.ndim == 2 else np.unravel_index(indices, dense.shape)] = values
    except (IndexError, ValueError) as error:
        raise ModelError(f"sparse tensor '{sparse.values.name}': {error}") from None
    return dense


def array_of_constant(attribute: AttributeProto, folder: Path | None = None) -> Array:
    """What a Constant node with this attribute gives out (ONNX Constant-24, all its forms)."""
    match attribute.name:
        case "value":
            return array_of_tensor(attribute.t, folder)
        case "sparse_value":
            return dense_of_sparse(attribute.sparse_tensor, folder)
        case "value_float" | "value_floats":
            return np.array(onnx.helper.get_attribute_value(attribute), np.float32)
        case "value_int" | "value_ints":
            return np.array(onnx.helper.get_attribute_value(attribute), np.int64)
        case "value_string":
            return np.array(attribute.s.decode("utf-8"), object)
        case "value_strings":
            return np.array([s.decode("utf-8") for s in attribute.strings], object)
    raise ModelError(f"Constant: unknown attribute '{attribute.name}'")


def tensor_of_array(array: Array, name: str) -> TensorProto:
    """The array as a tensor with its data inline."""
    return onnx.numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)


def packed_bytes(array: Array) -> memoryview[Any]:
    """The array's bytes as ONNX stores them: little-endian, sub-byte types packed; without a copy where possible."""
    if DType.of_numpy(array.dtype).bits < 8:
        return memoryview(tensor_of_array(array, "").raw_data)
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat.view(np.uint8).data

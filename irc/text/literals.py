"""The data of constants as text and back, bit for bit.

data ::= element                rank 0
       | [element, ...]         row by row; the type says the shape
       | splat(element)         all the same
       | 0x...                  the bytes, for what has no number (a NaN with a payload)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from irc.text.names import quoted
from irc.types import Array, DType, TensorType

INLINE = 16  # elements; a longer constant lives in the weights file
_SPLAT_BYTES = 1 << 26  # a larger splat stays in the file, so that a line of text cannot ask for all memory

Element = str | bytes | bool | int | float | complex


def array_text(array: Array) -> str | None:
    """The constant's text, None if it belongs in the weights file: it is long and not all the same."""
    dtype = DType.of_numpy(array.dtype)
    if array.size <= INLINE or dtype is DType.STRING:
        texts = [_element_text(v, dtype) for v in array.ravel().tolist()]
        if dtype is not DType.STRING and not _reads_back(array, dtype):
            return f"0x{array.tobytes().hex()}"
        return texts[0] if array.ndim == 0 else f"[{', '.join(texts)}]"
    if array.nbytes <= _SPLAT_BYTES and _is_splat(array):
        first = array.ravel()[:1]
        if _reads_back(first, dtype):
            return f"splat({_element_text(first.tolist()[0], dtype)})"
    return None


def _is_splat(array: Array) -> bool:
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(array.size, -1)
    return bool((flat[:INLINE] == flat[0]).all()) and bool((flat == flat[0]).all())


def _reads_back(array: Array, dtype: DType) -> bool:
    elements = array.ravel().tolist()
    if dtype.is_float:
        elements = [float(_float_text(v, dtype)) for v in elements]
    elif dtype in (DType.C64, DType.C128):
        elements = [complex(float(_float_text(v.real, dtype)), float(_float_text(v.imag, dtype))) for v in elements]
    return elements_array(elements, TensorType(dtype, (array.size,))).tobytes() == array.tobytes()


def _element_text(value: Any, dtype: DType) -> str:
    if dtype is DType.STRING:
        return f"0x{value.hex()}" if isinstance(value, bytes) else quoted(str(value))
    if dtype is DType.BOOL:
        return "true" if value else "false"
    if dtype.is_float:
        return _float_text(value, dtype)
    if dtype in (DType.C64, DType.C128):
        return f"({_float_text(value.real, dtype)}, {_float_text(value.imag, dtype)})"
    return str(int(value))


def _float_text(value: Any, dtype: DType) -> str:
    """The shortest text that reads back as the value: of a float32 wherever that holds it."""
    exact = float(value)
    if dtype is not DType.F64 and dtype is not DType.C128:  # all others are float32 or narrower
        single = np.float32(exact)
        short = str(single)
        if np.float32(short) == single:
            return short
    return repr(exact)


def splat_array(element: Element, type: TensorType) -> Array:
    """An array of one element repeated; ValueError if it does not fit the type or is larger than text may ask for."""
    one = elements_array([element], TensorType(type.dtype, (1,)))
    shape = type.static_shape
    if math.prod(shape) * one.itemsize > _SPLAT_BYTES:
        raise ValueError("is too large for a splat; give its data in the weights")
    return np.full(shape, one[0], dtype=one.dtype)


def bytes_array(data: bytes, type: TensorType) -> Array:
    """An array from its bytes; ValueError if their number does not fit the type."""
    if type.dtype is DType.STRING:
        raise ValueError("holds strings, which have no bytes of fixed width")
    dtype = type.dtype.numpy
    if len(data) != math.prod(type.static_shape) * dtype.itemsize:
        raise ValueError(f"takes {math.prod(type.static_shape) * dtype.itemsize} bytes, {len(data)} were given")
    return np.frombuffer(data, dtype).reshape(type.static_shape).copy()


def elements_array(elements: Sequence[Element], type: TensorType) -> Array:
    """An array from its elements, row by row; ValueError if one does not fit the dtype, or their number the shape."""
    shape, dtype = type.static_shape, type.dtype
    if len(elements) != math.prod(shape):
        raise ValueError(f"takes {math.prod(shape)} elements, {len(elements)} were given")
    for element in elements:
        if not _fits(element, dtype):
            raise ValueError(f"cannot hold {element!r}")
    if dtype is DType.STRING:
        strings = np.empty(len(elements), dtype=object)
        strings[:] = elements
        return strings.reshape(shape)
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype.is_float:
            return np.array(elements, np.float64).astype(dtype.numpy).reshape(shape)
        if dtype.is_integer:
            wide = np.uint64 if dtype.text[0] == "u" else np.int64
            return np.array(elements, wide).astype(dtype.numpy).reshape(shape)
        return (
            np.array(elements, np.complex128 if dtype is not DType.BOOL else np.bool_)
            .astype(dtype.numpy)
            .reshape(shape)
        )


def _fits(element: Element, dtype: DType) -> bool:
    if dtype is DType.STRING:
        return isinstance(element, str | bytes)
    if dtype is DType.BOOL or isinstance(element, bool):
        return dtype is DType.BOOL and isinstance(element, bool)
    if dtype.is_integer:
        signed = dtype.text[0] == "i"
        low = -(1 << (dtype.bits - 1)) if signed else 0
        return isinstance(element, int) and low <= element < low + (1 << dtype.bits)
    if isinstance(element, int):
        return abs(element) < 1 << 1000  # what float() takes
    return isinstance(element, float) or (isinstance(element, complex) and not dtype.is_float)

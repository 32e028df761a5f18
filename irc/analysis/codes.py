"""The codes that a FakeQuant stands for, as they are stored."""

from __future__ import annotations

import numpy as np

from irc.ops.fake_quant import FakeQuant
from irc.types import AnyDType, Array, DType


def storage_dtype(op: FakeQuant) -> AnyDType:
    """The narrowest ONNX integer type that holds the codes of `op`, unsigned if none is negative."""
    types = (DType.U4, DType.U8, DType.U16) if op.qmin >= 0 else (DType.I4, DType.I8, DType.I16)
    for dtype in types:
        lowest, highest = limits(dtype)
        if lowest <= op.qmin and op.qmax <= highest:
            return dtype.numpy
    return DType.I32.numpy


def limits(dtype: DType) -> tuple[int, int]:
    """The smallest and the largest number of an integer type."""
    lowest = -(1 << (dtype.bits - 1)) if dtype.text[0] == "i" else 0
    return lowest, lowest + (1 << dtype.bits) - 1


def quantize_array(x: Array, scale: Array, zero_point: Array, op: FakeQuant) -> Array:
    """`clamp(round_half_even(x / scale) + zero_point, qmin, qmax)` in the type that stores it.

    Computed in float32 at least, as FakeQuant computes: the codes are those that it rounds to.
    """
    shape: list[int] = []
    if op.axis is not None:
        shape = [1] * x.ndim
        shape[op.axis] = -1
    work = np.promote_types(x.dtype, np.float32)
    ratio = x.astype(work, copy=False) / scale.astype(work).reshape(shape)
    codes = np.rint(ratio) + zero_point.astype(work).reshape(shape)
    return np.asarray(np.clip(codes, op.qmin, op.qmax).astype(storage_dtype(op)))

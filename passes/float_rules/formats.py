"""The small float types: their names as options, and which arrays they can hold.

| type | bits: exponent, mantissa | largest | smallest normal |
|---|---|---|---|
| float16 | 5, 10 | 65504 | 6.1e-5 |
| bfloat16 | 8, 7 | 3.4e38 | 1.2e-38 |
| float8 (e4m3fn) | 4, 3 | 448 | 0.016 |
| float8e5m2 | 5, 2 | 57344 | 6.1e-5 |

Sources: IEEE 754-2019 (binary16); Micikevicius et al. 2022, "FP8 formats for deep learning"; ONNX Cast-28.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from irc.types import Array, DType

FORMATS = {
    "float16": DType.F16,
    "bfloat16": DType.BF16,
    "float8": DType.F8E4M3FN,
    "float8e5m2": DType.F8E5M2,
}
_SUBNORMAL_SHARE = 0.1
_LIMITS: Any = ml_dtypes.finfo  # which has no types


def largest(dtype: DType) -> float:
    """The largest finite number of the type."""
    return float(_LIMITS(dtype.numpy).max)


def smallest_normal(dtype: DType) -> float:
    """The smallest positive number that has all bits of the mantissa."""
    return float(_LIMITS(dtype.numpy).smallest_normal)


def overflow(data: Array, dtype: DType) -> float | None:
    """The largest finite magnitude of the array if the type cannot hold it, else None."""
    magnitude = np.abs(data[np.isfinite(data)])
    most = float(magnitude.max()) if magnitude.size else 0.0
    return most if most > largest(dtype) else None


def underflow(data: Array, dtype: DType) -> float | None:
    """The part of the array's norm in numbers without a full mantissa in the type, if that is a tenth or more."""
    magnitude = np.abs(np.asarray(data[np.isfinite(data)], np.float64))
    small = magnitude[magnitude < smallest_normal(dtype)]
    whole = float(np.linalg.norm(magnitude))
    share = float(np.linalg.norm(small)) / whole if whole > 0 else 0.0
    return share if share >= _SUBNORMAL_SHARE else None


def clipped(data: Array, dtype: DType) -> Array:
    """The array in the type, finite numbers beyond its range as its largest."""
    most = largest(dtype)
    return np.where(np.isfinite(data), np.clip(data, -most, most), data).astype(dtype.numpy)

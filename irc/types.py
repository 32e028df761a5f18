"""What a value is: element type and shape.

    Type   ::= TensorType(dtype, shape) | OpaqueType(proto)
    shape  ::= None (unknown rank) | (Dim, ...)
    Dim    ::= int | str (a symbol, e.g. "N" or "49*N") | None (unknown)
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
AnyDType = np.dtype[Any]

Dim = int | str | None
Shape = tuple[Dim, ...]


class DType(enum.Enum):
    """An element type: the name of the text form, ONNX's number for it, its width in bits, numpy's or ml_dtypes' name.

    The numbers are those of `onnx.TensorProto`, which takes longer to import than it takes to open a compiled model.
    """

    F32 = "f32", 1, 32, "float32"
    F64 = "f64", 11, 64, "float64"
    F16 = "f16", 10, 16, "float16"
    BF16 = "bf16", 16, 16, "bfloat16"
    F8E4M3FN = "f8e4m3fn", 17, 8, "float8_e4m3fn"
    F8E4M3FNUZ = "f8e4m3fnuz", 18, 8, "float8_e4m3fnuz"
    F8E5M2 = "f8e5m2", 19, 8, "float8_e5m2"
    F8E5M2FNUZ = "f8e5m2fnuz", 20, 8, "float8_e5m2fnuz"
    F8E8M0 = "f8e8m0", 24, 8, "float8_e8m0fnu"
    F4E2M1 = "f4e2m1", 23, 4, "float4_e2m1fn"
    I2 = "i2", 26, 2, "int2"
    U2 = "u2", 25, 2, "uint2"
    I4 = "i4", 22, 4, "int4"
    U4 = "u4", 21, 4, "uint4"
    I8 = "i8", 3, 8, "int8"
    U8 = "u8", 2, 8, "uint8"
    I16 = "i16", 5, 16, "int16"
    U16 = "u16", 4, 16, "uint16"
    I32 = "i32", 6, 32, "int32"
    U32 = "u32", 12, 32, "uint32"
    I64 = "i64", 7, 64, "int64"
    U64 = "u64", 13, 64, "uint64"
    BOOL = "bool", 9, 8, "bool"
    C64 = "c64", 14, 64, "complex64"
    C128 = "c128", 15, 128, "complex128"
    STRING = "string", 8, 0, "object_"

    def __init__(self, text: str, onnx_type: int, bits: int, numpy_name: str) -> None:
        self.text = text
        self.onnx_type = onnx_type
        self.bits = bits
        self._numpy_name = numpy_name

    def __str__(self) -> str:
        return self.text

    @property
    def numpy(self) -> AnyDType:
        """The numpy dtype that holds it (`ml_dtypes` for those numpy lacks, `object` for strings)."""
        return _numpy_dtype(self._numpy_name)

    @property
    def is_float(self) -> bool:
        return self.text.startswith(("f", "bf"))

    @property
    def is_integer(self) -> bool:
        return self.text[0] in "iu"

    @staticmethod
    def of_text(text: str) -> DType:
        return _BY_TEXT[text]

    @staticmethod
    def of_onnx(number: int) -> DType:
        return _BY_ONNX[number]

    @staticmethod
    def of_numpy(dtype: AnyDType) -> DType:
        if dtype.kind in "OUS":
            return DType.STRING
        return _by_numpy()[dtype]


_BY_TEXT = {d.text: d for d in DType}
_BY_ONNX = {d.onnx_type: d for d in DType}


@cache
def _numpy_dtype(name: str) -> AnyDType:
    """The dtype that numpy has under a name, or ml_dtypes, which is imported for the few that numpy lacks."""
    made: AnyDType = np.dtype(getattr(np if hasattr(np, name) else import_module("ml_dtypes"), name))
    return made


@cache
def _by_numpy() -> dict[AnyDType, DType]:
    return {d.numpy: d for d in DType if d is not DType.STRING}


@dataclass(frozen=True)
class TensorType:
    """A tensor of `dtype` and `shape`; `shape=None` means that not even the rank is known."""

    dtype: DType
    shape: Shape | None = None

    @property
    def rank(self) -> int | None:
        return None if self.shape is None else len(self.shape)

    @property
    def is_static(self) -> bool:
        """Whether every dimension is a number."""
        return self.shape is not None and all(isinstance(d, int) for d in self.shape)

    @property
    def static_shape(self) -> tuple[int, ...]:
        """The shape, which must be static."""
        assert self.shape is not None
        dims = tuple(d for d in self.shape if isinstance(d, int))
        assert len(dims) == len(self.shape), f"{self} is not static"
        return dims

    def elements(self) -> int:
        """Number of elements, each symbolic or unknown dimension counted as 1."""
        return math.prod(d for d in self.shape or () if isinstance(d, int))

    def bytes(self) -> int:
        """Bytes the tensor takes when stored densely (sub-byte types packed)."""
        return (self.elements() * self.dtype.bits + 7) // 8

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.dtype}[*]"
        return f"{self.dtype}[{', '.join('?' if d is None else str(d) for d in self.shape)}]"


@dataclass(frozen=True)
class OpaqueType:
    """A sequence, map, optional or sparse type, kept as onnx's serialized `TypeProto`."""

    proto: bytes

    def __str__(self) -> str:
        return f"opaque<{self.proto.hex()}>"


Type = TensorType | OpaqueType


def tensor(dtype: DType | str, *dims: Dim) -> TensorType:
    """Shorthand: `tensor("f32", "N", 3, 224, 224)`."""
    return TensorType(DType.of_text(dtype) if isinstance(dtype, str) else dtype, tuple(dims))


def type_of_array(array: Array) -> TensorType:
    """The type of a numpy array."""
    return TensorType(DType.of_numpy(array.dtype), tuple(int(d) for d in array.shape))


_MONOMIAL = re.compile(r"(?:(\d+)\*)?([A-Za-z_]\w*(?:\*[A-Za-z_]\w*)*)")


def product(dims: Iterable[Dim]) -> Dim:
    """Product of dimensions: a number, a symbol (`N`, `49*N`, `2*(N+1)`), or None when a factor is unknown."""
    factors = [dim for dim in dims if dim != 1]
    if len(factors) == 1:
        return factors[0]
    number, symbols = 1, list[str]()
    for dim in factors:
        if dim is None:
            return None
        if isinstance(dim, int):
            number *= dim
        elif (monomial := _MONOMIAL.fullmatch(dim)) is not None:
            number *= int(monomial[1] or 1)
            symbols += monomial[2].split("*")
        else:
            symbols.append(f"({dim})")  # `2*N+1` is not twice `N+1`
    if not symbols or number == 0:
        return number
    return "*".join(([] if number == 1 else [str(number)]) + sorted(symbols))

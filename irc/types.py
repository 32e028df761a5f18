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
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

Array = npt.NDArray[Any]
AnyDType = np.dtype[Any]

Dim = int | str | None
Shape = tuple[Dim, ...]


class DType(enum.Enum):
    """An element type: the name of the text form, ONNX's number for it, and its width in bits."""

    F32 = "f32", onnx.TensorProto.FLOAT, 32
    F64 = "f64", onnx.TensorProto.DOUBLE, 64
    F16 = "f16", onnx.TensorProto.FLOAT16, 16
    BF16 = "bf16", onnx.TensorProto.BFLOAT16, 16
    F8E4M3FN = "f8e4m3fn", onnx.TensorProto.FLOAT8E4M3FN, 8
    F8E4M3FNUZ = "f8e4m3fnuz", onnx.TensorProto.FLOAT8E4M3FNUZ, 8
    F8E5M2 = "f8e5m2", onnx.TensorProto.FLOAT8E5M2, 8
    F8E5M2FNUZ = "f8e5m2fnuz", onnx.TensorProto.FLOAT8E5M2FNUZ, 8
    F8E8M0 = "f8e8m0", onnx.TensorProto.FLOAT8E8M0, 8
    F4E2M1 = "f4e2m1", onnx.TensorProto.FLOAT4E2M1, 4
    I2 = "i2", onnx.TensorProto.INT2, 2
    U2 = "u2", onnx.TensorProto.UINT2, 2
    I4 = "i4", onnx.TensorProto.INT4, 4
    U4 = "u4", onnx.TensorProto.UINT4, 4
    I8 = "i8", onnx.TensorProto.INT8, 8
    U8 = "u8", onnx.TensorProto.UINT8, 8
    I16 = "i16", onnx.TensorProto.INT16, 16
    U16 = "u16", onnx.TensorProto.UINT16, 16
    I32 = "i32", onnx.TensorProto.INT32, 32
    U32 = "u32", onnx.TensorProto.UINT32, 32
    I64 = "i64", onnx.TensorProto.INT64, 64
    U64 = "u64", onnx.TensorProto.UINT64, 64
    BOOL = "bool", onnx.TensorProto.BOOL, 8
    C64 = "c64", onnx.TensorProto.COMPLEX64, 64
    C128 = "c128", onnx.TensorProto.COMPLEX128, 128
    STRING = "string", onnx.TensorProto.STRING, 0

    def __init__(self, text: str, onnx_type: int, bits: int) -> None:
        self.text = text
        self.onnx_type = onnx_type
        self.bits = bits

    def __str__(self) -> str:
        return self.text

    @property
    def numpy(self) -> AnyDType:
        """The numpy dtype that holds it (`ml_dtypes` for those numpy lacks, `object` for strings)."""
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(self.onnx_type))

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
        return _BY_NUMPY[dtype]


_BY_TEXT = {d.text: d for d in DType}
_BY_ONNX = {d.onnx_type: d for d in DType}
_BY_NUMPY = {d.numpy: d for d in DType if d is not DType.STRING}


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

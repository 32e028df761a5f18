"""What the ops share: torch's dtypes, inputs that are settings, and example data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from irc.op import Op
from irc.types import AnyDType, Array, DType

TORCH_DTYPES = {
    DType.F32: torch.float32,
    DType.F64: torch.float64,
    DType.F16: torch.float16,
    DType.BF16: torch.bfloat16,
    DType.F8E4M3FN: torch.float8_e4m3fn,
    DType.F8E4M3FNUZ: torch.float8_e4m3fnuz,
    DType.F8E5M2: torch.float8_e5m2,
    DType.F8E5M2FNUZ: torch.float8_e5m2fnuz,
    DType.F8E8M0: torch.float8_e8m0fnu,
    DType.I8: torch.int8,
    DType.U8: torch.uint8,
    DType.I16: torch.int16,
    DType.U16: torch.uint16,
    DType.I32: torch.int32,
    DType.U32: torch.uint32,
    DType.I64: torch.int64,
    DType.U64: torch.uint64,
    DType.BOOL: torch.bool,
    DType.C64: torch.complex64,
    DType.C128: torch.complex128,
}
FLOAT8 = frozenset(held for dtype, held in TORCH_DTYPES.items() if dtype.text.startswith("f8")) - {torch.float8_e8m0fnu}


def torch_dtype(dtype: DType) -> torch.dtype:
    """The torch dtype that holds `dtype`.

    Raises
    ------
    NotImplementedError : torch has none (strings, 2-bit and 4-bit numbers).
    """
    if dtype not in TORCH_DTYPES:
        raise NotImplementedError(f"torch has no tensors of {dtype}")
    return TORCH_DTYPES[dtype]


def torch_dtype_of_onnx(number: int) -> torch.dtype:
    """The torch dtype for ONNX's number of a dtype, as `Cast.to` has it."""
    return torch_dtype(DType.of_onnx(number))


def unsupported(op: Op, what: str) -> NotImplementedError:
    """The error that sends a node to onnxruntime: torch cannot do `what`."""
    return NotImplementedError(f"{op.title} in torch: {what} is not supported")


def ints(tensor: torch.Tensor | None) -> list[int]:
    """The numbers of a shape-like input; none of an omitted one."""
    return [] if tensor is None else [int(n) for n in tensor.reshape(-1).tolist()]


def axes_of(tensor: torch.Tensor | None, rank: int) -> list[int]:
    """The axes that an axes input names, none negative."""
    return [axis % rank if rank else 0 for axis in ints(tensor)]


_SIGNED = {torch.uint16: torch.int32, torch.uint32: torch.int64}


def wide(x: torch.Tensor) -> torch.Tensor:
    """The tensor in a dtype that torch calculates in and that holds all of its values: uint16 and uint32 grow.

    Raises
    ------
    NotImplementedError : the tensor is uint64, which nothing of torch's holds.
    """
    if x.dtype is torch.uint64:
        raise NotImplementedError("torch does not calculate in uint64")
    return x.to(_SIGNED[x.dtype]) if x.dtype in _SIGNED else x


def sample(*shape: int, dtype: type | AnyDType | str = np.float32, low: float = -2.0, high: float = 2.0) -> Array:
    """Example data: the same numbers for the same shape, spread over [low, high], with no order to them."""
    values = np.random.default_rng(7).uniform(low, high, shape)
    return np.asarray(values).astype(dtype)


def shape_input(*values: int) -> Array:
    """An int64 vector, as shapes, axes and sizes are given."""
    return np.array(values, np.int64)


def pairs(pads: Sequence[int]) -> list[tuple[int, int]]:
    """ONNX's (begin..., end...) as one (begin, end) an axis."""
    half = len(pads) // 2
    return [(int(pads[k]), int(pads[k + half])) for k in range(half)]


def torch_pads(per_axis: Sequence[tuple[int, int]]) -> list[int]:
    """One (begin, end) an axis as `torch.nn.functional.pad` wants it: last axis first."""
    return [p for pair in reversed(per_axis) for p in pair]


def outputs_of(results: Sequence[Any], outputs: int) -> Any:
    """The first `outputs` results, as `run` gives them: a tensor if one, else a tuple."""
    return results[0] if outputs == 1 else tuple(results[:outputs])

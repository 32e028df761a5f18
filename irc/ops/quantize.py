"""Quantization and dequantization."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import torch

from irc.op import ChannelKind, Example, Op
from irc.ops.cast import cast
from irc.ops.tensors import sample, torch_dtype_of_onnx, wide


def aligned(parameter: torch.Tensor, x: torch.Tensor, axis: int, block_size: int) -> torch.Tensor:
    """A scale or zero point in a shape that broadcasts against x: for all, for each of `axis`, or for each block."""
    if block_size:
        repeated = parameter.repeat_interleave(block_size, axis)
        return repeated.narrow(axis, 0, x.shape[axis])
    if parameter.numel() == 1 and parameter.ndim <= 1:
        return parameter.reshape(())
    shape = [1] * x.ndim
    shape[axis] = -1
    return parameter.reshape(shape)


@dataclass(frozen=True)
class QuantizeLinear(Op):
    """y = saturate(round(x / scale) + zero_point), halves to even; float8 is not rounded. ONNX QuantizeLinear-28.

    Inputs: x; scale, shape () or (x.shape[axis],) or blocked along the axis; zero_point, as scale, optional.
    Output: the shape of x; the dtype of zero_point, else `output_dtype`, else uint8.
    """

    channels = ChannelKind.ELEMENTWISE
    since = 10

    axis: int = 1
    block_size: int = 0
    output_dtype: int = 0
    precision: int = 0
    saturate: int = 1

    def run(self, x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor | None = None) -> torch.Tensor:
        made = torch.uint8
        if zero_point is not None:
            made = zero_point.dtype
        elif self.output_dtype:
            made = torch_dtype_of_onnx(self.output_dtype)
        work = torch_dtype_of_onnx(self.precision) if self.precision else scale.dtype
        ratio = x.to(work) / aligned(scale, x, self.axis, self.block_size).to(work)
        if made.is_floating_point:
            if zero_point is not None:
                ratio = ratio + aligned(zero_point.to(work), x, self.axis, self.block_size)
            return cast(ratio, made, bool(self.saturate))
        code = torch.round(ratio).float()  # float16 would not hold a code of 16 bits
        if zero_point is not None:
            code = code + aligned(zero_point.float(), x, self.axis, self.block_size)
        limits = torch.iinfo(made)
        return code.clamp(limits.min, limits.max).to(torch.int32).to(made)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = sample(2, 4, 3)
        scale, scales = np.array(0.0123, np.float32), sample(4, low=0.01, high=0.03)
        yield Example(cls(), (x, scale))
        yield Example(cls(), (x, scale, np.array(128, np.uint8)))
        yield Example(cls(axis=-2), (x, scales, np.array([0, 5, -3, 1], np.int8)))
        yield Example(cls(axis=2), (x, sample(3, low=0.01, high=0.03), np.zeros(3, np.int8)))
        yield Example(cls(output_dtype=5), (x, np.array(1e-4, np.float32)))
        yield Example(cls(), (x, np.array(1e-4, np.float32), np.array(30000, np.uint16)))
        blocks = sample(2, 2, 3, low=0.01, high=0.03)
        yield Example(cls(axis=1, block_size=2), (x, blocks, np.zeros((2, 2, 3), np.int8)))
        yield Example(cls(), (x, scale, np.array(0, ml_dtypes.float8_e4m3fn)))
        yield Example(cls(saturate=0), (x, np.array(1e-3, np.float32), np.array(0, ml_dtypes.float8_e5m2)))


@dataclass(frozen=True)
class DequantizeLinear(Op):
    """y = (x - zero_point) * scale. ONNX DequantizeLinear-28.

    Inputs: x; scale, shape () or (x.shape[axis],) or blocked along the axis; zero_point, as scale, optional.
    Output: the shape of x; the dtype of scale, or `output_dtype`.
    """

    channels = ChannelKind.ELEMENTWISE
    since = 10

    axis: int = 1
    block_size: int = 0
    output_dtype: int = 0

    def run(self, x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor | None = None) -> torch.Tensor:
        made = torch_dtype_of_onnx(self.output_dtype) if self.output_dtype else scale.dtype
        code = x if x.is_floating_point() else wide(x).int()
        if zero_point is not None and not x.is_floating_point():
            code = code - aligned(wide(zero_point).int(), x, self.axis, self.block_size)
        return code.to(made) * aligned(scale, x, self.axis, self.block_size).to(made)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = sample(2, 4, 3, dtype=np.uint8, low=0, high=255)
        signed = sample(2, 4, 3, dtype=np.int8, low=-128, high=127)
        scale, scales = np.array(0.0123, np.float32), sample(4, low=0.01, high=0.03)
        yield Example(cls(), (x, scale))
        yield Example(cls(), (x, scale, np.array(128, np.uint8)))
        yield Example(cls(axis=-2), (signed, scales, np.array([0, 5, -3, 1], np.int8)))
        yield Example(cls(axis=0), (sample(4, 2, dtype=np.int32, low=-999, high=999), scales))
        blocks = sample(2, 2, 3, low=0.01, high=0.03)
        yield Example(cls(axis=1, block_size=2), (signed, blocks, np.zeros((2, 2, 3), np.int8)))
        yield Example(cls(), (x.astype(ml_dtypes.float8_e4m3fn), scale))


@dataclass(frozen=True)
class DynamicQuantizeLinear(Op):
    """x quantized to uint8 with the scale and zero point that its own range (made to hold 0) asks for.

    Outputs: the codes; the scale, float32 scalar; the zero point, uint8 scalar. ONNX DynamicQuantizeLinear-11.
    """

    since = 11

    def run(self, x: torch.Tensor, *, outputs: int = 3) -> Any:
        low, high = x.min().clamp(max=0), x.max().clamp(min=0)
        scale = (high - low) / 255
        step = torch.where(scale == 0, 1, scale)
        zero_point = torch.round((-low / step).clamp(0, 255))
        code = (torch.round(x / step) + zero_point).clamp(0, 255)
        return code.to(torch.uint8), scale, zero_point.to(torch.uint8)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(3, 4),), 3)
        yield Example(cls(), (sample(3, 4, low=1, high=3),), 3)

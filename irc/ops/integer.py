"""Products of quantized tensors in integers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from irc.op import Example, Op
from irc.ops.conv import contraction_macs, convolve
from irc.ops.linear import product_macs
from irc.ops.quantize import QuantizeLinear
from irc.ops.spatial import windows
from irc.ops.tensors import sample
from irc.types import Array, Type


def _centred(x: torch.Tensor, zero_point: torch.Tensor | None, axis: int | None = None) -> torch.Tensor:
    """x - zero_point in float64, which holds every sum of such products exactly; one a channel if it is a vector."""
    if zero_point is None:
        return x.double()
    if zero_point.numel() == 1:
        zero_point = zero_point.reshape(())
    elif axis is not None and zero_point.ndim == 1:
        shape = [1] * x.ndim
        shape[axis] = -1
        zero_point = zero_point.reshape(shape)
    return x.double() - zero_point.double()


def _codes(*shape: int, dtype: type = np.uint8) -> Array:
    # weights of 7 bits: onnxruntime adds pairs of 8-bit products in 16 saturating bits on processors without VNNI
    low, high = (0, 255) if dtype is np.uint8 else (-64, 63)
    return sample(*shape, dtype=dtype, low=low, high=high)


@dataclass(frozen=True)
class MatMulInteger(Op):
    """y = (a - a_zero_point)(b - b_zero_point), int32. ONNX MatMulInteger-10.

    Inputs: a (*, M, K) and b (*, K, N), int8 or uint8; zero points: scalars, or one a row of a and a column of b.
    """

    since = 10

    def run(
        self,
        a: torch.Tensor,
        b: torch.Tensor,
        a_zero_point: torch.Tensor | None = None,
        b_zero_point: torch.Tensor | None = None,
    ) -> torch.Tensor:
        left = _centred(a, a_zero_point, -2 if a.ndim > 1 else None)
        return torch.matmul(left, _centred(b, b_zero_point, -1)).long().int()

    def macs(self, inputs: Sequence[Type | None], outputs: Sequence[Type | None]) -> int:
        return product_macs(inputs[0], outputs[0], -1)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        a, b = _codes(3, 4), _codes(4, 5, dtype=np.int8)
        yield Example(cls(), (a, b))
        yield Example(cls(), (a, b, np.array(12, np.uint8), np.array(-3, np.int8)))
        yield Example(cls(), (_codes(2, 3, 4), b, np.array(12, np.uint8), np.array([1, -2, 3, 0, 9], np.int8)))


@dataclass(frozen=True)
class ConvInteger(Op):
    """The convolution of (x - x_zero_point) with (w - w_zero_point), int32. ONNX ConvInteger-10.

    Inputs: x (N, C, *spatial) and w (M, C/group, *kernel), int8 or uint8; zero points: scalars, w's also (M).
    """

    since = 10

    auto_pad: str = "NOTSET"
    dilations: tuple[int, ...] | None = None
    group: int = 1
    kernel_shape: tuple[int, ...] | None = None
    pads: tuple[int, ...] | None = None
    strides: tuple[int, ...] | None = None

    def run(
        self,
        x: torch.Tensor,
        w: torch.Tensor,
        x_zero_point: torch.Tensor | None = None,
        w_zero_point: torch.Tensor | None = None,
    ) -> torch.Tensor:
        axes = windows(x.shape[2:], w.shape[2:], self.strides, self.dilations, self.pads, self.auto_pad)
        y = convolve(self, _centred(x, x_zero_point), _centred(w, w_zero_point, 0), None, axes, self.group)
        return y.round().int()

    def macs(self, inputs: Sequence[Type | None], outputs: Sequence[Type | None]) -> int:
        return contraction_macs(inputs[1], outputs[0])

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x, w = _codes(1, 2, 5, 6), _codes(4, 2, 3, 3)
        yield Example(cls(), (x, w))
        yield Example(cls(pads=(1, 0, 1, 2), strides=(2, 1)), (x, w, np.array(130, np.uint8), np.array(7, np.uint8)))
        yield Example(cls(group=2, kernel_shape=(3, 3)), (x, _codes(4, 1, 3, 3), np.array(130, np.uint8)))
        yield Example(cls(auto_pad="SAME_UPPER", strides=(2, 2)), (x, w))
        yield Example(cls(dilations=(1, 2)), (x, w))


@dataclass(frozen=True)
class QLinearMatMul(Op):
    """The product of two quantized matrices, quantized again. ONNX QLinearMatMul-21.

    Inputs: a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point.
    """

    since = 10

    def run(
        self,
        a: torch.Tensor,
        a_scale: torch.Tensor,
        a_zero_point: torch.Tensor,
        b: torch.Tensor,
        b_scale: torch.Tensor,
        b_zero_point: torch.Tensor,
        y_scale: torch.Tensor,
        y_zero_point: torch.Tensor,
    ) -> torch.Tensor:
        total = torch.matmul(_centred(a, a_zero_point, -2), _centred(b, b_zero_point, -1))
        rows = a_scale.float().reshape(-1, 1) if a_scale.numel() > 1 else a_scale.float().reshape(())
        columns = b_scale.float().reshape(-1 if b_scale.numel() > 1 else ())
        return QuantizeLinear().run(total.float() * (rows * columns), y_scale.float(), y_zero_point)

    def macs(self, inputs: Sequence[Type | None], outputs: Sequence[Type | None]) -> int:
        return product_macs(inputs[0], outputs[0], -1)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        half, third = np.array(0.05, np.float32), np.array(0.03, np.float32)
        a, b = (_codes(3, 4), half, np.array(113, np.uint8)), (_codes(4, 5), third, np.array(114, np.uint8))
        yield Example(cls(), (*a, *b, np.array(0.7, np.float32), np.array(118, np.uint8)))


@dataclass(frozen=True)
class QLinearConv(Op):
    """The convolution of quantized x and w with an int32 bias, quantized again. ONNX QLinearConv-10.

    Inputs: x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, and the bias, optional;
    w_scale and w_zero_point may be vectors (M).
    """

    since = 10

    auto_pad: str = "NOTSET"
    dilations: tuple[int, ...] | None = None
    group: int = 1
    kernel_shape: tuple[int, ...] | None = None
    pads: tuple[int, ...] | None = None
    strides: tuple[int, ...] | None = None

    def run(
        self,
        x: torch.Tensor,
        x_scale: torch.Tensor,
        x_zero_point: torch.Tensor,
        w: torch.Tensor,
        w_scale: torch.Tensor,
        w_zero_point: torch.Tensor,
        y_scale: torch.Tensor,
        y_zero_point: torch.Tensor,
        b: torch.Tensor | None = None,
    ) -> torch.Tensor:
        axes = windows(x.shape[2:], w.shape[2:], self.strides, self.dilations, self.pads, self.auto_pad)
        bias = None if b is None else b.double()
        total = convolve(self, _centred(x, x_zero_point), _centred(w, w_zero_point, 0), bias, axes, self.group)
        channel = w_scale.reshape(-1, *(1,) * len(axes)) if w_scale.numel() > 1 else w_scale.reshape(())
        return QuantizeLinear().run(total.round().float() * (x_scale.reshape(()) * channel), y_scale, y_zero_point)

    def macs(self, inputs: Sequence[Type | None], outputs: Sequence[Type | None]) -> int:
        return contraction_macs(inputs[3], outputs[0])

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = (_codes(1, 2, 5, 6), np.array(0.02, np.float32), np.array(120, np.uint8))
        y = (np.array(0.3, np.float32), np.array(128, np.uint8))
        one = (_codes(3, 2, 3, 3, dtype=np.int8), np.array(0.01, np.float32), np.array(0, np.int8))
        yield Example(cls(), (*x, *one, *y))
        each = (one[0], np.array([0.01, 0.02, 0.005], np.float32), np.zeros(3, np.int8))
        bias = np.array([100, -2000, 5], np.int32)
        yield Example(cls(pads=(1, 1, 0, 1), strides=(2, 1)), (*x, *each, *y, bias))

"""Contractions of codes: convolution and matrix products, with bias, clamp and residual in the requantization.

    acc = sum of x * w over raw codes                       exact, int32
    t   = fma32(float32(acc), scale[m], bias[m])
    t   = fma32(float32(residual), residual_scale, t)       if there is a residual
    y   = uint8(clamp(round_half_even(t), lo, hi))          or t itself, float32, if `float_output`

The weights keep acc within int32 whatever the data: 255 times the sum of a channel's positive codes, and of its
negative ones, is at most 2^31 - 1.

With a zero point z of x, scales s, weight codes w and the float bias b, `scale[m] = s_x s_w[m] / s_y` and
`bias[m] = (b[m] - z_x s_x s_w[m] sum(w[m])) / s_y + z_y - residual_scale * z_residual`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F

from irc.errors import GraphError
from irc.op import Example, Op
from irc.ops.conv import Conv, contraction_macs
from irc.ops.int8.contract import (
    check_clamp,
    codes,
    float32,
    fma32,
    requantize,
    round_codes,
    shape_by,
    typed,
)
from irc.ops.linear import MatMul, product_macs
from irc.ops.spatial import padded, windows
from irc.ops.tensors import sample, unsupported
from irc.types import Array, Dim, DType, Shape, TensorType, Type

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def _finish(
    op: QConv | QMatMul, acc: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor, residual: torch.Tensor | None
) -> torch.Tensor:
    """The requantization of a contraction; scale and bias broadcast against acc."""
    t = fma32(acc.float(), scale, bias)
    if residual is not None:
        t = fma32(residual.float(), float32(op.residual_scale), t)
    return t if op.float_output else round_codes(t, op.lo, op.hi)


def _differ(a: Dim, b: Dim) -> bool:
    return isinstance(a, int) and isinstance(b, int) and a != b


def _same_shape(a: Shape | None, b: Shape | None) -> bool:
    """Whether nothing known speaks against both shapes being one."""
    return a is None or b is None or (len(a) == len(b) and not any(map(_differ, a, b)))


def _result(op: QConv | QMatMul, inputs: Sequence[Type | None], like: Op, axis: int) -> list[Type | None]:
    """The type of a contraction's output: the shape that `like` gives, whose output channels run along `axis`."""
    check_clamp(op, op.lo, op.hi)
    x, w, scale, bias, residual = typed(op, inputs, DType.U8, DType.I8, DType.F32, DType.F32, DType.U8)
    shape = shape_by(like, x, w)
    channels = shape[axis] if shape else None
    for name, vector in (("scale", scale), ("bias", bias)):
        if vector.shape is not None and (len(vector.shape) != 1 or _differ(vector.shape[0], channels)):
            raise GraphError(f"{op.title}: {name} is {vector}, not one number for each of {channels} output channels")
    if not _same_shape(shape, residual.shape):
        raise GraphError(f"{op.title}: the residual is {residual}, the output has shape {shape}")
    return [TensorType(DType.F32 if op.float_output else DType.U8, shape)]


@dataclass(frozen=True)
class QConv(Op):
    """Convolution of codes over 1 to 3 spatial axes; padding holds `zero_point`. For the formula see the module.

    Inputs: x uint8 (N, C, *spatial); w int8 (M, C/group, *kernel); scale and bias float32 (M); residual uint8, shape of
    the output, optional. Output: (N, M, *spatial), uint8, or float32 if `float_output`.

    strides, pads, dilations, group : as of ONNX Conv
    zero_point : of x
    lo, hi : smallest and largest code of the output
    residual_scale : scale of the residual over that of the output
    """

    domain: ClassVar[str] = "irc"

    strides: tuple[int, ...] | None = None
    pads: tuple[int, ...] | None = None
    dilations: tuple[int, ...] | None = None
    group: int = 1
    zero_point: int = 0
    lo: int = 0
    hi: int = 255
    residual_scale: float = 1.0
    float_output: int = 0

    def infer(
        self, inputs: Sequence[Type | None], constants: Sequence[Array | None], outputs: int
    ) -> list[Type | None]:
        check_clamp(self, self.lo, self.hi, self.zero_point)
        like = Conv(strides=self.strides, pads=self.pads, dilations=self.dilations, group=self.group)
        return _result(self, inputs, like, 1)

    def run(
        self,
        x: torch.Tensor,
        w: torch.Tensor,
        scale: torch.Tensor,
        bias: torch.Tensor,
        residual: torch.Tensor | None = None,
    ) -> torch.Tensor:
        axes = windows(x.shape[2:], w.shape[2:], self.strides, self.dilations, self.pads)
        if len(axes) not in _CONV:
            raise unsupported(self, f"a convolution over {len(axes)} spatial axes")
        around = padded(x.double(), axes, self.zero_point)  # float64 holds every such sum exactly
        strides, dilations = [a.stride for a in axes], [a.dilation for a in axes]
        acc = _CONV[len(axes)](around, w.double(), None, strides, 0, dilations, self.group)
        channel = (-1, *(1,) * len(axes))
        return _finish(self, acc, scale.reshape(channel), bias.reshape(channel), residual)

    def macs(self, inputs: Sequence[Type | None], outputs: Sequence[Type | None]) -> int:
        return contraction_macs(inputs[1], outputs[0])

    @classmethod
    def examples(cls) -> Iterable[Example]:
        def call(op: QConv, x: Array, w: Array, residual: Array | None = None) -> Example:
            high = 40 / (int(w[0].size) * 74)  # the accumulator's spread is about sqrt(size) * 148 * 74
            scale, bias = sample(len(w), low=high / 9, high=high), sample(len(w), low=-40, high=260)
            return Example(op, (x, w, scale, bias) if residual is None else (x, w, scale, bias, residual))

        x, w = codes(2, 4, 7, 9), codes(6, 4, 3, 2, dtype="int8")
        yield call(cls(), x, w)
        yield call(cls(zero_point=255, pads=(1, 1, 1, 1), strides=(2, 1)), x, w)
        yield call(cls(zero_point=0, pads=(0, 1, 2, 0), dilations=(2, 1), lo=17, hi=200), x, w)
        yield call(cls(zero_point=131, pads=(2, 2, 1, 0), lo=128), x, w, codes(2, 6, 8, 10))
        yield call(cls(residual_scale=0.37, strides=(3, 3), lo=3), x, w, codes(2, 6, 2, 3))
        yield call(cls(float_output=1, zero_point=9), x, w)
        yield call(cls(float_output=1, residual_scale=-2.25), x, w, codes(2, 6, 5, 8))
        yield call(cls(group=2, zero_point=7, pads=(1, 0, 0, 1)), x, codes(6, 2, 3, 3, dtype="int8"))
        yield call(cls(group=4, zero_point=128, pads=(1, 1, 1, 1)), x, codes(4, 1, 3, 3, dtype="int8"))
        yield call(cls(group=4, zero_point=3, pads=(2, 2, 2, 2), strides=(2, 2)), x, codes(8, 1, 5, 5, dtype="int8"))
        yield call(cls(), x, codes(5, 4, 1, 1, dtype="int8"))
        yield call(cls(strides=(2,), zero_point=77, pads=(1, 2)), codes(1, 3, 9), codes(2, 3, 3, dtype="int8"))
        yield call(cls(pads=(1, 0, 1, 1, 0, 1)), codes(1, 2, 4, 5, 6), codes(3, 2, 3, 2, 3, dtype="int8"))
        # every accumulator at its end, and requantized far past the codes
        full, ends = np.full((1, 33, 3, 3), 255, np.uint8), np.repeat(np.array([-128, 127], np.int8), 33 * 9)
        step = np.array([1e-4, 1e30], np.float32)
        yield Example(cls(), (full, ends.reshape(2, 33, 3, 3), step, np.array([255.5, -1e30], np.float32)))


@dataclass(frozen=True)
class QMatMul(Op):
    """Product of codes with a constant matrix. For the formula see the module.

    Inputs: x uint8 (*, K); w int8 (K, N); scale and bias float32 (N); residual uint8 (*, N), optional.
    Output: (*, N), uint8, or float32 if `float_output`.

    lo, hi, residual_scale : as of QConv
    """

    domain: ClassVar[str] = "irc"

    lo: int = 0
    hi: int = 255
    residual_scale: float = 1.0
    float_output: int = 0

    def infer(
        self, inputs: Sequence[Type | None], constants: Sequence[Array | None], outputs: int
    ) -> list[Type | None]:
        w = inputs[1] if len(inputs) > 1 else None
        if isinstance(w, TensorType) and w.rank not in (2, None):
            raise GraphError(f"{self.title}: the weight is {w}, not a matrix")
        return _result(self, inputs, MatMul(), -1)

    def run(
        self,
        x: torch.Tensor,
        w: torch.Tensor,
        scale: torch.Tensor,
        bias: torch.Tensor,
        residual: torch.Tensor | None = None,
    ) -> torch.Tensor:
        return _finish(self, torch.matmul(x.double(), w.double()), scale, bias, residual)

    def macs(self, inputs: Sequence[Type | None], outputs: Sequence[Type | None]) -> int:
        return product_macs(inputs[0], outputs[0], -1)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        w, scale, bias = codes(13, 19, dtype="int8"), sample(19, low=1e-3, high=5e-3), sample(19, low=0, high=260)
        yield Example(cls(), (codes(7, 13), w, scale, bias))
        yield Example(cls(lo=40, hi=180), (codes(2, 1, 5, 13), w, scale, bias))
        yield Example(cls(), (codes(13), w, scale, bias))
        yield Example(cls(residual_scale=1.75, hi=254), (codes(3, 13), w, scale, bias, codes(3, 19)))
        yield Example(cls(float_output=1), (codes(3, 13), w, scale, bias))
        yield Example(cls(float_output=1, residual_scale=0.01), (codes(3, 13), w, scale, bias, codes(3, 19)))
        yield Example(cls(), (codes(1, 1), codes(1, 1, dtype="int8"), sample(1), sample(1)))


@dataclass(frozen=True)
class QBatchMatMul(Op):
    """y = requantize(sum over k of (a - a_zero_point)(b - b_zero_point), scale, bias, lo, hi): a product of two data.

    Inputs: a uint8 (*, M, K); b uint8 (*, K, N), broadcast as by ONNX MatMul. Output: (*, M, N), uint8, or float32
    without rounding and clamp if `float_output`. The sum is exact in int32: K is at most 33,025.
    """

    domain: ClassVar[str] = "irc"

    a_zero_point: int = 0
    b_zero_point: int = 0
    scale: float = 1.0
    bias: float = 0.0
    lo: int = 0
    hi: int = 255
    float_output: int = 0

    def infer(
        self, inputs: Sequence[Type | None], constants: Sequence[Array | None], outputs: int
    ) -> list[Type | None]:
        check_clamp(self, self.lo, self.hi, self.a_zero_point, self.b_zero_point)
        a, b = typed(self, inputs, DType.U8, DType.U8)
        return [TensorType(DType.F32 if self.float_output else DType.U8, shape_by(MatMul(), a, b))]

    def run(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        acc = torch.matmul(a.double() - self.a_zero_point, b.double() - self.b_zero_point)
        scale, bias = float32(self.scale), float32(self.bias)
        return fma32(acc.float(), scale, bias) if self.float_output else requantize(acc, scale, bias, self.lo, self.hi)

    def macs(self, inputs: Sequence[Type | None], outputs: Sequence[Type | None]) -> int:
        return product_macs(inputs[0], outputs[0], -1)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(128, 128, 0.002, 117.0), (codes(9, 11), codes(11, 13)))
        yield Example(cls(0, 255, 0.002, 450.5, lo=5, hi=250), (codes(2, 1, 3, 11), codes(3, 11, 5)))
        yield Example(cls(7, 128, 0.003, 90.0), (codes(11), codes(2, 11, 5)))
        yield Example(cls(9, 200, 0.003, 90.0), (codes(2, 3, 11), codes(11)))
        yield Example(cls(255, 0, 0.01, -3.5, float_output=1), (codes(2, 3, 11), codes(2, 11, 1)))

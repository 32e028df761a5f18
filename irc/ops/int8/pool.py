"""Means of codes, over whole axes and over windows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from irc.errors import GraphError
from irc.op import Example, Op
from irc.ops.int8.contract import check_clamp, codes, float32, requantize, shape_by, typed
from irc.ops.pool import AveragePool
from irc.ops.spatial import Window, sum_along, window_sum
from irc.types import Array, DType, TensorType, Type


@dataclass(frozen=True)
class QReduceMean(Op):
    """y = requantize(sum over `axes` of (x - zero_point), scale, bias, lo, hi).

    Input: x uint8. Output: uint8, the axes of size 1, or gone if `keepdims` is 0.

    axes : those summed over; negative ones count from the end
    scale : s_x / s_y / (number of elements summed);  bias : the zero point of the output
    """

    domain: ClassVar[str] = "irc"

    axes: tuple[int, ...]
    keepdims: int = 1
    zero_point: int = 0
    scale: float = 1.0
    bias: float = 0.0
    lo: int = 0
    hi: int = 255

    def infer(
        self, inputs: Sequence[Type | None], constants: Sequence[Array | None], outputs: int
    ) -> list[Type | None]:
        check_clamp(self, self.lo, self.hi, self.zero_point)
        (x,) = typed(self, inputs, DType.U8)
        if x.shape is None:
            return [x]
        if not all(-len(x.shape) <= a < len(x.shape) for a in self.axes):
            raise GraphError(f"{self.title}: axes {self.axes} are not all axes of {x}")
        summed = {a % len(x.shape) for a in self.axes}
        dims = [1 if k in summed else d for k, d in enumerate(x.shape) if self.keepdims or k not in summed]
        return [TensorType(DType.U8, tuple(dims))]

    def run(self, x: torch.Tensor) -> torch.Tensor:
        acc = (x.int() - self.zero_point).sum(self.axes, keepdim=bool(self.keepdims))
        return requantize(acc, float32(self.scale), float32(self.bias), self.lo, self.hi)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls((2, 3), zero_point=3, scale=0.06), (codes(2, 3, 5, 7),))
        yield Example(cls((-1,), 0, 255, 0.7, 750.5), (codes(9, 13, 7),))
        yield Example(cls((1,), 0, 128, 0.7, 128.0, lo=100, hi=150), (codes(2, 9, 5),))
        yield Example(cls((0, 2), scale=0.011), (codes(2, 3, 7, 1),))


def window_counts(axes: Sequence[Window], shape: Sequence[int], include_pad: bool) -> torch.Tensor:
    """How many cells each window counts, float32, in the shape of the pool's output without batch and channels."""
    counts = torch.ones(())
    for a, n in zip(axes, shape, strict=True):
        around = float(include_pad)
        cells = torch.cat([torch.full((a.begin,), around), torch.ones(n), torch.full((a.end,), around)])
        counts = counts[..., None] * sum_along(F.pad(cells, (0, a.slack)), 0, a)
    return counts


@dataclass(frozen=True)
class QAveragePool(Op):
    """y = requantize(sum over the window of (x - zero_point), float32(scale / count), bias, lo, hi).

    Only cells within x are summed. `count` is how many these are; with `count_include_pad` also those of `pads`, as of
    ONNX AveragePool. The quotient is that of float32.

    Input: x uint8 (N, C, *spatial). Output: uint8 (N, C, *sizes).

    kernel_shape, strides, pads, dilations, count_include_pad, ceil_mode : as of ONNX AveragePool
    scale : s_x / s_y;  bias : the zero point of the output
    """

    domain: ClassVar[str] = "irc"

    kernel_shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None
    pads: tuple[int, ...] | None = None
    dilations: tuple[int, ...] | None = None
    count_include_pad: int = 0
    ceil_mode: int = 0
    zero_point: int = 0
    scale: float = 1.0
    bias: float = 0.0
    lo: int = 0
    hi: int = 255

    def _like(self) -> AveragePool:
        return AveragePool(
            kernel_shape=self.kernel_shape,
            strides=self.strides,
            pads=self.pads,
            dilations=self.dilations,
            count_include_pad=self.count_include_pad,
            ceil_mode=self.ceil_mode,
        )

    def infer(
        self, inputs: Sequence[Type | None], constants: Sequence[Array | None], outputs: int
    ) -> list[Type | None]:
        check_clamp(self, self.lo, self.hi, self.zero_point)
        return [TensorType(DType.U8, shape_by(self._like(), *typed(self, inputs, DType.U8)))]

    def run(self, x: torch.Tensor) -> torch.Tensor:
        like = self._like()
        axes = like.windows(x.shape)
        acc = window_sum(x.int() - self.zero_point, axes)
        scale = float32(self.scale) / window_counts(axes, x.shape[2:], bool(self.count_include_pad))
        return requantize(acc, scale, float32(self.bias), self.lo, self.hi)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = codes(2, 3, 7, 8)
        yield Example(cls((2, 2), scale=2.3, bias=-150.0), (x,))
        for include in (0, 1):
            yield Example(cls((3, 2), (2, 2), (1, 0, 0, 1), None, include, 0, 77, 1.9, 70.5), (x,))
            yield Example(cls((3, 2), None, (1, 1, 1, 1), (2, 1), include, 0, 131, 3.7, 131.0, lo=3, hi=251), (x,))
            yield Example(cls((3, 3), (2, 3), (1, 1, 1, 1), None, include, 1, 9, 0.8, 11.0), (x,))
        yield Example(cls((3,), (2,)), (codes(1, 2, 9),))
        yield Example(cls((2, 2, 2), zero_point=128, bias=128.0), (codes(1, 2, 4, 5, 6),))

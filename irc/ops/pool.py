"""Pools over windows, and over all spatial axes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from irc.op import ChannelKind, Example, Op, Quant, QuantKind
from irc.ops.spatial import Window, padded, sum_along, symmetric, window_sum, windows
from irc.ops.tensors import sample, unsupported

_MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@dataclass(frozen=True)
class MaxPool(Op):
    """The largest element of each window, and where it stood. ONNX MaxPool-22.

    Input: (N, C, *spatial). Outputs: (N, C, *sizes); optionally int64 indices into the flat input.
    """

    channels = ChannelKind.WINDOW
    since = 1

    kernel_shape: tuple[int, ...]
    auto_pad: str = "NOTSET"
    ceil_mode: int = 0
    dilations: tuple[int, ...] | None = None
    pads: tuple[int, ...] | None = None
    storage_order: int = 0
    strides: tuple[int, ...] | None = None

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.MOVEMENT)

    def windows(self, x: Sequence[int]) -> list[Window]:
        """The windows over the spatial axes, of the shape of x."""
        return windows(x[2:], self.kernel_shape, self.strides, self.dilations, self.pads, self.auto_pad, self.ceil_mode)

    def run(self, x: torch.Tensor, *, outputs: int = 1) -> Any:
        axes = self.windows(x.shape)
        if len(axes) not in _MAX_POOL:
            raise unsupported(self, f"a pool over {len(axes)} spatial axes")
        work = x if x.is_floating_point() else x.float()  # exact: the integers that ONNX allows here have 8 bits
        native = symmetric(axes) and all(2 * a.begin <= a.kernel for a in axes)
        around = [a.begin if native else 0 for a in axes]
        held = work if native else padded(work, axes, -torch.inf)
        kernel, strides, dilations = zip(*((a.kernel, a.stride, a.dilation) for a in axes), strict=True)
        if outputs == 1:
            return _MAX_POOL[len(axes)](held, kernel, strides, around, dilations).to(x.dtype)
        y, where = _MAX_POOL[len(axes)](held, kernel, strides, around, dilations, return_indices=True)
        offsets = [0 if native else a.begin for a in axes]
        return y.to(x.dtype), self._flat(where, held.shape, x.shape, offsets)

    def _flat(
        self, where: torch.Tensor, held: Sequence[int], shape: Sequence[int], offsets: Sequence[int]
    ) -> torch.Tensor:
        """Indices into the flat input, of torch's indices into the padded spatial axes."""
        coordinates = []
        for size, offset in zip(reversed(held[2:]), reversed(offsets), strict=True):
            coordinates.append(where % size - offset)
            where = where // size
        sizes = list(reversed(shape[2:]))
        if self.storage_order:
            coordinates, sizes = coordinates[::-1], sizes[::-1]
        flat, step = torch.zeros_like(where), 1
        for coordinate, size in zip(coordinates, sizes, strict=True):
            flat, step = flat + coordinate * step, step * size
        planes = torch.arange(shape[0] * shape[1], device=where.device) * step
        return flat + planes.reshape(shape[0], shape[1], *(1,) * len(sizes))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = sample(2, 3, 7, 8)
        yield Example(cls(kernel_shape=(2, 2)), (x,))
        yield Example(cls(kernel_shape=(3, 2), strides=(2, 2), pads=(1, 1, 1, 1)), (x,), 2)
        yield Example(cls(kernel_shape=(3, 3), strides=(2, 2), pads=(0, 1, 2, 0), dilations=(1, 2)), (x,), 2)
        yield Example(cls(kernel_shape=(3, 3), strides=(2, 3), ceil_mode=1), (x,), 2)
        yield Example(cls(kernel_shape=(3, 3), strides=(2, 2), auto_pad="SAME_UPPER"), (x,))
        yield Example(cls(kernel_shape=(2, 2), strides=(2, 2), auto_pad="SAME_LOWER"), (x,))
        yield Example(cls(kernel_shape=(2, 2), storage_order=1), (x,), 2)
        yield Example(cls(kernel_shape=(3,), strides=(2,)), (sample(1, 2, 9),))
        yield Example(cls(kernel_shape=(2, 2, 2)), (sample(1, 2, 4, 5, 6),), 2)
        yield Example(cls(kernel_shape=(2, 2)), (sample(1, 2, 4, 4, dtype=np.uint8, low=0, high=255),))


@dataclass(frozen=True)
class AveragePool(Op):
    """The mean of each window, padding left out of the count unless `count_include_pad`. ONNX AveragePool-22.

    Input: (N, C, *spatial). Output: (N, C, *sizes).
    """

    channels = ChannelKind.WINDOW
    since = 7

    kernel_shape: tuple[int, ...]
    auto_pad: str = "NOTSET"
    ceil_mode: int = 0
    count_include_pad: int = 0
    dilations: tuple[int, ...] | None = None
    pads: tuple[int, ...] | None = None
    strides: tuple[int, ...] | None = None

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.ARITHMETIC)

    def windows(self, x: Sequence[int]) -> list[Window]:
        """The windows over the spatial axes, of the shape of x."""
        return windows(x[2:], self.kernel_shape, self.strides, self.dilations, self.pads, self.auto_pad, self.ceil_mode)

    def run(self, x: torch.Tensor) -> torch.Tensor:
        axes = self.windows(x.shape)
        plain = symmetric(axes) and all(a.dilation == 1 and 2 * a.begin <= a.kernel for a in axes)
        if plain and len(axes) in _AVG_POOL:
            kernel, strides, around = zip(*((a.kernel, a.stride, a.begin) for a in axes), strict=True)
            made: torch.Tensor = _AVG_POOL[len(axes)](
                x, kernel, strides, around, count_include_pad=bool(self.count_include_pad)
            )
            return made
        total = window_sum(x, axes)
        for axis, (a, n) in enumerate(zip(axes, x.shape[2:], strict=True), start=2):
            shape = [1] * x.ndim
            shape[axis] = -1
            total = total / self._count(a, n).to(x).reshape(shape)
        return total

    def _count(self, a: Window, n: int) -> torch.Tensor:
        """How many elements of one axis each window takes the mean of."""
        around = float(self.count_include_pad)
        ones = torch.cat([torch.full((a.begin,), around), torch.ones(n), torch.full((a.end,), around)])
        return sum_along(F.pad(ones, (0, a.slack)), 0, a)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = sample(2, 3, 7, 8)
        yield Example(cls(kernel_shape=(2, 2)), (x,))
        for include in (0, 1):
            around = {"kernel_shape": (3, 2), "strides": (2, 2), "count_include_pad": include}
            yield Example(cls(pads=(1, 1, 1, 1), **around), (x,))  # type: ignore[arg-type]  # kinds mixed
            yield Example(cls(pads=(1, 0, 0, 1), **around), (x,))  # type: ignore[arg-type]  # kinds mixed
            yield Example(cls(pads=(1, 1, 1, 1), dilations=(2, 1), **around), (x,))  # type: ignore[arg-type]  # kinds mixed
        yield Example(cls(kernel_shape=(3, 3), strides=(2, 3), ceil_mode=1), (x,))
        yield Example(cls(kernel_shape=(3, 3), strides=(2, 2), auto_pad="SAME_UPPER"), (x,))
        yield Example(cls(kernel_shape=(3,), strides=(2,)), (sample(1, 2, 9),))
        yield Example(cls(kernel_shape=(2, 2, 2), auto_pad="VALID"), (sample(1, 2, 4, 5, 6),))


@dataclass(frozen=True)
class LpPool(Op):
    """(sum over the window of |x|^p)^(1/p). ONNX LpPool-22.

    Input: (N, C, *spatial). Output: (N, C, *sizes).
    """

    channels = ChannelKind.WINDOW
    since = 2

    kernel_shape: tuple[int, ...]
    auto_pad: str = "NOTSET"
    ceil_mode: int = 0
    dilations: tuple[int, ...] | None = None
    p: int = 2
    pads: tuple[int, ...] | None = None
    strides: tuple[int, ...] | None = None

    def run(self, x: torch.Tensor) -> torch.Tensor:
        axes = windows(
            x.shape[2:], self.kernel_shape, self.strides, self.dilations, self.pads, self.auto_pad, self.ceil_mode
        )
        return window_sum(x.abs() ** self.p, axes) ** (1 / self.p)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = sample(2, 3, 7, 8)
        yield Example(cls(kernel_shape=(2, 2)), (x,))
        yield Example(cls(kernel_shape=(3, 2), strides=(2, 2), pads=(1, 1, 0, 1), p=3), (x,))
        yield Example(cls(kernel_shape=(3, 2), dilations=(2, 1), p=1), (x,))
        yield Example(cls(kernel_shape=(3, 3), strides=(2, 2), auto_pad="SAME_LOWER"), (x,))


def _spatial(x: torch.Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


@dataclass(frozen=True)
class GlobalAveragePool(Op):
    """The mean over all spatial axes, which stay with size 1. ONNX GlobalAveragePool-22."""

    channels = ChannelKind.WINDOW
    since = 1

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.ARITHMETIC)

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(_spatial(x), keepdim=True)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(2, 3, 4, 5),))
        yield Example(cls(), (sample(2, 3, 4),))


@dataclass(frozen=True)
class GlobalMaxPool(Op):
    """The maximum over all spatial axes, which stay with size 1. ONNX GlobalMaxPool-22."""

    channels = ChannelKind.WINDOW
    since = 1

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.MOVEMENT)

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return x.amax(_spatial(x), keepdim=True)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(2, 3, 4, 5),))
        yield Example(cls(), (sample(2, 3, 4),))


@dataclass(frozen=True)
class GlobalLpPool(Op):
    """(sum over all spatial axes of |x|^p)^(1/p), the axes kept with size 1. ONNX GlobalLpPool-22."""

    channels = ChannelKind.WINDOW
    since = 2

    p: int = 2

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return (x.abs() ** self.p).sum(_spatial(x), keepdim=True) ** (1 / self.p)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(2, 3, 4, 5),))
        yield Example(cls(p=3), (sample(2, 3, 4),))

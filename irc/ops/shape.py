"""Shapes: reading them, and giving a tensor's elements another one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from irc.op import ChannelKind, Example, Op, Quant, QuantKind
from irc.ops.tensors import axes_of, ints, sample, shape_input


@dataclass(frozen=True)
class Movement(Op, abstract=True):
    """An operator that only moves elements."""

    channels = ChannelKind.MOVEMENT

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.MOVEMENT)


@dataclass(frozen=True)
class Shape(Op):
    """The shape of x from axis `start` up to `end`, int64. ONNX Shape-25."""

    since = 1

    end: int | None = None
    start: int = 0

    def run(self, x: torch.Tensor) -> torch.Tensor:
        first, last = (max(0, min(x.ndim, k + x.ndim if k < 0 else k)) for k in (self.start, self._end(x.ndim)))
        return torch.tensor(list(x.shape[first:last]), dtype=torch.int64, device=x.device)

    def _end(self, rank: int) -> int:
        return rank if self.end is None else self.end

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(2, 3, 4),))
        yield Example(cls(start=1), (sample(2, 3, 4),))
        yield Example(cls(start=-9, end=-1), (sample(2, 3, 4),))


@dataclass(frozen=True)
class Size(Op):
    """The number of elements, an int64 scalar. ONNX Size-25."""

    since = 1

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tensor(x.numel(), dtype=torch.int64, device=x.device)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(2, 3, 4),))


@dataclass(frozen=True)
class Reshape(Movement):
    """The elements in a new shape: -1 is what is left, 0 copies the dimension unless `allowzero`. ONNX Reshape-25.

    Inputs: x; shape, int64 vector.
    """

    since = 5

    allowzero: int = 0

    def run(self, x: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
        sizes = [x.shape[k] if n == 0 and not self.allowzero else n for k, n in enumerate(ints(shape))]
        return x.reshape(sizes)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(2, 3, 4), shape_input(6, -1)))
        yield Example(cls(), (sample(2, 3, 4), shape_input(0, 2, -1, 1)))
        yield Example(cls(allowzero=1), (sample(0, 3), shape_input(3, 0)))


@dataclass(frozen=True)
class Flatten(Movement):
    """A matrix of the axes before `axis` by the others. ONNX Flatten-25."""

    since = 1

    axis: int = 1

    def run(self, x: torch.Tensor) -> torch.Tensor:
        axis = self.axis + x.ndim if self.axis < 0 else self.axis
        return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(2, 3, 4),))
        yield Example(cls(axis=0), (sample(2, 3, 4),))
        yield Example(cls(axis=-1), (sample(2, 3, 4),))


@dataclass(frozen=True)
class Transpose(Movement):
    """The axes in another order: axis k of y is axis `perm[k]` of x; reversed by default. ONNX Transpose-25."""

    since = 1

    perm: tuple[int, ...] | None = None

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(tuple(reversed(range(x.ndim))) if self.perm is None else self.perm)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(2, 3, 4),))
        yield Example(cls(perm=(1, 2, 0)), (sample(2, 3, 4),))


@dataclass(frozen=True)
class Squeeze(Movement):
    """x without the given axes of size 1, or without all of them. ONNX Squeeze-25.

    Inputs: x; axes, int64 vector, optional.
    """

    since = 13

    def run(self, x: torch.Tensor, axes: torch.Tensor | None = None) -> torch.Tensor:
        return x.squeeze() if axes is None else x.squeeze(axes_of(axes, x.ndim))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(1, 3, 1),))
        yield Example(cls(), (sample(1, 3, 1), shape_input(-1)))


@dataclass(frozen=True)
class Unsqueeze(Movement):
    """x with axes of size 1 put in, which `axes` counts in the output. ONNX Unsqueeze-25.

    Inputs: x; axes, int64 vector.
    """

    since = 13

    def run(self, x: torch.Tensor, axes: torch.Tensor) -> torch.Tensor:
        for axis in sorted(axes_of(axes, x.ndim + axes.numel())):
            x = x.unsqueeze(axis)
        return x

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(3, 4), shape_input(0)))
        yield Example(cls(), (sample(3, 4), shape_input(3, -5, 1)))


@dataclass(frozen=True)
class Expand(Movement):
    """x broadcast against a shape, both ways. ONNX Expand-13.

    Inputs: x; shape, int64 vector.
    """

    since = 8

    def run(self, x: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
        sizes: tuple[int, ...] = torch.broadcast_shapes(x.shape, tuple(ints(shape)))  # type: ignore[no-untyped-call]  # torch
        return x.expand(sizes)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(3, 1), shape_input(2, 1, 4)))
        yield Example(cls(), (sample(3, 4), shape_input(1)))


@dataclass(frozen=True)
class Identity(Movement):
    """y = x. ONNX Identity-25."""

    since = 1

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return x

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(2, 3),))


@dataclass(frozen=True)
class DepthToSpace(Movement):
    """Blocks of channels laid out as squares of pixels. ONNX DepthToSpace-13.

    Input: (N, C, H, W). Output: (N, C/b^2, H*b, W*b). mode : "DCR" (block index varies slowest) or "CRD".
    """

    since = 1

    blocksize: int
    mode: str = "DCR"

    def run(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        b = self.blocksize
        if self.mode == "DCR":
            moved = x.reshape(n, b, b, c // (b * b), h, w).permute(0, 3, 4, 1, 5, 2)
        else:
            moved = x.reshape(n, c // (b * b), b, b, h, w).permute(0, 1, 4, 2, 5, 3)
        return moved.reshape(n, c // (b * b), h * b, w * b)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(blocksize=2), (sample(2, 8, 2, 3),))
        yield Example(cls(blocksize=2, mode="CRD"), (sample(2, 8, 2, 3),))


@dataclass(frozen=True)
class SpaceToDepth(Movement):
    """Squares of pixels laid out as blocks of channels, the inverse of DepthToSpace. ONNX SpaceToDepth-28.

    Input: (N, C, H*b, W*b). Output: (N, C*b^2, H, W).
    """

    since = 1

    blocksize: int
    mode: str = "DCR"

    def run(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        b = self.blocksize
        order = (0, 3, 5, 1, 2, 4) if self.mode == "DCR" else (0, 1, 3, 5, 2, 4)
        return x.reshape(n, c, h // b, b, w // b, b).permute(order).reshape(n, c * b * b, h // b, w // b)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(blocksize=2), (sample(2, 3, 4, 6),))


@dataclass(frozen=True)
class Tile(Movement):
    """x repeated along each axis. ONNX Tile-13.

    Inputs: x; repeats, int64 vector with a number an axis.
    """

    since = 6

    def run(self, x: torch.Tensor, repeats: torch.Tensor) -> torch.Tensor:
        return x.repeat(ints(repeats))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(2, 3), shape_input(2, 3)))
        yield Example(cls(), (sample(2, 3, dtype=np.int32, high=9), shape_input(1, 2)))

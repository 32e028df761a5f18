"""Where tensors lie in memory.

    Buffer ::= elements of one dtype in one place: the arena, an input or output of the caller, or the weights
    View   ::= Buffer, offset, shape, strides          in elements; shape is the logical one, ONNX's order of axes

A value's layout is nothing but its strides: an image in NHWC is a View of shape (N, C, H, W) whose C has stride 1.
Transpose, Slice, Split, Squeeze and most Reshapes are other views of the same buffer and cost nothing.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from irc.types import Array, DType


class Place(enum.Enum):
    """Who owns a buffer's memory."""

    ARENA = "arena"
    INPUT = "input"
    OUTPUT = "output"
    CONSTANT = "constant"


@dataclass(eq=False)
class Buffer:
    """Memory for `elements` of one dtype; compared by identity.

    index : which input or output, for those
    data : the contents of a constant
    name : the value it was made for, for people
    """

    dtype: DType
    elements: int
    place: Place = Place.ARENA
    index: int = 0
    data: Array | None = None
    name: str = ""

    @property
    def bytes(self) -> int:
        """Size without slack."""
        return self.elements * self.dtype.bits // 8


@dataclass(frozen=True)
class View:
    """A strided look at a buffer; strides and offset in elements, a broadcast axis has stride 0."""

    buffer: Buffer
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def dtype(self) -> DType:
        return self.buffer.dtype

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def order(self) -> tuple[int, ...]:
        """The axes from the slowest to the fastest in memory; those of size 1 stay where they are if they can."""
        return tuple(sorted(range(self.rank), key=lambda a: (-self.strides[a], a)))

    def is_dense(self, order: Sequence[int] | None = None) -> bool:
        """Whether the elements lie without gaps, axes in `order` (the logical one if none is given)."""
        step = 1
        for axis in reversed(range(self.rank) if order is None else order):
            if self.shape[axis] != 1 and self.strides[axis] != step:
                return False
            step *= self.shape[axis]
        return True

    def permuted(self, axes: Sequence[int]) -> View:
        """The view with its axes in another order."""
        return replace(self, shape=tuple(self.shape[a] for a in axes), strides=tuple(self.strides[a] for a in axes))

    def sliced(self, axis: int, start: int, count: int, step: int = 1) -> View:
        """`count` elements along an axis, from `start` in steps of `step` (which may be negative)."""
        shape, strides = list(self.shape), list(self.strides)
        shape[axis] = count
        strides[axis] = self.strides[axis] * step
        return View(self.buffer, tuple(shape), tuple(strides), self.offset + start * self.strides[axis])

    def without(self, axis: int) -> View:
        """The view at the first place of an axis, which it then has no more."""
        keep = [a for a in range(self.rank) if a != axis]
        return replace(self, shape=tuple(self.shape[a] for a in keep), strides=tuple(self.strides[a] for a in keep))

    def broadcast(self, shape: Sequence[int]) -> View:
        """The view repeated to `shape` by numpy's rule, with stride 0."""
        extra = len(shape) - self.rank
        strides = [0] * extra + [0 if n == 1 else s for n, s in zip(self.shape, self.strides, strict=True)]
        return replace(self, shape=tuple(shape), strides=tuple(strides))

    def reshaped(self, shape: Sequence[int]) -> View | None:
        """The view in another shape, if that needs no copy; else None."""
        if not self.elements:
            return replace(self, shape=tuple(shape), strides=dense_strides(shape))
        old = [(n, s) for n, s in zip(self.shape, self.strides, strict=True) if n != 1]
        strides: list[int] = []
        groups = _matching_groups([n for n, _ in old], [n for n in shape if n != 1])
        for olds, news in groups:
            axes = old[olds[0] : olds[1]]
            if any(a[1] != b[0] * b[1] for a, b in pairwise(axes)):
                return None
            step = axes[-1][1] if axes else 1
            made: list[int] = []
            for size in reversed(news):
                made.insert(0, step)
                step *= size
            strides += made
        remaining = iter(strides)
        return replace(self, shape=tuple(shape), strides=tuple(1 if n == 1 else next(remaining) for n in shape))


def _matching_groups(old: list[int], new: list[int]) -> list[tuple[tuple[int, int], list[int]]]:
    """Runs of old axes and runs of new sizes with equal products, in order; neither list holds a 1."""
    groups: list[tuple[tuple[int, int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        start, news = i, [new[j]]
        size, wanted = old[i], new[j]
        i, j = i + 1, j + 1
        while size != wanted:
            if size < wanted:
                size *= old[i]
                i += 1
            else:
                news.append(new[j])
                wanted *= new[j]
                j += 1
        groups.append(((start, i), news))
    return groups


def dense_strides(shape: Sequence[int], order: Sequence[int] | None = None) -> tuple[int, ...]:
    """Strides of a dense tensor whose axes lie in `order`, slowest first."""
    strides = [1] * len(shape)
    step = 1
    for axis in reversed(range(len(shape)) if order is None else order):
        strides[axis] = step
        step *= shape[axis]
    return tuple(strides)


def channels_last(rank: int) -> tuple[int, ...]:
    """The order N, *spatial, C of the axes of an (N, C, *spatial) tensor."""
    return (0, *range(2, rank), 1)


def constant(data: Array, name: str = "") -> View:
    """A view of a constant, dense in its own order."""
    dtype = DType.of_numpy(data.dtype)
    buffer = Buffer(dtype, data.size, Place.CONSTANT, data=data, name=name)
    return View(buffer, tuple(data.shape), dense_strides(data.shape))

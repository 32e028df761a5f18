"""Selecting, joining and scattering parts of tensors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from irc.errors import GraphError
from irc.op import ChannelKind, Example, Op, Quant, QuantKind
from irc.ops.shape import Movement
from irc.ops.tensors import axes_of, ints, pairs, sample, shape_input, torch_pads


def _wrapped(indices: torch.Tensor, size: int) -> torch.Tensor:
    """The indices as int64, negative ones counted from the end."""
    indices = indices.long()
    return torch.where(indices < 0, indices + size, indices)


@dataclass(frozen=True)
class Concat(Op):
    """The inputs joined along an axis. ONNX Concat-13."""

    channels = ChannelKind.MOVEMENT
    since = 4

    axis: int

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.ARITHMETIC, variadic=True)

    def run(self, *xs: torch.Tensor) -> torch.Tensor:
        return torch.cat(xs, self.axis)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(axis=0), (sample(2, 3), sample(1, 3)))
        yield Example(cls(axis=-1), (sample(2, 3), sample(2, 1), sample(2, 4)))


@dataclass(frozen=True)
class Split(Movement):
    """x cut along an axis, in `num_outputs` parts (the last may be smaller) or in the given sizes. ONNX Split-18.

    Inputs: x; split, int64 vector of sizes, optional.
    """

    since = 18

    axis: int = 0
    num_outputs: int | None = None

    def run(self, x: torch.Tensor, split: torch.Tensor | None = None, *, outputs: int = 1) -> Any:
        size = x.shape[self.axis]
        if split is None:
            parts = self.num_outputs or outputs
            chunk = -(-size // parts)
            sizes = [max(min(chunk, size - k * chunk), 0) for k in range(parts)]
        else:
            sizes = ints(split)
        pieces = torch.split(x, sizes, self.axis)
        return pieces if len(pieces) > 1 else pieces[0]

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(num_outputs=2), (sample(4, 3),), 2)
        yield Example(cls(axis=-1, num_outputs=3), (sample(2, 7),), 3)
        yield Example(cls(axis=1), (sample(2, 7), shape_input(4, 1, 2)), 3)


@dataclass(frozen=True)
class Slice(Movement):
    """x[starts : ends : steps] along the axes, as numpy slices. ONNX Slice-13.

    Inputs: x; starts, ends; axes and steps, optional: integer vectors.
    """

    since = 10

    def run(
        self,
        x: torch.Tensor,
        starts: torch.Tensor,
        ends: torch.Tensor,
        axes: torch.Tensor | None = None,
        steps: torch.Tensor | None = None,
    ) -> torch.Tensor:
        first, last = ints(starts), ints(ends)
        along = list(range(len(first))) if axes is None else axes_of(axes, x.ndim)
        stride = [1] * len(first) if steps is None else ints(steps)
        index = [slice(None)] * x.ndim
        backwards = []
        for axis, start, end, step in zip(along, first, last, stride, strict=True):
            start, end, step = slice(start, end, step).indices(x.shape[axis])
            taken = range(start, end, step)
            if step < 0:  # torch slices only forwards
                backwards.append(axis)
                taken = taken[::-1]
            index[axis] = slice(taken.start, taken.stop, taken.step) if taken else slice(0, 0)
        y = x[tuple(index)]
        return y.flip(backwards) if backwards else y

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = sample(5, 6, 7)
        yield Example(cls(), (x, shape_input(1, 0), shape_input(4, -1)))
        yield Example(cls(), (x, shape_input(0, -1), shape_input(9, -5), shape_input(2, -2), shape_input(2, -1)))
        yield Example(cls(), (x, shape_input(20), shape_input(-(2**63)), shape_input(1), shape_input(-3)))
        yield Example(cls(), (x, shape_input(4), shape_input(2), shape_input(0)))


@dataclass(frozen=True)
class Gather(Movement):
    """x at `indices` along an axis: the axis is replaced by the indices' shape. ONNX Gather-13.

    Inputs: x; indices, int32 or int64, negative ones counted from the end.
    """

    since = 1

    axis: int = 0

    def run(self, x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        axis = self.axis % x.ndim
        taken = x.index_select(axis, _wrapped(indices, x.shape[axis]).reshape(-1))
        return taken.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))  # one argument: it may be ()

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = sample(4, 5, 3)
        yield Example(cls(), (x, np.array([[0, 3], [-1, 2]], np.int64)))
        yield Example(cls(axis=1), (x, np.array(2, np.int64)))
        yield Example(cls(axis=-2), (x, np.array([4, -5], np.int32)))


@dataclass(frozen=True)
class GatherElements(Movement):
    """y[i, j, k] = x[indices[i, j, k], j, k] for axis 0, likewise for others. ONNX GatherElements-13."""

    since = 11

    axis: int = 0

    def run(self, x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        return torch.gather(x, self.axis, _wrapped(indices, x.shape[self.axis]))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(3, 4), np.array([[0, 2, -1, 1]], np.int64)))
        yield Example(cls(axis=1), (sample(2, 3), np.array([[0, 2], [-1, 1]], np.int32)))


@dataclass(frozen=True)
class GatherND(Movement):
    """x at the index vectors that the last axis of `indices` holds. ONNX GatherND-13.

    Inputs: x, shape (*batch, *indexed, *rest); indices, int64, shape (*batch, *outer, len(indexed)).
    """

    since = 11

    batch_dims: int = 0

    def run(self, x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        b, depth = self.batch_dims, indices.shape[-1]
        index: list[torch.Tensor] = []
        for axis in range(b):
            shape = [1] * (indices.ndim - 1)
            shape[axis] = -1
            index.append(torch.arange(x.shape[axis], device=x.device).reshape(shape))
        index.extend(_wrapped(indices[..., k], x.shape[b + k]) for k in range(depth))
        return x[tuple(torch.broadcast_tensors(*index))]  # type: ignore[no-untyped-call]  # torch

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(2, 3, 4), np.array([[0, 1], [1, -1]], np.int64)))
        yield Example(cls(batch_dims=1), (sample(2, 3, 4), np.array([[1], [0]], np.int64)))


_REDUCE = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@dataclass(frozen=True)
class ScatterElements(Op):
    """x with [indices[i, j], j] set to, or reduced with, updates[i, j] (for axis 0). ONNX ScatterElements-18."""

    since = 11

    axis: int = 0
    reduction: str = "none"

    def run(self, x: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
        where = _wrapped(indices, x.shape[self.axis])
        if self.reduction == "none":
            return x.scatter(self.axis, where, updates)
        return x.scatter_reduce(self.axis, where, updates, _REDUCE[self.reduction])

    @classmethod
    def examples(cls) -> Iterable[Example]:
        indices = np.array([[0, 2, -1], [1, 0, 0]], np.int64)
        yield Example(cls(), (sample(3, 3), indices, sample(2, 3)))
        yield Example(cls(axis=1), (sample(2, 5), np.array([[1, 3], [0, -1]], np.int32), sample(2, 2)))
        for reduction in _REDUCE:
            yield Example(cls(reduction=reduction), (sample(3, 3), indices, sample(2, 3)))


@dataclass(frozen=True)
class ScatterND(Op):
    """x with the parts at the index vectors of `indices` set to, or reduced with, `updates`. ONNX ScatterND-18.

    Inputs: x; indices, int64, shape (*outer, depth); updates, shape (*outer, *x.shape[depth:]).
    """

    since = 11

    reduction: str = "none"

    def run(self, x: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
        depth = indices.shape[-1]
        flat = torch.zeros(indices.shape[:-1], dtype=torch.int64, device=x.device)
        for k in range(depth):
            flat = flat * x.shape[k] + _wrapped(indices[..., k], x.shape[k])
        rows = x.reshape(-1, *x.shape[depth:])
        where, parts = flat.reshape(-1), updates.reshape(-1, *x.shape[depth:])
        if self.reduction == "none":
            made = rows.index_copy(0, where, parts)
        elif self.reduction == "add":
            made = rows.index_add(0, where, parts)
        else:
            spread = where.reshape(-1, *(1,) * (rows.ndim - 1)).expand(parts.shape)
            made = rows.scatter_reduce(0, spread, parts, _REDUCE[self.reduction])
        return made.reshape(x.shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        rows = np.array([[2], [0], [-1]], np.int64)
        yield Example(cls(), (sample(4, 3), rows[:2], sample(2, 3)))
        yield Example(cls(), (sample(4, 3), np.array([[0, 2], [3, -1]], np.int64), sample(2)))
        for reduction in _REDUCE:
            yield Example(cls(reduction=reduction), (sample(4, 3), np.array([[2], [0], [2]], np.int64), sample(3, 3)))


@dataclass(frozen=True)
class Pad(Movement):
    """x with elements put around it, or cut off where a pad is negative. ONNX Pad-25.

    Inputs: x; pads, int64 (begins..., ends...); value, scalar, optional (0); axes, optional (all).
    mode : "constant"; "reflect" (without the border); "edge" (the border repeated); "wrap" (as a torus)
    """

    since = 11

    mode: str = "constant"

    def run(
        self,
        x: torch.Tensor,
        pads: torch.Tensor,
        value: torch.Tensor | None = None,
        axes: torch.Tensor | None = None,
    ) -> torch.Tensor:
        along = list(range(x.ndim)) if axes is None else axes_of(axes, x.ndim)
        around = [(0, 0)] * x.ndim
        for axis, pair in zip(along, pairs(ints(pads)), strict=True):
            around[axis] = pair
        if self.mode == "constant":
            return F.pad(x, torch_pads(around), value=0 if value is None else value.item())
        for axis, (begin, end) in enumerate(around):
            if begin or end:
                x = x.index_select(axis, self._sources(x.shape[axis], begin, end).to(x.device))
        return x

    def _sources(self, size: int, begin: int, end: int) -> torch.Tensor:
        """Which element of an axis stands at each place of the padded one."""
        place = torch.arange(-begin, size + end)
        if self.mode == "edge":
            return place.clamp(0, size - 1)
        if self.mode == "wrap":
            return place % size
        if self.mode != "reflect":
            raise GraphError(f"Pad has no mode {self.mode!r}: it takes constant, reflect, edge or wrap")
        period = max(2 * (size - 1), 1)
        turned = place % period
        return torch.minimum(turned, period - turned) if size > 1 else torch.zeros_like(place)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = sample(3, 4)
        yield Example(cls(), (x, shape_input(1, 0, 2, 3)))
        yield Example(cls(), (x, shape_input(1, -1, 0, 2), np.array(0.5, np.float32)))
        yield Example(cls(), (x, shape_input(1, 2), np.array(-1, np.float32), shape_input(-1)))
        for mode in ("reflect", "edge", "wrap"):
            yield Example(cls(mode=mode), (x, shape_input(1, 2, 2, 3)))


@dataclass(frozen=True)
class ReverseSequence(Movement):
    """The first `lengths[b]` elements along the time axis reversed, for each sample b. ONNX ReverseSequence-10."""

    since = 10

    batch_axis: int = 1
    time_axis: int = 0

    def run(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        moved = x.movedim((self.batch_axis, self.time_axis), (0, 1))
        time = torch.arange(moved.shape[1], device=x.device)[None]
        source = torch.where(time < lengths[:, None], lengths[:, None] - 1 - time, time)
        rows = torch.arange(moved.shape[0], device=x.device)[:, None]
        return moved[rows, source].movedim((0, 1), (self.batch_axis, self.time_axis))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(4, 3, 2), shape_input(4, 1, 3)))
        yield Example(cls(batch_axis=0, time_axis=1), (sample(3, 4), shape_input(2, 4, 1)))


@dataclass(frozen=True)
class Trilu(Op):
    """The upper or lower triangle of the last two axes, zeros elsewhere. ONNX Trilu-14.

    Inputs: x (*, M, N); k, int64 scalar: how far above the main diagonal the triangle's border lies, optional.
    """

    channels = ChannelKind.ELEMENTWISE
    since = 14

    upper: int = 1

    def run(self, x: torch.Tensor, k: torch.Tensor | None = None) -> torch.Tensor:
        diagonal = 0 if k is None else int(k)
        return torch.triu(x, diagonal) if self.upper else torch.tril(x, diagonal)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(2, 3, 4),))
        yield Example(cls(upper=0), (sample(3, 4), np.array(1, np.int64)))
        yield Example(cls(), (sample(3, 4), np.array(-2, np.int64)))

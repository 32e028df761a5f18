"""Reductions over axes, and along one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from irc.op import ChannelKind, Example, Op, Quant, QuantKind
from irc.ops.tensors import axes_of, ints, outputs_of, sample, shape_input, wide
from irc.types import Array


def _lowest(x: torch.Tensor) -> Any:
    """The smallest value of the dtype."""
    if x.dtype is torch.bool:
        return False
    return -torch.inf if x.is_floating_point() else torch.iinfo(x.dtype).min


def _highest(x: torch.Tensor) -> Any:
    """The largest value of the dtype."""
    if x.dtype is torch.bool:
        return True
    return torch.inf if x.is_floating_point() else torch.iinfo(x.dtype).max


@dataclass(frozen=True)
class _Reduce(Op, abstract=True):
    """A reduction over the axes of the input `axes` (all, if omitted or empty), kept with size 1 if `keepdims`.

    Inputs: x; axes, int64 vector, optional. With `noop_with_empty_axes` no axes means that nothing is summed up, so
    that each element is reduced by itself.
    """

    channels = ChannelKind.REDUCTION

    keepdims: int = 1
    noop_with_empty_axes: int = 0

    def run(self, x: torch.Tensor, axes: torch.Tensor | None = None) -> torch.Tensor:
        over = axes_of(axes, x.ndim)
        work = wide(x)
        if (not over and self.noop_with_empty_axes) or not x.ndim:
            # torch takes an empty list of axes for all of them, so give each element an axis of its own
            return self.reduce(work.unsqueeze(-1), [x.ndim], False).to(x.dtype)
        return self.reduce(work, over or list(range(x.ndim)), bool(self.keepdims)).to(x.dtype)

    def reduce(self, x: torch.Tensor, over: Sequence[int], keep: bool) -> torch.Tensor:
        """The reduction over a non-empty list of axes."""
        raise NotImplementedError

    @classmethod
    def inputs(cls) -> Array:
        """What the examples reduce."""
        return sample(2, 3, 4, low=0.1)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = cls.inputs()
        yield Example(cls(), (x,))
        yield Example(cls(keepdims=0), (x,))
        yield Example(cls(), (x, shape_input(-1, 0)))
        yield Example(cls(keepdims=0), (x, shape_input(1)))
        yield Example(cls(noop_with_empty_axes=1), (x, shape_input()))


class ReduceSum(_Reduce):
    """The sum. ONNX ReduceSum-13."""

    since = 13

    def reduce(self, x: torch.Tensor, over: Sequence[int], keep: bool) -> torch.Tensor:
        return x.sum(list(over), keepdim=keep)


class ReduceMean(_Reduce):
    """The mean, of integers cut towards zero. ONNX ReduceMean-18."""

    since = 18

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.ARITHMETIC)

    def reduce(self, x: torch.Tensor, over: Sequence[int], keep: bool) -> torch.Tensor:
        if x.is_floating_point():
            return x.mean(list(over), keepdim=keep)
        count = math.prod(x.shape[axis] for axis in over)
        return torch.div(x.sum(list(over), keepdim=keep), count, rounding_mode="trunc")


class ReduceMax(_Reduce):
    """The largest element. ONNX ReduceMax-20."""

    since = 18

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.MOVEMENT)

    def reduce(self, x: torch.Tensor, over: Sequence[int], keep: bool) -> torch.Tensor:
        if not x.numel():
            return x.new_full(x.sum(list(over), keepdim=keep).shape, _lowest(x))
        return x.amax(list(over), keepdim=keep)


class ReduceMin(_Reduce):
    """The smallest element. ONNX ReduceMin-20."""

    since = 18

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.MOVEMENT)

    def reduce(self, x: torch.Tensor, over: Sequence[int], keep: bool) -> torch.Tensor:
        if not x.numel():
            return x.new_full(x.sum(list(over), keepdim=keep).shape, _highest(x))
        return x.amin(list(over), keepdim=keep)


class ReduceProd(_Reduce):
    """The product. ONNX ReduceProd-18."""

    since = 18

    def reduce(self, x: torch.Tensor, over: Sequence[int], keep: bool) -> torch.Tensor:
        for axis in sorted(over, reverse=True):
            x = x.prod(axis, keepdim=keep)
        return x


class ReduceL1(_Reduce):
    """The sum of the magnitudes. ONNX ReduceL1-18."""

    since = 18

    def reduce(self, x: torch.Tensor, over: Sequence[int], keep: bool) -> torch.Tensor:
        return x.abs().sum(list(over), keepdim=keep)


class ReduceL2(_Reduce):
    """The square root of the sum of squares. ONNX ReduceL2-18."""

    since = 18

    def reduce(self, x: torch.Tensor, over: Sequence[int], keep: bool) -> torch.Tensor:
        if x.is_floating_point():
            made: torch.Tensor = torch.linalg.vector_norm(x, 2, dim=list(over), keepdim=keep)
            return made
        return (x * x).sum(list(over), keepdim=keep).double().sqrt()


class ReduceSumSquare(_Reduce):
    """The sum of squares. ONNX ReduceSumSquare-18."""

    since = 18

    def reduce(self, x: torch.Tensor, over: Sequence[int], keep: bool) -> torch.Tensor:
        return (x * x).sum(list(over), keepdim=keep)


class ReduceLogSum(_Reduce):
    """The logarithm of the sum. ONNX ReduceLogSum-18."""

    since = 18

    def reduce(self, x: torch.Tensor, over: Sequence[int], keep: bool) -> torch.Tensor:
        return x.sum(list(over), keepdim=keep).log()


class ReduceLogSumExp(_Reduce):
    """The logarithm of the sum of exponentials. ONNX ReduceLogSumExp-18."""

    since = 18

    def reduce(self, x: torch.Tensor, over: Sequence[int], keep: bool) -> torch.Tensor:
        return torch.logsumexp(x if x.is_floating_point() else x.double(), list(over), keepdim=keep)


@dataclass(frozen=True)
class _ArgExtreme(Op, abstract=True):
    """Where along the axis the extreme element stands, int64; the first of equal ones unless `select_last_index`."""

    channels = ChannelKind.SCAN

    axis: int = 0
    keepdims: int = 1
    select_last_index: int = 0

    def _where(self, x: torch.Tensor, extreme: Any) -> torch.Tensor:
        x = wide(x)
        if self.select_last_index:
            x = x.flip(self.axis)
        where: torch.Tensor = extreme(x, self.axis, keepdim=bool(self.keepdims))
        return x.shape[self.axis] - 1 - where if self.select_last_index else where

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x, ties = sample(2, 3, 4), np.array([[1, 2, 2, 1, 1, 2]], np.float32)
        yield Example(cls(), (x,))
        yield Example(cls(axis=-1, keepdims=0), (x,))
        yield Example(cls(axis=1), (ties,))
        yield Example(cls(axis=1, select_last_index=1), (ties,))


class ArgMax(_ArgExtreme):
    """Where the largest element along the axis stands. ONNX ArgMax-13."""

    since = 12

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return self._where(x, torch.argmax)


class ArgMin(_ArgExtreme):
    """Where the smallest element along the axis stands. ONNX ArgMin-13."""

    since = 12

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return self._where(x, torch.argmin)


@dataclass(frozen=True)
class _Cumulative(Op, abstract=True):
    """A running reduction along the axis, which the second input gives as a scalar.

    exclusive : an element does not count for itself; reverse : from the end
    """

    channels = ChannelKind.SCAN

    exclusive: int = 0
    reverse: int = 0

    def _scan(self, x: torch.Tensor, axis: int, scan: Any, neutral: int) -> torch.Tensor:
        if self.reverse:
            x = x.flip(axis)
        if self.exclusive and x.shape[axis]:
            first = torch.full_like(x.narrow(axis, 0, 1), neutral)
            x = torch.cat([first, x.narrow(axis, 0, x.shape[axis] - 1)], axis)
        made: torch.Tensor = scan(x, axis).to(x.dtype)
        return made.flip(axis) if self.reverse else made

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = sample(2, 3, 4)
        yield Example(cls(), (x, np.array(1, np.int64)))
        yield Example(cls(exclusive=1), (x, np.array(-1, np.int32)))
        yield Example(cls(reverse=1), (x, np.array(0, np.int64)))
        yield Example(cls(exclusive=1, reverse=1), (np.array([1, 2, 3], np.int32), np.array(0, np.int64)))


class CumSum(_Cumulative):
    """The sums of the elements up to each. ONNX CumSum-14."""

    since = 11

    def run(self, x: torch.Tensor, axis: torch.Tensor) -> torch.Tensor:
        return self._scan(x, int(axis), torch.cumsum, 0)


class CumProd(_Cumulative):
    """The products of the elements up to each. ONNX CumProd-26."""

    since = 26

    def run(self, x: torch.Tensor, axis: torch.Tensor) -> torch.Tensor:
        return self._scan(x, int(axis), torch.cumprod, 1)


@dataclass(frozen=True)
class TopK(Op):
    """The k largest (or smallest) elements along the axis in order, and where they stood. ONNX TopK-24.

    Inputs: x; k, int64, one element. Outputs: values; indices, int64, the first of equal elements first.
    """

    channels = ChannelKind.SCAN
    since = 11

    axis: int = -1
    largest: int = 1
    sorted: int = 1

    def run(self, x: torch.Tensor, k: torch.Tensor, *, outputs: int = 2) -> Any:
        order = torch.argsort(wide(x), dim=self.axis, descending=bool(self.largest), stable=True)
        where = order.narrow(self.axis, 0, ints(k)[0])
        return outputs_of((torch.gather(x, self.axis, where), where), outputs)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(3, 5), shape_input(3)), 2)
        yield Example(cls(axis=0, largest=0), (sample(5, 3), shape_input(2)), 2)
        yield Example(cls(), (np.array([[1, 2, 2, 1, 2]], np.int64), shape_input(4)), 2)
        yield Example(cls(sorted=0), (sample(3, 5), shape_input(1)), 2)

"""Operators that make tensors, or belong to no other family."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from irc.op import ChannelKind, Example, Op, Quant, QuantKind
from irc.ops.tensors import ints, outputs_of, sample, torch_dtype_of_onnx, unsupported, wide
from irc.types import TensorType, Type


@dataclass(frozen=True)
class Dropout(Op):
    """y = x, as in inference; the mask is all true. ONNX Dropout-22.

    Inputs: x; ratio and training_mode, scalars, optional. Training mode is onnxruntime's.
    """

    channels = ChannelKind.ELEMENTWISE
    since = 12

    seed: int | None = None

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.MOVEMENT)

    def run(
        self,
        x: torch.Tensor,
        ratio: torch.Tensor | None = None,
        training_mode: torch.Tensor | None = None,
        *,
        outputs: int = 1,
    ) -> Any:
        if training_mode is not None and bool(training_mode):
            raise unsupported(self, "training mode")
        return outputs_of((x, torch.ones(x.shape, dtype=torch.bool, device=x.device)), outputs)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(2, 3),))
        yield Example(cls(seed=3), (sample(2, 3), np.array(0.3, np.float32), np.array(False)), 2)


@dataclass(frozen=True)
class Range(Op):
    """start, start + delta, ... up to but without limit. ONNX Range-27."""

    since = 11

    stash_type: int = 1

    def run(self, start: torch.Tensor, limit: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
        first, last, step = start.item(), limit.item(), delta.item()
        count = max(math.ceil((last - first) / step), 0)
        if not start.is_floating_point():
            return torch.arange(count, dtype=torch.int64).mul(step).add(first).to(start.dtype)
        work = torch.float64 if start.dtype is torch.float64 else torch.float32
        places = torch.arange(count, dtype=work, device=start.device)
        return (start.to(work) + places * delta.to(work)).to(start.dtype)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        for dtype, values in ((np.int64, (2, 9, 3)), (np.int32, (5, -4, -2)), (np.float32, (0.5, 2.0, 0.3))):
            yield Example(cls(), tuple(np.array(v, dtype) for v in values))
        yield Example(cls(), tuple(np.array(v, np.int64) for v in (4, 2, 1)))


@dataclass(frozen=True)
class EyeLike(Op):
    """Ones on the k-th diagonal of a matrix of the shape of x, zeros elsewhere. ONNX EyeLike-22."""

    since = 9

    dtype: int | None = None
    k: int = 0

    def run(self, x: torch.Tensor) -> torch.Tensor:
        made = x.dtype if self.dtype is None else torch_dtype_of_onnx(self.dtype)
        row, column = (torch.arange(n, device=x.device) for n in x.shape)
        return (column[None] - row[:, None] == self.k).to(made)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(3, 4),))
        yield Example(cls(dtype=6, k=-1), (sample(4, 3),))


@dataclass(frozen=True)
class OneHot(Op):
    """`values[1]` where the new axis counts to the index, `values[0]` elsewhere. ONNX OneHot-28.

    Inputs: indices; depth, one element; values, the off and on value. Negative indices count from the end.
    """

    since = 11

    axis: int = -1

    def run(self, indices: torch.Tensor, depth: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        size = ints(depth)[0]
        axis = self.axis % (indices.ndim + 1)
        shape = [1] * (indices.ndim + 1)
        shape[axis] = -1
        index = wide(indices).long()
        index = torch.where(index < 0, index + size, index).unsqueeze(axis)
        hot = index == torch.arange(size, device=index.device).reshape(shape)
        return torch.where(hot, values[1], values[0])

    @classmethod
    def examples(cls) -> Iterable[Example]:
        indices, depth = np.array([[0, 2], [-1, 9]], np.int64), np.array(4, np.int64)
        yield Example(cls(), (indices, depth, np.array([0, 1], np.float32)))
        yield Example(cls(axis=0), (indices, depth, np.array([-1, 5], np.int32)))
        yield Example(cls(axis=-2), (indices, depth, np.array([-1, 5], np.float32)))


@dataclass(frozen=True)
class NonZero(Op):
    """The coordinates of the elements that are not zero, int64, one row an axis. ONNX NonZero-13."""

    since = 9

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nonzero(x).mT.contiguous()

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (np.array([[1, 0, 2], [0, 0, 3]], np.float32),))
        yield Example(cls(), (np.array([True, False, True]),))


@dataclass(frozen=True)
class Compress(Op):
    """The slices of x along the axis (or of flat x) whose condition is true. ONNX Compress-11."""

    since = 9

    axis: int | None = None

    def run(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        kept = torch.nonzero(condition).reshape(-1)
        return x.reshape(-1).index_select(0, kept) if self.axis is None else x.index_select(self.axis, kept)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(3, 2), np.array([False, True, False, False, True])))
        yield Example(cls(axis=-1), (sample(3, 2), np.array([False, True])))


@dataclass(frozen=True)
class Einsum(Op):
    """Sums of products in Einstein's notation. ONNX Einsum-28."""

    since = 12

    equation: str

    def run(self, *xs: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = torch.einsum(self.equation.replace(" ", ""), *xs)
        return made

    def macs(self, inputs: Sequence[Type | None], outputs: Sequence[Type | None]) -> int:
        """One multiplication for each combination of all letters, as a contraction of two operands has."""
        terms = self.equation.replace(" ", "").split("->")[0].split(",")
        if len(terms) != 2 or "." in self.equation:
            return 0
        sizes: dict[str, int] = {}
        for term, type in zip(terms, inputs, strict=True):
            if not isinstance(type, TensorType) or type.shape is None:
                return 0
            sizes.update((letter, d if isinstance(d, int) else 1) for letter, d in zip(term, type.shape, strict=True))
        return math.prod(sizes.values())

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls("bij,bjk->bik"), (sample(2, 3, 4), sample(2, 4, 5)))
        yield Example(cls("...ij->...i"), (sample(2, 3, 4),))
        yield Example(cls("ij, jk"), (sample(3, 4), sample(4, 5)))
        yield Example(cls("ii->i"), (sample(3, 3),))


@dataclass(frozen=True)
class Det(Op):
    """The determinants of square matrices. ONNX Det-22."""

    since = 11

    def run(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = torch.linalg.det(x)
        return made

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(3, 3),))
        yield Example(cls(), (sample(2, 4, 4),))

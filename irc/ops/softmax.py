"""Exponentials normalized along an axis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from irc.op import ChannelKind, Example, Op, Quant, QuantKind
from irc.ops.tensors import sample


@dataclass(frozen=True)
class Softmax(Op):
    """y = exp(x) / sum of exp(x) along the axis. ONNX Softmax-13."""

    channels = ChannelKind.SOFTMAX
    since = 13

    axis: int = -1

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.ARITHMETIC)

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x, self.axis)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(2, 3, 4),))
        yield Example(cls(axis=1), (sample(2, 3, 4, low=-500, high=500),))


@dataclass(frozen=True)
class LogSoftmax(Op):
    """y = x - log(sum of exp(x) along the axis). ONNX LogSoftmax-13."""

    channels = ChannelKind.SOFTMAX
    since = 13

    axis: int = -1

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(x, self.axis)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(2, 3, 4),))
        yield Example(cls(axis=1), (sample(2, 3, 4, low=-500, high=500),))


@dataclass(frozen=True)
class Hardmax(Op):
    """y = 1 at the first largest element along the axis, 0 elsewhere. ONNX Hardmax-13."""

    channels = ChannelKind.SOFTMAX
    since = 13

    axis: int = -1

    def run(self, x: torch.Tensor) -> torch.Tensor:
        first = x.argmax(self.axis, keepdim=True)
        return torch.zeros_like(x).scatter(self.axis, first, 1)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(2, 3, 4),))
        yield Example(cls(axis=0), (sample(2, 3, 4),))

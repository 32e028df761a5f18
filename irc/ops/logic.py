"""Comparisons, logic and selection."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from irc.op import ChannelKind, Example, Op
from irc.ops.tensors import sample


def _ordered(x: torch.Tensor) -> torch.Tensor:
    """x in a dtype that torch compares in, with the order of x: uint64 with its top bit flipped is int64."""
    if x.dtype is torch.uint64:
        return x.view(torch.int64) ^ torch.iinfo(torch.int64).min
    return x.long() if x.dtype in (torch.uint16, torch.uint32) else x


@dataclass(frozen=True)
class _Compare(Op, abstract=True):
    """y = function(a, b), bool, the inputs broadcast as numpy does."""

    channels = ChannelKind.ELEMENTWISE

    function: ClassVar[Callable[..., Any]]

    def run(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = type(self).function(_ordered(a), _ordered(b))
        return made

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (np.array([[1, 2, 3]], np.int32), np.array([[1], [3]], np.int32)))
        yield Example(cls(), (np.array([1, 2, np.nan], np.float32), np.array(1, np.float32)))


class Equal(_Compare):
    """y = whether a = b. ONNX Equal-19."""

    since = 7
    function = staticmethod(torch.eq)


class Greater(_Compare):
    """y = whether a > b. ONNX Greater-13."""

    since = 7
    function = staticmethod(torch.gt)


class GreaterOrEqual(_Compare):
    """y = whether a >= b. ONNX GreaterOrEqual-16."""

    since = 12
    function = staticmethod(torch.ge)


class Less(_Compare):
    """y = whether a < b. ONNX Less-13."""

    since = 7
    function = staticmethod(torch.lt)


class LessOrEqual(_Compare):
    """y = whether a <= b. ONNX LessOrEqual-16."""

    since = 12
    function = staticmethod(torch.le)


@dataclass(frozen=True)
class _Logic(Op, abstract=True):
    """y = function(a, b) of booleans, broadcast as numpy does."""

    channels = ChannelKind.ELEMENTWISE

    function: ClassVar[Callable[..., Any]]

    def run(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = type(self).function(a, b)
        return made

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (np.array([[True, False]]), np.array([[True], [False]])))


class And(_Logic):
    """y = a and b. ONNX And-7."""

    since = 7
    function = staticmethod(torch.logical_and)


class Or(_Logic):
    """y = a or b. ONNX Or-7."""

    since = 7
    function = staticmethod(torch.logical_or)


class Xor(_Logic):
    """y = either a or b. ONNX Xor-7."""

    since = 7
    function = staticmethod(torch.logical_xor)


@dataclass(frozen=True)
class Where(Op):
    """y = x where the condition holds, else z, all broadcast as numpy does. ONNX Where-16."""

    channels = ChannelKind.ELEMENTWISE
    since = 9

    def run(self, condition: torch.Tensor, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return torch.where(condition, x, z)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (np.array([[True], [False]]), sample(2, 3), np.array(0.5, np.float32)))
        yield Example(cls(), (np.array([True, False]), np.array([1, 2], np.int64), np.array([3, 4], np.int64)))

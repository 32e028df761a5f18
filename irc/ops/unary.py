"""Elementwise functions of one tensor: arithmetic, rounding, exponentials, trigonometry and tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from irc.op import ChannelKind, Example, Op, Quant, QuantKind
from irc.ops.tensors import sample, wide
from irc.types import Array


@dataclass(frozen=True)
class _Unary(Op, abstract=True):
    """y = function(x) for each element; `low` and `high` bound the example's inputs."""

    channels = ChannelKind.ELEMENTWISE

    function: ClassVar[Callable[..., Any]]
    low: ClassVar[float] = -2.0
    high: ClassVar[float] = 2.0

    def run(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = type(self).function(x)
        return made

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(3, 4, low=cls.low, high=cls.high),))


class Abs(_Unary):
    """y = |x|. ONNX Abs-13."""

    since = 6
    function = staticmethod(torch.abs)


class Neg(_Unary):
    """y = -x. ONNX Neg-13."""

    since = 6
    function = staticmethod(torch.neg)


class Sign(_Unary):
    """y = -1, 0 or 1, as x is negative, zero or positive. ONNX Sign-13."""

    since = 9
    function = staticmethod(torch.sign)


class Reciprocal(_Unary):
    """y = 1 / x. ONNX Reciprocal-13."""

    since = 6
    function = staticmethod(torch.reciprocal)


class Sqrt(_Unary):
    """y = the square root of x. ONNX Sqrt-13."""

    since = 6
    function = staticmethod(torch.sqrt)
    low = 0.0


class Exp(_Unary):
    """y = e^x. ONNX Exp-13."""

    since = 6
    function = staticmethod(torch.exp)


class Log(_Unary):
    """y = the natural logarithm of x. ONNX Log-13."""

    since = 6
    function = staticmethod(torch.log)
    low = 0.1


class Erf(_Unary):
    """y = the Gauss error function of x. ONNX Erf-13."""

    since = 9
    function = staticmethod(torch.erf)


class Floor(_Unary):
    """y = the largest integer not above x. ONNX Floor-13."""

    since = 6
    function = staticmethod(torch.floor)


class Ceil(_Unary):
    """y = the smallest integer not below x. ONNX Ceil-13."""

    since = 6
    function = staticmethod(torch.ceil)


class Round(_Unary):
    """y = the nearest integer, halves to the even one. ONNX Round-22."""

    since = 11
    function = staticmethod(torch.round)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (np.arange(-10, 11, dtype=np.float32) / 4,))


class Sin(_Unary):
    """y = sin(x). ONNX Sin-22."""

    since = 7
    function = staticmethod(torch.sin)


class Cos(_Unary):
    """y = cos(x). ONNX Cos-22."""

    since = 7
    function = staticmethod(torch.cos)


class Tan(_Unary):
    """y = tan(x). ONNX Tan-22."""

    since = 7
    function = staticmethod(torch.tan)
    low, high = -1.0, 1.0


class Asin(_Unary):
    """y = arcsin(x). ONNX Asin-22."""

    since = 7
    function = staticmethod(torch.asin)
    low, high = -1.0, 1.0


class Acos(_Unary):
    """y = arccos(x). ONNX Acos-22."""

    since = 7
    function = staticmethod(torch.acos)
    low, high = -1.0, 1.0


class Atan(_Unary):
    """y = arctan(x). ONNX Atan-22."""

    since = 7
    function = staticmethod(torch.atan)


class Sinh(_Unary):
    """y = sinh(x). ONNX Sinh-22."""

    since = 9
    function = staticmethod(torch.sinh)


class Cosh(_Unary):
    """y = cosh(x). ONNX Cosh-22."""

    since = 9
    function = staticmethod(torch.cosh)


class Tanh(_Unary):
    """y = tanh(x). ONNX Tanh-13."""

    since = 6
    function = staticmethod(torch.tanh)

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.ARITHMETIC)


class Asinh(_Unary):
    """y = arsinh(x). ONNX Asinh-22."""

    since = 9
    function = staticmethod(torch.asinh)


class Acosh(_Unary):
    """y = arcosh(x). ONNX Acosh-22."""

    since = 9
    function = staticmethod(torch.acosh)
    low, high = 1.0, 4.0


class Atanh(_Unary):
    """y = artanh(x). ONNX Atanh-22."""

    since = 9
    function = staticmethod(torch.atanh)
    low, high = -0.9, 0.9


class Not(_Unary):
    """y = not x, of booleans. ONNX Not-1."""

    since = 1
    function = staticmethod(torch.logical_not)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (np.array([True, False]),))


class BitwiseNot(_Unary):
    """y = the complement of each bit of x. ONNX BitwiseNot-18."""

    since = 18

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return torch.bitwise_not(wide(x)).to(x.dtype)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (np.array([0, 5, -9], np.int32),))
        yield Example(cls(), (np.array([0, 5, 200], np.uint8),))
        yield Example(cls(), (np.array([0, 5, 60000], np.uint16),))


def _specials() -> Array:
    return np.array([[1.0, np.nan, np.inf], [-np.inf, 0.0, -1.0]], np.float32)


class IsNaN(_Unary):
    """y = whether x is not a number. ONNX IsNaN-20."""

    since = 9
    function = staticmethod(torch.isnan)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (_specials(),))


@dataclass(frozen=True)
class IsInf(Op):
    """y = whether x is an infinity of a sign that is looked for. ONNX IsInf-20."""

    channels = ChannelKind.ELEMENTWISE
    since = 10

    detect_negative: int = 1
    detect_positive: int = 1

    def run(self, x: torch.Tensor) -> torch.Tensor:
        found = torch.isinf(x)
        if not self.detect_negative:
            found = found & (x > 0)
        return found if self.detect_positive else found & (x < 0)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (_specials(),))
        yield Example(cls(detect_negative=0), (_specials(),))
        yield Example(cls(detect_positive=0), (_specials(),))

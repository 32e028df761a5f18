"""Elementwise arithmetic of two or more tensors, broadcast as numpy does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch

from irc.op import ChannelKind, Example, Op, Quant, QuantKind
from irc.ops.tensors import sample, wide


def _ring(x: torch.Tensor) -> torch.Tensor:
    """x in a dtype that sums and products are right in after they are cut to the dtype of x."""
    if x.dtype is torch.uint64:
        return x.view(torch.int64)
    return wide(x)


def _back(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if dtype is torch.uint64 and x.dtype is torch.int64:
        return x.view(dtype)
    return x.to(dtype)


@dataclass(frozen=True)
class _Arithmetic(Op, abstract=True):
    """An operator of two tensors that may be integer."""

    channels = ChannelKind.ELEMENTWISE

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.ARITHMETIC, data=(0, 1))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(2, 3, 4), sample(3, 1, low=1)))
        yield Example(cls(), (sample(3, 1), np.array(1.5, np.float32)))
        yield Example(cls(), (np.array([-7, 7, 9], np.int32), np.array([2, 2, -4], np.int32)))


class Add(_Arithmetic):
    """y = a + b. ONNX Add-14."""

    since = 7

    def run(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return _back(_ring(a) + _ring(b), a.dtype)


class Sub(_Arithmetic):
    """y = a - b. ONNX Sub-14."""

    since = 7

    def run(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return _back(_ring(a) - _ring(b), a.dtype)


class Mul(_Arithmetic):
    """y = a * b. ONNX Mul-14."""

    since = 7

    def run(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return _back(_ring(a) * _ring(b), a.dtype)


class Div(_Arithmetic):
    """y = a / b, of integers cut towards zero, and cut to their bits: the smallest over -1 is itself. ONNX Div-14."""

    since = 7

    def run(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if a.is_floating_point():
            return a / b
        dividend, divisor = wide(a), wide(b)
        traps = (divisor == -1) & (dividend == torch.iinfo(dividend.dtype).min)  # the processor ends the process
        return torch.div(dividend, torch.where(traps, 1, divisor), rounding_mode="trunc").to(a.dtype)


@dataclass(frozen=True)
class Pow(Op):
    """y = a^b, in the dtype of a. ONNX Pow-15."""

    channels = ChannelKind.ELEMENTWISE
    since = 7

    def run(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        base, exponent = wide(a), wide(b)
        if not a.is_floating_point() and (b.is_floating_point() or bool((exponent < 0).any())):
            base = base.double()  # torch refuses integers to negative integer powers
        return torch.pow(base, exponent).to(a.dtype)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(2, 3, low=0.1), sample(3)))
        yield Example(cls(), (sample(2, 3), np.array(2, np.float32)))
        yield Example(cls(), (sample(2, 3), np.array([2, 3, 0], np.int64)))
        yield Example(cls(), (np.array([2, 3], np.int32), np.array([3, 2], np.int32)))


@dataclass(frozen=True)
class Mod(Op):
    """The remainder of a / b, with the sign of b, or of a if `fmod`. ONNX Mod-13."""

    channels = ChannelKind.ELEMENTWISE
    since = 10

    fmod: int = 0

    def run(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        remainder = torch.fmod if self.fmod else torch.remainder
        return remainder(wide(a), wide(b)).to(a.dtype)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        a, b = np.array([-7, 7, -4, 9], np.int32), np.array([3, -3, 2, 5], np.int32)
        yield Example(cls(), (a, b))
        yield Example(cls(fmod=1), (a, b))
        yield Example(cls(fmod=1), (a.astype(np.float32), b.astype(np.float32)))


@dataclass(frozen=True)
class BitShift(Op):
    """a shifted by b bits; to the right, negative numbers keep their sign. ONNX BitShift-28."""

    channels = ChannelKind.ELEMENTWISE
    since = 11

    direction: str

    def run(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        bits = 8 * a.element_size()
        value, count = wide(a), wide(b)
        # a shift by the width or more leaves nothing but the sign in ONNX, and is undefined in torch
        within = count.clamp(max=bits - 1)
        if self.direction == "LEFT":
            return torch.where(count < bits, torch.bitwise_left_shift(value, within), 0).to(a.dtype)
        nothing = torch.where(value < 0, -1, 0).to(value.dtype)
        return torch.where(count < bits, torch.bitwise_right_shift(value, within), nothing).to(a.dtype)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        for direction in ("LEFT", "RIGHT"):
            for dtype in (np.uint8, np.uint32):
                yield Example(cls(direction), (np.array([16, 4, 201], dtype), np.array([1, 2, 3], dtype)))


@dataclass(frozen=True)
class _Bitwise(Op, abstract=True):
    """An operator on the bits of two integer tensors."""

    channels = ChannelKind.ELEMENTWISE

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (np.array([[12, -5, 7]], np.int32), np.array([[10], [3]], np.int32)))
        yield Example(cls(), (np.array([12, 200, 7], np.uint8), np.array([10, 3, 255], np.uint8)))


class BitwiseAnd(_Bitwise):
    """y = a and b, bit by bit. ONNX BitwiseAnd-18."""

    since = 18

    def run(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.bitwise_and(a, b)


class BitwiseOr(_Bitwise):
    """y = a or b, bit by bit. ONNX BitwiseOr-18."""

    since = 18

    def run(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.bitwise_or(a, b)


class BitwiseXor(_Bitwise):
    """y = either a or b, bit by bit. ONNX BitwiseXor-18."""

    since = 18

    def run(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.bitwise_xor(a, b)


@dataclass(frozen=True)
class _Variadic(Op, abstract=True):
    """A symmetric operator of one or more tensors."""

    channels = ChannelKind.ELEMENTWISE

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.ARITHMETIC, variadic=True)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(2, 3),))
        yield Example(cls(), (sample(2, 3), sample(3)))
        yield Example(cls(), (sample(2, 3), sample(2, 1), np.array(0.3, np.float32)))


class Sum(_Variadic):
    """y = the sum of all inputs. ONNX Sum-13."""

    since = 8

    def run(self, *xs: torch.Tensor) -> torch.Tensor:
        return reduce(torch.add, xs)


class Mean(_Variadic):
    """y = the mean of all inputs. ONNX Mean-13."""

    since = 8

    def run(self, *xs: torch.Tensor) -> torch.Tensor:
        return reduce(torch.add, xs) / len(xs)


class Max(_Variadic):
    """y = the largest input. ONNX Max-13."""

    since = 8

    def run(self, *xs: torch.Tensor) -> torch.Tensor:
        return reduce(torch.maximum, map(wide, xs)).to(xs[0].dtype)


class Min(_Variadic):
    """y = the smallest input. ONNX Min-13."""

    since = 8

    def run(self, *xs: torch.Tensor) -> torch.Tensor:
        return reduce(torch.minimum, map(wide, xs)).to(xs[0].dtype)

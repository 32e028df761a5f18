"""Conversions between dtypes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import torch

from irc.op import ChannelKind, Example, Op
from irc.ops.tensors import FLOAT8, sample, torch_dtype_of_onnx


def cast(x: torch.Tensor, dtype: torch.dtype, saturate: bool = True) -> torch.Tensor:
    """x in another dtype by ONNX's rules.

    Raises
    ------
    NotImplementedError : float8e8m0, whose rounding modes torch does not have.
    """
    if torch.float8_e8m0fnu in (dtype, x.dtype) and x.dtype != dtype:
        raise NotImplementedError("torch does not round to float8e8m0 as ONNX does")
    if dtype not in FLOAT8:
        return x.to(dtype)
    x = x.double() if x.dtype is torch.float64 else x.float()
    largest = torch.finfo(dtype).max
    held = x.clamp(-largest, largest).to(dtype)
    if saturate:
        return held
    outside = torch.inf if dtype is torch.float8_e5m2 else torch.nan
    return torch.where(_rounds_out(x, dtype), torch.sign(x) * outside, held.to(x.dtype)).to(dtype)


def _rounds_out(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Where x, rounded to the mantissa of the float8 dtype as if the exponent had no end, lies beyond its range."""
    limits = torch.finfo(dtype)
    halfway = limits.max + limits.eps * 2.0 ** math.floor(math.log2(limits.max)) / 2
    # the last bit of the largest number is 0 in e4m3fn alone, so that there a tie goes down to it, else up
    return x.abs() > halfway if dtype is torch.float8_e4m3fn else x.abs() >= halfway


@dataclass(frozen=True)
class Cast(Op):
    """x in the dtype `to` (ONNX's number for it); floats become integers by cutting the fraction off. ONNX Cast-28.

    saturate : numbers beyond the range of a float8 dtype become its largest, else NaN or an infinity
    round_mode : of float8e8m0, which onnxruntime rounds to
    """

    channels = ChannelKind.MOVEMENT
    since = 6

    to: int
    round_mode: str = "up"
    saturate: int = 1

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return cast(x, torch_dtype_of_onnx(self.to), bool(self.saturate))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = sample(3, 4, low=-60, high=60)
        for to in (6, 7, 9, 10, 11, 3):  # int32, int64, bool, float16, float64, int8
            yield Example(cls(to=to), (x,))
        yield Example(cls(to=1), (np.array([True, False]),))
        yield Example(cls(to=3), (np.array([200, -300, 5], np.int32),))
        yield Example(cls(to=17), (100 * x,))  # float8e4m3fn
        yield Example(cls(to=17, saturate=0), (100 * x,))
        yield Example(cls(to=19, saturate=0), (x,))  # float8e5m2


@dataclass(frozen=True)
class CastLike(Op):
    """x in the dtype of another tensor. ONNX CastLike-25."""

    channels = ChannelKind.ELEMENTWISE
    since = 15

    round_mode: str = "up"
    saturate: int = 1

    def run(self, x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return cast(x, like.dtype, bool(self.saturate))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(3, 4, low=-9, high=9), np.zeros(1, np.int32)))
        yield Example(cls(saturate=0), (sample(3, 4, low=-999, high=999), np.zeros(1, ml_dtypes.float8_e4m3fn)))

"""The steps that the float kernels are made of, in numpy with the kernels' roundings.

Arrays are float32 unless stated; numpy's float32 and float64 operations are IEEE and round once each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from irc.ops.int8.contract import fma32
from irc.types import Array

LANES = 16  # of a reduction: IRC_LANES
ROUNDER = np.float32(12582912.0)  # 1.5 * 2^23: x + ROUNDER is x rounded half to even


def f32(x: Any) -> Array:
    """x as a float32 array."""
    return np.asarray(x, np.float32)


def fma(a: Any, b: Any, c: Any) -> Array:
    """fmaf(a, b, c): a * b + c with one rounding."""
    a, b, c = np.broadcast_arrays(f32(a), f32(b), f32(c))
    made: Array = fma32(*(torch.from_numpy(np.ascontiguousarray(v)) for v in (a, b, c))).numpy()
    return made


def larger(x: Any, y: Any) -> Array:
    """irc_max: y if x is NaN."""
    made: Array = np.where(f32(x) > y, x, y)
    return made


def horner(x: Array, *coefficients: float) -> Array:
    """The polynomial, its highest coefficient first, each step fused."""
    total = f32(coefficients[0])
    for c in coefficients[1:]:
        total = fma(total, x, c)
    return total


def limit(x: Any, bound: Any) -> Array:
    """irc_limit: x held in [-bound, bound], NaN kept."""
    x = np.where(bound < f32(x), bound, x)
    return f32(np.where(-bound > x, -bound, x))


def fold(lanes: Array, combine: Callable[[Array, Array], Array]) -> Array:
    """Lane l with lane l + 8, then + 4, + 2, + 1; lanes along the last axis."""
    while lanes.shape[-1] > 1:
        half = lanes.shape[-1] // 2
        lanes = combine(lanes[..., :half], lanes[..., half:])
    return lanes[..., 0]


def reduce_lanes(
    x: Array, start: float, step: Callable[[Array, Array], Array], combine: Callable[[Array, Array], Array]
) -> Array:
    """The reduction of the last axis by 16 lanes, lane l taking elements l, l + 16, ... in turn, then `fold`."""
    lanes = np.full((*x.shape[:-1], LANES), start, np.float32)
    for first in range(0, x.shape[-1], LANES):
        part = x[..., first : first + LANES]
        lanes[..., : part.shape[-1]] = step(lanes[..., : part.shape[-1]], part)
    return fold(lanes, combine)


def lane_sum(x: Array) -> Array:
    """irc_lane_sum over the last axis."""
    return reduce_lanes(x, 0.0, np.add, np.add)


def lane_max(x: Array) -> Array:
    """irc_lane_max over the last axis."""
    return reduce_lanes(x, -np.inf, lambda acc, v: larger(v, acc), larger)


def codes(x: Any, scale: float, zero_point: int) -> Array:
    """irc_code_u8: saturate(round_half_even(x / scale) + zero_point); code 0 of NaN. Output: uint8."""
    ratio = f32(x) / np.float32(scale)
    ratio = np.where(np.isnan(ratio), -np.inf, ratio)
    rounded = np.clip(np.rint(ratio).astype(np.float64) + zero_point, 0, 255)
    return rounded.astype(np.uint8)


def requantize(acc: Any, scale: Any, bias: Any, lo: int, hi: int) -> Array:
    """The contract of the integer ops. acc : exact integers. Output: uint8."""
    return np.clip(np.rint(fma(np.asarray(acc).astype(np.float32), scale, bias)), lo, hi).astype(np.uint8)


def same_bits(a: Array, b: Array) -> None:
    """AssertionError unless all bits are the same, but for those of NaNs."""
    assert a.shape == b.shape, f"{a.shape} is not {b.shape}"
    assert a.dtype == b.dtype, f"{a.dtype} is not {b.dtype}"
    wrong = a != b
    if a.dtype == np.float32:
        bits = [np.ascontiguousarray(v).view(np.uint32) for v in (a, b)]
        wrong = (bits[0] != bits[1]) & ~(np.isnan(a) & np.isnan(b))
    assert not wrong.any(), f"{wrong.sum()} of {wrong.size} differ: {a[wrong][:4]} and {b[wrong][:4]}"

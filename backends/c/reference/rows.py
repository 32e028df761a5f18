"""The kernels of rows.h and reduce.h, over the last axis or (outer, reduced, inner): the same bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from irc.backends.c.reference.arithmetic import f32, fma, lane_max, lane_sum, larger, reduce_lanes, requantize
from irc.backends.c.reference.functions import exp_nonpositive, log
from irc.types import Array

Step = Callable[[Array, Array], Array]


def masked(x: Array, scale: float, mask: Array | None) -> Array:
    """x * scale + mask, the mask broadcast."""
    z = x * np.float32(scale)
    return z if mask is None else z + mask


def softmax(z: Array) -> Array:
    """e^(z - max z) times 1 / their sum, over the last axis."""
    e = exp_nonpositive(z - lane_max(z)[..., None])
    return e * (np.float32(1) / lane_sum(e))[..., None]


def log_softmax(z: Array) -> Array:
    """(z - max z) - ln(sum of e^(z - max z)), over the last axis."""
    centred = z - lane_max(z)[..., None]
    return centred - log(lane_sum(exp_nonpositive(centred)))[..., None]


def _inverse_deviation(x: Array, mean: Array, epsilon: float) -> Array:
    square = reduce_lanes(x - mean[..., None], 0.0, lambda acc, d: fma(d, d, acc), np.add)
    return np.float32(1) / np.sqrt(square / np.float32(x.shape[-1]) + np.float32(epsilon))


def _normalized(x: Array, mean: Array, inverse: Array, scale: Array | None, bias: Array | None) -> Array:
    y = (x - mean[..., None]) * inverse[..., None]
    if scale is not None and bias is not None:
        return fma(y, scale, bias)
    if scale is not None:
        return y * scale
    return y if bias is None else y + bias


def layer_norm(x: Array, scale: Array | None, bias: Array | None, epsilon: float) -> Array:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias, over the last axis."""
    mean = lane_sum(x) / np.float32(x.shape[-1])
    return _normalized(x, mean, _inverse_deviation(x, mean, epsilon), scale, bias)


def rms_norm(x: Array, scale: Array | None, epsilon: float) -> Array:
    """x / sqrt(mean of x^2 + epsilon) * scale, over the last axis."""
    zero = np.zeros(x.shape[:-1], np.float32)
    return _normalized(x, zero, _inverse_deviation(x, zero, epsilon), scale, None)


def _square(acc: Array, x: Array) -> Array:
    return fma(x, x, acc)


def _smaller(x: Array, y: Array) -> Array:
    return np.where(x < y, x, y)


# start, step(acc, x), fold(a, b), finish(acc, count) of irc_reduce_<name>_f32
REDUCTIONS: dict[str, tuple[float, Step, Step, Callable[[Array, np.float32], Array]]] = {
    "sum": (0.0, np.add, np.add, lambda acc, n: acc),
    "mean": (0.0, np.add, np.add, lambda acc, n: acc / n),
    "prod": (1.0, np.multiply, np.multiply, lambda acc, n: acc),
    "max": (-np.inf, lambda acc, x: larger(x, acc), lambda a, b: larger(b, a), lambda acc, n: acc),
    "min": (np.inf, lambda acc, x: _smaller(x, acc), lambda a, b: _smaller(b, a), lambda acc, n: acc),
    "l1": (0.0, lambda acc, x: acc + np.abs(x), np.add, lambda acc, n: acc),
    "l2": (0.0, _square, np.add, lambda acc, n: np.sqrt(acc)),
    "sum_square": (0.0, _square, np.add, lambda acc, n: acc),
    "log_sum": (0.0, np.add, np.add, lambda acc, n: log(acc)),
}


def reduced(name: str, x: Array) -> Array:
    """irc_reduce_<name>_f32 of x (outer, reduced, inner), to (outer, inner)."""
    start, step, fold, finish = REDUCTIONS[name]
    if x.shape[2] == 1:
        return finish(reduce_lanes(x[..., 0], start, step, fold), np.float32(x.shape[1]))[:, None]
    acc = np.full((x.shape[0], x.shape[2]), start, np.float32)
    for r in range(x.shape[1]):
        acc = f32(step(acc, x[:, r]))
    return finish(acc, np.float32(x.shape[1]))


def log_sum_exp(x: Array) -> Array:
    """irc_reduce_log_sum_exp_f32 of x (outer, reduced, inner), to (outer, inner)."""
    largest = np.full((x.shape[0], x.shape[2]), -np.inf, np.float32)
    for r in range(x.shape[1]):
        largest = larger(x[:, r], largest)
    total = np.zeros_like(largest)
    for r in range(x.shape[1]):
        total = total + exp_nonpositive(x[:, r] - largest)
    return np.where(np.isinf(largest), largest, largest + log(total))


def reduce_mean_u8(x: Array, zero_point: int, scale: float, bias: float, lo: int, hi: int) -> Array:
    """QReduceMean of x uint8 (outer, cells, inner), to (outer, inner)."""
    acc = x.astype(np.int64).sum(1) - x.shape[1] * zero_point
    return requantize(acc, scale, bias, lo, hi)

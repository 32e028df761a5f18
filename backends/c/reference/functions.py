"""The functions of irc_math.h and activation.h: float32 in and out, elementwise, the same bits."""

from __future__ import annotations

import numpy as np

from irc.backends.c.reference import functions_f64 as wide
from irc.backends.c.reference.arithmetic import ROUNDER, f32, fma, horner, limit
from irc.types import Array

LOG2E, LN2_HIGH, LN2_LOW = 1.44269504, 0.693359375, -2.12194440e-4


def _exp_core(held: Array, rounder: np.float32) -> tuple[Array, Array]:
    """e^r and n of held = n ln 2 + r."""
    n = fma(held, LOG2E, rounder) - rounder
    r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, held))
    tail = horner(r, 0.00138138806, 0.0083690636, 0.0416684218, 0.166665178, 0.49999993)
    return np.float32(1) + fma(r * r, tail, r), n


def _power_of_2(n: Array) -> Array:
    return np.ldexp(np.float32(1), np.nan_to_num(n).astype(np.int32))


def exp(x: Array) -> Array:
    """e^x."""
    power, n = _exp_core(np.clip(x, np.float32(-104), np.float32(89)), ROUNDER)
    half = np.floor(n / 2)
    return power * _power_of_2(half) * _power_of_2(n - half)


def exp_nonpositive(x: Array) -> Array:
    """e^x for x <= 0, subnormal results 0."""
    least = np.float32(-87.3365402)
    below = x < least
    power, n = _exp_core(np.where(below, least, x), ROUNDER + np.float32(127))
    return np.where(below, np.float32(0), power * _power_of_2(n))


def log(x: Array) -> Array:
    """ln(x)."""
    tiny = x < np.float32(1.17549435e-38)
    offset = np.uint32(0x3F3504F3)
    u = np.where(tiny, x * np.float32(8388608), x).view(np.uint32) + (np.uint32(0x3F800000) - offset)
    f = ((u & np.uint32(0x007FFFFF)) + offset).view(np.float32) - np.float32(1)
    e = (u >> np.uint32(23)).astype(np.float32) - np.where(tiny, np.float32(150), np.float32(127))
    square = f * f
    p = horner(
        f, 0.0674663900, -0.116756601, 0.118881671, -0.124055880, 0.142195516, -0.166679959, 0.200021187,
        -0.250000096, 0.333333126,
    )  # fmt: skip
    y = fma(e, LN2_HIGH, f + fma(-0.5, square, fma(e, LN2_LOW, square * f * p)))
    special = np.where(x == 0, -np.inf, np.where(x > 0, x, np.nan))
    return f32(np.where((x > 0) & (x < np.inf), y, special))


def erf(x: Array) -> Array:
    """The Gauss error function."""
    held = limit(x, np.float32(3.9195))
    t = held * held
    p = horner(t, 2.05064705e-6, 2.84879248e-4, 3.76438805e-3, 5.27450038e-2, 0.190374546, 1.12837915)
    q = horner(t, 3.80973390e-5, 1.16228279e-3, 1.49667333e-2, 0.114096374, 0.502047792, 1.0)
    return limit(held * p, q) / q


def tanh(x: Array) -> Array:
    """The hyperbolic tangent."""
    held = limit(x, np.float32(9.011))
    t = held * held
    p = horner(t, -1.22245826e-11, 3.06136180e-8, 2.80193828e-5, 3.86891942e-3, 0.136803874, 1.0)
    q = horner(t, 1.28819875e-6, 3.93967383e-4, 2.72480047e-2, 0.470137195, 1.0)
    return limit(held * p, q) / q


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x)."""
    e = exp(-np.abs(x))
    return np.where(x < 0, e, np.float32(1)) / (np.float32(1) + e)


def gelu(x: Array) -> Array:
    """x / 2 * (1 + erf(x / sqrt 2))."""
    return np.float32(0.5) * x * (np.float32(1) + erf(x * np.float32(0.707106781)))


def gelu_tanh(x: Array) -> Array:
    """The tanh form of gelu."""
    cubic = fma(np.float32(0.044715) * x * x, x, x)
    return np.float32(0.5) * x * (np.float32(1) + tanh(np.float32(0.797884561) * cubic))


def silu(x: Array) -> Array:
    """x * sigmoid(x)."""
    return x * sigmoid(x)


def hard_swish(x: Array) -> Array:
    """x * max(0, min(1, x / 6 + 1/2))."""
    return x * np.clip(x / np.float32(6) + np.float32(0.5), np.float32(0), np.float32(1))


def mish(x: Array) -> Array:
    """x * tanh(ln(1 + e^x)), through float64."""
    y = x.astype(np.float64) * wide.tanh(wide.softplus(x.astype(np.float64)))
    return f32(np.where(x == -np.inf, -0.0, y))

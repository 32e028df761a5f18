"""The functions of irc_math_f64.h: the float64 steps, and their results in float32, the same bits."""

from __future__ import annotations

import numpy as np

from irc.types import Array

LN2 = 0.69314718055994530942
HALF_PI = 1.57079632679489661923
ROUNDER = 6755399441055744.0  # 1.5 * 2^52
SQRT_HALF = 0x3FE6A09E667F3BCD


def _expm1_series(r: Array) -> Array:
    p = 1.0 + r * (1.0 / 11.0)
    for k in range(10, 1, -1):
        p = 1.0 + r * (1.0 / k) * p
    return r * p


def exp(x: Array) -> Array:
    """e^x, held at e^-300 and e^300."""
    held = np.clip(x, -300.0, 300.0)
    n = held * (1.0 / LN2) + ROUNDER - ROUNDER
    r = held - n * LN2
    return (1.0 + _expm1_series(r)) * np.ldexp(1.0, np.nan_to_num(n).astype(np.int32))


def expm1(x: Array) -> Array:
    """e^x - 1."""
    return np.where(np.abs(x) > 0.35, exp(x) - 1.0, _expm1_series(np.clip(x, -0.35, 0.35)))


def _artanh_series(s: Array) -> Array:
    t = s * s
    p = 1.0 / 13.0 + t * (1.0 / 15.0)
    for k in (11, 9, 7, 5, 3):
        p = 1.0 / k + t * p
    made: Array = 2.0 * s + 2.0 * s * t * p
    return made


def log(x: Array) -> Array:
    """ln(x)."""
    offset = np.uint64(SQRT_HALF)
    u = np.asarray(x, np.float64).view(np.uint64) + (np.uint64(0x3FF0000000000000) - offset)
    m = ((u & np.uint64(0x000FFFFFFFFFFFFF)) + offset).view(np.float64)
    e = (u >> np.uint64(52)).astype(np.float64) - 1023.0
    y = e * LN2 + _artanh_series((m - 1.0) / (m + 1.0))
    special = np.where(x == 0, -np.inf, np.where(x > 0, x, np.nan))
    return np.where((x > 0) & (x < np.inf), y, special)


def log1p(x: Array) -> Array:
    """ln(1 + x)."""
    held = np.clip(x, -0.25, 0.25)
    return np.where(np.abs(x) > 0.25, log(1.0 + x), _artanh_series(held / (2.0 + held)))


def softplus(x: Array) -> Array:
    """ln(1 + e^x)."""
    return np.where(x > 0, x, 0.0 * x) + log1p(exp(-np.abs(x)))


def tanh(x: Array) -> Array:
    """The hyperbolic tangent."""
    e = expm1(2.0 * np.clip(x, -20.0, 20.0))
    return e / (e + 2.0)


def atan(x: Array) -> Array:
    """The arcus tangent."""
    a = np.abs(x)
    inner = np.where(a > 1.0, 1.0 / a, a)
    half = inner / (1.0 + np.sqrt(1.0 + inner * inner))
    s = half / (1.0 + np.sqrt(1.0 + half * half))
    t = s * s
    p = 1.0 / 13.0 - t * (1.0 / 15.0)
    for k in (11, 9, 7, 5, 3):
        p = 1.0 / k - t * p
    angle = 4.0 * (s - s * t * p)
    y = np.where(a > 1.0, HALF_PI - angle, angle)
    return np.where(x < 0, -y, y)


def sin_cos(x: Array) -> tuple[Array, Array]:
    """sin(x) and cos(x) for |x| < 2^20."""
    n = x * (1.0 / HALF_PI) + ROUNDER - ROUNDER
    r = (x - n * 1.5707963109016418) - n * 1.5893254773528197e-08
    t = r * r
    s, c = 1.0 - t * (1.0 / 156.0), 1.0 - t * (1.0 / 182.0)
    for divisor in (110.0, 72.0, 42.0, 20.0, 6.0):
        s = 1.0 - t * (1.0 / divisor) * s
    for divisor in (132.0, 90.0, 56.0, 30.0, 12.0):
        c = 1.0 - t * (1.0 / divisor) * c
    s, c = r * s, 1.0 - t * (1.0 / 2.0) * c
    quadrant = n.astype(np.int64) & 3
    sine, cosine = np.where(quadrant & 1, c, s), np.where(quadrant & 1, s, c)
    return np.where(quadrant & 2, -sine, sine), np.where((quadrant + 1) & 2, -cosine, cosine)

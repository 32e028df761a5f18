"""The four ways to choose a range do what their formulas say, on distributions whose best range is known."""

from __future__ import annotations

import numpy as np
import pytest

from irc.analysis.ranges import choose_range, entropy_range, mse_range, percentile_range
from irc.execution.statistics import Histogram
from irc.types import Array

LEVELS = 256


def histogram(x: Array, bins: int = 2048) -> Histogram:
    counts, _ = np.histogram(x, bins, (x.min(), x.max()))
    return Histogram(float(x.min()), float(x.max()), counts.astype(np.float64))


def error(x: Array, low: float, high: float, levels: int, symmetric: bool = False) -> float:
    """Mean square error of really quantizing x."""
    if symmetric:
        step, zero, least, most = max(-low, high) * 2 / (levels - 1), 0.0, -(levels // 2), levels // 2
    else:
        low, high = min(low, 0.0), max(high, 0.0)
        step = (high - low) / (levels - 1)
        zero, least, most = round(-low / step), 0, levels - 1
    codes = np.clip(np.rint(x / step) + zero, least, most)
    return float(np.mean(((codes - zero) * step - x) ** 2))


HEAVY = np.random.default_rng(0).standard_t(3, 200_000)
NORMAL = np.random.default_rng(0).standard_normal(200_000)
HALF = np.maximum(HEAVY, 0)


def test_min_max_is_all() -> None:
    assert choose_range(histogram(NORMAL), "min-max", 99, LEVELS) == (NORMAL.min(), NORMAL.max())


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9])
def test_percentile_of_a_uniform_distribution(percentile: float) -> None:
    x = np.linspace(-1, 3, 400_001)
    low, high = percentile_range(histogram(x), percentile)
    cut = 4 * (1 - percentile / 100) / 2
    width = 4 / 2048
    assert -1 + cut - width <= low <= -1 + cut + width
    assert 3 - cut - width <= high <= 3 - cut + width


def test_percentile_never_leaves_out_more_than_asked() -> None:
    for percentile in (95.0, 99.0, 99.99):
        low, high = percentile_range(histogram(HEAVY), percentile)
        assert np.mean((low <= HEAVY) & (high >= HEAVY)) >= percentile / 100 - 1e-9


def test_percentile_100_is_all() -> None:
    low, high = percentile_range(histogram(NORMAL), 100)
    np.testing.assert_allclose((low, high), (NORMAL.min(), NORMAL.max()))


def test_percentile_of_a_relu_starts_at_0() -> None:
    low, high = percentile_range(histogram(HALF), 99.9)
    assert low == 0
    assert 0 < high < HALF.max()


@pytest.mark.parametrize("levels", [16, 256])
@pytest.mark.parametrize("x", [HEAVY, NORMAL, HALF], ids=["heavy", "normal", "half"])
def test_mse_is_the_best_of_the_magnitudes_to_clip_at(x: Array, levels: int) -> None:
    low, high = mse_range(histogram(x), levels)
    chosen = error(x, low, high, levels)
    largest = np.abs(x).max()
    tried = [
        error(x, max(x.min(), -t), min(x.max(), t), levels) for t in largest * np.linspace(0.13, 1, 60)
    ]
    # the histogram's model of the error (step^2 / 12, 2048 bins) against the error itself
    assert chosen <= 1.05 * min(tried)


def test_mse_of_a_normal_distribution_at_4_bits_is_the_known_optimum() -> None:
    """The best uniform quantizer of N(0, 1) with 16 levels clips near 2.7 sigma (Max 1960, step 0.335)."""
    low, high = mse_range(histogram(NORMAL), 16)
    assert 2.3 < high < 3.0
    assert 2.3 < -low < 3.0


def test_mse_knows_that_a_symmetric_format_wastes_half_on_a_relu() -> None:
    free, symmetric = mse_range(histogram(HALF), 16)[1], mse_range(histogram(HALF), 16, symmetric=True)[1]
    assert symmetric < free
    assert error(HALF, 0, symmetric, 15, True) <= 1.05 * error(HALF, 0, free, 15, True)


def test_entropy_clips_the_tail_of_a_heavy_distribution_but_not_its_body() -> None:
    low, high = entropy_range(histogram(HEAVY), LEVELS)
    assert high < 0.5 * HEAVY.max()
    assert -low < 0.5 * -HEAVY.min()
    kept = np.mean((low <= HEAVY) & (high >= HEAVY))
    assert kept > 0.99


def test_entropy_keeps_all_of_a_uniform_distribution() -> None:
    x = np.linspace(-2, 2, 400_001)
    low, high = entropy_range(histogram(x), LEVELS)
    np.testing.assert_allclose((low, high), (-2, 2))


@pytest.mark.parametrize("method", ["percentile", "entropy", "mse"])
def test_a_range_lies_within_what_was_seen(method: str) -> None:
    for x in (HEAVY, HALF, HALF + 5, -HALF - 5, np.random.default_rng(1).exponential(size=5000)):
        low, high = choose_range(histogram(x), method, 99.9, LEVELS)
        assert x.min() - 1e-9 <= low < high <= x.max() + 1e-9

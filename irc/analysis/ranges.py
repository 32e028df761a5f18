"""Which range of a value to spend the integer codes on, from its histogram.

    min-max      [low, high]: nothing clipped
    percentile   a share of the elements is left out, half at each end
    entropy      least Kullback-Leibler divergence between the values and the quantized values (Migacz 2017, TensorRT)
    mse          least expected square error: rounding inside plus clipping outside
"""

from __future__ import annotations

import numpy as np

from irc.execution.statistics import Histogram
from irc.types import Array

METHODS = ("min-max", "percentile", "entropy", "mse")
_CANDIDATES = 128  # thresholds that entropy and mse try, evenly spread


def percentile_range(histogram: Histogram, percentile: float) -> tuple[float, float]:
    """The range that holds `percentile` per cent of the elements, as much left out below as above."""
    total = histogram.counts.sum()
    cut = total * (1 - percentile / 100) / 2
    cumulative = np.cumsum(histogram.counts)
    edges = np.linspace(histogram.low, histogram.high, len(histogram.counts) + 1)
    first = int(np.searchsorted(cumulative, cut, side="right"))
    last = int(np.searchsorted(cumulative, total - cut, side="left"))
    return float(edges[min(first, len(edges) - 2)]), float(edges[min(last + 1, len(edges) - 1)])


def _thresholds(histogram: Histogram) -> Array:
    """Magnitudes at which to clip, from a little to nothing clipped."""
    largest = max(abs(histogram.low), abs(histogram.high))
    return largest * np.arange(_CANDIDATES // 8, _CANDIDATES + 1) / _CANDIDATES


def mse_range(histogram: Histogram, levels: int, symmetric: bool = False) -> tuple[float, float]:
    """The range, clipped at one magnitude on both sides, that has the least expected square error at `levels` codes.

    symmetric : the codes spread over [-largest, largest] even where the values are of one sign

    What stands in a bin that ends at 0, as behind a Relu, is taken for zeros, which every range holds exactly.
    """
    x, weight = histogram.centers, histogram.counts
    rounded = np.ones(len(x))
    rounded[:1], rounded[-1:] = histogram.low != 0, histogram.high != 0
    best, chosen = float("inf"), (histogram.low, histogram.high)
    for threshold in _thresholds(histogram):
        low, high = max(histogram.low, -threshold), min(histogram.high, threshold)
        step = (2 * max(high, -low) if symmetric else max(high, 0.0) - min(low, 0.0)) / (levels - 1)
        outside = np.maximum(low - x, 0) + np.maximum(x - high, 0)
        inside = (outside == 0) * rounded * step**2 / 12
        error = float((weight * (outside**2 + inside)).sum())
        if error < best:
            best, chosen = error, (low, high)
    return chosen


def entropy_range(histogram: Histogram, levels: int) -> tuple[float, float]:
    """The range, clipped at one magnitude on both sides, whose quantized distribution diverges least from the values'.

    The clipped elements are counted in the outermost bins; a code's mass is spread over the bins that were not empty.
    """
    counts, x = histogram.counts, histogram.centers
    best, chosen = float("inf"), (histogram.low, histogram.high)
    for threshold in _thresholds(histogram):
        low, high = max(histogram.low, -threshold), min(histogram.high, threshold)
        kept = np.flatnonzero((x >= low) & (x <= high))
        if len(kept) < 2:
            continue
        inner = counts[kept[0] : kept[-1] + 1]
        reference = inner.copy()
        reference[0] += counts[: kept[0]].sum()
        reference[-1] += counts[kept[-1] + 1 :].sum()
        code = (np.arange(len(inner)) * min(levels, len(inner))) // len(inner)
        filled = inner > 0
        mass = np.bincount(code, inner)
        share = np.bincount(code, filled)
        spread = np.where(filled, (mass / np.maximum(share, 1))[code], 0.0)
        divergence = _divergence(reference, spread)
        if divergence < best:
            best, chosen = divergence, (low, high)
    return chosen


def _divergence(p: Array, q: Array) -> float:
    """Kullback-Leibler divergence of q from p, both normalized; bins where only p has mass get a little."""
    p, q = p / max(p.sum(), 1e-30), q / max(q.sum(), 1e-30)
    used = p > 0
    return float((p[used] * np.log(p[used] / np.maximum(q[used], 1e-10))).sum())


def choose_range(
    histogram: Histogram, method: str, percentile: float, levels: int, symmetric: bool = False
) -> tuple[float, float]:
    """The range that `method` chooses for `levels` codes."""
    match method:
        case "percentile":
            return percentile_range(histogram, percentile)
        case "mse":
            return mse_range(histogram, levels, symmetric)
        case "entropy":
            return entropy_range(histogram, levels)
    return histogram.low, histogram.high

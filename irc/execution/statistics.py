"""Statistics of values over a stream of samples, in memory that does not grow with the stream.

samples --collect_ranges--> {value: Range} --collect_histograms--> {value: Histogram}
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from irc.execution.executable import Executable
from irc.execution.samples import Sample
from irc.graph import Graph, Value
from irc.types import Array

BINS = 2048


@dataclass
class Range:
    """Smallest and largest element seen."""

    low: float = float("inf")
    high: float = float("-inf")

    @property
    def is_finite(self) -> bool:
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    @property
    def largest(self) -> float:
        """Largest magnitude seen."""
        return max(abs(self.low), abs(self.high))


@dataclass
class Histogram:
    """How many elements fell into each of `BINS` equal bins between `low` and `high`."""

    low: float
    high: float
    counts: Array = field(default_factory=lambda: np.zeros(BINS, np.float64))

    @property
    def centers(self) -> Array:
        width = (self.high - self.low) / len(self.counts)
        return self.low + width * (np.arange(len(self.counts)) + 0.5)


def collect_ranges(graph: Graph, values: Collection[Value], samples: Iterable[Sample]) -> dict[Value, Range]:
    """The range of each value; a value that no sample reaches has none. NaN makes a range that is not finite."""
    found: dict[Value, Range] = {}

    def note(value: Value, x: torch.Tensor) -> None:
        if x.numel():
            low, high = (float(v) for v in torch.aminmax(x))
            seen = found.setdefault(value, Range())
            seen.low, seen.high = (float(np.minimum(seen.low, low)), float(np.maximum(seen.high, high)))

    run = Executable(graph)
    for sample in samples:
        run.observe(sample, values, note)
    return found


def collect_histograms(
    graph: Graph, ranges: Mapping[Value, Range], samples: Iterable[Sample]
) -> dict[Value, Histogram]:
    """A histogram over the range of each value whose range is finite and not a point."""
    found = {v: Histogram(r.low, r.high) for v, r in ranges.items() if r.is_finite and r.low < r.high}

    def note(value: Value, x: torch.Tensor) -> None:
        seen = found[value]
        seen.counts += torch.histc(x.float(), BINS, seen.low, seen.high).numpy()

    run = Executable(graph)
    for sample in samples:
        run.observe(sample, found.keys(), note)
    return found

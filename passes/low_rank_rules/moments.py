"""What the sites read in the calibration samples, as second moments.

    S = E[x x^T]              where a layer has no bias to move
    S = E[x x^T] - m m^T      where it has one, to which (W - L F) m is added: m = E[x] then loses nothing

Samples that do not differ say nothing of which directions matter: S, but for rounding, is 0. Such a site has no moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from irc.analysis.low_rank import shrunk
from irc.graph import Graph
from irc.passes.context import Context
from irc.passes.low_rank_rules.sites import Site
from irc.passes.quantized_contractions import stream_inputs

_BUDGET = 256 << 20  # bytes of second moments held at once; more sites than fit take another stream over the samples
_ROUNDING = 1e-6  # of E[x^T x]: sums of float32 products are known to about so much


class _Watch:
    """One value that sites read, and the sums of x x^T and x over it; sites that read it alike share it."""

    def __init__(self, data: str, axis: int, features: int) -> None:
        self.data = data
        self.axis = axis
        self.features = features
        self.sum = torch.zeros(features, features, dtype=torch.double)
        self.total = torch.zeros(features, dtype=torch.double)
        self.count = 0

    def add(self, x: torch.Tensor) -> None:
        """Count one sample's value."""
        if x.numel():
            seen = x.movedim(self.axis if x.ndim > 1 else 0, 0).reshape(self.features, -1).float()
            self.sum += (seen @ seen.T).double()
            self.total += seen.sum(1).double()
            self.count += seen.shape[1]


def watched(sites: Sequence[Site], graph: Graph, context: Context, title: str) -> Iterator[list[Site]]:
    """The sites with their moments, as many at a time as fit the budget; drop the moments before going on."""
    for batch in _batches(sites):
        watches: dict[tuple[str, int, int], _Watch] = {}
        read = []
        for site in batch:
            keys = [(v.name, axis, site.rows.shape[1]) for v, axis in site.data]
            read.append([watches.setdefault(key, _Watch(*key)) for key in keys])
        stream_inputs(list(watches.values()), graph, context, title)
        for site, seen in zip(batch, read, strict=True):
            _note(site, seen)
        yield batch


def _note(site: Site, seen: Sequence[_Watch]) -> None:
    """Give the site its moment and means; neither if a node of it was not reached, or saw what is not finite."""
    moment = np.sum([w.sum.numpy() for w in seen], axis=0)
    if not all(w.count for w in seen) or not np.isfinite(moment).all():
        return
    whole = np.trace(moment)
    if site.has_bias:
        site.means = [w.total.numpy() / w.count for w in seen]
        moment -= sum(w.count * np.outer(m, m) for w, m in zip(seen, site.means, strict=True))
    if np.trace(moment) > _ROUNDING * whole:
        count = sum(w.count for w in seen)
        site.moment = shrunk(moment / count, count)


def _batches(sites: Sequence[Site]) -> Iterator[list[Site]]:
    batch: list[Site] = []
    held = 0
    for site in sites:
        size = 8 * site.rows.shape[1] ** 2
        if batch and held + size > _BUDGET:
            yield batch
            batch, held = [], 0
        batch.append(site)
        held += size
    if batch:
        yield batch

"""Weight sharing: every element of a weight becomes one of a few."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from irc.analysis.weights import Weight, chosen, is_matrix, unmatched, weights_of
from irc.encoding import bits_of
from irc.errors import OptionError
from irc.graph import Graph
from irc.passes.base import LOSSY, Pass, option
from irc.passes.context import Context
from irc.types import Array

_MANY_ZEROS = 0.25  # of the elements: a bitmap then costs little, or less than nothing, and spares a centroid
_FITTED = 1 << 16  # elements that k-means sees of a larger weight; all are then assigned


@dataclass(frozen=True)
class ClusterWeights(Pass):
    """Replace every element of a weight by the nearest of 2^bits centroids, found by k-means.

        W  =>  book[codes]      book of 2^bits numbers, a weight or a channel

    The numbers are the codebook: files hold codes of `bits` bits and the book (`irc.encoding`), of which an ONNX
    file's own nodes make the weight again when a runtime loads it; `fine-tune` and `distill` train the centroids
    (keep_structure), each with the sum of its elements' gradients. Zeros of pruned weights stay zero.

    Weights are those of convolutions, matrix products and recurrent layers, and with embeddings tables from which
    Gather takes rows. Lossy. Source: Han et al. 2016, "Deep Compression", section 3, for sharing, its linear and
    density-based initialization; Lloyd 1982 for k-means, by scikit-learn.
    """

    numerics = LOSSY
    after = ("fold-batch-norm", "prune-channels", "low-rank", "prune-weights")
    before = ("insert-fake-quant", "quantize", "lower-to-integer")

    bits: int = option(4, help="of a code, 2 to 8", range=(2, 8))
    per: str = option("layer", help="what has a codebook of its own", choices=("layer", "channel"))
    init: str = option("linear", help="where centroids start", choices=("linear", "density", "k-means++"))
    embeddings: bool = option(True, help="tables from which Gather takes rows, too")
    skip: tuple[str, ...] = option((), help="patterns of nodes, layers or weights that stay as they are")

    def run(self, graph: Graph, context: Context) -> None:
        from irc.passes.options import check_choices  # which knows this pass

        check_choices(self)
        if not 2 <= self.bits <= 8:
            raise OptionError(f"cluster-weights: bits={self.bits} is none of 2 to 8")
        held = [*weights_of(graph), *(_tables(graph) if self.embeddings else ())]
        weights, left = chosen(held, self.skip)
        for pattern in unmatched(held, self.skip):
            context.note(f"skip: there is no weight '{pattern}'")
        for weight, pattern in left:
            context.decline(weight.nodes[0], f"'{pattern}' is in skip")
        errors = []
        for weight in context.progress(weights, "cluster-weights", len(weights)):
            error = self._cluster(weight, context.seed)
            if error is None:
                finite = np.isfinite(weight.data).all()
                why = "has no more different numbers than centroids" if finite else "holds what is not finite"
                context.decline(weight.nodes[0], f"'{weight.value.name}' {why}")
            else:
                errors.append((error, weight.value.name))
        if errors:
            worst, name = max(errors)
            mean = float(np.mean([error for error, _ in errors]))
            context.note(
                f"{len(errors)} weights have {1 << self.bits} centroids a {self.per}; relative error {mean:.3f} on "
                f"average, {worst:.3f} at most ('{name}')"
            )

    def _cluster(self, weight: Weight, seed: int) -> float | None:
        """Cluster in place; the root mean square error relative to the weight's, None if nothing changed."""
        data = weight.data
        if not data.size or not np.isfinite(data).all():
            return None
        if self.per == "layer":
            made = self._shared(data.reshape(-1), seed).reshape(data.shape)
        else:
            rows = np.moveaxis(data, weight.channel_axis, 0)
            flat = np.stack([self._shared(row, seed) for row in rows.reshape(len(rows), -1)])
            made = np.ascontiguousarray(np.moveaxis(flat.reshape(rows.shape), 0, weight.channel_axis))
        if (bits_of(made) == bits_of(data)).all():
            return None
        weight.value.data = made
        square = float(np.square(data.astype(np.float64)).sum())
        error = float(np.square(made.astype(np.float64) - data).sum())
        return (error / square) ** 0.5 if square else 0.0

    def _shared(self, flat: Array, seed: int) -> Array:
        """The elements, each the nearest centroid; zeros stay, and are a centroid unless a bitmap holds them."""
        zeros = flat == 0
        count, share = 1 << self.bits, float(zeros.mean())
        values = flat[~zeros]
        if np.unique(flat).size <= count or values.size == 0:
            return flat
        bitmap = self.per == "layer" and share >= _MANY_ZEROS  # which leaves one book for all the others
        wanted = count if bitmap or not share else count - 1
        book = np.sort(_centroids(values, wanted, self.init, seed)).astype(flat.dtype)
        middles = (book[1:].astype(np.float64) + book[:-1]) / 2
        made = np.zeros_like(flat)
        made[~zeros] = book[np.searchsorted(middles, values)]
        return made


def _tables(graph: Graph) -> Iterable[Weight]:
    """The tables of numbers from which Gather takes rows."""
    for node in graph.walk():
        value = node.input(0) if node.op.name == "Gather" and not node.op.domain else None
        if value is None or not is_matrix(value.data):
            continue
        if all(u.op.name == "Gather" for u in value.users) and node is value.users[0]:
            yield Weight(value, 1, 0, list(value.users))


def _centroids(values: Array, count: int, init: str, seed: int) -> Array:
    """The centroids of the numbers, by k-means on some of them."""
    kmeans, said, threads = _scikit_learn()
    drawn = np.random.default_rng(seed)
    seen = values if values.size <= _FITTED else drawn.choice(values, _FITTED, replace=False)
    points = seen.astype(np.float64).reshape(-1, 1)
    count = min(count, int(np.unique(points).size))
    start: Any = init
    if init == "linear":
        start = np.linspace(float(values.min()), float(values.max()), count).reshape(-1, 1)
    elif init == "density":
        start = np.quantile(points, (np.arange(count) + 0.5) / count).reshape(-1, 1)
    with threads(1), warnings.catch_warnings():  # the sums of several threads are rounded in no certain order
        warnings.simplefilter("ignore", said)  # of fewer distinct points than centroids: some stay where they are
        fitted = kmeans(count, init=start, n_init=1, random_state=seed, copy_x=False).fit(points)
    return np.asarray(fitted.cluster_centers_[:, 0])


def _scikit_learn() -> tuple[Any, type[Warning], Any]:
    try:
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning
        from threadpoolctl import threadpool_limits  # which scikit-learn needs itself
    except ImportError:
        raise OptionError(
            "cluster-weights needs scikit-learn: `pip install scikit-learn`, or `irc-compiler[cluster]`"
        ) from None
    return KMeans, ConvergenceWarning, threadpool_limits

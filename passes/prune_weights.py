"""Unstructured and N:M pruning of weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from irc.analysis.weights import Weight, chosen, unmatched, weights_of
from irc.errors import OptionError
from irc.graph import Graph
from irc.passes.base import LOSSY, Pass, option
from irc.passes.between import check_between, run_between
from irc.passes.context import Context
from irc.report.ledger import PrunedGroup
from irc.types import Array

_PATTERN = re.compile(r"([0-9]+):([0-9]+)")


@dataclass(frozen=True)
class PruneWeights(Pass):
    """Set the elements of weights to zero that matter least, one by one or n of every m.

        W  =>  W * M      M a mask of which `sparsity` is zero; by pattern=2:4, two of any four along the inputs stay

    Weights are those of convolutions, matrix products and recurrent layers. The zeros are the mask: `fine-tune` and
    `distill` keep them (keep_structure), other passes meet ordinary constants, and files hold a bitmap and the rest
    (`irc.encoding`). Kernels do not run faster for it; `prune-channels` makes models that do. `fold-batch-norm` keeps
    zeros, and training wins more back while batch norms are there: put it behind the training.

    With iterations, the sparsity rises by the cubic schedule of Zhu & Gupta, with the passes of `between` after each
    step but the last. Lossy. Sources: Han et al. 2015, "Learning both Weights and Connections", for magnitude; Mishra
    et al. 2021, "Accelerating Sparse Deep Neural Networks", for n:m; Zhu & Gupta 2017, "To prune, or not to prune".
    """

    numerics = LOSSY
    after = ("prune-channels", "low-rank")
    before = ("cluster-weights", "insert-fake-quant", "quantize", "lower-to-integer")

    sparsity: float | None = option(None, help="part of the elements that become zero", range=(0.5, 0.95))
    pattern: str = option("", help="n:m, as 2:4: of any m elements along the inputs, n stay at most")
    criterion: str = option("magnitude", help="how to tell what matters", choices=("magnitude", "random"))
    scope: str = option("local", help="one sparsity for every weight, or ranks among all", choices=("local", "global"))
    least: float = option(0.02, help="part of a weight that stays at least, with scope=global")
    skip: tuple[str, ...] = option((), help="patterns of nodes, layers or weights that stay whole")
    iterations: int = option(1, help="steps in which to reach the sparsity")
    between: str | Iterable[Any] = option("", help="passes to run after each step but the last, as text or from Python")

    def run(self, graph: Graph, context: Context) -> None:
        kept = self._checked()
        for step in range(1, self.iterations + 1):
            if step > 1:
                run_between(self.between, graph, context)
            held = weights_of(graph)
            weights, left = chosen(held, self.skip)
            for pattern in unmatched(held, self.skip) if step == 1 else ():
                context.note(f"skip: there is no weight '{pattern}'")
            if self.sparsity is not None:
                share = self.sparsity * (1 - (1 - step / self.iterations) ** 3)
                self._prune(weights, share, context.seed)
            else:
                stay, of = kept
                self._prune_pattern(weights, of - ceil((of - stay) * step / self.iterations), of, context.seed)
        context.row.groups += [_row(weight, self.criterion) for weight in weights]
        context.row.groups += [_row(weight, f"'{pattern}' is in skip") for weight, pattern in left]
        self._summarize(weights, context)

    def _checked(self) -> tuple[int, int]:
        """n and m of the pattern, (1, 1) without one.

        Raises
        ------
        OptionError : an option has no such value, or there are two goals, or none.
        """
        from irc.passes.options import check_choices  # which knows this pass

        check_choices(self)
        if (self.sparsity is None) == (not self.pattern):
            raise OptionError("prune-weights needs sparsity=0.8, say, or pattern=2:4, and not both")
        if self.sparsity is not None and not 0 < self.sparsity < 1:
            raise OptionError(f"prune-weights: sparsity={self.sparsity:g} is no part; it lies between 0 and 1")
        if self.iterations < 1 or not 0 <= self.least <= 1:
            raise OptionError("prune-weights: iterations start at 1, and least lies between 0 and 1")
        check_between(self.between)
        if not self.pattern:
            return 1, 1
        found = _PATTERN.fullmatch(self.pattern)
        stay, of = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1 <= stay < of:
            raise OptionError(f"prune-weights: pattern='{self.pattern}' is not n:m with n below m, as 2:4")
        return stay, of

    def _prune(self, weights: Sequence[Weight], share: float, seed: int) -> None:
        scores = [self._scores(weight, seed + k) for k, weight in enumerate(weights)]
        if self.scope == "local" or not weights:
            for weight, score in zip(weights, scores, strict=True):
                _zero_least(weight, score, round(score.size * share))
            return
        flat = np.concatenate([_least_kept(score, self.least).reshape(-1) for score in scores])
        goal = min(round(flat.size * share), int(np.isfinite(flat).sum()))
        order = np.argsort(flat, kind="stable")[:goal]
        owners = np.repeat(np.arange(len(scores)), [score.size for score in scores])[order]
        for k, (weight, score) in enumerate(zip(weights, scores, strict=True)):
            _zero_least(weight, score, int((owners == k).sum()))

    def _prune_pattern(self, weights: Sequence[Weight], stay: int, of: int, seed: int) -> None:
        for k, weight in enumerate(weights):
            scores = np.moveaxis(self._scores(weight, seed + k), weight.sum_axis, -1)
            lines = scores.reshape(-1, scores.shape[-1])
            mask = np.concatenate([_best(lines[:, at : at + of], stay) for at in range(0, lines.shape[1], of)], axis=1)
            _apply(weight, np.moveaxis(mask.reshape(scores.shape), -1, weight.sum_axis))

    def _scores(self, weight: Weight, seed: int) -> Array:
        """What each element is worth; those that are zero already are worth least."""
        size = np.abs(weight.data.astype(np.promote_types(weight.data.dtype, np.float32)))
        if self.criterion == "magnitude":
            return np.where(np.isnan(size), np.inf, size)  # a NaN stays, and shows
        drawn = np.random.default_rng(seed).random(size.shape, np.float32) + 1
        return np.where(size == 0, 0, drawn).astype(np.float32)

    def _summarize(self, weights: Sequence[Weight], context: Context) -> None:
        size = sum(weight.data.size for weight in weights)
        zeros = size - sum(int(np.count_nonzero(weight.data)) for weight in weights)
        if not size:
            context.note("there is no weight to prune")
            return
        context.note(f"{zeros:,} of {size:,} elements in {len(weights)} weights are zero, {zeros / size:.1%}")


def _least_kept(scores: Array, least: float) -> Array:
    """The scores, infinite for the part that stays whatever the others are worth."""
    made = np.array(scores.reshape(-1))
    made[np.argsort(made, kind="stable")[made.size - ceil(least * made.size) :]] = np.inf
    return made


def _zero_least(weight: Weight, scores: Array, count: int) -> None:
    """Set the `count` elements of the lowest scores to zero."""
    if count:
        mask = np.ones(scores.size, bool)
        mask[np.argsort(scores.reshape(-1), kind="stable")[:count]] = False
        _apply(weight, mask.reshape(scores.shape))


def _best(scores: Array, stay: int) -> Array:
    """Of each row, which `stay` elements have the highest scores."""
    places = np.argsort(-scores, axis=1, kind="stable")[:, :stay]
    mask = np.zeros(scores.shape, bool)
    np.put_along_axis(mask, places, values=True, axis=1)
    return mask


def _apply(weight: Weight, mask: Array) -> None:
    weight.value.data = np.where(mask, weight.data, np.zeros((), weight.data.dtype))


def _row(weight: Weight, reason: str) -> PrunedGroup:
    return PrunedGroup(weight.value.name, "element", weight.data.size, int(np.count_nonzero(weight.data)), reason)

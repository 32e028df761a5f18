"""Choose which units go: by rank within their group or among all, within limits, in counts that kernels like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from irc.analysis.channels import Channels, Group, Unit
from irc.analysis.channels.arrays import Mask
from irc.analysis.channels.importance import Scores, comparable
from irc.types import Array


@dataclass(frozen=True)
class Limits:
    """How far a group may shrink.

    minimum : units that stay, at least
    multiple : what the number of channels that stay is a multiple of, where there are as many
    """

    minimum: int = 1
    multiple: int = 1

    def left(self, group: Group, wanted: int) -> int:
        """How many units stay when `wanted` would."""
        count = len(group.units)
        multiple = self.multiple if group.kind == "channel" and count >= self.multiple else 1
        return min(count, -(-max(wanted, self.minimum, 1) // multiple) * multiple)


@dataclass
class Candidate:
    """A group with its units in the order in which they go, and the scores by which they do."""

    group: Group
    units: list[Unit]
    scores: Array
    limits: Limits
    taken: int = field(default=0)

    @property
    def chosen(self) -> list[Unit]:
        """The units that go."""
        return self.units[: self.taken]

    def take(self, left: int) -> None:
        """Leave so many units, or as few as the limits allow."""
        self.taken = len(self.units) - self.limits.left(self.group, left)


def candidates(
    groups: Sequence[Group], scores: Scores, criterion: str, limits: Callable[[Group], Limits]
) -> list[Candidate]:
    """The groups, each with its units from the least important on."""
    made = []
    for group in groups:
        units, values = _bundled(group, scores) if group.rows else (list(group.units), scores(group, group.units))
        order = np.argsort(values, kind="stable")
        ranked = comparable(criterion, values)
        made.append(Candidate(group, [units[k] for k in order], ranked[order], limits(group)))
    return made


def _bundled(group: Group, scores: Scores) -> tuple[list[Unit], Array]:
    """The least important units of all rows together, then the next ones, and so on; their scores added up."""
    columns: list[list[frozenset[int]]] = []
    total = np.zeros(len(group.units))
    for row in group.rows:
        values = scores(group, row)
        order = np.argsort(values, kind="stable")
        columns.append([row[k].labels for k in order])
        total = total + values[order]
    return [Unit(frozenset().union(*each)) for each in zip(*columns, strict=True)], total


def choose(held: Sequence[Candidate], share: float, *, everywhere: bool) -> None:
    """Mark what goes when `share` of all units shall: of each group (not `everywhere`), or by rank among all."""
    if not everywhere:
        for each in held:
            each.take(round(len(each.units) * (1 - share)))
        return
    if not held:
        return
    # of equal scores those go first that stand further in front of their own group, so that groups shrink alike
    scores = np.concatenate([each.scores for each in held])
    places = np.concatenate([np.arange(each.scores.size) / each.scores.size for each in held])
    owners = np.concatenate([np.full(each.scores.size, k) for k, each in enumerate(held)])
    first = owners[np.lexsort((places, scores))][: round(share * scores.size)]
    for k, each in enumerate(held):
        each.take(len(each.units) - int((first == k).sum()))


def removed(channels: Channels, held: Sequence[Candidate]) -> Mask:
    """Of every label whether it survives what was marked."""
    return channels.keep(unit for each in held for unit in each.chosen)


def smallest_share(fits: Callable[[float], bool], *, steps: int = 14) -> float:
    """The smallest share with which `fits` is true, between 0 and 1; 1 if there is none."""
    if fits(0.0):
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high

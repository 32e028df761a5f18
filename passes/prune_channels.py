"""Structured channel pruning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import ceil
from typing import Any

from irc.analysis.channels import Channels, Group, trace_channels
from irc.analysis.channels.concrete import sizes_in
from irc.analysis.channels.gradients import from_data
from irc.analysis.channels.importance import CRITERIA, FROM_DATA, Scores, from_weights, has_norm_scale
from irc.errors import DataError, OptionError
from irc.graph import Graph
from irc.passes.base import LOSSY, Pass, option
from irc.passes.between import check_between, run_between
from irc.passes.channels.budget import Goal, possible
from irc.passes.channels.select import Candidate, Limits, candidates, choose, smallest_share
from irc.passes.context import Context
from irc.report.ledger import PrunedGroup
from irc.unused import remove_unused
from irc.verify import verify

KINDS = ("channel", "head", "dim")
_BUDGETS = ("ratio", "parameters", "macs", "bytes", "latency")

Floors = dict[tuple[str, str], list[int]]  # of the groups of a name and kind, in order, how many units stay at least


@dataclass(frozen=True)
class PruneChannels(Pass):
    """Remove channels, heads and head dimensions that matter least, with everything that depends on them.

        y = W2 f(W1 x)   =>   y' = W2[:, S] f(W1[S, :] x)      S the channels that stay

    What has to go together is found on any graph by label tracing (`irc.analysis.channels`): through residual sums,
    concatenations, splits, reshapes, shuffles, grouped and depthwise convolutions, norms, attention, tied weights. The
    result is an ordinary, smaller model: the original with those channels masked, norms over what is left.

    One budget says how much goes. ratio=0.5 removes half of the channels; macs=0.5, parameters, bytes and latency say
    what may be left, as a part of what there is, or as a number above 1 (latency in milliseconds, measured on the
    target). A heads' unit is a whole head, or a group of a grouped convolution; kinds=[dim] prunes within heads.

    Put `fold-constants, simplify` before it, and `quantize` behind it; `fine-tune` or `distill` brings accuracy back.
    Lossy. Source: Fang et al. 2023, "DepGraph", for the idea of dependency groups; criteria in
    `irc.analysis.channels.importance`.
    """

    numerics = LOSSY
    after = ("fold-constants", "simplify")
    before = ("insert-fake-quant", "quantize", "lower-to-integer")

    ratio: float | None = option(None, help="part of the channels that goes", range=(0.1, 0.9))
    parameters: float | None = option(None, help="parameters that may be left, a part or a number", range=(0.1, 1.0))
    macs: float | None = option(
        None, help="multiply-accumulates that may be left, a part or a number", range=(0.1, 1.0)
    )
    bytes: float | None = option(None, help="bytes of weights that may be left, a part or a number", range=(0.1, 1.0))
    latency: float | None = option(
        None, help="time on the target that may be left, a part or milliseconds", range=(0.1, 1.0)
    )
    criterion: str = option("l2", help="how to tell what matters", choices=CRITERIA)
    scope: str = option("global", help="rank among all groups, or within each", choices=("global", "local"))
    kinds: tuple[str, ...] = option(("channel", "head"), help="what goes: channel, head, dim")
    gamma: float = option(1.0, help="temperature of criterion=softmax")
    multiple: int | None = option(None, help="channels that stay are a multiple of this; what the target likes if none")
    minimum: int = option(1, help="channels or heads of a group that stay at least")
    least: float = option(0.1, help="part of a group that stays at least")
    skip: tuple[str, ...] = option((), help="patterns of nodes, layers or weights whose channels all stay")
    iterations: int = option(1, help="steps in which to reach the budget")
    between: str | Iterable[Any] = option("", help="passes to run after each step but the last, as text or from Python")
    samples: int = option(16, help="calibration samples for criteria that need data")

    def _check_options(self) -> None:
        from irc.passes.options import check_choices  # which knows this pass

        given = [name for name in _BUDGETS if getattr(self, name) is not None]
        if len(given) != 1:
            said = f"it has {' and '.join(given)}" if given else "it has none"
            raise OptionError(f"prune-channels needs one budget of {', '.join(_BUDGETS)}, and {said}; ratio=0.5, say")
        if getattr(self, given[0]) <= 0 or (self.ratio is not None and self.ratio >= 1):
            raise OptionError(f"prune-channels: {given[0]}={getattr(self, given[0])} leaves nothing or is no part")
        for kind in self.kinds:
            if kind not in KINDS:
                raise OptionError(f"prune-channels: kinds has no '{kind}'; there are {', '.join(KINDS)}")
        check_choices(self)
        check_between(self.between)
        if self.iterations < 1 or self.minimum < 1 or not 0 <= self.least <= 1 or self.gamma <= 0:
            raise OptionError("prune-channels: iterations and minimum start at 1, least is in 0 to 1, gamma above 0")

    def run(self, graph: Graph, context: Context) -> None:
        self._check_options()
        channels = _trace(graph, context)
        name = next(n for n in _BUDGETS if getattr(self, n) is not None)
        goal = None if name == "ratio" else Goal.of(name, float(getattr(self, name)), graph, context.target)
        self._note_skips(channels, context)
        prunable = bool(channels.groups)
        floors: Floors = {}
        for group in channels.groups:
            floor = max(self.minimum, ceil(self.least * len(group.units)))
            floors.setdefault((group.name, group.kind), []).append(floor)
        for step in range(1, self.iterations + 1):
            if step > 1:
                run_between(self.between, graph, context)
                channels = _trace(graph, context)
            self._step(graph, channels, context, goal, step, floors)
        if goal is not None and prunable and not goal.reached(graph):
            context.note(f"the budget is not reached: {goal.said}; minimum, least, multiple and barriers keep the rest")
        for barrier in channels.barriers:
            if barrier.node is not None:
                context.decline(barrier.node, f"its channels stay: {barrier.reason}")
        if not prunable:
            context.note("there is nothing to prune: every channel reaches an output or an op that hides it")

    # ---- one step

    def _step(
        self, graph: Graph, channels: Channels, context: Context, goal: Goal | None, step: int, floors: Floors
    ) -> None:
        held, left = self._candidates(channels, context, floors)
        everywhere = self.scope == "global"
        if goal is not None:
            share = smallest_share(goal.test(channels, held, everywhere, step / self.iterations), steps=goal.steps)
        else:
            assert self.ratio is not None
            share = 1 - (1 - self.ratio) ** (1 / self.iterations)  # of what is left, the same in every step
        choose(held, share, everywhere=everywhere)
        plan, given_up = possible(channels, held)
        plan.apply()
        remove_unused(graph)
        verify(graph)
        context.row.groups += [self._pruned(each, given_up.get(id(each), "")) for each in held]
        for group, reason in left:
            context.row.groups.append(PrunedGroup(group.name, group.kind, len(group.units), len(group.units), reason))

    def _candidates(
        self, channels: Channels, context: Context, floors: Floors
    ) -> tuple[list[Candidate], list[tuple[Group, str]]]:
        """The groups to choose from, and those left out with the reason."""
        left: list[tuple[Group, str]] = []
        chosen: list[Group] = []
        for group in channels.groups:
            kept = self._kept_by(channels, group)
            if group.kind not in self.kinds:
                left.append((group, f"kinds leaves {group.kind}s out"))
            elif kept:
                left.append((group, f"'{kept}' is in skip"))
            elif self.criterion == "bn-scale" and not has_norm_scale(channels, group):
                left.append((group, "it has no norm whose scale could be its criterion"))
            else:
                chosen.append(group)
        scores = self._scores(channels, context)
        multiple = context.target.channel_multiple if self.multiple is None else self.multiple

        def limits(group: Group) -> Limits:
            return Limits(_floor(floors, channels, group) or self.minimum, max(multiple, 1))

        return candidates(chosen, scores, self.criterion, limits), left

    def _scores(self, channels: Channels, context: Context) -> Scores:
        if self.criterion not in FROM_DATA:
            return from_weights(channels, self.criterion, gamma=self.gamma, seed=context.seed)
        samples = context.samples(f"criterion={self.criterion} of prune-channels")
        first = [sample for _, sample in zip(range(self.samples), samples, strict=False)]
        return from_data(channels, self.criterion, first, seed=context.seed)

    def _kept_by(self, channels: Channels, group: Group) -> str:
        """The pattern of `skip` that a node or weight of the group matches; empty if none does."""
        names = _names(channels, group)
        return next((p for p in self.skip if any(fnmatchcase(name, p) for name in names)), "")

    def _note_skips(self, channels: Channels, context: Context) -> None:
        names = {name for group in channels.groups for name in _names(channels, group)}
        for pattern in self.skip:
            if not any(fnmatchcase(name, pattern) for name in names):
                context.note(f"skip: nothing to prune is called '{pattern}'; `irc show --groups` has the names")

    def _pruned(self, each: Candidate, given_up: str) -> PrunedGroup:
        """What became of a group, for the ledger."""
        count = len(each.units)
        if given_up:
            reason = given_up
        elif each.taken:
            kept = f", the least that stays has {each.scores[each.taken]:.3g}" if each.taken < count else ""
            reason = f"{self.criterion} up to {each.scores[each.taken - 1]:.3g}{kept}"
        else:
            reason = f"{self.criterion} of the least is {each.scores[0]:.3g}, or its limits keep all"
        return PrunedGroup(each.group.name, each.group.kind, count, count - each.taken, reason)


def _trace(graph: Graph, context: Context) -> Channels:
    """The channels, traced at sizes with which the model runs: some, or those of the first calibration sample."""
    try:
        return trace_channels(graph)
    except DataError:
        if context.calibration is None:
            raise
        return trace_channels(graph, sizes_in(context.calibration.first(1)[0], graph))


def _floor(floors: Floors, channels: Channels, group: Group) -> int:
    """The floor of a group; if some of its name are groups no more, as one unit is left, the largest of theirs."""
    key = group.name, group.kind
    alike = [id(each) for each in channels.groups if (each.name, each.kind) == key]
    held = floors.get(key, [0])
    return held[alike.index(id(group))] if len(alike) == len(held) else max(held)


def _names(channels: Channels, group: Group) -> set[str]:
    """What the group's nodes, their layers and its weights are called."""
    names = {group.name}
    for index in group.roles:
        role = channels.roles[index]
        names.add(role.value.name)
        for user in role.value.users:
            names |= {user.name, *filter(None, (user.origin.layer,))}
    return names

"""Structured channel pruning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from irc.analysis.channels import Channels, Group, trace_channels
from irc.analysis.channels.arrays import Mask
from irc.analysis.channels.gradients import from_data
from irc.analysis.channels.importance import CRITERIA, FROM_DATA, Scores, from_weights, has_norm_scale
from irc.analysis.channels.savings import Savings
from irc.errors import OptionError
from irc.graph import Graph, Value
from irc.passes.base import LOSSY, Pass, option
from irc.passes.channels import RemovalError, remove_channels
from irc.passes.channels.select import Candidate, Limits, candidates, choose, removed, smallest_share
from irc.passes.context import Context
from irc.report.ledger import PrunedGroup
from irc.unused import remove_unused
from irc.verify import verify

KINDS = ("channel", "head", "dim")
_BUDGETS = ("ratio", "parameters", "macs", "bytes", "latency")
_LATENCY_STEPS = 7  # each builds and times a model


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

    ratio: float | None = option(None, help="part of the channels that goes")
    parameters: float | None = option(None, help="parameters that may be left, a part or a number")
    macs: float | None = option(None, help="multiply-accumulates that may be left, a part or a number")
    bytes: float | None = option(None, help="bytes of weights that may be left, a part or a number")
    latency: float | None = option(None, help="time on the target that may be left, a part or milliseconds")
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
        given = [name for name in _BUDGETS if getattr(self, name) is not None]
        if len(given) != 1:
            said = f"it has {' and '.join(given)}" if given else "it has none"
            raise OptionError(f"prune-channels needs one budget of {', '.join(_BUDGETS)}, and {said}; ratio=0.5, say")
        if getattr(self, given[0]) <= 0 or (self.ratio is not None and self.ratio >= 1):
            raise OptionError(f"prune-channels: {given[0]}={getattr(self, given[0])} leaves nothing or is no part")
        for kind in self.kinds:
            if kind not in KINDS:
                raise OptionError(f"prune-channels: kinds has no '{kind}'; there are {', '.join(KINDS)}")
        if self.iterations < 1 or self.minimum < 1 or not 0 <= self.least <= 1 or self.gamma <= 0:
            raise OptionError("prune-channels: iterations and minimum start at 1, least is in 0 to 1, gamma above 0")

    def run(self, graph: Graph, context: Context) -> None:
        self._check_options()
        channels = trace_channels(graph)
        goal = self._goal(channels, graph, context)
        prunable = bool(channels.groups)
        for step in range(1, self.iterations + 1):
            if step > 1:
                self._train(graph, context)
                channels = trace_channels(graph)
            self._step(graph, channels, context, goal, step)
        for barrier in channels.barriers:
            if barrier.node is not None:
                context.decline(barrier.node, f"its channels stay: {barrier.reason}")
        if not prunable:
            context.note("there is nothing to prune: every channel reaches an output or an op that hides it")

    # ---- one step

    def _step(self, graph: Graph, channels: Channels, context: Context, goal: Goal, step: int) -> None:
        progress = step / self.iterations
        groups = [each for each in channels.groups if each.kind in self.kinds]
        held, left = self._candidates(channels, groups, context)
        everywhere = self.scope == "global"
        if self.ratio is not None:
            share = 1 - (1 - self.ratio) ** (1 / self.iterations)  # of what is left, the same in every step
        else:
            share = smallest_share(goal.test(channels, held, everywhere, progress), steps=goal.steps)
        choose(held, share, everywhere=everywhere)
        self._apply(graph, channels, held, context)
        if not goal.reached(graph, progress):
            context.note(
                f"the budget is not reached: {goal.said}; what may go without leaving a group less than minimum, least "
                "and multiple allow has gone"
            )
        for group, reason in left:
            context.row.groups.append(PrunedGroup(group.name, group.kind, len(group.units), len(group.units), reason))

    def _candidates(
        self, channels: Channels, groups: Sequence[Group], context: Context
    ) -> tuple[list[Candidate], list[tuple[Group, str]]]:
        """The groups to choose from, and those left out with the reason."""
        left: list[tuple[Group, str]] = []
        chosen: list[Group] = []
        for group in groups:
            kept = self._kept_by(channels, group)
            if kept:
                left.append((group, f"'{kept}' is in skip"))
            elif self.criterion == "bn-scale" and not has_norm_scale(channels, group):
                left.append((group, "it has no norm whose scale could be its criterion"))
            else:
                chosen.append(group)
        scores = self._scores(channels, context)
        multiple = context.target.channel_multiple if self.multiple is None else self.multiple
        limits = Limits(self.minimum, self.least, max(multiple, 1))
        return candidates(chosen, scores, self.criterion, lambda _: limits), left

    def _scores(self, channels: Channels, context: Context) -> Scores:
        if self.criterion not in FROM_DATA:
            return from_weights(channels, self.criterion, gamma=self.gamma, seed=context.seed)
        samples = context.samples(f"criterion={self.criterion} of prune-channels")
        first = [sample for _, sample in zip(range(self.samples), samples, strict=False)]
        return from_data(channels, self.criterion, first, seed=context.seed)

    def _kept_by(self, channels: Channels, group: Group) -> str:
        """The pattern of `skip` that a node or weight of the group matches; empty if none does."""
        names = {group.name}
        for index in group.roles:
            role = channels.roles[index]
            names.add(role.value.name)
            for user in role.value.users:
                names |= {user.name, *filter(None, (user.origin.layer,))}
        return next((p for p in self.skip if any(fnmatchcase(name, p) for name in names)), "")

    def _apply(self, graph: Graph, channels: Channels, held: Sequence[Candidate], context: Context) -> None:
        """Remove what was marked; groups whose removal no movement can follow are given up, and said so."""
        given_up: dict[int, str] = {}
        while True:
            keep = removed(channels, held)
            try:
                remove_channels(graph, channels, keep)
                break
            except RemovalError as error:
                guilty = [each for each in held if each.taken and _touches(channels, each, error.value)]
                for each in guilty or [each for each in held if each.taken]:
                    given_up[id(each)] = str(error)
                    each.taken = 0
        remove_unused(graph)
        verify(graph)
        for each in held:
            count, scores = len(each.units), each.scores
            if id(each) in given_up:
                reason = given_up[id(each)]
            elif each.taken:
                last = scores[each.taken - 1]
                kept = f", the least that stays has {scores[each.taken]:.3g}" if each.taken < count else ""
                reason = f"{self.criterion} up to {last:.3g}{kept}"
            else:
                reason = f"{self.criterion} of the least is {scores[0]:.3g}, or its limits keep all"
            context.row.groups.append(
                PrunedGroup(each.group.name, each.group.kind, count, count - each.taken, reason)
            )

    def _train(self, graph: Graph, context: Context) -> None:
        from irc.passes.options import parse_pipeline  # which knows this pass

        steps = parse_pipeline(self.between) if isinstance(self.between, str) else list(self.between)
        for each in steps:
            each.run(graph, context)
            verify(graph)

    # ---- budgets

    def _goal(self, channels: Channels, graph: Graph, context: Context) -> Goal:
        if self.ratio is not None:
            return Goal("ratio", self.ratio, 0.0)
        name = next(n for n in _BUDGETS if getattr(self, n) is not None)
        given = float(getattr(self, name))
        if name == "latency":
            if context.target.latency is None:
                raise OptionError(f"target '{context.target.name}' cannot be timed here; give macs=… instead")
            measure = context.target.latency
            start = measure(graph, context.target)
            return Goal(name, given * start if given <= 1 else given, start, lambda g: measure(g, context.target))
        start = getattr(Savings(channels).size(), name)
        return Goal(name, given * start if given <= 1 else given, start)


@dataclass(frozen=True)
class Goal:
    """A budget: what of, how much of it may be left, and how much there was.

    measure : of a graph, for a latency
    """

    name: str
    limit: float
    start: float
    measure: Callable[[Graph], float] | None = None

    @property
    def steps(self) -> int:
        """How often to halve the range of shares."""
        return _LATENCY_STEPS if self.measure is not None else 14

    @property
    def said(self) -> str:
        """The budget in words."""
        return f"{self.name} of at most {self.limit:,.4g}, of {self.start:,.4g}"

    def test(
        self, channels: Channels, held: Sequence[Candidate], everywhere: bool, progress: float
    ) -> Callable[[float], bool]:
        """A function that says of a share whether the budget of this step is met when so much goes."""
        limit = self.start + (self.limit - self.start) * progress
        savings = None if self.measure else Savings(channels)

        def met(share: float) -> bool:
            choose(held, share, everywhere=everywhere)
            keep = removed(channels, held)
            if savings is not None:
                return bool(getattr(savings.size(keep), self.name) <= limit)
            assert self.measure is not None
            return self.measure(_trial(channels, keep)) <= limit

        return met

    def reached(self, graph: Graph, progress: float) -> bool:
        """Whether the graph is within the budget of a step."""
        if self.name == "ratio" or self.measure is not None:
            return True
        limit = self.start + (self.limit - self.start) * progress
        return bool(getattr(Savings(trace_channels(graph)).size(), self.name) <= limit * 1.001)


def _trial(channels: Channels, keep: Mask) -> Graph:
    """A copy of the graph with the channels gone."""
    copy = channels.graph.copy()
    remove_channels(copy, trace_channels(copy, channels.dims), keep)
    return copy


def _touches(channels: Channels, candidate: Candidate, value: Value) -> bool:
    """Whether what goes of the candidate goes from this value too."""
    keep = channels.keep(candidate.chosen)
    if value in channels.labels:
        return not channels.mask(value, keep).all()
    held = [role for role in channels.roles if role.value is value]
    return any(not keep[role.labels].all() for role in held)



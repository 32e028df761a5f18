"""How much goes: budgets of parameters, bytes, multiply-accumulates and time, and what of a choice is possible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from irc.analysis.channels import Channels, trace_channels
from irc.analysis.channels.arrays import Mask
from irc.analysis.channels.savings import Savings
from irc.analysis.cost import cost
from irc.errors import OptionError
from irc.graph import Graph, Value
from irc.passes.channels.remove import Plan, RemovalError, remove_channels
from irc.passes.channels.select import Candidate, choose, removed
from irc.target import Target

_STEPS = 14
_LATENCY_STEPS = 7  # each builds and times a model
_TIME_VARIES = 1.1


@dataclass(frozen=True)
class Goal:
    """A budget: what of, how much of it may be left, and how much there was.

    measure : how much of it a graph has
    """

    name: str
    limit: float
    start: float
    measure: Callable[[Graph], float]

    @classmethod
    def of(cls, name: str, given: float, graph: Graph, target: Target) -> Goal:
        """A goal as an option states it: up to 1 a part of what the graph has, above it a number.

        Raises
        ------
        OptionError : a latency on a target that cannot be timed.
        """
        timed = target.latency
        if name == "latency" and timed is None:
            raise OptionError(f"target '{target.name}' cannot be timed here; give macs=… instead")

        def measure(graph: Graph) -> float:
            return timed(graph, target) if name == "latency" and timed else float(getattr(cost(graph), name))

        start = measure(graph)
        return cls(name, given * start if given <= 1 else given, start, measure)

    @property
    def steps(self) -> int:
        """How often to halve the range of shares."""
        return _LATENCY_STEPS if self.name == "latency" else _STEPS

    @property
    def said(self) -> str:
        """The budget in words."""
        return f"{self.name} of at most {self.limit:,.4g}, of {self.start:,.4g}"

    def test(
        self, channels: Channels, held: Sequence[Candidate], everywhere: bool, progress: float
    ) -> Callable[[float], bool]:
        """A function that says of a share whether the budget of this step is met when so much goes."""
        limit = self.start + (self.limit - self.start) * progress
        savings = None if self.name == "latency" else Savings(channels)
        now = self.measure(channels.graph)

        def met(share: float) -> bool:
            choose(held, share, everywhere=everywhere)
            if savings is not None:  # which counts symbols as they were traced
                keep = removed(channels, held)
                return bool(now * getattr(savings.size(keep), self.name) <= limit * getattr(savings.now, self.name))
            plan, _ = possible(channels, held)
            return self.measure(_trial(channels, plan.keep)) <= limit

        return met

    def reached(self, graph: Graph) -> bool:
        """Whether the graph is within the budget; a time may be off by what times vary."""
        slack = _TIME_VARIES if self.name == "latency" else 1.0
        return bool(self.measure(graph) <= self.limit * slack)


def _trial(channels: Channels, keep: Mask) -> Graph:
    """A copy of the graph with the channels gone."""
    copy = channels.graph.copy()
    remove_channels(copy, trace_channels(copy, channels.dims), keep)
    return copy


def possible(channels: Channels, held: Sequence[Candidate]) -> tuple[Plan, dict[int, str]]:
    """The removal of what was marked; groups whose removal no movement can follow are given up.

    Returns
    -------
    The plan, made; and why each candidate, by its id, was given up.
    """
    given_up: dict[int, str] = {}
    while True:
        plan = Plan(channels, removed(channels, held))
        try:
            plan.make()
            return plan, given_up
        except RemovalError as error:
            guilty = [each for each in held if each.taken and _touches(channels, each, error.value)]
            for each in guilty or [each for each in held if each.taken]:
                given_up[id(each)] = str(error)
                each.taken = 0


def _touches(channels: Channels, candidate: Candidate, value: Value) -> bool:
    """Whether what goes of the candidate goes from this value too."""
    keep = channels.keep(candidate.chosen)
    if value in channels.labels:
        return not channels.mask(value, keep).all()
    return any(not keep[role.labels].all() for role in channels.roles if role.value is value)

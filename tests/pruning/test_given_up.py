"""A group whose removal cannot be planned is given up, in trials as in the end, and the others are pruned for it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import irc
from irc.analysis.channels import trace_channels
from irc.analysis.cost import cost
from irc.graph import Graph
from irc.ops.conv import Conv
from irc.passes import PruneChannels
from irc.passes.channels.remove import Plan, RemovalError
from irc.passes.context import Context, plain_context
from irc.target import Target

SAID = "no movement can follow it"
COUNTS = Target("timed", "none", "counts", latency=lambda graph, _: float(cost(graph).macs))


def graph() -> Graph:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 24, 3), nn.ReLU(), nn.Conv2d(24, 32, 3), nn.ReLU(), nn.Conv2d(32, 4, 3))
    return irc.load(net.eval(), (torch.zeros(1, 3, 9, 9),))


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Whatever removes channels of the first convolution fails: of each attempt, how many it would leave."""
    attempts: list[int] = []
    make = Plan.make

    def failing(self: Plan) -> None:
        value = self.channels.graph.node("0").output
        alive = self.channels.mask(value, self.keep)
        if not alive.all():
            attempts.append(int(alive[0, :, 0, 0].sum()))
            raise RemovalError(value, SAID)
        make(self)

    monkeypatch.setattr(Plan, "make", failing)
    return attempts


def pruned(step: PruneChannels) -> tuple[Graph, Context]:
    made = graph()
    context = plain_context(made, target=COUNTS)
    step.run(made, context)
    return made, context


def widths(made: Graph) -> list[int]:
    return [d.shape[0] for node in made if isinstance(node.op, Conv) and (d := node.constant(1)) is not None]


@pytest.mark.parametrize("options", [{"latency": 0.5}, {"macs": 0.5}, {"ratio": 0.5}], ids=str)
def test_one_group_is_given_up_and_the_other_is_pruned(plans: list[int], options: dict[str, float]) -> None:
    made, context = pruned(PruneChannels(**options))  # type: ignore[arg-type]  # a number
    assert plans
    assert widths(made)[0] == 24
    assert widths(made)[1] < 32
    entries = {each.name: each for each in context.row.groups}
    assert entries["0"].reason == SAID
    assert (entries["0"].before, entries["0"].after) == (24, 24)
    assert (entries["2"].before, entries["2"].after) == (32, widths(made)[1])
    assert SAID not in entries["2"].reason


def test_trials_of_time_know_what_is_given_up(plans: list[int]) -> None:
    """So the budget is reached by the other group alone, and not by what was thought to go too."""
    made, context = pruned(PruneChannels(latency=0.5))
    assert len(plans) > 1, "trials failed before the removal did"
    assert 0.4 * cost(graph()).macs < cost(made).macs <= 0.5 * cost(graph()).macs
    assert not context.row.notes


def test_every_step_gives_up_anew(plans: list[int]) -> None:
    made, context = pruned(PruneChannels(latency=0.5, iterations=2))
    assert [each.reason for each in context.row.groups if each.name == "0"] == [SAID, SAID]
    assert cost(made).macs <= 0.5 * cost(graph()).macs


def test_an_error_that_concerns_no_group_gives_up_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """It must end: with nothing left to remove, the plan can be made."""

    def failing(self: Plan) -> None:
        if not self.keep.all():
            raise RemovalError(self.channels.graph.inputs[0], SAID)

    monkeypatch.setattr(Plan, "make", failing)
    made, context = pruned(PruneChannels(latency=0.5))
    assert widths(made) == [24, 32, 4]
    assert [each.reason for each in context.row.groups] == [SAID, SAID]
    assert any(each.startswith("the budget is not reached") for each in context.row.notes)


def test_nothing_fails_where_nothing_is_in_the_way() -> None:
    """The same net, for comparison: both groups lose channels."""
    made, context = pruned(PruneChannels(latency=0.5))
    assert all(each.after < each.before for each in context.row.groups)
    assert trace_channels(made).groups

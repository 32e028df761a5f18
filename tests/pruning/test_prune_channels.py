"""`prune-channels` meets its budget within its limits, by every criterion, and says what went."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import irc
from irc.analysis.channels.importance import CRITERIA
from irc.analysis.cost import cost
from irc.errors import DataError, OptionError
from irc.graph import Graph
from irc.passes import PruneChannels
from irc.passes.context import plain_context
from irc.target import Target
from irc.types import Array


class Net(nn.Module):
    """Three convolutions, the last two joined by a sum; 24 and 32 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 3, 1, 1), nn.BatchNorm2d(24), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(24, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU())
        self.left = nn.Conv2d(32, 32, 3, 1, 1)
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.down(self.stem(x))
        x = x + self.left(x)
        made: torch.Tensor = self.head(x.mean((2, 3)))
        return made


def graph() -> Graph:
    torch.manual_seed(0)
    net = Net()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return irc.load(net.eval(), (torch.zeros(1, 3, 16, 16),))


def images() -> list[Array]:
    return [np.random.default_rng(k).normal(size=(1, 3, 16, 16)).astype(np.float32) for k in range(4)]


def pruned(step: PruneChannels, target: Target | None = None) -> tuple[Graph, dict[str, tuple[int, int]]]:
    """The graph behind the pass, and of each group how many units there were and are."""
    made = graph()
    context = plain_context(made, calibration=images(), target=target)
    step.run(made, context)
    return made, {each.name: (each.before, each.after) for each in context.row.groups}


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_meets_the_budget(criterion: str) -> None:
    made, groups = pruned(PruneChannels(macs=0.4, criterion=criterion))
    assert cost(made).macs <= 0.4 * cost(graph()).macs
    assert sorted(groups) == ["down.0", "stem.0"]
    assert cost(made).macs > 0.2 * cost(graph()).macs  # not far below it either


@pytest.mark.parametrize("budget", ["parameters", "bytes", "macs"])
def test_budget_is_a_part_or_a_number(budget: str) -> None:
    before = getattr(cost(graph()), budget)
    for given in (0.5, before * 0.5):
        made, _ = pruned(PruneChannels(**{budget: given}))  # type: ignore[arg-type]  # a number, whatever its name
        assert 0.3 * before < getattr(cost(made), budget) <= 0.5 * before


def test_ratio_in_every_group() -> None:
    _, groups = pruned(PruneChannels(ratio=0.5, scope="local"))
    assert groups == {"stem.0": (24, 12), "down.0": (32, 16)}


def test_targets_multiple_rounds_up() -> None:
    target = Target("mine", "none", "likes eights", channel_multiple=8)
    _, groups = pruned(PruneChannels(ratio=0.6, scope="local"), target)
    assert groups == {"stem.0": (24, 16), "down.0": (32, 16)}
    _, groups = pruned(PruneChannels(ratio=0.6, scope="local", multiple=1), target)
    assert groups == {"stem.0": (24, 10), "down.0": (32, 13)}


def test_limits_hold() -> None:
    _, groups = pruned(PruneChannels(ratio=0.95, scope="local", minimum=5))
    assert groups == {"stem.0": (24, 5), "down.0": (32, 5)}
    _, groups = pruned(PruneChannels(macs=1e-6, least=0.25))
    assert groups == {"stem.0": (24, 6), "down.0": (32, 8)}


def test_skipped_groups_stay_whole() -> None:
    made, groups = pruned(PruneChannels(ratio=0.5, skip=("stem.*",)))
    assert groups["stem.0"] == (24, 24)
    assert groups["down.0"][1] < 32
    assert made.node("stem.0").constant(1).shape[0] == 24  # type: ignore[union-attr]  # it has a weight


def test_what_stays_is_what_the_norm_says() -> None:
    """By `l1` of one layer alone: the filters that stay are those with the largest sums."""
    first, second = nn.Conv2d(2, 8, 1, bias=False), nn.Conv2d(8, 3, 1, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.arange(1, 9).reshape(8, 1, 1, 1).expand(8, 2, 1, 1))
        second.weight.fill_(1.0)
    net = nn.Sequential(first, nn.ReLU(), second)
    made = irc.load(net.eval(), (torch.zeros(1, 2, 4, 4),))
    PruneChannels(ratio=0.5, criterion="l1").run(made, plain_context(made))
    weight = made.node("0").constant(1)
    assert weight is not None
    assert weight[:, 0, 0, 0].tolist() == [5.0, 6.0, 7.0, 8.0]


def test_iterations_reach_the_same_budget() -> None:
    made, _ = pruned(PruneChannels(macs=0.4, iterations=3))
    assert 0.2 * cost(graph()).macs < cost(made).macs <= 0.4 * cost(graph()).macs
    made, groups = pruned(PruneChannels(ratio=0.5, iterations=2, scope="local"))
    assert {name: after for name, (_, after) in groups.items()} == {"stem.0": 12, "down.0": 16}


def test_same_seed_same_choice() -> None:
    first, second = (pruned(PruneChannels(ratio=0.5, criterion="random"))[0] for _ in range(2))
    for a, b in zip(first.constants, second.constants, strict=True):
        assert a.data is not None
        assert np.array_equal(a.data, b.data)  # type: ignore[arg-type]  # constants


def test_latency_is_measured() -> None:
    """The budget of time is held against what the target measures; here, its multiply-accumulates."""
    target = Target("timed", "none", "counts", latency=lambda g, _: float(cost(g).macs))
    before = cost(graph()).macs
    made, _ = pruned(PruneChannels(latency=0.5), target)
    assert 0.2 * before < cost(made).macs <= 0.5 * before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "needs one budget"),
        ({"ratio": 0.5, "macs": 0.5}, "ratio and macs"),
        ({"ratio": 1.0}, "leaves nothing"),
        ({"macs": -1.0}, "leaves nothing"),
        ({"ratio": 0.5, "kinds": ("filter",)}, "no 'filter'"),
        ({"ratio": 0.5, "iterations": 0}, "iterations"),
    ],
)
def test_bad_options(options: dict[str, object], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        pruned(PruneChannels(**options))  # type: ignore[arg-type]  # bad ones


def test_latency_needs_a_target_that_can_be_timed() -> None:
    with pytest.raises(OptionError, match="cannot be timed"):
        pruned(PruneChannels(latency=0.5))


def test_data_criterion_needs_samples() -> None:
    made = graph()
    with pytest.raises(DataError, match="needs calibration data"):
        PruneChannels(ratio=0.5, criterion="taylor").run(made, plain_context(made))

"""A budget is what `cost` says of the graph behind the pass; limits hold to the end, and equal groups shrink alike."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import irc
from irc.analysis.cost import cost
from irc.graph import Graph
from irc.ops.activation import Relu
from irc.ops.conv import Conv
from irc.ops.index import Split
from irc.ops.pool import GlobalAveragePool
from irc.ops.reduce import ReduceSum
from irc.passes import PruneChannels
from irc.passes.context import Context, plain_context
from irc.report.ledger import PrunedGroup
from irc.target import Target
from tests.pruning.random_graphs import Builder

BUDGETS = ("parameters", "bytes", "macs")
NOT_REACHED = "the budget is not reached"


def plain(*sizes: int) -> Graph:
    """Convolutions behind each other, with channels of these numbers between them."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in zip((3, *sizes), (*sizes, 4), strict=True):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
    return irc.load(nn.Sequential(*layers[:-1]).eval(), (torch.zeros(1, 3, 6, 6),))


def shared() -> Graph:
    """Half of the parameters are a weight whose sums are an output: pruned where it convolves, it becomes two."""
    b = Builder()
    x, weight = b.graph.inputs[0], b.weight(32, 3, 3, 3, fan=27)
    h = b.op(Relu(), b.op(Conv(), x, weight))
    h = b.op(Relu(), b.op(Conv(), h, b.weight(24, 32, 1, 1, fan=32)))
    b.graph.add_output(b.op(GlobalAveragePool(), b.op(Conv(), h, b.weight(4, 24, 1, 1, fan=24))), "y")
    b.graph.add_output(b.op(ReduceSum(keepdims=0), weight, b.ints(1, 2, 3)), "sums")
    return b.graph


def run(graph: Graph, step: PruneChannels, target: Target | None = None) -> Context:
    context = plain_context(graph, target=target)
    step.run(graph, context)
    return context


def noted(context: Context) -> bool:
    return any(each.startswith(NOT_REACHED) for each in context.row.notes)


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("model", [partial(plain, 24, 32), shared], ids=["plain", "shared weight"])
@pytest.mark.parametrize("part", [0.9, 0.75, 0.6])
def test_a_number_is_held_against_the_cost_behind_the_pass(budget: str, model: partial[Graph], part: float) -> None:
    """Copies of a weight that only some uses lose are counted; not less is left than has to be."""
    graph = model()
    given = int(part * getattr(cost(graph), budget))
    context = run(graph, PruneChannels(**{budget: given}, multiple=1))  # type: ignore[arg-type]  # a number
    left = getattr(cost(graph), budget)
    assert not noted(context)
    assert 0.85 * given < left <= given


def test_a_shared_weight_is_there_twice() -> None:
    graph = shared()
    run(graph, PruneChannels(parameters=0.7, multiple=1))
    shapes = [each.data.shape for each in graph.constants if each.data is not None and each.data.shape[1:] == (3, 3, 3)]
    assert len(shapes) == 2
    assert (32, 3, 3, 3) in shapes
    sizes = [each.data.size for each in graph.constants if each.data is not None and each.data.dtype.kind == "f"]
    assert cost(graph).parameters == sum(sizes)


@pytest.mark.parametrize("budget", [*BUDGETS, "latency"])
def test_a_budget_that_limits_keep_away_is_noted(budget: str) -> None:
    target = Target("timed", "none", "counts", latency=lambda graph, _: float(cost(graph).macs))
    context = run(plain(24, 32), PruneChannels(**{budget: 0.3}, least=0.9), target)  # type: ignore[arg-type]  # a part
    assert noted(context)
    assert [each.after for each in context.row.groups] == [22, 29]  # as near as it could come
    context = run(plain(24, 32), PruneChannels(**{budget: 0.3}, least=0.1), target)  # type: ignore[arg-type]  # a part
    assert not noted(context)


def test_a_budget_that_is_met_from_the_start_leaves_everything() -> None:
    graph = plain(24, 32)
    context = run(graph, PruneChannels(macs=10.0 * cost(graph).macs))
    assert [(each.before, each.after) for each in context.row.groups] == [(24, 24), (32, 32)]
    assert not noted(context)


@pytest.mark.parametrize("iterations", [1, 2, 4])
@pytest.mark.parametrize("options", [{"least": 0.5}, {"minimum": 9, "least": 0.0}, {"minimum": 14, "least": 0.5}])
def test_floors_are_of_what_there_was(iterations: int, options: dict[str, float]) -> None:
    """A budget that nothing could meet leaves each group at its floor, in however many steps."""
    graph = plain(24, 32)
    run(graph, PruneChannels(macs=1e-6, iterations=iterations, multiple=1, **options))  # type: ignore[arg-type]  # numbers
    floors = [max(int(options.get("minimum", 1)), int(options["least"] * n)) for n in (24, 32)]
    assert channels(graph) == floors


@pytest.mark.parametrize("iterations", [1, 3])
def test_groups_of_one_layer_have_floors_of_their_own(iterations: int) -> None:
    """A convolution that is split has two groups of one name."""
    b = Builder()
    both = b.op(Conv(), b.graph.inputs[0], b.weight(32, 3, 1, 1, fan=3))
    parts = b.graph.insert(Split(axis=1), [both, b.ints(8, 24)], outputs=2).outputs
    for part, size in zip(parts, (8, 24), strict=True):
        b.graph.add_output(b.op(Conv(), b.op(Relu(), part), b.weight(2, size, 1, 1, fan=size)))
    context = run(b.graph, PruneChannels(macs=1e-6, least=0.5, multiple=1, iterations=iterations))
    assert len({each.name for each in context.row.groups}) == 1
    weights = [node.constant(1) for node in b.graph if isinstance(node.op, Conv)]
    assert [each.shape[1] for each in weights if each is not None] == [3, 4, 12]


def channels(graph: Graph) -> list[int]:
    """The channels that the convolutions give, but the last."""
    weights = [node.constant(1) for node in graph if isinstance(node.op, Conv)]
    return [each.shape[0] for each in weights[:-1] if each is not None]


@pytest.mark.parametrize("criterion", ["l1", "l2", "softmax", "fpgm"])
@pytest.mark.parametrize("value", [1.0, 0.1, 0.3])
def test_equal_scores_shrink_groups_alike(criterion: str, value: float) -> None:
    """Nothing says which unit matters more, so no group pays for another; rounding says nothing either."""
    graph = plain(24, 10, 31)
    for each in graph.constants:
        if each.data is not None and each.data.dtype == np.float32:
            each.data = np.full_like(each.data, value)
    run(graph, PruneChannels(ratio=0.5, criterion=criterion, multiple=1))
    assert channels(graph) == pytest.approx([12, 5, 15.5], abs=1)


def test_what_went_adds_up_over_the_steps() -> None:
    """One entry a group and step, each from where the one before ended."""
    graph = plain(24, 32)
    entries = run(graph, PruneChannels(ratio=0.5, iterations=3, multiple=1)).row.groups
    for name, size in (("0", 24), ("2", 32)):
        mine: list[PrunedGroup] = [each for each in entries if each.name == name]
        assert len(mine) == 3
        assert [each.before for each in mine] == [size, *(each.after for each in mine[:-1])]
    assert sum(channels(graph)) == pytest.approx(28, abs=1)

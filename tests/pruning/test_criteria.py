"""Units go in the order of each criterion's definition, within a group and among groups; computed here with numpy."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import irc
from irc.graph import Graph
from irc.passes import PruneChannels
from irc.passes.context import plain_context
from irc.text import parse_graph
from irc.types import Array

SIZES = (4, 9, 7, 3)  # channels of three layers: two groups, of 9 and of 7
ALL = sum(SIZES[1:-1])


def weights(seed: int = 1) -> list[Array]:
    """Of three layers, (out, in); the second group has far larger ones, which only a raw norm would see."""
    random = np.random.default_rng(seed)
    shapes = zip((1.0, 3.0, 30.0), pairwise(SIZES), strict=True)
    return [(scale * random.laplace(size=(after, before))).astype(np.float32) for scale, (before, after) in shapes]


def chain(given: list[Array]) -> Graph:
    """Linear layers with these weights, one behind the other."""
    layers = []
    for each in given:
        layer = nn.Linear(each.shape[1], each.shape[0], bias=False)
        layer.weight.data = torch.from_numpy(each.copy())
        layers.append(layer)
    return irc.load(nn.Sequential(*layers).eval(), (torch.zeros(1, given[0].shape[1]),))


def units(given: list[Array]) -> list[Array]:
    """Of both groups one row for each unit: what makes it and what reads it."""
    return [np.concatenate([made, read.T], 1).astype(np.float64) for made, read in pairwise(given)]


# ---- definitions: of the units of a group, one a row


def l1(w: Array) -> Array:
    return np.asarray(np.abs(w).sum(1))


def l2(w: Array) -> Array:
    return np.asarray(np.linalg.norm(w, axis=1))


def lamp(w: Array) -> Array:
    squares = (w * w).sum(1)
    return np.array([each / squares[squares >= each].sum() for each in squares])


def fpgm(w: Array) -> Array:
    return np.array([sum(np.linalg.norm(each - other) for other in w) for each in w])


def softmax(gamma: float) -> Callable[[Array], Array]:
    def scores(w: Array) -> Array:
        raised = np.exp(l2(w) / l2(w).mean() / gamma)
        return np.asarray(raised / raised.sum())

    return scores


def over_mean(scores: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Scores of groups of other sizes and scales made comparable."""
    return lambda w: scores(w) / scores(w).mean()


CASES: dict[str, tuple[dict[str, Any], Callable[[Array], Array]]] = {
    "l1": ({"criterion": "l1"}, over_mean(l1)),
    "l2": ({"criterion": "l2"}, over_mean(l2)),
    "lamp": ({"criterion": "lamp"}, lamp),
    "fpgm": ({"criterion": "fpgm"}, over_mean(fpgm)),
    "softmax": ({"criterion": "softmax"}, over_mean(softmax(1.0))),
    "cold softmax": ({"criterion": "softmax", "gamma": 0.1}, over_mean(softmax(0.1))),
}


def stays(scores: list[Array], share: float) -> list[list[int]] | None:
    """Which units of each group stay when a part of all goes; None if a group would lose everything."""
    threshold = np.sort(np.concatenate(scores))[round(share * ALL)]
    left = [np.flatnonzero(each >= threshold).tolist() for each in scores]
    return left if all(left) else None


def left_by_the_pass(given: list[Array], share: float, *, seed: int = 0, **options: Any) -> list[list[int]]:
    """Which units of each group stay, told by the first layer's rows and the last layer's columns."""
    graph = chain(given)
    step = PruneChannels(ratio=share, least=0.0, **options)
    context = plain_context(graph)
    context.seed = seed
    step.run(graph, context)
    first, _, last = (node.input(1) for node in graph if node.op.name == "Gemm")
    assert first is not None
    assert last is not None
    assert first.data is not None
    assert last.data is not None
    wide = first.data if first.data.shape[1] == SIZES[0] else first.data.T
    narrow = last.data if last.data.shape[0] == SIZES[-1] else last.data.T
    return [_places(given[0][:, 0], wide[:, 0]), _places(given[2][0], narrow[0])]


def _places(whole: Array, part: Array) -> list[int]:
    return [whole.tolist().index(each) for each in part.tolist()]


@pytest.mark.parametrize("case", CASES)
def test_least_important_go_first(case: str) -> None:
    """One more unit after the other, of all groups together."""
    options, definition = CASES[case]
    given = weights()
    scores = [definition(each) for each in units(given)]
    compared = 0
    for count in range(1, ALL):
        wanted = stays(scores, count / ALL)
        if wanted is not None:
            assert left_by_the_pass(given, count / ALL, **options) == wanted, count
            compared += 1
    assert compared >= 12


def test_definitions_differ() -> None:
    """Else one criterion could pass for another."""
    orders = {}
    for case, (_, definition) in CASES.items():
        orders[case] = tuple(np.argsort(np.concatenate([definition(each) for each in units(weights())])).tolist())
    assert len(set(orders.values())) == len(CASES)


def test_local_scope_takes_the_same_part_of_each_group() -> None:
    given = weights()
    wanted = [np.sort(np.argsort(l1(each))[round(0.4 * len(each)) :]).tolist() for each in units(given)]
    left = left_by_the_pass(given, 0.4, criterion="l1", scope="local")
    assert [len(each) for each in left] == [round(len(each) * 0.6) for each in units(given)]
    assert left == wanted


def test_norm_scales_are_compared_by_magnitude_and_as_they_are() -> None:
    """Network slimming: |gamma| under one threshold for all layers, whatever their means."""
    gammas = [np.array([0.9, -0.05, 0.4, -0.8, 0.3, 0.02]), np.array([-0.1, 0.35, 0.15, -0.2])]
    layers: list[nn.Module] = []
    for before, each in zip((3, 6), gammas, strict=True):
        norm = nn.BatchNorm2d(each.size)
        norm.weight.data = torch.from_numpy(each).float()
        layers += [nn.Conv2d(before, each.size, 1), norm, nn.ReLU()]
    net = nn.Sequential(*layers, nn.Conv2d(4, 2, 1)).eval()
    for count in range(1, 7):
        graph = irc.load(net, (torch.zeros(1, 3, 4, 4),))
        PruneChannels(ratio=count / 10, criterion="bn-scale", least=0.0).run(graph, plain_context(graph))
        threshold = np.sort(np.abs(np.concatenate(gammas)))[count]
        scales = [node.constant(1) for node in graph if node.op.name == "BatchNormalization"]
        for scale, each in zip(scales, gammas, strict=True):
            assert scale is not None
            np.testing.assert_allclose(scale, each[np.abs(each) >= threshold], rtol=1e-6)


def test_groups_without_a_norm_have_no_scale_to_go_by() -> None:
    first = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU())
    net = nn.Sequential(*first, nn.Conv2d(8, 6, 1), nn.ReLU(), nn.Conv2d(6, 2, 1))
    graph = irc.load(net.eval(), (torch.zeros(1, 3, 4, 4),))
    context = plain_context(graph)
    PruneChannels(ratio=0.5, criterion="bn-scale").run(graph, context)
    (left,) = [each for each in context.row.groups if "no norm" in each.reason]
    assert (left.name, left.before, left.after) == ("3", 6, 6)


def test_random_is_as_the_seed_says() -> None:
    """The same with the same seed, else another."""
    left = [left_by_the_pass(weights(), 0.5, seed=k, criterion="random", scope="local") for k in (1, 1, 2, 3, 4)]
    assert left[0] == left[1]
    assert all(each != left[0] for each in left[2:])
    assert [len(each) for each in left[0]] == [4, 4]


def test_stored_codes_are_judged_by_what_they_stand_for() -> None:
    """Codes are alike; the scales say which channel is small. The codes' order would take the first channels."""
    graph = parse_graph(
        """\
graph main(opset = 21) {
  input %x: f32[1, 2]
  weight %w: i8[4, 2] = [1, 1, 2, 2, 3, 3, 4, 4]
  weight %s: f32[4] = [8, 3, 1, 0.5]
  weight %r: f32[3, 4] = splat(0.001)
  %d: f32[4, 2] = DequantizeLinear(%w, %s) {axis = 0}
  %h: f32[1, 4] = Gemm(%x, %d) {transB = 1}
  %y: f32[1, 3] = Gemm(%h, %r) {transB = 1}
  return %y
}
"""
    )
    PruneChannels(ratio=0.5, criterion="l1", multiple=1).run(graph, plain_context(graph))
    left = graph.value("w").data
    assert left is not None
    assert left[:, 0].tolist() == [1, 2]

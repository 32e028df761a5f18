"""prune-weights zeroes as many elements as asked for, those that matter least, and along the inputs for n:m."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import irc
from irc.analysis.weights import weights_of
from irc.errors import IrcError, OptionError
from irc.graph import Graph
from irc.passes.base import LOSSY, Pass
from irc.passes.context import Context, plain_context
from irc.passes.fold_batch_norm import FoldBatchNorm
from irc.passes.prune_weights import PruneWeights
from irc.text import parse_graph
from irc.types import Array


def draw(text: str, seed: int = 0) -> Graph:
    """The graph with drawn float constants, no two elements of one size."""
    graph = parse_graph(text)
    rng = np.random.default_rng(seed)
    for inner in graph.graphs():
        for value in inner.constants:
            if value.data is not None and value.data.dtype.kind == "f" and value.data.ndim > 1:
                size = value.data.size
                drawn = (rng.permutation(size) + 1) / size * rng.choice([-1, 1], size)
                value.data = drawn.reshape(value.data.shape).astype(value.data.dtype)
    return graph


LAYERS = """
graph main(opset = 21) {
  input %x: f32[1, 8, 6, 6]
  input %r: f32[5, 20]
  input %s: f32[3, 1, 8]
  weight %conv: f32[12, 8, 3, 3] = splat(1)
  weight %bias: f32[12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
  weight %up: f32[12, 10, 2, 2] = splat(1)
  weight %rows: f32[24, 20] = splat(1)
  weight %columns: f32[24, 16] = splat(1)
  weight %right: f32[16, 8] = splat(1)
  weight %left: f32[9, 5] = splat(1)
  weight %w: f32[1, 16, 8] = splat(1)
  weight %rec: f32[1, 16, 4] = splat(1)
  %a: f32[1, 12, 6, 6] = Conv(%x, %conv, %bias) {pads = [1, 1, 1, 1]} @"first"
  %b: f32[1, 10, 7, 7] = ConvTranspose(%a, %up) @"up"
  %c: f32[5, 24] = Gemm(%r, %rows) {transB = 1}
  %d: f32[5, 16] = Gemm(%c, %columns)
  %e: f32[5, 8] = MatMul(%d, %right)
  %f: f32[9, 8] = MatMul(%left, %e)
  %g: f32[3, 1, 1, 4] = LSTM:14(%s, %w, %rec) {hidden_size = 4}
  return %b, %f, %g
}
"""
# the axis that is summed over, as one reads it off the ONNX operators
SUMS = {"conv": 1, "up": 0, "rows": 1, "columns": 0, "right": 0, "left": 1, "w": 2, "rec": 2}


def data(graph: Graph) -> dict[str, Array]:
    """The float constants of two axes and more, of bodies too."""
    found = [v for inner in graph.graphs() for v in inner.constants]
    return {v.name: v.data for v in found if v.data is not None and v.data.ndim > 1 and v.data.dtype.kind == "f"}


def run(graph: Graph, each: Pass, **context: Any) -> Context:
    made = plain_context(graph)
    for name, value in context.items():
        setattr(made, name, value)
    each.run(graph, made)
    return made


def zeros(array: Array) -> int:
    return int((array == 0).sum())


@pytest.mark.parametrize("share", [0.5, 0.8, 0.999])
def test_each_weight_loses_its_smallest(share: float) -> None:
    graph = draw(LAYERS)
    before = data(graph)
    run(graph, PruneWeights(sparsity=share))
    after = data(graph)
    assert set(after) == set(SUMS)
    for name, array in after.items():
        count = round(share * array.size)
        order = np.sort(np.abs(before[name]).reshape(-1))
        limit = order[count] if count < array.size else np.inf
        wanted = np.where(np.abs(before[name]) >= limit, before[name], 0)
        np.testing.assert_array_equal(array, wanted)
        assert array.dtype == before[name].dtype
    bias = graph.value("bias").data
    assert bias is not None
    assert zeros(bias) == 0


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_ranks_among_all(share: float) -> None:
    graph = draw(LAYERS)
    value = graph.value("conv")
    assert value.data is not None
    value.data = value.data * np.float32(10)
    before = data(graph)
    run(graph, PruneWeights(sparsity=share, scope="global", least=0))
    everything = np.sort(np.abs(np.concatenate([a.reshape(-1) for a in before.values()])))
    goal = round(share * everything.size)
    assert sum(zeros(a) for a in data(graph).values()) == goal
    for name, array in data(graph).items():
        kept, lost = np.abs(before[name])[array != 0], np.abs(before[name])[array == 0]
        assert not kept.size or kept.min() >= everything[goal - 1]
        assert not lost.size or lost.max() <= everything[goal]
    assert zeros(data(graph)["conv"]) < 0.2 * before["conv"].size


def test_of_each_some_stay_and_all_in_all_as_many_are_zero() -> None:
    """A weight of small numbers keeps its largest tenth; what it would have lost, the others lose."""
    graph = draw(LAYERS)
    value = graph.value("rows")
    assert value.data is not None
    value.data = value.data / np.float32(1e6)
    before = data(graph)
    run(graph, PruneWeights(sparsity=0.6, scope="global", least=0.1))
    after = data(graph)
    assert after["rows"].size - zeros(after["rows"]) == 48
    assert np.abs(after["rows"])[after["rows"] != 0].min() == np.sort(np.abs(before["rows"]).reshape(-1))[-48]
    assert sum(zeros(a) for a in after.values()) == round(0.6 * sum(a.size for a in before.values()))


def test_a_goal_that_least_forbids() -> None:
    graph = draw(LAYERS)
    run(graph, PruneWeights(sparsity=0.9, scope="global", least=0.5))
    for array in data(graph).values():
        assert array.size - zeros(array) == -(-array.size // 2)


@pytest.mark.parametrize(("stay", "of"), [(2, 4), (1, 4), (4, 8), (1, 2), (3, 5)])
def test_n_of_m_along_the_inputs(stay: int, of: int) -> None:
    graph = draw(LAYERS)
    before = data(graph)
    run(graph, PruneWeights(pattern=f"{stay}:{of}"))
    for name, array in data(graph).items():
        lines = np.moveaxis(array, SUMS[name], -1).reshape(-1, array.shape[SUMS[name]])
        sizes = np.abs(np.moveaxis(before[name], SUMS[name], -1).reshape(lines.shape))
        for line, size in zip(lines, sizes, strict=True):
            for at in range(0, line.size, of):
                block, worth = line[at : at + of], size[at : at + of]
                best = set(np.argsort(worth)[::-1][:stay].tolist())
                assert set(np.flatnonzero(block).tolist()) == best


def test_a_depthwise_weight_has_nothing_to_choose_from() -> None:
    text = LAYERS.replace("Conv(%x, %conv, %bias) {pads", "Conv(%x, %conv) {group = 8, pads")
    graph = draw(
        text.replace("[12, 8, 3, 3]", "[8, 1, 3, 3]")
        .replace("[12, 10, 2, 2]", "[8, 10, 2, 2]")
        .replace("%a: f32[1, 12, 6, 6]", "%a: f32[1, 8, 6, 6]")
    )
    run(graph, PruneWeights(pattern="2:4"))
    assert zeros(data(graph)["conv"]) == 0


def test_what_skip_names_stays() -> None:
    graph = draw(LAYERS)
    context = run(graph, PruneWeights(sparsity=0.5, skip=("first", "r*", "nothing")))
    after = data(graph)
    assert {name for name, array in after.items() if zeros(array)} == {"up", "columns", "left", "w"}
    assert "skip: there is no weight 'nothing'" in context.row.notes
    reasons = {g.name: g.reason for g in context.row.groups}
    assert reasons["conv"] == "'first' is in skip"
    assert reasons["rows"] == reasons["right"] == reasons["rec"] == "'r*' is in skip"
    assert reasons["up"] == "magnitude"
    assert len([n for n in context.row.notes if n.startswith("skip")]) == 1


def test_the_report_counts() -> None:
    graph = draw(LAYERS)
    context = run(graph, PruneWeights(sparsity=0.75))
    sizes = {name: array.size for name, array in data(graph).items()}
    rows = {g.name: g for g in context.row.groups}
    assert {name: row.before for name, row in rows.items()} == sizes
    assert {name: row.after for name, row in rows.items()} == {n: s - round(0.75 * s) for n, s in sizes.items()}
    lost = sum(round(0.75 * s) for s in sizes.values())
    assert context.row.notes == [
        f"{lost:,} of {sum(sizes.values()):,} elements in 8 weights are zero, {lost / sum(sizes.values()):.1%}"
    ]


class Counting(Pass):
    """Keeps the share of zeros each time it runs."""

    numerics = LOSSY
    seen: list[float]

    def __init__(self) -> None:
        object.__setattr__(self, "seen", [])

    def run(self, graph: Graph, context: Context) -> None:
        arrays = data(graph).values()
        self.seen.append(sum(map(zeros, arrays)) / sum(a.size for a in arrays))


@pytest.mark.parametrize("scope", ["local", "global"])
def test_the_sparsity_rises_by_the_cubic_schedule(scope: str) -> None:
    """s_t = s - s (1 - t / n)^3, Zhu & Gupta 2017 with nothing zero at first."""
    graph, counting = draw(LAYERS), Counting()
    run(graph, PruneWeights(sparsity=0.8, scope=scope, iterations=4, between=[counting]))
    wanted = [0.8 * (1 - 0.75**3), 0.8 * (1 - 0.5**3), 0.8 * (1 - 0.25**3)]
    assert counting.seen == pytest.approx(wanted, abs=2e-3)  # of rounding
    counting.run(graph, plain_context(graph))
    assert counting.seen[-1] == pytest.approx(0.8, abs=2e-3)


def test_a_pattern_in_steps() -> None:
    graph, counting = draw(LAYERS), Counting()
    run(graph, PruneWeights(pattern="1:4", iterations=3, between=[counting]))
    assert len(counting.seen) == 2
    assert counting.seen[0] == pytest.approx(0.25, abs=0.05)  # the last of 5 or 9 apart
    assert counting.seen[1] == pytest.approx(0.5, abs=0.05)
    once = draw(LAYERS)
    run(once, PruneWeights(pattern="1:4"))
    for name, array in data(graph).items():
        np.testing.assert_array_equal(array, data(once)[name])


@pytest.mark.parametrize("scope", ["local", "global"])
def test_steps_end_where_one_step_does(scope: str) -> None:
    graphs = draw(LAYERS), draw(LAYERS)
    run(graphs[0], PruneWeights(sparsity=0.7, scope=scope, iterations=5))
    run(graphs[1], PruneWeights(sparsity=0.7, scope=scope))
    for name, array in data(graphs[0]).items():
        np.testing.assert_array_equal(array, data(graphs[1])[name])


def test_passes_between_as_text() -> None:
    graph = draw(LAYERS)
    run(graph, PruneWeights(sparsity=0.7, iterations=2, between="eliminate-dead"))
    with pytest.raises(IrcError, match="no-such-pass"):
        run(graph, PruneWeights(sparsity=0.7, iterations=2, between="no-such-pass"))
    for between in (["eliminate-dead"], iter([Counting()])):  # an iterator would be at its end after one step
        with pytest.raises(OptionError, match="between takes passes as text, or a list of them"):
            run(graph, PruneWeights(sparsity=0.7, iterations=3, between=between))


def test_random_is_of_the_seed() -> None:
    graphs = [draw(LAYERS) for _ in range(3)]
    for graph, seed in zip(graphs, (1, 1, 2), strict=True):
        run(graph, PruneWeights(sparsity=0.5, criterion="random"), seed=seed)
    a, b, c = map(data, graphs)
    assert all((a[name] == b[name]).all() for name in a)
    assert all((a[name] != c[name]).any() for name in a)
    assert all(zeros(a[name]) == round(a[name].size * 0.5) for name in a)
    assert not np.allclose(a["conv"] == 0, data(draw(LAYERS))["conv"] == 0)


def test_zeros_that_are_there_count() -> None:
    for criterion in ("magnitude", "random"):
        graph = draw(LAYERS)
        value = graph.value("rows")
        assert value.data is not None
        mask = np.random.default_rng(3).random(value.data.shape) < 0.3
        value.data = np.where(mask, np.float32(0), value.data)
        run(graph, PruneWeights(sparsity=0.5, criterion=criterion))
        after = data(graph)["rows"]
        assert zeros(after) == 240
        assert (after[mask] == 0).all()


def test_bodies_and_weights_of_several_readers() -> None:
    graph = draw("""
graph main(opset = 21) {
  input %c: bool[]
  input %x: f32[2, 16]
  weight %both: f32[16, 16] = splat(1)
  %a: f32[2, 16] = MatMul(%x, %both)
  %i: f32[2, 16] = If:21(%c) {then_branch = {
    weight %inner: f32[16, 16] = splat(1)
    %t: f32[2, 16] = MatMul(%a, %inner)
    return %t
  }, else_branch = {
    %e: f32[2, 16] = MatMul(%a, %both)
    return %e
  }}
  return %i
}
""")
    context = run(graph, PruneWeights(sparsity=0.5))
    assert {name: zeros(array) for name, array in data(graph).items()} == {"both": 128, "inner": 128}
    assert len(context.row.groups) == 2


def test_a_weight_behind_a_fake_quant_and_one_in_half_precision() -> None:
    graph = draw("""
graph main(opset = 21) {
  input %x: f32[2, 16]
  input %h: f16[2, 16]
  weight %w: f32[16, 32] = splat(1)
  weight %s: f32[] = 0.01
  weight %half: f16[16, 32] = splat(1)
  %q: f32[16, 32] = irc.FakeQuant(%w, %s) {qmin = -127, qmax = 127}
  %a: f32[2, 32] = MatMul(%x, %q)
  %b: f16[2, 32] = MatMul(%h, %half)
  return %a, %b
}
""")
    run(graph, PruneWeights(sparsity=0.75))
    after = data(graph)
    assert {name: zeros(array) for name, array in after.items()} == {"w": 384, "half": 384}
    assert after["half"].dtype == np.float16
    assert [w.nodes[0].op.name for w in weights_of(graph)] == ["MatMul", "MatMul"]


GOALS: list[dict[str, Any]] = [{"sparsity": 0.5}, {"sparsity": 0.5, "scope": "global"}, {"pattern": "2:4"}]


@pytest.mark.parametrize("options", GOALS, ids=str)
def test_what_is_no_number_stays(options: dict[str, Any]) -> None:
    """A zero in its place would hide that the model is broken."""
    graph = draw(LAYERS)
    value = graph.value("rows")
    assert value.data is not None
    broken = value.data.copy()
    broken[3, 5], broken[4, 6] = np.nan, -np.inf
    value.data = broken
    run(graph, PruneWeights(**options))
    assert np.isnan(data(graph)["rows"][3, 5])
    assert data(graph)["rows"][4, 6] == -np.inf
    assert zeros(data(graph)["rows"]) > 0


@pytest.mark.parametrize("options", GOALS, ids=str)
@pytest.mark.parametrize("dtype", ["f64", "bf16"])
def test_other_floats(dtype: str, options: dict[str, Any]) -> None:
    """Also what is beyond float32, where all would be as large."""
    graph = parse_graph(f"""
graph main(opset = 21) {{
  input %x: {dtype}[2, 16]
  weight %w: {dtype}[16, 8] = splat(1)
  %y: {dtype}[2, 8] = MatMul(%x, %w)
  return %y
}}
""")
    value = graph.value("w")
    assert value.data is not None
    lines = np.tile(np.arange(1.0, 5), (8, 4)).T * (1e100 if dtype == "f64" else 1)
    value.data = lines.astype(value.data.dtype)
    run(graph, PruneWeights(**options))
    np.testing.assert_array_equal(value.data.astype(np.float64), np.where(lines > lines[1, 0], lines, 0))


def test_a_graph_without_weights() -> None:
    graph = parse_graph("graph main(opset = 21) {\n  input %x: f32[2]\n  %y: f32[2] = Relu(%x)\n  return %y\n}\n")
    for each in (PruneWeights(sparsity=0.5), PruneWeights(sparsity=0.5, scope="global"), PruneWeights(pattern="2:4")):
        assert run(graph, each).row.notes == ["there is no weight to prune"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "sparsity=0.8, say, or pattern=2:4, and not both"),
        ({"sparsity": 0.5, "pattern": "2:4"}, "not both"),
        ({"sparsity": 0.0}, "sparsity=0 is no part"),
        ({"sparsity": 1.0}, "sparsity=1 is no part"),
        ({"sparsity": float("nan")}, "is no part"),
        ({"sparsity": -0.5}, "is no part"),
        ({"pattern": "4:4"}, "pattern='4:4' is not n:m"),
        ({"pattern": "0:4"}, "is not n:m"),
        ({"pattern": "2/4"}, "is not n:m"),
        ({"pattern": "2:4:8"}, "is not n:m"),
        ({"sparsity": 0.5, "iterations": 0}, "iterations start at 1"),
        ({"sparsity": 0.5, "least": 1.5}, "least lies between 0 and 1"),
        ({"sparsity": 0.5, "criterion": "taylor"}, "taylor"),
        ({"sparsity": 0.5, "scope": "all"}, "all"),
    ],
    ids=str,
)
def test_options_that_are_wrong(options: dict[str, Any], said: str) -> None:
    graph = draw(LAYERS)
    before = data(graph)
    with pytest.raises(OptionError, match=said.replace("*", r"\*")):
        run(graph, PruneWeights(**options))
    assert all((array == before[name]).all() for name, array in data(graph).items())


def test_folding_batch_norms_behind_it_keeps_the_zeros() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8))
    nn.init.uniform_(net[1].weight, 0.5, 1.5)  # type: ignore[arg-type]  # a batch norm has one
    steps = [PruneWeights(sparsity=0.75), FoldBatchNorm()]
    graph = irc.compile(net.eval(), steps, example_inputs=(torch.zeros(1, 3, 8, 8),)).graph
    weight = graph.node("0").constant(1)
    assert weight is not None
    assert np.count_nonzero(weight) == weight.size // 4

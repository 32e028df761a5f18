"""Ranges and histograms are those of all elements of all samples, branches' values included, each counted once."""

from __future__ import annotations

import numpy as np

from irc.execution.evaluate import evaluate_node
from irc.execution.statistics import BINS, collect_histograms, collect_ranges
from irc.graph import Graph, Value
from irc.ops.activation import Relu
from irc.ops.binary import Add
from irc.ops.onnx_op import OnnxOp
from irc.types import tensor


def branching() -> tuple[Graph, dict[str, Value]]:
    """y = c ? relu(x) : x + x, and both branches read r = relu(x) as well."""
    graph = Graph()
    x, condition = graph.add_input("x", tensor("f32", "N")), graph.add_input("c", tensor("bool"))
    shared = graph.insert(Relu(), [x], outputs=["shared"]).output
    owner = graph.insert(OnnxOp("", "If", 21), [condition], outputs=["y"], types=[tensor("f32", "N")])
    then, other = graph.add_body(owner, "then_branch"), graph.add_body(owner, "else_branch")
    then.add_output(then.insert(Relu(), [shared], outputs=["then"]).output)
    other.add_output(other.insert(Add(), [shared, x], outputs=["else"]).output)
    graph.add_output(owner.output, "y")
    return graph, {v.name: v for g in graph.graphs() for v in g.values}


def samples(*conditions: bool) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    return [{"x": random.standard_normal(1000).astype(np.float32), "c": np.array(c)} for c in conditions]


def test_ranges_cover_all_samples_and_leave_out_what_is_not_reached() -> None:
    graph, values = branching()
    given = samples(True, True)
    found = collect_ranges(graph, [values[n] for n in ("x", "shared", "then", "else")], given)
    everything = np.concatenate([s["x"] for s in given])
    assert set(found) == {values[n] for n in ("x", "shared", "then")}
    assert (found[values["x"]].low, found[values["x"]].high) == (everything.min(), everything.max())
    assert (found[values["then"]].low, found[values["then"]].largest) == (0, everything.max())


def test_histograms_count_every_element_once() -> None:
    graph, values = branching()
    given = samples(True, False, True)
    wanted = [values[n] for n in ("x", "shared", "then", "else")]
    found = collect_histograms(graph, collect_ranges(graph, wanted, given), given)
    counts = {v.name: h.counts.sum() for v, h in found.items()}
    assert counts == {"x": 3000, "shared": 3000, "then": 2000, "else": 1000}
    x = found[values["x"]]
    exact, edges = np.histogram(np.concatenate([s["x"] for s in given]), BINS, (x.low, x.high))
    assert np.abs(x.counts - exact).sum() <= 0.01 * 3000, "up to float32's rounding at the edges of bins"
    np.testing.assert_allclose(x.centers, (edges[:-1] + edges[1:]) / 2, rtol=1e-6)  # numpy has float32 edges


def test_nan_infinity_and_points_have_no_histogram() -> None:
    graph, values = branching()
    given = samples(True)
    given[0]["x"][3] = np.nan
    x, condition = values["x"], values["c"]
    found = collect_ranges(graph, [x], given)
    assert not found[x].is_finite
    given[0]["x"][:] = -1
    found = collect_ranges(graph, [x, values["shared"]], given)
    assert (found[values["shared"]].low, found[values["shared"]].high) == (0, 0)
    assert collect_histograms(graph, found, given) == {}
    assert condition not in found


def test_a_later_nan_is_not_forgotten() -> None:
    graph, values = branching()
    given = samples(True, True, True)
    given[1]["x"][0] = np.nan
    assert not collect_ranges(graph, [values["x"]], given)[values["x"]].is_finite


def test_evaluating_a_node_of_constants() -> None:
    graph = Graph()
    ones = graph.add_constant(np.ones(3, np.float32))
    node = graph.insert(Add(), [ones, ones])
    (made,) = evaluate_node(node)
    assert made.tolist() == [2, 2, 2]
    made[0] = 9
    assert evaluate_node(graph.insert(Relu(), [ones]))[0].tolist() == [1, 1, 1]

"""`dedup-weights{tolerance=…}`: what readers see moves by no more than the tolerance, whatever is merged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irc.errors import OptionError
from irc.execution import Executable
from irc.graph import Graph
from irc.ops.linear import MatMul
from irc.ops.quantize import DequantizeLinear
from irc.passes import DedupWeights
from irc.passes.base import EXACT, LOSSY
from irc.passes.context import plain_context
from irc.passes.near_duplicates import match_of
from irc.text import parse_graph
from irc.types import Array, tensor
from irc.verify import verify


def products(weights: list[Array]) -> Graph:
    """x times each of the weights: with the unit matrix for x, the outputs are the weights as they are read."""
    graph = Graph("main")
    graph.info.opsets[""] = 21
    x = graph.add_input("x", tensor("f32", 16, 16))
    for number, weight in enumerate(weights):
        node = graph.insert(MatMul(), [x, graph.add_constant(weight, f"w{number}")], name=f"y{number}")
        graph.add_output(node.output)
    return graph


def read(graph: Graph) -> list[Array]:
    """Each weight as its reader sees it."""
    return list(Executable(graph).run_numpy({"x": np.eye(16, dtype=np.float32)}).values())


def merged(weights: list[Array], tolerance: float) -> tuple[Graph, list[str]]:
    graph = products(weights)
    context = plain_context(graph)
    DedupWeights(tolerance=tolerance, min_bytes=0).run(graph, context)
    verify(graph)
    return graph, context.row.notes


@st.composite
def families(draw: st.DrawFn) -> tuple[list[Array], float]:
    """Weights of which some are others times a number, with noise about as large as the tolerance."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tolerance = draw(st.sampled_from([1e-6, 1e-3, 0.05, 0.3]))
    weights = [random.normal(size=(16, 8)).astype(np.float32)]
    for _ in range(draw(st.integers(1, 6))):
        source = weights[draw(st.integers(0, len(weights) - 1))]
        scale = draw(st.sampled_from([1.0, 1.0, -1.0, 0.5, 3.7, -1e-3, 1e4]))
        noise = draw(st.sampled_from([0.0, 0.5, 0.99, 1.01, 3.0])) * tolerance
        made = scale * source + noise * abs(scale) * np.abs(source).max() * random.uniform(-1, 1, source.shape)
        if draw(st.booleans()):
            made[random.integers(0, 16)] = 0
        weights.append(made.astype(np.float32))
    return weights, tolerance


@settings(max_examples=200, deadline=None)
@given(families())
def test_the_error_bound_holds(family: tuple[list[Array], float]) -> None:
    weights, tolerance = family
    graph, notes = merged(weights, tolerance)
    for before, after in zip(weights, read(graph), strict=True):
        allowed = tolerance * np.abs(before).max()
        assert np.abs(after.astype(np.float64) - before).max() <= allowed * (1 + 1e-6)  # of the float32 product
    left = sum(v.data is not None and v.data.ndim == 2 for v in graph.constants)
    assert bool(notes) == (left < len({w.tobytes() for w in weights}))


@pytest.mark.parametrize("scale", [1.0, -1.0, 0.37, -250.0])
def test_multiples_are_found(scale: float) -> None:
    weight = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)
    graph, notes = merged([weight, np.float32(scale) * weight], 1e-5)
    assert sum(v.data is not None and v.data.ndim == 2 for v in graph.constants) == 1
    assert len(notes) == (scale != 1)  # an equal one is exact business
    assert [node.op.name for node in graph] == (["MatMul"] * 2 if scale == 1 else ["MatMul", "Mul", "MatMul"])


def test_errors_do_not_add_up() -> None:
    """Each is near the one before: the third is held against the first, which stayed, and not against the second."""
    first = np.full((16, 8), 1.0, np.float32)
    first[0, 0] = 0.5
    second, third = first.copy(), first.copy()
    second[0, 0], third[0, 0] = 0.58, 0.66
    graph, _ = merged([first, second, third], 0.1)
    np.testing.assert_array_equal(read(graph)[1], first)
    np.testing.assert_array_equal(read(graph)[2], third)


@pytest.mark.parametrize("error", [0.9, 1.1])
def test_the_tolerance_is_sharp(error: float) -> None:
    """Zeros of the kept weight leave no scale to hide behind."""
    kept = np.ones(100, np.float32)
    kept[50] = 0
    dropped = kept.copy()
    dropped[50] = error * 0.01
    found = match_of(kept, dropped, 0.01)
    assert (found is not None) == (error < 1)
    if found is not None:
        assert found.error == pytest.approx(error * 0.01)


QUANTIZED = """\
graph main(opset = 21) {
  input %x: f32[2, 4]
  weight %a: f32[4, 3] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 0, 1]
  weight %b: f32[4, 3] = [2, 4, 6, 8, 10, 12, 14, 16, 18, 2, 0, 2]
  weight %s: f32[] = 0.1
  %q: f32[4, 3] = irc.FakeQuant(%b, %s)
  %u: f32[2, 3] = MatMul(%x, %a)
  %v: f32[2, 3] = MatMul(%x, %q)
  return %u, %v
}
"""


def test_a_quantized_weight_stays_a_constant() -> None:
    graph = parse_graph(QUANTIZED)
    context = plain_context(graph)
    DedupWeights(tolerance=1e-3, min_bytes=0).run(graph, context)
    assert graph.value("b").is_constant
    assert "stays a constant" in context.row.declined[0].reason


def test_only_with_a_tolerance_is_it_lossy() -> None:
    assert DedupWeights().numerics is EXACT
    assert DedupWeights(tolerance=0.01).numerics is LOSSY


@pytest.mark.parametrize("tolerance", [-0.1, 1.0, float("nan")])
def test_bad_tolerances(tolerance: float) -> None:
    with pytest.raises(OptionError, match="tolerance"):
        merged([np.ones((16, 8), np.float32)], tolerance)


def test_infinite_weights_are_left_alone() -> None:
    weight = np.ones((16, 8), np.float32)
    weight[0, 0] = np.inf
    other = weight.copy()
    other[1, 1] = 1.001
    graph, notes = merged([weight, other], 0.01)
    assert not notes
    assert sum(v.data is not None and v.data.ndim == 2 for v in graph.constants) == 2


def test_scales_of_codes_are_left_alone() -> None:
    """What is small beside the largest scale is not beside the channel that has the smallest."""
    graph = Graph("main")
    x = graph.add_input("x", tensor("f32", 1, 16))
    for number, least in enumerate((1e-3, 2e-3)):
        scale = np.ones(16, np.float32)
        scale[0] = least
        codes = graph.add_constant(np.full((16, 16), number + 1, np.int8), f"codes{number}")
        reads = [codes, graph.add_constant(scale, f"scale{number}")]
        weight = graph.insert(DequantizeLinear(axis=1), reads, name=f"weight{number}").output
        graph.add_output(graph.insert(MatMul(), [x, weight], name=f"y{number}").output)
    DedupWeights(tolerance=0.01, min_bytes=0).run(graph, plain_context(graph))
    assert [graph.value(f"scale{number}").is_constant for number in (0, 1)] == [True, True]


@pytest.mark.parametrize(
    ("kept", "dropped"),
    [([60000.0, 1e-7], [1e-7, 60000.0]), ([6e-8, 6e-8], [60000.0, 60000.0]), ([1.0, 6e-8], [60000.0, 0.0])],
)
def test_float16_at_the_ends_of_its_range(kept: list[float], dropped: list[float]) -> None:
    """No warning of an overflow, which would be an error here, and no multiple that the type cannot hold."""
    found = match_of(np.array(kept, np.float16), np.array(dropped, np.float16), 1e-3)
    assert found is None or (np.isfinite(found.scale) and found.error <= 1e-3)


def test_float64_at_the_ends_of_its_range() -> None:
    found = match_of(np.array([5e-324, 1.0]), np.array([1.0, 1e300]), 0.1)  # 1 is nothing beside 1e300
    assert found is not None
    assert found.scale == pytest.approx(1e300)

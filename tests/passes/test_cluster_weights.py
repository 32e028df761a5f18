"""cluster-weights leaves few numbers in a weight: centroids that k-means ends at, every element at the nearest."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from irc.encoding import Codebook, Sparse, encode
from irc.errors import OptionError
from irc.graph import Graph
from irc.passes.cluster_weights import ClusterWeights
from irc.passes.context import Context, plain_context
from irc.text import parse_graph
from irc.types import Array, DType

NET = """
graph main(opset = 21) {
  input %x: f32[1, 8, 6, 6]
  input %i: i64[3]
  input %r: f32[5, 40]
  weight %conv: f32[32, 8, 3, 3] = splat(1)
  weight %bias: f32[32] = splat(1)
  weight %up: f32[32, 10, 2, 2] = splat(1)
  weight %table: f32[50, 40] = splat(1)
  weight %columns: f32[40, 16] = splat(1)
  %a: f32[1, 32, 6, 6] = Conv(%x, %conv, %bias) {pads = [1, 1, 1, 1]} @"first"
  %b: f32[1, 10, 7, 7] = ConvTranspose(%a, %up) @"up"
  %e: f32[3, 40] = Gather(%table, %i) @"embedding"
  %c: f32[5, 16] = Gemm(%r, %columns)
  return %b, %c, %e
}
"""
CHANNEL = {"conv": 0, "up": 1, "columns": 1, "table": 0}


def draw(text: str = NET) -> Graph:
    """The graph with drawn float constants."""
    graph = parse_graph(text)
    rng = np.random.default_rng(0)
    for inner in graph.graphs():
        for value in inner.constants:
            if value.data is not None and value.data.dtype.kind == "f":
                value.data = rng.standard_normal(value.data.shape).astype(value.data.dtype)
    return graph


def data(graph: Graph) -> dict[str, Array]:
    """The float constants."""
    found = [v for inner in graph.graphs() for v in inner.constants]
    return {v.name: v.data for v in found if v.data is not None and v.data.dtype.kind == "f"}


def run(graph: Graph, each: ClusterWeights, seed: int = 0) -> Context:
    context = plain_context(graph)
    context.seed = seed
    each.run(graph, context)
    return context


def rows(array: Array, axis: int | None) -> list[Array]:
    return [array.reshape(-1)] if axis is None else list(np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1))


@pytest.mark.parametrize("init", ["linear", "density", "k-means++"])
@pytest.mark.parametrize("per", ["layer", "channel"])
@pytest.mark.parametrize("bits", [2, 4])
def test_k_means_ends_here(init: str, per: str, bits: int) -> None:
    """Elements are at the nearest centroid, which would hardly move again.

    scikit-learn stops when a step moves them by 1e-4 of the variance; the next may move them by a little more.
    """
    graph = draw()
    before = data(graph)
    run(graph, ClusterWeights(bits=bits, per=per, init=init))
    after = data(graph)
    np.testing.assert_array_equal(after["bias"], before["bias"])
    for name, channel in CHANNEL.items():
        axis = channel if per == "channel" else None
        for old, new in zip(rows(before[name], axis), rows(after[name], axis), strict=True):
            book = np.unique(new)
            assert 1 < len(book) <= 1 << bits
            distance = np.abs(old[:, None].astype(np.float64) - book)
            np.testing.assert_allclose(np.abs(new.astype(np.float64) - old), distance.min(1), atol=1e-6)
            means = np.array([old[new == each].mean(dtype=np.float64) for each in book])
            assert np.square(means - book).sum() <= 5e-4 * old.var() + 1e-9
        assert np.square(after[name] - before[name]).mean() < {2: 0.15, 4: 0.02}[bits]  # Lloyd-Max: 0.1175 and 0.0095


def test_all_centroids_are_used_and_files_hold_codes() -> None:
    graph = draw()
    run(graph, ClusterWeights(bits=4))
    for name in CHANNEL:
        encoding = encode(data(graph)[name])
        assert isinstance(encoding, Codebook)
        assert (encoding.axis, encoding.bits, encoding.book.size) == (None, 4, 16)


@pytest.mark.parametrize("share", [0.1, 0.8])
def test_zeros_of_pruned_weights_stay(share: float) -> None:
    """Many beside the centroids, in a bitmap; few as one of them."""
    graph = draw()
    for name in CHANNEL:
        mask = np.random.default_rng(1).random(data(graph)[name].shape) < share
        value = graph.value(name)
        assert value.data is not None
        value.data = value.data * ~mask  # of both signs
    before = data(graph)
    run(graph, ClusterWeights(bits=4))
    for name in CHANNEL:
        array = data(graph)[name]
        np.testing.assert_array_equal(array == 0, before[name] == 0)
        assert not np.signbit(array[array == 0]).any()
        assert np.unique(array).size <= (17 if share > 0.5 else 16)
    assert isinstance(encode(data(graph)["table"]), Sparse if share > 0.5 else Codebook)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_codes_of_a_channel_have_room_for_zero(share: float) -> None:
    """Its book is stored without a bitmap beside it: one number more would take a bit more of every code."""
    graph = draw()
    value = graph.value("table")
    assert value.data is not None
    value.data = np.where(np.random.default_rng(2).random((50, 40)) < share, np.float32(0), value.data)
    run(graph, ClusterWeights(bits=2, per="channel"))
    assert value.data is not None
    encoding = encode(value.data)
    assert isinstance(encoding, Codebook)
    assert (encoding.axis, encoding.bits) == (0, 2)


@pytest.mark.parametrize("dtype", ["f16", "f32"])
def test_centroids_start_evenly_over_any_range(dtype: str) -> None:
    """Of which the width may be more than the type holds."""
    graph = draw(NET.replace("f32", dtype))
    value = graph.value("columns")
    assert value.data is not None
    largest = float(np.finfo(value.data.dtype).max)
    value.data = np.linspace(-largest, largest, value.data.size).reshape(40, 16).astype(value.data.dtype)
    run(graph, ClusterWeights(bits=2))
    assert value.data is not None
    wanted = np.array([-0.75, -0.25, 0.25, 0.75]) * largest
    # scikit-learn stops when a step moves the centroids by little
    np.testing.assert_allclose(np.unique(value.data.astype(np.float64)), wanted, rtol=0.05)


def test_the_same_seed_gives_the_same_bytes() -> None:
    made = []
    for seed in (0, 0, 1):
        graph = draw()
        run(graph, ClusterWeights(bits=3, init="k-means++"), seed)
        made.append(b"".join(array.tobytes() for array in data(graph).values()))
    assert made[0] == made[1]
    assert made[0] != made[2]


LARGE = """
import hashlib, numpy as np
from irc.passes.cluster_weights import ClusterWeights
from irc.passes.context import plain_context
from irc.text import parse_graph
graph = parse_graph('''graph main(opset = 21) {
  input %x: f32[1, 400]
  weight %w: f32[400, 500] = splat(1)
  %y: f32[1, 500] = MatMul(%x, %w)
  return %y
}
''')
graph.value("w").data = np.random.default_rng(0).standard_normal((400, 500)).astype(np.float32)
ClusterWeights(bits=6).run(graph, plain_context(graph))
print(hashlib.sha256(graph.value("w").data.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_any_number_of_threads_gives_the_same_bytes() -> None:
    """Of a weight of which k-means sees a part."""
    said = set()
    for threads in ("1", "2", "5"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", LARGE], env=environment, capture_output=True, text=True, timeout=120, check=True
        )
        said.add(done.stdout)
    assert len(said) == 1


def test_what_has_few_numbers_stays() -> None:
    graph = draw()
    for name, count in (("conv", 1), ("up", 16), ("columns", 17)):
        value = graph.value(name)
        assert value.data is not None
        value.data = (np.arange(value.data.size) % count).reshape(value.data.shape).astype(np.float32)
    before = data(graph)
    context = run(graph, ClusterWeights(bits=4))
    after = data(graph)
    assert {n for n in CHANNEL if (after[n] == before[n]).all()} == {"conv", "up"}
    reasons = {site.node: site.reason for site in context.row.declined}
    assert reasons == {
        "first": "'conv' has no more different numbers than centroids",
        "up": "'up' has no more different numbers than centroids",
    }


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("per", ["layer", "channel"])
def test_what_is_not_finite_stays(wrong: float, per: str) -> None:
    graph = draw()
    value = graph.value("conv")
    assert value.data is not None
    broken = value.data.copy()
    broken[3, 2, 1, 0] = wrong
    value.data = broken
    context = run(graph, ClusterWeights(bits=2, per=per))
    np.testing.assert_array_equal(data(graph)["conv"], broken)
    (site,) = context.row.declined
    assert (site.node, site.reason) == ("first", "'conv' holds what is not finite")
    assert np.unique(data(graph)["up"]).size <= (4 if per == "layer" else 40)


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_half_precision(dtype: str) -> None:
    graph = draw()
    held = [graph.value(name) for name in CHANNEL]
    for value in held:
        assert value.data is not None
        value.data = value.data.astype(DType.of_text(dtype).numpy)
    run(graph, ClusterWeights(bits=3))
    for value in held:
        assert value.data is not None
        assert value.data.dtype == DType.of_text(dtype).numpy
        assert np.unique(value.data).size == 8


@pytest.mark.parametrize("per", ["layer", "channel"])
def test_weights_without_elements(per: str) -> None:
    graph = draw("""
graph main(opset = 21) {
  input %x: f32[2, 0]
  weight %w: f32[0, 4] = []
  weight %v: f32[4, 0] = []
  %a: f32[2, 4] = MatMul(%x, %w)
  %y: f32[2, 0] = MatMul(%a, %v)
  return %y
}
""")
    run(graph, ClusterWeights(per=per))
    assert data(graph)["w"].shape == (0, 4)


def test_embeddings_are_clustered_if_wanted() -> None:
    for wanted in (True, False):
        graph = draw()
        before = data(graph)["table"]
        run(graph, ClusterWeights(embeddings=wanted))
        assert (np.unique(data(graph)["table"]).size == 16) == wanted
        assert (data(graph)["table"] == before).all() != wanted


def test_a_tied_weight_is_clustered_once() -> None:
    tied = draw("""
graph main(opset = 21) {
  input %i: i64[3]
  input %x: f32[2, 50]
  weight %table: f32[50, 40] = splat(1)
  %e: f32[3, 40] = Gather(%table, %i)
  %y: f32[2, 40] = MatMul(%x, %table)
  %z: f32[2, 40] = MatMul(%x, %table)
  return %y, %e, %z
}
""")
    context = run(tied, ClusterWeights())
    assert np.unique(data(tied)["table"]).size == 16
    assert context.row.notes[0].startswith("1 weights have 16 centroids a layer")


def test_what_skip_names_stays() -> None:
    graph = draw()
    before = data(graph)
    context = run(graph, ClusterWeights(skip=("first", "table", "nothing")))
    after = data(graph)
    assert {n for n in CHANNEL if (after[n] == before[n]).all()} == {"conv", "table"}
    assert "skip: there is no weight 'nothing'" in context.row.notes
    assert {s.node: s.reason for s in context.row.declined} == {
        "first": "'first' is in skip",
        "embedding": "'table' is in skip",
    }


def test_the_note_says_the_errors() -> None:
    graph = draw()
    before = data(graph)
    context = run(graph, ClusterWeights(bits=3))
    errors = {
        n: float(
            np.linalg.norm((data(graph)[n] - before[n]).astype(np.float64))
            / np.linalg.norm(before[n].astype(np.float64))
        )
        for n in CHANNEL
    }
    worst = max(errors, key=lambda n: errors[n])
    mean = np.mean(list(errors.values()))
    said = f"relative error {mean:.3f} on average, {errors[worst]:.3f} at most ('{worst}')"
    assert context.row.notes == [f"4 weights have 8 centroids a layer; {said}"]


@pytest.mark.parametrize("missing", ["sklearn.cluster", "threadpoolctl"])
def test_without_scikit_learn(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    graph = draw()
    before = data(graph)
    with pytest.raises(OptionError, match=r"cluster-weights needs scikit-learn: `pip install scikit-learn`"):
        run(graph, ClusterWeights())
    assert all((array == before[name]).all() for name, array in data(graph).items())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bits": 1}, "bits=1 is none of 2 to 8"),
        ({"bits": 9}, "bits=9 is none of 2 to 8"),
        ({"per": "row"}, "row"),
        ({"init": "zeros"}, "zeros"),
    ],
    ids=str,
)
def test_options_that_are_wrong(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        run(draw(), ClusterWeights(**options))

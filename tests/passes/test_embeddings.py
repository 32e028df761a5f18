"""An embedding table is held as codes, one scale a row, where the target wants it; chosen rows alone become floats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from irc.execution import Executable
from irc.graph import Graph
from irc.ops import Add, Gather, MatMul
from irc.ops.fake_quant import FakeQuant
from irc.ops.quantize import DequantizeLinear
from irc.passes import Calibrate, InsertFakeQuant, Quantize
from irc.passes.context import Context, plain_context
from irc.passes.integer_rules import INTEGER_POLICY
from irc.passes.integer_rules.embedding import lower_embedding
from irc.passes.qdq import lower_fake_quant
from irc.target import QuantPolicy, Target
from irc.types import Array, tensor
from irc.verify import verify

ROWS, WIDTH = 700, 32
POLICY = INTEGER_POLICY


def table() -> Array:
    """Rows of sizes from 1e-2 to 1e2, one of them zero."""
    random = np.random.default_rng(0)
    made = random.standard_normal((ROWS, WIDTH)) * 10.0 ** random.uniform(-2, 2, (ROWS, 1))
    made[5] = 0
    return made.astype(np.float32)


def net(data: Array | None = None, axis: int = 0) -> Graph:
    graph = Graph()
    ids = graph.add_input("ids", tensor("i64", 2, 3))
    words = graph.add_constant(table() if data is None else data, "words")
    rows = graph.insert(Gather(axis=axis), [words, ids], name="embed").output
    graph.add_output(rows, "y")
    verify(graph)
    return graph


def context(graph: Graph, policy: QuantPolicy = POLICY) -> Context:
    random = np.random.default_rng(1)
    samples = [random.integers(0, 20, (2, 3)) for _ in range(4)]
    return plain_context(graph, calibration=samples, target=Target("integer", "c", "", policy))


def fakes(graph: Graph) -> list[FakeQuant]:
    return [node.op for node in graph.walk() if isinstance(node.op, FakeQuant)]


def quantized(graph: Graph, policy: QuantPolicy = POLICY) -> Graph:
    surroundings = context(graph, policy)
    InsertFakeQuant().run(graph, surroundings)
    Calibrate().run(graph, surroundings)
    verify(graph)
    return graph


def run(graph: Graph, ids: Array) -> Array:
    return Executable(graph).run_numpy({"ids": ids})["y"]


def test_each_row_has_its_scale() -> None:
    graph = quantized(net())
    assert fakes(graph) == [FakeQuant(axis=0, qmin=-127, qmax=127)]
    scale = graph.node("words.quantized").constant(1)
    assert scale is not None
    np.testing.assert_allclose(scale, np.maximum(np.abs(table()).max(1) / 127, 1e-12), rtol=1e-6)
    ids = np.arange(6).reshape(2, 3)
    lost = np.abs(run(graph, ids) - table()[ids])
    assert (lost <= 0.5001 * scale[ids][..., None]).all()


CASES: dict[str, Callable[[], Graph]] = {
    "columns": lambda: net(axis=1),
    "a small table": lambda: net(np.ones((8, 4), np.float32)),
    "float64": lambda: net(table().astype(np.float64)),
    "a mask's magnitudes": lambda: net(np.where(table() > 50, np.float32(-1e30), table())),
    "infinite": lambda: net(np.where(table() > 50, np.float32(-np.inf), table())),
    "three axes": lambda: net(table().reshape(ROWS, 4, -1)),
}


@pytest.mark.parametrize("case", CASES)
def test_other_tables_stay_float(case: str) -> None:
    assert fakes(quantized(CASES[case]())) == []


def test_only_where_the_target_wants_it() -> None:
    assert fakes(quantized(net(), replace(POLICY, quantize_embeddings=False))) == []
    assert not QuantPolicy().quantize_embeddings


def test_skip() -> None:
    graph = net()
    InsertFakeQuant(skip=("emb*",)).run(graph, context(graph))
    assert fakes(graph) == []


def test_what_is_taken_out_has_a_scale_of_its_own() -> None:
    """The Gather moves codes of many scales; what an integer layer then reads must not follow any of them."""
    graph = net()
    rows = graph.node("embed").output
    weight = graph.add_constant(np.eye(WIDTH, dtype=np.float32), "weight")
    product = graph.insert(MatMul(), [rows, weight], name="linear").output
    graph.set_output(0, product)
    Quantize().run(graph, context(graph))
    verify(graph)
    read = graph.node("linear").input(0)
    assert read is not None
    assert read.producer is not None
    scale = read.producer.constant(1)
    assert scale is not None
    assert scale.shape == ()
    ids = np.arange(6).reshape(2, 3)
    seen = float(np.abs(table()[:20]).max())
    assert np.abs(run(graph, ids) - table()[ids]).max() < 0.02 * seen  # two roundings to 8 bits


# ---- lowering


def lowered(graph: Graph) -> Graph:
    lower_fake_quant(graph, replace(POLICY, float_bias=True))
    for node in list(graph.walk()):
        lower_embedding(node)
    verify(graph)
    return graph


def test_only_chosen_rows_are_made_floats() -> None:
    graph = quantized(net())
    ids = np.random.default_rng(2).integers(-ROWS, ROWS, (2, 3))
    wanted = run(graph, ids)
    lowered(graph)
    assert sorted(node.op.name for node in graph) == ["Cast", "Gather", "Gather", "Mul"]
    assert sorted(str(v.type) for v in graph.constants if v.uses) == [f"f32[{ROWS}, 1]", f"i8[{ROWS}, {WIDTH}]"]
    assert np.array_equal(run(graph, ids), wanted)  # bit by bit


def test_two_readers_share_the_codes() -> None:
    graph = net()
    again = graph.add_input("more", tensor("i64", 2, 3))
    other = graph.insert(Gather(), [graph.value("words"), again], name="other").output
    graph.set_output(0, graph.insert(Add(), [graph.node("embed").output, other]).output)
    InsertFakeQuant().run(graph, context(graph))
    target = Target("integer", "c", "", POLICY)
    sample = {name: np.arange(6).reshape(2, 3) for name in ("ids", "more")}
    Calibrate().run(graph, plain_context(graph, calibration=[sample], target=target))
    lowered(graph)
    codes = [v for v in graph.constants if v.uses and v.data is not None and v.data.dtype == np.int8]
    assert [v.use_count for v in codes if v.data is not None and v.data.ndim == 2] == [2]


@pytest.mark.parametrize("zero", [0, 3])
def test_a_zero_point_stays_in_front(zero: int) -> None:
    """Rows whose zero point is not 0 stay as they are."""
    graph = Graph()
    ids = graph.add_input("ids", tensor("i64", 2, 3))
    parameters = [
        graph.add_constant(np.arange(12, dtype=np.int8).reshape(4, 3), "codes"),
        graph.add_constant(np.ones(4, np.float32), "scale"),
        graph.add_constant(np.full(4, zero, np.int8), "zero_point"),
    ]
    made = graph.insert(DequantizeLinear(axis=0), parameters).output
    graph.add_output(graph.insert(Gather(), [made, ids], name="embed").output, "y")
    verify(graph)
    assert lower_embedding(graph.node("embed")) is (None if zero else True)

"""Equal bytes are stored once, transposed copies too; what only looks equal is kept apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from irc.graph import Graph
from irc.op import Op
from irc.ops.binary import Add
from irc.ops.index import Gather
from irc.ops.linear import Gemm, MatMul
from irc.passes import dedup_weights
from irc.passes.dedup_weights import DedupWeights
from irc.types import Array, tensor

Transform = Callable[..., Any]  # the fixture of conftest.py

RNG = np.random.default_rng(2)


def _sum(*constants: Array) -> Graph:
    """x plus each of the constants, which are w0, w1 …"""
    graph = Graph()
    value = graph.add_input("x", tensor("f32", *constants[0].shape))
    for k, data in enumerate(constants):
        value = graph.insert(Add(), [value, graph.add_constant(data, f"w{k}")], name=f"add{k}").output
    graph.add_output(value, "y")
    return graph


def _names(graph: Graph) -> list[str]:
    return [c.name for inner in graph.graphs() for c in inner.constants]


def test_equal_constants(transform: Transform) -> None:
    a, b = RNG.normal(size=(2, 40, 30)).astype(np.float32)
    made = transform(DedupWeights(), _sum(a, b, a.copy(), b.copy(), a.copy()))
    assert _names(made.graph) == ["w0", "w1"]


def test_layout_in_memory_does_not_matter(transform: Transform) -> None:
    a = RNG.normal(size=(40, 30)).astype(np.float32)
    made = transform(DedupWeights(), _sum(a, np.asfortranarray(a), np.repeat(a, 2, axis=1)[:, ::2]))
    assert _names(made.graph) == ["w0"]


def _memory_mapped(folder: Path, array: Array) -> Array:
    made = np.memmap(folder / "weights", array.dtype, "w+", shape=array.shape)
    made[...] = array
    return made


def test_memory_mapped_weight(transform: Transform, tmp_path: Path) -> None:
    a = RNG.normal(size=(400, 300)).astype(np.float32)
    made = transform(DedupWeights(), _sum(a, _memory_mapped(tmp_path, a)))
    assert _names(made.graph) == ["w0"]


def _but(array: Array, index: int, value: float) -> Array:
    made = array.copy()
    made.flat[index] = value
    return made


NAN, PAYLOAD = np.array([0x7FC00000, 0x7FC00001], np.uint32).view(np.float32)
BASE = np.zeros((300, 301), np.float32)
DIFFERENT = {
    "one element": _but(BASE, 777, 1.0),
    "last element": _but(BASE, BASE.size - 1, 1.0),
    "negative zero": _but(BASE, 777, -0.0),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_different_bytes(transform: Transform, case: str) -> None:
    made = transform(DedupWeights(), _sum(BASE, DIFFERENT[case]))
    assert _names(made.graph) == ["w0", "w1"]


def test_nan_equals_itself_and_no_other_payload(transform: Transform) -> None:
    a, b = (np.array([1.0, nan], np.float32) for nan in (NAN, PAYLOAD))
    made = transform(DedupWeights(), _sum(a, a.copy(), b))
    assert _names(made.graph) == ["w0", "w2"]


def test_dtype_and_shape_count(transform: Transform) -> None:
    graph = _sum(np.zeros((2, 2), np.float32))
    for k, data in enumerate([np.zeros((2, 2), np.int32), np.zeros(4, np.float32), np.zeros((1, 4), np.float32)]):
        graph.add_output(graph.add_constant(data, f"c{k}"), f"z{k}")
    assert len(_names(transform(DedupWeights(), graph).graph)) == 4


def test_hash_collision(transform: Transform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dedup_weights, "_hash", lambda array: 0)
    a = np.zeros((30, 40), np.float32)
    made = transform(DedupWeights(), _sum(a, _but(a, 777, 1.0), a.copy(), _but(a, 777, 1.0)))
    assert _names(made.graph) == ["w0", "w1"]


def test_given_out(transform: Transform) -> None:
    graph = _sum(np.ones(3, np.float32), np.ones(3, np.float32))
    graph.add_output(graph.value("w1"), "weight")
    made = transform(DedupWeights(), graph)
    assert made.graph.output_names == ("y", "weight")
    assert _names(made.graph) == ["w0"]


BRANCHES = """
graph main(opset = 21) {{
  input %x: f32[2]
  input %c: bool[]
  {outer}
  %y: f32[2] = If:21(%c) {{
    then_branch = {{
      weight %a: f32[2] = [1.0, 2.0]
      %t: f32[2] = Add(%x, %a)
      return %t
    }},
    else_branch = {{
      weight %b: f32[2] = [1.0, 2.0]
      %e: f32[2] = Mul(%x, %b)
      return %e
    }}
  }}
  {behind}
  return %y
}}
"""


def test_bodies_share_in_the_graph_around_them(transform: Transform) -> None:
    made = transform(DedupWeights(), BRANCHES.format(outer="", behind=""), c=True)
    assert len(made.graph.constants) == 1
    assert len(_names(made.graph)) == 1


def test_bodies_take_the_outer_one(transform: Transform) -> None:
    outer = "weight %w: f32[2] = [1.0, 2.0]"
    made = transform(DedupWeights(), BRANCHES.format(outer=outer, behind="%u: f32[2] = Add(%x, %w)"), c=False)
    assert _names(made.graph) == ["w"]


def test_parameters_of_fake_quant_stay_apart(transform: Transform) -> None:
    made = transform(
        DedupWeights(),
        """
        graph main(opset = 21) {
          input %x: f32[2]
          weight %s: f32[] = 0.5
          weight %t: f32[] = 0.5
          %a: f32[2] = irc.FakeQuant(%x, %s)
          %b: f32[2] = irc.FakeQuant(%a, %t)
          return %b
        }
        """,
    )
    assert _names(made.graph) == ["s", "t"]


# ---- transposed copies


W = RNG.normal(size=(48, 32)).astype(np.float32)


def _two(first: tuple[Op, Array], second: tuple[Op, Array]) -> Graph:
    """Two products in a row, each (op, weight)."""
    graph = Graph()
    value = graph.add_input("x", tensor("f32", 5, 48))
    for k, (op, data) in enumerate((first, second)):
        value = graph.insert(op, [value, graph.add_constant(data, f"w{k}")], name=f"product{k}").output
    graph.add_output(value, "y")
    return graph


FREE = {
    "gemm and gemm": (Gemm(), Gemm()),
    "gemm and matmul": (Gemm(), MatMul()),
    "matmul and gemm": (MatMul(), Gemm()),
    "matmul and matmul": (MatMul(), MatMul()),
}


@pytest.mark.parametrize("case", FREE)
def test_absorbed(transform: Transform, case: str) -> None:
    first, second = FREE[case]
    made = transform(DedupWeights(), _two((first, W), (second, np.ascontiguousarray(W.T))))
    assert len(_names(made.graph)) == 1
    assert len(made.ops()) == 2
    assert sum(node.op == Gemm(transB=1) for node in made.graph) == 1


def test_transposed_back(transform: Transform) -> None:
    made = transform(DedupWeights(), _two((Gemm(transB=1), np.ascontiguousarray(W.T)), (Gemm(transB=1), W)))
    assert [node.op for node in made.graph] in ([Gemm(), Gemm(transB=1)], [Gemm(transB=1), Gemm()])


def _tied_embedding() -> Graph:
    graph = Graph()
    ids = graph.add_input("ids", tensor("i64", 2, 3))
    table = graph.add_constant(W, "embedding.weight")
    rows = graph.insert(Gather(), [table, ids], name="embedding")
    head = graph.add_constant(np.ascontiguousarray(W.T), "head.weight")
    out = graph.insert(MatMul(), [rows.output, head], name="head")
    graph.add_output(out.output, "y")
    return graph


def test_transpose_where_no_reader_absorbs_it(transform: Transform) -> None:
    made = transform(DedupWeights(), _tied_embedding(), ids=np.arange(6).reshape(2, 3))
    assert sorted(made.ops()) == ["Gather", "MatMul", "Transpose"]
    assert len(_names(made.graph)) == 1


def test_small_matrices_stay(transform: Transform) -> None:
    made = transform(DedupWeights(min_bytes=W.nbytes + 1), _two((Gemm(), W), (Gemm(), np.ascontiguousarray(W.T))))
    assert _names(made.graph) == ["w0", "w1"]


def test_nearly_transposed(transform: Transform) -> None:
    made = transform(DedupWeights(), _two((Gemm(), W), (Gemm(), _but(np.ascontiguousarray(W.T), 77, 0.0))))
    assert _names(made.graph) == ["w0", "w1"]


def test_symmetric_matrices(transform: Transform) -> None:
    square: Array = W.T @ W
    square = (square + square.T) / np.float32(2)
    made = transform(DedupWeights(), _sum(square, square.T.copy()))
    assert _names(made.graph) == ["w0"]


def test_quantized_weight_stays_a_constant(transform: Transform) -> None:
    made = transform(
        DedupWeights(min_bytes=1),
        """
        graph main(opset = 21) {
          input %x: f32[4, 2, 3]
          weight %a: f32[3, 2] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
          weight %b: f32[2, 3] = [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]
          %p: f32[3, 2] = irc.FakeQuant(%a)
          %q: f32[2, 3] = irc.FakeQuant(%b)
          %y: f32[4, 2, 2] = MatMul(%x, %p)
          %z: f32[4, 2, 3] = MatMul(%y, %q)
          return %z
        }
        """,
    )
    assert _names(made.graph) == ["a", "b"]
    assert any("a quantized weight stays a constant" in reason for reason in made.declined.values())


def test_weights_that_match_nothing_are_not_read(transform: Transform, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def blocks(array: Array, *, flat: bool) -> Iterator[Array]:
        read.append(array)
        yield array

    monkeypatch.setattr(dedup_weights, "_blocks", blocks)
    transform(DedupWeights(), _sum(*RNG.normal(size=(20, 64, 64)).astype(np.float32)))
    assert read == []

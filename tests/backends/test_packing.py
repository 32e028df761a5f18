"""Weights that a file holds as bits are, in plain onnxruntime and read back, the same weights bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest

import irc
from irc import encoding
from irc.backends.onnx import packing
from irc.backends.onnx.lowering import lower
from irc.backends.onnx.save import save_graph
from irc.backends.registry import find_target
from irc.frontends.onnx import read_onnx
from irc.frontends.onnx.packed import PACKED
from irc.graph import Graph
from irc.ops.cast import Cast
from irc.ops.linear import MatMul
from irc.ops.shape import Identity
from irc.text import parse_graph
from irc.types import Array, DType, tensor

GraphMaker = Callable[..., Graph]
ONNX = find_target("onnx")
NEWEST = onnx.defs.onnx_opset_version()


def few(count: int, shape: tuple[int, ...], seed: int = 0, dtype: Any = np.float32) -> Array:
    """An array of exactly `count` numbers, none of them zero."""
    rng = np.random.default_rng(seed)
    made: Array = (rng.permutation(2 * count)[:count] + 1)[rng.permutation(np.arange(np.prod(shape)) % count)] / 8
    return np.asarray(made.reshape(shape).astype(dtype))


def sparse(array: Array, share: float, seed: int = 0) -> Array:
    """The array with some elements zero."""
    return np.where(np.random.default_rng(seed).random(array.shape) < share, np.zeros((), array.dtype), array)


def dense(shape: tuple[int, ...], seed: int = 0) -> Array:
    """An array of all different numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def by_row(count: int, shape: tuple[int, int], axis: int = 0) -> Array:
    """An array of which every slice along the axis has `count` numbers of its own."""
    rows = shape[axis]
    made = few(count, (rows, shape[1 - axis])) + 1000 * np.arange(rows, dtype=np.float32)[:, None]
    return np.ascontiguousarray(made if axis == 0 else made.T)


WEIGHTS: dict[str, Array] = {
    **{f"book{bits}": few(1 << bits, (59, 61), bits) for bits in range(1, 8)},
    "book8": few(250, (61, 67)),
    "one": few(1, (31, 33)),
    "again3": few(7, (33, 47), 5),
    "row4": by_row(16, (37, 101)),
    "row3": by_row(5, (37, 101)),
    "column2": by_row(4, (203, 39), 1),
    "sparse": sparse(dense((53, 57)), 0.7),
    "zeros": np.zeros((41, 43), np.float32),
    "sparse5": sparse(few(30, (67, 71)), 0.6),
    "sparse3": sparse(few(8, (67, 71), 9), 0.9),
    "dense": dense((30, 31)),
    "u": few(4, (51, 53), 3),
    "codes4": few(9, (51, 53), 4),
}


def model(weights: dict[str, Array], opset: int = 21) -> Graph:
    """y_k = x_k · w_k for matrices w_k."""
    graph = Graph()
    graph.info.opsets = {"": opset}
    for name, array in weights.items():
        held = graph.add_constant(array, name)
        x = graph.add_input(f"x.{name}", tensor("f32", 2, array.shape[0]))
        weight = held if array.dtype == np.float32 else graph.insert(Cast(to=DType.F32.onnx_type), [held]).output
        graph.add_output(graph.insert(MatMul(), [x, weight], name=f"y.{name}").output)
    return graph


def inputs(graph: Graph) -> dict[str, Array]:
    """Numbers for every input."""
    rng = np.random.default_rng(1)
    return {
        v.name: rng.standard_normal([d if isinstance(d, int) else 2 for d in v.tensor_type.shape]).astype(np.float32)  # type: ignore[union-attr]
        for v in graph.inputs
        if v.tensor_type is not None and v.tensor_type.dtype is DType.F32
    }


def session(path: Path, optimized: Path | None = None, *, fold: bool = True) -> ort.InferenceSession:
    """A session of onnxruntime, which also writes what it made of the model."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    if not fold:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def saved(graph: Graph, folder: Path, opset: int | None = None) -> tuple[Path, Path]:
    """Files with packed and with plain weights."""
    paths = folder / "packed.onnx", folder / "plain.onnx"
    for path, packs in zip(paths, (True, False), strict=True):
        save_graph(lower(graph, replace(ONNX, packs=packs), opset), path)
    return paths


def ops(path: Path) -> list[str]:
    """The operators of a file, those of bodies too."""
    todo, found = list(onnx.load(path).graph.node), []
    while todo:
        node = todo.pop()
        found.append(node.op_type)
        todo += [inner for a in node.attribute if a.type == onnx.AttributeProto.GRAPH for inner in a.g.node]
    return sorted(found)


def check(graph: Graph, folder: Path, opset: int | None = None, extra: dict[str, Array] | None = None) -> Path:
    """Everything that is said of the packed file of a graph; the file."""
    packed, plain = saved(graph, folder, opset)
    onnx.checker.check_model(str(packed), full_check=True)
    sample = inputs(graph) | (extra or {})
    for fold in (True, False):
        got = session(packed, folder / "optimized.onnx" if fold else None, fold=fold).run(None, sample)
        wanted = session(plain, folder / "usual.onnx" if fold else None, fold=fold).run(None, sample)
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(a, b)
    assert ops(folder / "optimized.onnx") == ops(folder / "usual.onnx")
    back = irc.load(packed)
    assert PACKED not in back.info.metadata
    there = {v.name: v.data for inner in back.graphs() for v in inner.constants}
    for inner in graph.graphs():
        for value in inner.constants:
            if value.uses:
                data, found = value.data, there[value.name]
                assert data is not None
                assert found is not None
                assert (found.dtype, found.shape, found.tobytes()) == (data.dtype, data.shape, data.tobytes())
    assert sorted(n.op.name for n in back.walk()) == sorted(n.op.name for n in irc.load(plain).walk())
    save_graph(lower(back, ONNX, opset), folder / "again.onnx")
    save_graph(lower(irc.load(folder / "again.onnx"), ONNX, opset), folder / "third.onnx")
    assert (folder / "again.onnx").read_bytes() == (folder / "third.onnx").read_bytes()
    return packed


@pytest.mark.parametrize("name", WEIGHTS)
def test_each_form(name: str, tmp_path: Path) -> None:
    packed = check(model({name: WEIGHTS[name]}), tmp_path)
    assert (len(ops(packed)) > 1) == (name != "dense")


@pytest.mark.parametrize("opset", [13, 17, 18, 21, NEWEST])
def test_all_forms_together(opset: int, tmp_path: Path) -> None:
    packed = check(model(WEIGHTS), tmp_path, opset)
    assert onnx.load(packed).opset_import[0].version == opset
    assert packed.stat().st_size < 0.4 * (tmp_path / "plain.onnx").stat().st_size


@pytest.mark.parametrize("name", WEIGHTS)
def test_openvino_unpacks_the_same_weights(name: str, tmp_path: Path) -> None:
    """It computes with bytes as onnxruntime does not; with int32 as everybody does."""
    openvino = pytest.importorskip("openvino")
    graph = model({name: WEIGHTS[name]})

    def output(path: Path) -> Array:
        run = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return np.array(run(inputs(graph))[0])

    packed, plain = saved(graph, tmp_path)
    np.testing.assert_array_equal(output(packed), output(plain))


def test_before_opset_13_nothing_is_packed(tmp_path: Path) -> None:
    packed, plain = saved(model(WEIGHTS), tmp_path, 12)
    assert packed.read_bytes() == plain.read_bytes()


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    graph = model(WEIGHTS)
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path in paths:
        save_graph(lower(graph, ONNX), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert all(v.data is not None for v in graph.constants), "the graph itself stays as it is"
    assert not graph.info.metadata


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, np.uint8, ml_dtypes.bfloat16], ids=str)
@pytest.mark.parametrize("form", ["book2", "row2", "column3", "sparse", "sparse2"])
def test_other_dtypes(dtype: Any, form: str, tmp_path: Path) -> None:
    forms: dict[str, Callable[[], Array]] = {
        "book2": lambda: few(4, (51, 103)) * 8,
        "row2": lambda: few(4, (37, 401)) * 8 + 2 * np.arange(37)[:, None],
        "column3": lambda: (few(7, (37, 401)) * 8 + 2 * np.arange(37)[:, None]).T,
        "sparse": lambda: sparse(np.arange(51 * 103).reshape(51, 103) % 100 + 1.0, 0.8),
        "sparse2": lambda: sparse(few(4, (51, 103)) * 8, 0.5),
    }
    made = forms[form]()
    packed = check(model({"w": np.ascontiguousarray(made).astype(dtype)}), tmp_path)
    assert "Gather" in ops(packed) or "GatherElements" in ops(packed)


@pytest.mark.parametrize("shape", [(5, 7, 9, 11), (9, 11, 3), (997,)])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_other_ranks(shape: tuple[int, ...], axis: int | None, tmp_path: Path) -> None:
    if len(shape) == 1:
        axis = None
    made = few(3, shape)
    if axis is not None:
        sizes = [1] * len(shape)
        sizes[axis] = -1
        made = made + 100 * np.arange(shape[axis], dtype=np.float32).reshape(sizes)
    graph = Graph()
    graph.info.opsets = {"": 21}
    graph.add_output(graph.insert(Identity(), [graph.add_input("x", tensor("f32", 2))]).output)
    graph.add_output(graph.insert(Identity(), [graph.add_constant(made, "w")]).output)
    packed, plain = saved(graph, tmp_path)
    x = {"x": np.zeros(2, np.float32)}
    np.testing.assert_array_equal(session(packed).run(None, x)[1], session(plain).run(None, x)[1])
    data = irc.load(packed).value("w").data
    assert data is not None
    assert data.tobytes() == made.tobytes()
    assert (len(ops(packed)) > 2) == (made.nbytes > 1100)  # else less is saved than the nodes take


def test_nan_and_minus_zero_keep_their_bits(tmp_path: Path) -> None:
    bits = np.array([0x7FC00001, 0xFFC12345, 0x80000000, 0x7F800000, 0x3F800000], np.uint32)
    data = bits[np.random.default_rng(0).integers(0, 5, (40, 50))].view(np.float32)
    graph = model({"w": data})
    save_graph(lower(graph, ONNX), tmp_path / "m.onnx")
    assert len(ops(tmp_path / "m.onnx")) > 1
    found = irc.load(tmp_path / "m.onnx").value("w").data
    assert found is not None
    assert found.tobytes() == data.tobytes()


def test_weights_beyond_one_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_TOGETHER", 4000)
    packed = check(model(WEIGHTS), tmp_path)
    assert ops(packed).count("Div") > len(WEIGHTS)


BRANCHES = """
graph main(opset = 21) {
  input %c: bool[]
  input %x: f32[2, 64]
  weight %both: f32[64, 64] = splat(1)
  %i: f32[2, 64] = If:21(%c) {then_branch = {
    weight %left: f32[64, 64] = splat(1)
    weight %l: f32[64, 64] = splat(1)
    %t: f32[2, 64] = MatMul(%x, %left)
    %tt: f32[2, 64] = MatMul(%t, %l)
    %ttt: f32[2, 64] = MatMul(%tt, %both)
    return %ttt
  }, else_branch = {
    weight %right: f32[64, 64] = splat(1)
    %e: f32[2, 64] = MatMul(%x, %right)
    %ee: f32[2, 64] = MatMul(%e, %both)
    return %ee
  }}
  return %i
}
"""


@pytest.mark.parametrize("condition", [True, False])
def test_weights_of_bodies(condition: bool, tmp_path: Path) -> None:
    graph = parse_graph(BRANCHES)
    made = {"both": few(3, (64, 64)), "left": few(3, (64, 64), 1), "l": sparse(dense((64, 64)), 0.5)}
    made["right"] = few(3, (64, 64), 2)
    for inner in graph.graphs():
        for value in inner.constants:
            value.data = made[value.name]
    packed = check(graph, tmp_path, extra={"c": np.array(condition)})
    assert sorted(json.loads(irc_metadata(packed)).values()) == sorted(made)


def irc_metadata(path: Path) -> str:
    """What the file says of its packed weights."""
    return str(next(p.value for p in onnx.load(path).metadata_props if p.key == PACKED))


def test_a_weight_that_is_an_output_stays_an_initializer(tmp_path: Path) -> None:
    graph = model({"w": few(3, (64, 64))})
    graph.add_output(graph.value("w"), "raw")
    packed = check(graph, tmp_path)
    assert set(ops(packed)) <= {"MatMul", "Identity"}


def test_what_nothing_reads_stays_as_it_is(tmp_path: Path) -> None:
    graph = model({"w": dense((64, 64))})
    graph.add_constant(few(3, (64, 64)), "unread")
    save_graph(lower(graph, ONNX), tmp_path / "m.onnx")
    assert ops(tmp_path / "m.onnx") == ["MatMul"]


@pytest.mark.parametrize("name", ["onnx:tensorrt", "onnx:qnn"])
def test_targets_that_read_initializers_only(name: str, tmp_path: Path) -> None:
    irc.compile(model(WEIGHTS), [], target=name).save(tmp_path / "m.onnx")
    held = onnx.load(tmp_path / "m.onnx")
    assert {n.op_type for n in held.graph.node} == {"MatMul"}
    assert {i.name for i in held.graph.initializer} == set(WEIGHTS)
    assert not any(p.key == PACKED for p in held.metadata_props)


@pytest.mark.parametrize("name", ["residual", "concat", "depthwise", "attention", "branches"])
@pytest.mark.parametrize("kind", ["few", "zeros"])
def test_a_quantized_model_fuses_as_it_does_unpacked(
    name: str, kind: str, net: GraphMaker, typical: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "_LEAST_SAVED", 0)  # these networks are small
    graph = net(name)
    for inner in graph.graphs():
        for value in inner.constants:
            if value.data is not None and value.data.dtype == np.float32 and value.data.ndim > 1:
                small = np.round(value.data * 4) / 4 if kind == "few" else sparse(value.data, 0.8)
                value.data = small.astype(np.float32)
    packed, plain = (
        irc.compile(graph, "quantize", calibration=typical(graph), target=replace(ONNX, packs=packs))
        for packs in (True, False)
    )
    packed.save(tmp_path / "packed.onnx")
    plain.save(tmp_path / "plain.onnx")
    assert "Div" in ops(tmp_path / "packed.onnx")
    assert packed.fusion.counts() == plain.fusion.counts()
    assert [n.name for n in packed.fusion.refused()] == [n.name for n in plain.fusion.refused()]
    assert (packed.fusion.left_at_ends, packed.fusion.left_inside) == (
        plain.fusion.left_at_ends,
        plain.fusion.left_inside,
    )
    for sample in typical(graph, count=2):
        a, b = (session(tmp_path / f"{which}.onnx").run(None, sample) for which in ("packed", "plain"))
        for one, other in zip(a, b, strict=True):
            np.testing.assert_array_equal(one, other)


def test_external_data(tmp_path: Path) -> None:
    """Planes and books may lie in a file of their own, and do not count where they are read from."""
    lowered = lower(model(WEIGHTS), ONNX)
    save_graph(lowered, tmp_path / "m.onnx", external_past=1000)
    assert (tmp_path / "m.onnx.data").exists()
    back = read_onnx(tmp_path / "m.onnx")
    for name, array in WEIGHTS.items():
        data = back.value(name).data
        assert data is not None
        assert data.tobytes() == array.tobytes()


def test_bytes_that_the_report_counts_are_about_those_of_the_file(tmp_path: Path) -> None:
    artifact = irc.compile(model(WEIGHTS), [])
    artifact.save(tmp_path / "m.onnx")
    cost, size = artifact.report.rows[-1].cost, (tmp_path / "m.onnx").stat().st_size
    assert cost is not None
    counted = cost.bytes
    assert counted < size < counted + 1200 * len(WEIGHTS)

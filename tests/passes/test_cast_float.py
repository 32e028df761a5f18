"""`cast-float` computes in a smaller type where that is safe, with no Cast too many, and says why elsewhere not."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

import irc
from irc.analysis.error import relative_error
from irc.backends.registry import find_target
from irc.errors import OptionError
from irc.execution import Executable
from irc.graph import Graph
from irc.ops.binary import Add, Div, Mul
from irc.ops.conv import Conv
from irc.ops.fake_quant import FakeQuant
from irc.ops.index import Gather
from irc.ops.linear import MatMul
from irc.ops.onnx_op import OnnxOp
from irc.ops.softmax import Softmax
from irc.ops.unary import Sqrt
from irc.passes import CastFloat
from irc.passes.context import Context, plain_context
from irc.text import parse_graph, print_graph
from irc.types import Array, DType, tensor
from irc.verify import verify

RNG = np.random.default_rng(0)
HALF = CastFloat("float16")


def floats(*shape: int) -> Array:
    return np.asarray(RNG.normal(size=shape), np.float32)


WEIGHTS = {name: floats(8, 8) for name in "abw"}


def cast(graph: Graph | str, step: CastFloat = HALF, calibration: list[Any] | None = None) -> tuple[Graph, Context]:
    """A verified copy of the graph behind the pass, with `WEIGHTS` if it comes as text; and the context."""
    made = parse_graph(dedent(graph), WEIGHTS) if isinstance(graph, str) else graph.copy()
    context = plain_context(made, calibration=calibration)
    step.run(made, context)
    verify(made)
    return made, context


def text(graph: Graph) -> str:
    """The graph as text without the numbers of its weights."""
    return re.sub(r" = \[.*]", "", print_graph(graph))


def declined(context: Context) -> dict[str, str]:
    return {site.node: site.reason for site in context.row.declined}


def run_onnx(graph: Graph, path: Path, **inputs: Array) -> list[Array]:
    """What onnxruntime makes of the saved graph."""
    irc.compile(graph, []).save(path / "model.onnx")
    session = onnxruntime.InferenceSession(path / "model.onnx", providers=["CPUExecutionProvider"])
    return list(session.run(None, inputs))


# ---- where the casts stand

CHAIN = """\
    graph main(opset = 21) {
      input %x: f32[2, 8]
      weight %a: f32[8, 8]
      weight %b: f32[8, 8]
      %m: f32[2, 8] = MatMul(%x, %a)
      %r: f32[2, 8] = Relu(%m)
      %s: f32[2, 8] = Softmax(%r)
      %n: f32[2, 8] = MatMul(%s, %b)
      %y: f32[2, 8] = Add(%n, %r)
      return %y
    }
    """


def test_no_cast_between_two_of_a_type() -> None:
    made, context = cast(CHAIN)
    assert text(made) == dedent("""\
        graph main(opset = 21) {
          input %x: f32[2, 8]
          weight %a: f16[8, 8]
          weight %b: f16[8, 8]
          %x.float16: f16[2, 8] = Cast(%x) {to = 10}
          %m: f16[2, 8] = MatMul(%x.float16, %a)
          %r: f16[2, 8] = Relu(%m)
          %r.float32: f32[2, 8] = Cast(%r) {to = 1}
          %s: f32[2, 8] = Softmax(%r.float32)
          %s.float16: f16[2, 8] = Cast(%s) {to = 10}
          %n: f16[2, 8] = MatMul(%s.float16, %b)
          %y: f16[2, 8] = Add(%n, %r)
          %y.float32: f32[2, 8] = Cast(%y) {to = 1}
          return %y.float32 as "y"
        }
        """)
    assert context.row.notes == ["4 nodes compute in float16, 1 in float32; 4 casts"]


def test_the_inputs_and_outputs_may_change_too() -> None:
    made, _ = cast(CHAIN, CastFloat("float16", io=True))
    assert [v.tensor_type.dtype for v in (*made.inputs, *made.outputs) if v.tensor_type] == [DType.F16] * 2
    assert [n.name for n in made if n.op.name == "Cast"] == ["r.float32", "s.float16"]
    x = floats(2, 8)
    run = Executable(made)
    assert np.array_equal(run.run_numpy({"x": x})["y"], run.run_numpy({"x": x.astype(np.float16)})["y"])


def test_a_value_is_cast_once_for_all_its_readers() -> None:
    made, _ = cast("""\
        graph main(opset = 21) {
          input %x: f32[8, 8]
          weight %w: f32[8, 8]
          %a: f32[8, 8] = MatMul(%x, %w)
          %b: f32[8, 8] = MatMul(%x, %w)
          %c: f32[8, 8] = Add(%a, %b)
          %d: f32[8, 8] = Softmax(%c)
          %e: f32[8, 8] = Exp(%c)
          return %d, %e
        }
        """)
    assert [n.name for n in made if n.op.name == "Cast"] == ["x.float16", "c.float32"]


def test_a_cast_that_is_there_makes_the_type() -> None:
    made, _ = cast("""\
        graph main(opset = 21) {
          input %x: i64[8, 8]
          weight %w: f32[8, 8]
          %a: f32[8, 8] = Cast(%x) {to = 1}
          %b: f32[8, 8] = MatMul(%a, %w)
          %c: i64[2] = Shape(%b)
          return %c, %b
        }
        """)
    casts = [n for n in made if n.op.name == "Cast"]
    assert [getattr(n.op, "to", 0) for n in casts] == [TensorProto.FLOAT16, TensorProto.FLOAT]
    assert made.node("c").input(0) is made.node("b").output


def test_movements_between_float32_stay() -> None:
    made, _ = cast("""\
        graph main(opset = 21) {
          input %x: f32[8, 8]
          %a: f32[8, 8] = Softmax(%x)
          %b: f32[8, 8] = Transpose(%a) {perm = [1, 0]}
          %c: f32[8, 8] = Softmax(%b)
          return %c
        }
        """)
    assert "Cast" not in {n.op.name for n in made}


def test_a_constant_that_both_types_read_is_stored_once() -> None:
    made, _ = cast("""\
        graph main(opset = 21) {
          input %x: f32[8, 8]
          weight %w: f32[8, 8]
          %a: f32[8, 8] = MatMul(%x, %w)
          %b: f32[8, 8] = Pow(%x, %w)
          return %a, %b
        }
        """)
    assert [c.tensor_type.dtype for c in made.constants if c.tensor_type] == [DType.F32]
    assert next(n.name for n in made if n.op.name == "Cast") == "w.float16"


def test_bodies() -> None:
    graph = Graph()
    condition = graph.add_input("c", tensor("bool"))
    x, w = graph.add_input("x", tensor("f32", 8, 8)), graph.add_constant(floats(8, 8), "w")
    a = graph.insert(MatMul(), [x, w], name="a").output
    node = graph.insert(OnnxOp("", "If", 21, ()), [condition], name="if", types=[tensor("f32", 8, 8)])
    then, other = graph.add_body(node, "then_branch"), graph.add_body(node, "else_branch")
    then.add_output(then.insert(MatMul(), [a, then.add_constant(floats(8, 8), "v")], name="p").output)
    other.add_output(other.insert(Softmax(), [a], name="q").output)
    graph.add_output(node.output, "y")
    verify(graph)
    made, context = cast(graph)
    assert [n.name for n in made] == ["x.float16", "a", "if"]
    bodies = made.node("if").bodies
    assert [n.name for n in bodies["then_branch"]] == ["p", "p.float32"]
    assert [n.name for n in bodies["else_branch"]] == ["a.float32", "q"]
    assert bodies["then_branch"].constants[0].tensor_type == tensor("f16", 8, 8)
    assert set(declined(context)) == {"if", "q"}
    sample = {"c": np.array(True), "x": floats(8, 8)}
    for taken in (True, False):
        sample["c"] = np.array(taken)
        wanted, got = (Executable(g).run_numpy(sample)["y"] for g in (graph, made))
        assert relative_error(wanted, got) < 5e-3


# ---- what stays in float32


def test_overflow_in_the_samples_is_kept() -> None:
    """A square of 400 is beyond float16: the pass sees it in the samples, and the result is finite."""
    graph = Graph()
    x = graph.add_input("x", tensor("f32", 4, 8))
    square = graph.insert(Mul(), [x, x], name="square").output
    scaled = graph.insert(Mul(), [square, graph.add_constant(np.array(1e-3, np.float32), "c")], name="scaled").output
    graph.add_output(graph.insert(MatMul(), [scaled, graph.add_constant(floats(8, 8), "w")], name="m").output, "y")
    data = [np.full((4, 8), 400, np.float32)]
    blind, _ = cast(graph)
    assert not np.isfinite(Executable(blind).run_numpy({"x": data[0]})["y"]).all()
    made, context = cast(graph, calibration=data)
    assert set(declined(context)) == {"square", "scaled"}
    assert "'square' reaches 1.6e+05 in the samples, and float16 ends at 65504" in declined(context)["square"]
    got, wanted = (Executable(g).run_numpy({"x": data[0]})["y"] for g in (made, graph))
    assert np.isfinite(got).all()
    assert relative_error(wanted, got) < 2e-3
    assert made.value("w").tensor_type == tensor("f16", 8, 8)


def test_a_mask_of_minus_infinity_is_kept() -> None:
    """0 times the infinity that -3.4e38 would become is NaN."""
    graph = Graph()
    x, mask = graph.add_input("x", tensor("f32", 4, 8)), graph.add_input("mask", tensor("f32", 4, 8))
    lowest = graph.add_constant(np.array(np.finfo(np.float32).min), "lowest")
    hidden = graph.insert(Mul(), [mask, lowest], name="hidden").output
    seen = graph.insert(Add(), [graph.insert(Mul(), [x, x], name="xx").output, hidden], name="seen").output
    graph.add_output(graph.insert(Softmax(), [seen], name="p").output, "y")
    made, context = cast(graph)
    assert set(declined(context)) == {"hidden", "seen", "p"}
    assert "'lowest' holds 3.403e+38, and float16 ends at 65504" in declined(context)["seen"]
    sample = {"x": floats(4, 8), "mask": (RNG.random((4, 8)) < 0.5).astype(np.float32)}
    got, wanted = (Executable(g).run_numpy(sample)["y"] for g in (made, graph))
    assert np.isfinite(got).all()
    assert relative_error(wanted, got) < 1e-2


def test_an_epsilon_is_kept() -> None:
    graph = Graph()
    x = graph.add_input("x", tensor("f32", 4, 8))
    guarded = graph.insert(Add(), [x, graph.add_constant(np.array(1e-12, np.float32), "epsilon")], name="guarded")
    root = graph.insert(Sqrt(), [guarded.output], name="root")
    graph.add_output(graph.insert(Div(), [x, root.output], name="quotient").output, "y")
    made, context = cast(graph)
    assert set(declined(context)) == {"guarded", "root", "quotient"}
    assert np.isfinite(Executable(made).run_numpy({"x": np.zeros((4, 8), np.float32)})["y"]).all()


@pytest.mark.parametrize("factor", [1e6, 1e-8])
def test_a_weight_that_float16_cannot_hold_is_kept(factor: float) -> None:
    graph = Graph()
    x, w = graph.add_input("x", tensor("f32", 4, 8)), graph.add_constant(factor * floats(8, 8), "w")
    graph.add_output(graph.insert(MatMul(), [x, w], name="m").output, "y")
    made, context = cast(graph)
    assert "'w'" in declined(context)["m"]
    assert print_graph(made) == print_graph(graph)
    stored, _ = cast(graph, CastFloat("float16", compute=False))
    assert print_graph(stored) == print_graph(graph)


def test_a_bound_beyond_the_range_is_the_largest_number() -> None:
    made, context = cast(
        parse_graph(
            dedent("""\
        graph main(opset = 21) {
          input %x: f32[4, 8]
          weight %low: f32[] = 0.0
          weight %high: f32[] = 3.4e38
          %y: f32[4, 8] = Clip(%x, %low, %high)
          return %y
        }
        """)
        )
    )
    assert not context.row.declined
    assert made.value("high").data == np.float16(65504)


@pytest.mark.parametrize("pattern", ["r", "Re*", "encoder.0.*"])
def test_keep(pattern: str) -> None:
    graph = parse_graph(dedent(CHAIN), WEIGHTS)
    node = graph.node("r")
    node.origin = type(node.origin)("encoder.0.act")
    made, context = cast(graph, CastFloat("float16", keep=(pattern,)))
    assert declined(context)["r"] == f"'{pattern}' is in keep"
    assert made.value("r").tensor_type == tensor("f32", 2, 8)


def test_what_is_quantized_is_left() -> None:
    graph = parse_graph(dedent(CHAIN), WEIGHTS)
    node = graph.node("n")
    scale, zero = graph.add_constant(np.array(0.1, np.float32), "s"), graph.add_constant(np.array(0, np.int32), "z")
    fake = graph.insert(FakeQuant(qmin=-127, qmax=127), [node.input(1), scale, zero], before=node, name="fake")
    node.set_input(1, fake.output)
    made, context = cast(graph)
    assert {"fake", "n"} <= set(declined(context))
    assert all("quantized" in declined(context)[name] for name in ("fake", "n"))
    assert made.value("b").tensor_type == tensor("f32", 8, 8)
    assert made.value("a").tensor_type == tensor("f16", 8, 8)


# ---- weights alone


@pytest.mark.parametrize(
    ("to", "dtype"), [("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)]
)
def test_stored_weights_are_rounded_as_numpy_rounds(to: str, dtype: Any, tmp_path: Path) -> None:
    graph = _layers()
    made, context = cast(graph, CastFloat(to, compute=False))
    assert context.row.notes == [f"3 weights are stored as {to}; everything computes in float32"]
    rounded = graph.copy()
    for name in ("table", "conv", "w"):
        value = rounded.value(name)
        assert value.data is not None
        value.data = value.data.astype(dtype).astype(np.float32)
        assert made.value(name).data.dtype == dtype  # type: ignore[union-attr]  # a constant
    assert [n.name for n in made if n.op.name == "Cast"] == ["rows.float32", "w.float32", "conv.float32"]
    sample = {"i": np.array([[3, 1, 7]]), "x": floats(1, 16, 6, 6)}
    wanted, got = (Executable(g).run_numpy(sample) for g in (rounded, made))
    for name, array, other in zip(wanted, wanted.values(), run_onnx(made, tmp_path, **sample), strict=True):
        assert np.array_equal(array, got[name])
        assert relative_error(array, other) < 1e-5  # sums in another order


@pytest.mark.parametrize("target", ["onnx", "onnx:tensorrt"])
@pytest.mark.parametrize(
    ("to", "dtype", "most"), [("float8", ml_dtypes.float8_e4m3fn, 448), ("float8e5m2", ml_dtypes.float8_e5m2, 57344)]
)
def test_float8_has_a_scale_for_each_channel(
    to: str, dtype: Any, most: float, target: str, tmp_path: Path
) -> None:
    graph = _layers()
    made = graph.copy()
    CastFloat(to).run(made, Context(find_target(target), graph))
    verify(made)
    read = ["Cast", "Mul"] if target == "onnx" else ["DequantizeLinear"]
    assert [n.op.name for n in made] == [*read, "Gather", *read, "MatMul", *read, "Conv"]
    rounded = graph.copy()
    for name, axis in (("table", 0), ("conv", 0), ("w", 1)):
        value, stored = rounded.value(name), made.value(name).data
        assert value.data is not None
        assert stored is not None
        assert stored.dtype == dtype
        others = tuple(k for k in range(stored.ndim) if k != axis)
        scale = (np.abs(value.data).max(others, keepdims=True).astype(np.float64) / most).astype(np.float32)
        assert np.abs(stored.astype(np.float32)).max(others).min() == most
        value.data = (value.data / scale).astype(dtype).astype(np.float32) * scale
    sample = {"i": np.array([[3, 1, 7]]), "x": floats(1, 16, 6, 6)}
    wanted, got = (Executable(g).run_numpy(sample) for g in (rounded, made))
    for name, array, other in zip(wanted, wanted.values(), run_onnx(made, tmp_path, **sample), strict=True):
        assert relative_error(array, got[name]) < 1e-6
        assert relative_error(array, other) < 1e-5


def _layers() -> Graph:
    """A table, a convolution and a product, with weights that are worth storing."""
    graph = Graph()
    i, x = graph.add_input("i", tensor("i64", 1, 3)), graph.add_input("x", tensor("f32", 1, 16, 6, 6))
    table, w = graph.add_constant(floats(20, 16), "table"), graph.add_constant(floats(16, 24), "w")
    rows = graph.insert(Gather(), [table, i], name="rows").output
    graph.add_output(graph.insert(MatMul(), [rows, w], name="m").output, "y")
    conv, bias = graph.add_constant(floats(8, 16, 3, 3), "conv"), graph.add_constant(floats(8), "bias")
    graph.add_output(graph.insert(Conv(), [x, conv, bias], name="c").output, "z")
    return graph


def test_a_shared_weight_is_stored_once() -> None:
    graph = Graph()
    x, w = graph.add_input("x", tensor("f32", 16, 16)), graph.add_constant(floats(16, 16), "w")
    for name in ("one", "two"):
        graph.add_output(graph.insert(MatMul(), [x, w], name=name).output, name)
    made, _ = cast(graph, CastFloat("float8"))
    assert [n.op.name for n in made] == ["DequantizeLinear", "MatMul", "MatMul"]


def test_weights_that_stay() -> None:
    graph = _layers()
    value = graph.value("w")
    value.data = np.full((16, 24), np.nan, np.float32)
    _, context = cast(graph, CastFloat("float8", keep=("conv",)))
    assert declined(context) == {"m": "'w' holds NaN or infinity", "c": "'conv' is in keep"}


# ---- options and targets


@pytest.mark.parametrize(
    ("step", "target", "said"),
    [
        (CastFloat("float16"), "c:portable", "target 'c:portable' has no float16; compile for target 'onnx'"),
        (CastFloat("bfloat16", compute=True), "onnx", "'onnx' does not compute in bfloat16; leave compute out"),
        (CastFloat("float8", compute=True), "onnx:tensorrt", "does not compute in float8_e4m3fn"),
        (CastFloat("bfloat16", io=True), "onnx", "io=true is for models that compute in bfloat16"),
    ],
)
def test_targets(step: CastFloat, target: str, said: str) -> None:
    graph = _layers()
    with pytest.raises(OptionError, match=re.escape(said)):
        step.run(graph, Context(find_target(target), graph.copy()))


def test_bfloat16_may_be_computed_in_where_the_target_does() -> None:
    graph = parse_graph(dedent(CHAIN), WEIGHTS)
    made, _ = cast(graph, CastFloat("bfloat16", compute=True))
    assert made.value("m").tensor_type == tensor("bf16", 2, 8)
    x = floats(2, 8)
    wanted, got = (Executable(g).run_numpy({"x": x})["y"] for g in (graph, made))
    assert 0 < relative_error(wanted, got) < 3e-2


def test_an_old_model_has_no_float8() -> None:
    graph = _layers()
    graph.info.opsets[""] = 18
    with pytest.raises(OptionError, match="no float8 before opset 19"):
        CastFloat("float8").run(graph, plain_context(graph))


@pytest.mark.parametrize("to", ["float16", "bfloat16", "float8", "float8e5m2"])
def test_a_file_comes_back_as_it_was(to: str, tmp_path: Path) -> None:
    made, _ = cast(_layers(), CastFloat(to))
    irc.compile(made, []).save(tmp_path / "model.onnx")
    again = irc.load(str(tmp_path / "model.onnx"))
    assert [node.op for node in again.walk()] == [node.op for node in made.walk()]
    assert len(again.constants) == len(made.constants)
    for before in made.constants:
        after = again.value(before.name)
        assert before.data is not None
        assert after.data is not None
        assert after.type == before.type
        assert after.data.tobytes() == before.data.tobytes()


def test_a_compilation_measures_a_model_whose_inputs_changed() -> None:
    """Samples and the user's metric stay in float32 for all rows; the artifact takes what the model takes."""
    graph, data = parse_graph(dedent(CHAIN), WEIGHTS), [floats(2, 8) for _ in range(2)]

    def evaluate(run: Any) -> float:
        return float(np.mean([run(x) for x in data]))

    made = irc.compile(graph, [CastFloat("float16", io=True)], calibration=data, evaluate=evaluate)
    row = made.report.rows[-1]
    assert row.sqnr is not None
    assert 40 < row.sqnr < 90
    assert row.metric == pytest.approx(made.report.rows[0].metric, abs=1e-2)
    got = made(data[0].astype(np.float16))
    assert relative_error(evaluate_alone(graph, data[0]), np.asarray(got, np.float32)) < 1e-2


def evaluate_alone(graph: Graph, x: Array) -> Array:
    made: Array = Executable(graph).run_numpy({"x": x})["y"]
    return made

"""`cast-float` computes in a smaller type with no Cast too many, in bodies too, where the target does."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

import irc
from irc.analysis.error import relative_error
from irc.backends.registry import find_target
from irc.errors import OptionError
from irc.execution import Executable
from irc.graph import Graph
from irc.ops.linear import MatMul
from irc.ops.onnx_op import OnnxOp
from irc.ops.softmax import Softmax
from irc.passes import CastFloat
from irc.passes.context import Context, plain_context
from irc.text import parse_graph
from irc.types import Array, DType, tensor
from irc.verify import verify
from tests.passes.cast_float_nets import CHAIN, WEIGHTS, cast, declined, floats, layers, text


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
    graph = layers()
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
    graph = layers()
    graph.info.opsets[""] = 18
    with pytest.raises(OptionError, match="no float8 before opset 19"):
        CastFloat("float8").run(graph, plain_context(graph))


@pytest.mark.parametrize("to", ["float16", "bfloat16", "float8", "float8e5m2"])
def test_a_file_comes_back_as_it_was(to: str, tmp_path: Path) -> None:
    made, _ = cast(layers(), CastFloat(to))
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

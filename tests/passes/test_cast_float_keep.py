"""What `cast-float` leaves in float32, and says why: what a smaller float cannot hold, and what it does not know."""

from __future__ import annotations

from textwrap import dedent

import numpy as np
import pytest
from onnx import helper

from irc.analysis.error import relative_error
from irc.execution import Executable
from irc.graph import Graph
from irc.ops.binary import Add, Div, Mul
from irc.ops.fake_quant import FakeQuant
from irc.ops.linear import MatMul
from irc.ops.onnx_op import OnnxOp
from irc.ops.softmax import Softmax
from irc.ops.unary import Sqrt
from irc.passes import CastFloat
from irc.passes.context import plain_context
from irc.text import parse_graph, print_graph
from irc.types import OpaqueType, tensor
from tests.passes.cast_float_nets import CHAIN, RNG, WEIGHTS, cast, declined, floats


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
    graph.info.opsets["irc"] = 1
    scale, zero = graph.add_constant(np.array(0.1, np.float32), "s"), graph.add_constant(np.array(0, np.int32), "z")
    fake = graph.insert(FakeQuant(qmin=-127, qmax=127), [node.input(1), scale, zero], before=node, name="fake")
    node.set_input(1, fake.output)
    made, context = cast(graph)
    assert {"fake", "n"} <= set(declined(context))
    assert all("quantized" in declined(context)[name] for name in ("fake", "n"))
    assert made.value("b").tensor_type == tensor("f32", 8, 8)
    assert made.value("a").tensor_type == tensor("f16", 8, 8)


def test_sums_of_codes_are_kept() -> None:
    """What a dynamically quantized product sums up, a few hundred thousand, is infinite in float16."""
    made, context = cast(
        parse_graph(
            dedent("""\
        graph main(opset = 21) {
          input %x: u8[2, 512]
          weight %w: i8[512, 8]
          weight %s: f32[] = 0.0001
          weight %b: f32[8]
          %m: i32[2, 8] = MatMulInteger(%x, %w)
          %f: f32[2, 8] = Cast(%m) {to = 1}
          %d: f32[2, 8] = Mul(%f, %s)
          %y: f32[2, 8] = Add(%d, %b)
          return %y
        }
        """),
            {"w": np.full((512, 8), 100, np.int8), "b": floats(8)},
        )
    )
    assert {"f", "d"} <= set(declined(context))
    assert np.isfinite(Executable(made).run_numpy({"x": np.full((2, 512), 200, np.uint8)})["y"]).all()


def test_sequences_are_kept() -> None:
    graph = Graph()
    x, first = graph.add_input("x", tensor("f32", 8, 8)), graph.add_constant(np.array(0), "first")
    held = OpaqueType(helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, [8, 8])).SerializeToString())
    sequence = graph.insert(OnnxOp("", "SequenceConstruct", 21, ()), [x], name="made", types=[held]).output
    taken = graph.insert(OnnxOp("", "SequenceAt", 21, ()), [sequence, first], name="at", types=[x.type]).output
    graph.add_output(graph.insert(MatMul(), [taken, graph.add_constant(floats(8, 8), "w")], name="m").output, "y")
    made, context = cast(graph)
    assert set(declined(context)) == {"made", "at"}
    sample = {"x": floats(8, 8)}
    wanted, got = (Executable(g).run_numpy(sample)["y"] for g in (graph, made))
    assert relative_error(wanted, got) < 5e-3


def test_a_value_of_unknown_type_is_kept_with_its_readers() -> None:
    graph = Graph()
    graph.info.opsets["ours"] = 1
    x = graph.add_input("x", tensor("f32", 8, 8))
    odd = graph.insert(OnnxOp("ours", "Odd", 1, ()), [x], name="odd", types=[None]).output
    node = graph.insert(Add(), [odd, x], name="sum", types=[tensor("f32", 8, 8)])
    graph.add_output(node.output, "y")
    CastFloat("float16").run(graph, context := plain_context(graph))
    assert "type that is not known" in declined(context)["sum"]
    assert node.inputs == (odd, x)


def test_sizes_are_kept() -> None:
    """Twice 3001 is no float16; what is computed from data beside it still is."""
    graph = parse_graph(
        dedent("""\
        graph main(opset = 21) {
          input %x: f32[N, 8]
          weight %w: f32[8, 8]
          weight %two: f32[1] = [2.0]
          weight %half: i64[1] = [4]
          %shape: i64[1] = Shape(%x) {end = 1}
          %rows: f32[1] = Cast(%shape) {to = 1}
          %twice: f32[1] = Mul(%rows, %two)
          %whole: i64[1] = Cast(%twice) {to = 7}
          %size: i64[2] = Concat(%whole, %half) {axis = 0}
          %m: f32[N, 8] = MatMul(%x, %w)
          %y: f32[?, ?] = Reshape(%m, %size)
          return %y
        }
        """),
        {"w": floats(8, 8)},
    )
    made, context = cast(graph)
    assert set(declined(context)) == {"rows", "twice"}
    assert Executable(made).run_numpy({"x": floats(3001, 8)})["y"].shape == (6002, 4)


def test_a_table_read_at_positions_is_no_size() -> None:
    made, context = cast(
        parse_graph(
            dedent("""\
        graph main(opset = 21) {
          input %x: f32[1, N, 8]
          weight %table: f32[64, 8]
          weight %zero: i64[] = 0
          weight %one: i64[] = 1
          %n: i64[] = Size(%x)
          %positions: i64[?] = Range(%zero, %n, %one)
          %rows: f32[?, 8] = Gather(%table, %positions)
          %y: f32[1, ?, 8] = Add(%x, %rows)
          return %y
        }
        """),
            {"table": floats(64, 8)},
        )
    )
    assert not context.row.declined
    assert made.value("table").tensor_type == tensor("f16", 64, 8)

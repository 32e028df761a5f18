"""Multiply-accumulates are counted by the width that they run in, and Q/DQ as the FakeQuants that they came from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from irc.analysis.arithmetic import activation_bytes, as_run, macs_by_width, nodes, uncounted
from irc.analysis.liveness import peak_memory
from irc.backends.onnx.lowering import lower
from irc.backends.registry import find_target
from irc.graph import Graph
from irc.ops.onnx_op import OnnxOp
from irc.text import parse_graph
from irc.types import tensor

QUANTIZED = """
graph main(opset = 21) {
  input %x: f32[1, 4, 8, 8]
  weight %w: f32[8, 4, 1, 1] = splat(0.5)
  weight %v: f32[8, 8, 3, 3] = splat(0.25)
  weight %s: f32[] = 0.5
  weight %z: u8[] = 3
  weight %ws: f32[8] = splat(0.5)
  weight %wz: i8[8] = splat(0)
  %xq: f32[1, 4, 8, 8] = irc.FakeQuant(%x, %s, %z) {qmin = 0, qmax = 255}
  %wq: f32[8, 4, 1, 1] = irc.FakeQuant(%w, %ws, %wz) {axis = 0, qmin = QMIN, qmax = QMAX}
  %c: f32[1, 8, 8, 8] = Conv(%xq, %wq)
  %cq: f32[1, 8, 8, 8] = irc.FakeQuant(%c, %s, %z) {qmin = 0, qmax = 255}
  %y: f32[1, 8, 6, 6] = Conv(%cq, %v)
  return %y
}
"""
POINTWISE, SPATIAL = 64 * 8 * 4, 36 * 8 * 8 * 9


@pytest.mark.parametrize(("low", "high", "width"), [(-127, 127, "int8"), (-8, 7, "int8"), (-32768, 32767, "int16")])
def test_a_product_of_codes_is_as_wide_as_the_wider(low: int, high: int, width: str) -> None:
    graph = parse_graph(QUANTIZED.replace("QMIN", str(low)).replace("QMAX", str(high)))
    assert macs_by_width(as_run(graph)) == {"float32": SPATIAL, width: POINTWISE}


def test_codes_of_four_bits_on_both_sides() -> None:
    text = QUANTIZED.replace("qmin = 0, qmax = 255", "qmin = 0, qmax = 15").replace("QMIN", "-8").replace("QMAX", "7")
    assert macs_by_width(as_run(parse_graph(text))) == {"float32": SPATIAL, "int4": POINTWISE}


@pytest.mark.parametrize(("low", "high"), [(-127, 127), (-8, 7)])
def test_a_file_of_qdq_counts_as_the_graph_that_it_was_written_from(low: int, high: int) -> None:
    graph = parse_graph(QUANTIZED.replace("QMIN", str(low)).replace("QMAX", str(high)))
    file = lower(graph, replace(find_target("onnx"), packs=False))
    assert {n.op.name for n in file} == {"QuantizeLinear", "DequantizeLinear", "Conv"}
    a, b = as_run(graph), as_run(file)
    assert macs_by_width(a) == macs_by_width(b)
    assert (
        peak_memory(a) == peak_memory(b) == 8 * 36 * 4 + 8 * 64
    )  # at the last: what it reads as codes, and its result
    assert activation_bytes(a) == activation_bytes(b) == 4 * 64 * 4 + 4 * 64 + 8 * 64 + 8 * 36 * 4  # x, xq, cq, y
    assert nodes(a) == nodes(b) == 2


def test_a_value_that_is_quantized_once_and_dequantized_for_each_reader_is_there_once() -> None:
    graph = parse_graph(
        """
graph main(opset = 21) {
  input %x: f32[1, 100]
  weight %s: f32[] = 0.5
  weight %z: u8[] = 3
  %c: f32[1, 100] = Sin(%x)
  %q: u8[1, 100] = QuantizeLinear(%c, %s, %z)
  %a: f32[1, 100] = DequantizeLinear(%q, %s, %z)
  %b: f32[1, 100] = DequantizeLinear(%q, %s, %z)
  %l: f32[1, 100] = Cos(%a)
  %r: f32[1, 100] = Tan(%b)
  %y: f32[1, 100] = Add(%l, %r)
  return %y
}
"""
    )
    seen = as_run(graph)
    assert activation_bytes(seen) == 400 + 100 + 3 * 400
    assert peak_memory(seen) == 3 * 400  # at Add
    assert graph.node("q").op.name == "QuantizeLinear"  # the graph itself stays


def test_a_fake_quant_without_a_scale_rounds_nothing() -> None:
    text = """
graph main(opset = 21) {
  input %x: f32[2, 3]
  weight %w: f32[3, 5] = splat(0.5)
  %xq: f32[2, 3] = irc.FakeQuant(%x) {qmin = 0, qmax = 255}
  %wq: f32[3, 5] = irc.FakeQuant(%w)
  %y: f32[2, 5] = MatMul(%xq, %wq)
  return %y
}
"""
    assert macs_by_width(as_run(parse_graph(text))) == {"float32": 30}


def test_what_is_computed_of_constants_is_a_weight() -> None:
    """Weights of a codebook that nobody unpacked: codes, shifted out of bytes, pick numbers."""
    text = """
graph main(opset = 21) {
  input %x: f32[1, 4]
  weight %bytes: u8[8] = splat(27)
  weight %one: u8[1] = [1]
  weight %book: f32[16] = splat(0.5)
  weight %shape: i64[2] = [4, 2]
  %shifted: u8[8] = BitShift(%bytes, %one) {direction = "RIGHT"}
  %index: i32[8] = Cast(%shifted) {to = 6}
  %picked: f32[8] = Gather(%book, %index)
  %w: f32[4, 2] = Reshape(%picked, %shape)
  %y: f32[1, 2] = MatMul(%x, %w)
  return %y
}
"""
    seen = as_run(parse_graph(text))
    assert (macs_by_width(seen), nodes(seen)) == ({"float32": 8}, 1)
    assert activation_bytes(seen) == peak_memory(seen) == 4 * 4 + 2 * 4


FLOAT8 = """
graph main(opset = 21) {
  input %x: f32[2, 3]
  weight %w: f32[3, 5] = splat(0.5)
  weight %s: f32[] = 0.5
  weight %z: f8e4m3fn[] = 0
  %q: f8e4m3fn[2, 3] = QuantizeLinear(%x, %s, %z)
  %d: f32[2, 3] = DequantizeLinear(%q, %s, %z)
  %wq: f8e4m3fn[3, 5] = QuantizeLinear(%w, %s, %z)
  %wd: f32[3, 5] = DequantizeLinear(%wq, %s, %z)
  %y: f32[2, 5] = MatMul(%d, %wd)
  return %y
}
"""


def test_codes_that_are_floats_are_no_integers() -> None:
    assert macs_by_width(as_run(parse_graph(FLOAT8))) == {"float8": 30}


INTEGER = """
graph main(opset = 21) {
  input %x: u8[1, 4, 8, 8]
  weight %w: i8[8, 4, 3, 3] = splat(1)
  weight %s: f32[] = 0.5
  weight %z: u8[] = 3
  weight %wz: i8[] = 0
  %y: u8[1, 8, 6, 6] = QLinearConv(%x, %s, %z, %w, %s, %wz, %s, %z)
  return %y
}
"""


def test_an_integer_operator_is_of_the_width_of_its_codes() -> None:
    assert macs_by_width(as_run(parse_graph(INTEGER))) == {"int8": 8 * 36 * 4 * 9}


def test_half_and_double() -> None:
    for dtype, width in (("f16", "float16"), ("f64", "float64"), ("bf16", "float16")):
        text = f"graph main(opset = 21) {{\n  input %a: {dtype}[2, 3]\n  input %b: {dtype}[3, 4]\n"
        text += f"  %y: {dtype}[2, 4] = MatMul(%a, %b)\n  return %y\n}}\n"
        assert macs_by_width(as_run(parse_graph(text))) == {width: 24}


BRANCHES = """
graph main(opset = 21) {
  input %c: bool[]
  input %x: f32[2, 3]
  weight %w: f32[3, 5] = splat(0.5)
  weight %v: f32[5, 5] = splat(0.5)
  %y: f32[2, 5] = If:21(%c) {then_branch = "then" {
    %a: f32[2, 5] = MatMul(%x, %w)
    %b: f32[2, 5] = MatMul(%a, %v)
    return %b
  }, else_branch = "else" {
    %d: f32[2, 5] = MatMul(%x, %w)
    return %d
  }}
  return %y
}
"""


def test_of_an_if_the_costlier_branch() -> None:
    seen = as_run(parse_graph(BRANCHES))
    assert macs_by_width(seen) == {"float32": 30 + 50}
    assert activation_bytes(seen) == 1 + 4 * 6 + 4 * 10 + 2 * 4 * 10  # c, x, y; a and b
    assert uncounted(seen) == []


def test_an_unknown_operator_with_a_matrix_is_named() -> None:
    graph = Graph()
    x = graph.add_input("x", tensor("f32", 2, 3))
    w = graph.add_constant(np.ones((3, 4), np.float32), "w")
    op = OnnxOp("com.microsoft", "MatMulNBits", 1, ())
    graph.add_output(graph.insert(op, [x, w], types=[tensor("f32", 2, 4)]).output, "y")
    assert uncounted(graph) == ["com.microsoft.MatMulNBits"]

"""A weight is the same weight however a tool stored it: signed or not, of 4 bits, turned, or quantized when loaded."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest

from irc import ops
from irc.execution import Executable
from irc.graph import Graph, Node, Value
from irc.ops.fake_quant import FakeQuant
from irc.passes import LowerToInteger
from irc.passes.context import plain_context
from irc.passes.integer_rules import INTEGER_POLICY
from irc.target import Target
from irc.types import Array, tensor
from irc.verify import verify

M, C, K = 5, 3, 2
RNG = np.random.default_rng(0)
CODES = RNG.integers(-127, 128, (M, C, K)).astype(np.int8)
SMALL = RNG.integers(-7, 8, (M, C, K)).astype(np.int8)
SCALES = RNG.uniform(0.01, 0.02, M).astype(np.float32)
ONE = np.array(0.015, np.float32)


def dequantized(graph: Graph, codes: Array, scale: Array, zero_point: Array | None = None, axis: int = 0) -> Value:
    held = [graph.add_constant(array, "w") for array in (codes, scale, zero_point) if array is not None]
    return graph.insert(ops.DequantizeLinear(axis=axis), held).output


def turned(graph: Graph) -> Value:
    """Stored as (K, M, C), so that the axis of the scales moves."""
    stored = dequantized(graph, np.ascontiguousarray(CODES.transpose(2, 0, 1)), SCALES, np.zeros(M, np.int8), axis=1)
    return graph.insert(ops.Transpose((1, 2, 0)), [stored]).output


def reversed_axes(graph: Graph) -> Value:
    """Stored as (K, C, M), and turned by a Transpose that does not say how."""
    stored = dequantized(graph, np.ascontiguousarray(CODES.transpose()), SCALES, axis=2)
    return graph.insert(ops.Transpose(), [stored]).output


def quantized_when_loaded(graph: Graph) -> Value:
    real = graph.add_constant(CODES * ONE, "w")
    scale, zero_point = graph.add_constant(ONE, "s"), graph.add_constant(np.array(0, np.int8), "z")
    codes = graph.insert(ops.QuantizeLinear(), [real, scale, zero_point]).output
    return graph.insert(ops.DequantizeLinear(), [codes, scale, zero_point]).output


WEIGHTS: dict[str, tuple[Array, Callable[[Graph], Value]]] = {
    "int8": (CODES, lambda g: dequantized(g, CODES, SCALES, np.zeros(M, np.int8))),
    "int8, one scale": (CODES, lambda g: dequantized(g, CODES, ONE)),
    "uint8": (CODES, lambda g: dequantized(g, (CODES + np.int16(128)).astype(np.uint8), ONE, np.array(128, np.uint8))),
    "uint8, a scale a channel": (
        CODES,
        lambda g: dequantized(g, (CODES + np.int16(128)).astype(np.uint8), SCALES, np.full(M, 128, np.uint8)),
    ),
    "int8, zero point": (SMALL, lambda g: dequantized(g, SMALL + np.int8(9), SCALES, np.full(M, 9, np.int8))),
    "int4": (SMALL, lambda g: dequantized(g, SMALL.astype(ml_dtypes.int4), SCALES)),
    "turned": (CODES, turned),
    "reversed": (CODES, reversed_axes),
    "quantized when loaded": (CODES, quantized_when_loaded),
}


def lower(graph: Graph) -> None:
    LowerToInteger().run(graph, plain_context(graph, target=Target("integer", "c", "", INTEGER_POLICY)))
    verify(graph)


@pytest.mark.parametrize("kind", WEIGHTS)
def test_convolution(kind: str) -> None:
    codes, make = WEIGHTS[kind]
    graph = Graph()
    x = graph.add_input("x", tensor("u8", 2, C, 9))
    real = dequantized_data(graph, x)
    conv = graph.insert(ops.Conv(), [real, make(graph)], name="conv")
    graph.add_output(conv.output, "y")
    before = graph.copy()
    lower(graph)
    assert graph.node("conv").op.name == "QConv"
    np.testing.assert_array_equal(graph.node("conv").constant(1), codes)
    assert len(graph) == 1
    compare(before, graph, np.random.default_rng(1).integers(0, 256, (2, C, 9)).astype(np.uint8))


def dequantized_data(graph: Graph, x: Value) -> Value:
    held = [graph.add_constant(np.array(0.1, np.float32), "s"), graph.add_constant(np.array(77, np.uint8), "z")]
    return graph.insert(ops.DequantizeLinear(), [x, *held]).output


def compare(before: Graph, after: Graph, x: Array) -> None:
    wanted, got = (Executable(g).run_numpy({"x": x})["y"] for g in (before, after))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())  # sums of float32 both


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_fake_quants_of_other_widths(bits: int) -> None:
    """What 8 bits hold is integer; 16-bit weights stay float."""
    graph, half = Graph(), (1 << (bits - 1)) - 1
    x = graph.add_input("x", tensor("u8", 2, C))
    scale = np.full(M, 1 / half, np.float32)
    held = [np.random.default_rng(2).uniform(-1, 1, (C, M)).astype(np.float32), scale, np.zeros(M, np.int32)]
    fake = graph.insert(FakeQuant(axis=1, qmin=-half, qmax=half), [graph.add_constant(a, "w") for a in held])
    made: Node = graph.insert(ops.MatMul(), [dequantized_data(graph, x), fake.output], name="product")
    graph.add_output(made.output, "y")
    before = graph.copy()
    lower(graph)
    assert graph.node("product").op.name == ("MatMul" if bits == 16 else "QMatMul")
    compare(before, graph, np.random.default_rng(1).integers(0, 256, (2, C)).astype(np.uint8))


def test_signed_activations_are_called_what_they_become() -> None:
    graph = Graph()
    x = graph.add_input("x", tensor("f32", 4))
    held = [graph.add_constant(np.array(0.1, np.float32), "s"), graph.add_constant(np.array(-5, np.int32), "z")]
    graph.add_output(graph.insert(FakeQuant(), [x, *held]).output, "y")
    before = graph.copy()
    lower(graph)
    assert [str(node.output) for node in graph] == ["%x.uint8: u8[4]", "%x.dequantized: f32[4]"]
    compare(before, graph, np.linspace(-20, 20, 4, dtype=np.float32))


def test_a_weight_of_several_readers_is_stored_once() -> None:
    graph = Graph()
    x = graph.add_input("x", tensor("u8", 2, C, 9))
    real, weight = dequantized_data(graph, x), dequantized(graph, CODES, SCALES)
    parts = [graph.insert(ops.Conv(strides=(s,)), [real, weight], name=f"conv{s}").output for s in (1, 2)]
    for part, name in zip(parts, ("a", "b"), strict=True):
        graph.add_output(part, name)
    lower(graph)
    assert graph.node("conv1").inputs[1] is graph.node("conv2").inputs[1]

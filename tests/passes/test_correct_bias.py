"""`correct-bias` puts the mean of every output channel back where the float model has it, and changes nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from irc.backends.registry import find_target
from irc.execution import Executable
from irc.graph import Graph, Value
from irc.ops.fake_quant import FakeQuant
from irc.passes.calibrate import Calibrate
from irc.passes.context import Context, plain_context
from irc.passes.correct_bias import CorrectBias, channel_axis
from irc.passes.insert_fake_quant import InsertFakeQuant
from irc.passes.quantized_contractions import without_fake_quant
from irc.text import print_graph
from irc.types import Array
from irc.verify import verify

GraphMaker = Callable[..., Graph]
TextGraph = Callable[[str], Graph]

SITES = {
    "conv": """
        input %x: f32[2, 4, 8, 8]
        weight %w: f32[6, 4, 3, 3] = splat(0.5)
        weight %b: f32[6] = splat(0.5)
        %y: f32[2, 6, 6, 6] = Conv(%x, %w, %b) @"node"
        return %y
    """,
    "conv without a bias": """
        input %x: f32[2, 4, 8, 8]
        weight %w: f32[6, 4, 3, 3] = splat(0.5)
        %y: f32[2, 6, 8, 8] = Conv(%x, %w) {pads = [1, 1, 1, 1]} @"node"
        return %y
    """,
    "depthwise": """
        input %x: f32[2, 4, 8, 8]
        weight %w: f32[4, 1, 3, 3] = splat(0.5)
        %y: f32[2, 4, 6, 6] = Conv(%x, %w) {group = 4} @"node"
        return %y
    """,
    "groups": """
        input %x: f32[2, 4, 8, 8]
        weight %w: f32[6, 2, 3, 3] = splat(0.5)
        weight %b: f32[6] = splat(0.5)
        %y: f32[2, 6, 6, 6] = Conv(%x, %w, %b) {group = 2} @"node"
        return %y
    """,
    "one axis": """
        input %x: f32[2, 4, 8]
        weight %w: f32[6, 4, 3] = splat(0.5)
        %y: f32[2, 6, 6] = Conv(%x, %w) @"node"
        return %y
    """,
    "transposed": """
        input %x: f32[2, 4, 5, 5]
        weight %w: f32[4, 3, 2, 2] = splat(0.5)
        weight %b: f32[6] = splat(0.5)
        %y: f32[2, 6, 10, 10] = ConvTranspose(%x, %w, %b) {group = 2, strides = [2, 2]} @"node"
        return %y
    """,
    "gemm": """
        input %x: f32[9, 8]
        weight %w: f32[8, 5] = splat(0.5)
        weight %b: f32[5] = splat(0.5)
        %y: f32[9, 5] = Gemm(%x, %w, %b) @"node"
        return %y
    """,
    "gemm, transposed, without a bias": """
        input %x: f32[9, 8]
        weight %w: f32[5, 8] = splat(0.5)
        %y: f32[9, 5] = Gemm(%x, %w) {transB = 1} @"node"
        return %y
    """,
    "gemm with a row": """
        input %x: f32[9, 8]
        weight %w: f32[8, 5] = splat(0.5)
        weight %b: f32[1, 5] = splat(0.5)
        %y: f32[9, 5] = Gemm(%x, %w, %b) @"node"
        return %y
    """,
    "matmul and add": """
        input %x: f32[2, 9, 8]
        weight %w: f32[8, 5] = splat(0.5)
        weight %b: f32[5] = splat(0.5)
        %t: f32[2, 9, 5] = MatMul(%x, %w) @"node"
        %y: f32[2, 9, 5] = Add(%b, %t) @"add"
        return %y
    """,
    "matmul and add of one number": """
        input %x: f32[2, 9, 8]
        weight %w: f32[8, 5] = splat(0.5)
        weight %b: f32[] = 0.25
        %t: f32[2, 9, 5] = MatMul(%x, %w) @"node"
        %y: f32[2, 9, 5] = Add(%t, %b) @"add"
        return %y
    """,
}


def draw(graph: Graph, seed: int = 0) -> list[dict[str, Array]]:
    """Weights from a normal distribution, and inputs whose mean is far from 0, so that rounding shifts the output."""
    rng = np.random.default_rng(seed)
    for value in graph.constants:
        if value.type is not None and value.data is not None and value.data.ndim:
            value.data = rng.standard_normal(value.data.shape).astype(np.float32)
    found = []
    for _ in range(6):
        sample = {}
        for value in graph.inputs:
            assert value.tensor_type is not None
            shape = value.tensor_type.static_shape
            sample[value.name] = (rng.random(shape) + 1).astype(np.float32)
        found.append(sample)
    return found


def quantized_weights(graph: Graph, samples: list[dict[str, Array]], bits: int = 4) -> Context:
    """Quantize, then take the FakeQuants of activations out: what is left is the weights' error alone."""
    context = plain_context(graph, calibration=samples, target=find_target("onnx:qnn"))
    InsertFakeQuant(weight_bits=bits).run(graph, context)
    Calibrate().run(graph, context)
    for node in list(graph):
        source = node.input(0)
        if isinstance(node.op, FakeQuant) and source is not None and not source.is_constant:
            graph.replace(node, [source])
    return context


def channel_means(graph: Graph, samples: list[dict[str, Array]], axis: int) -> Array:
    (name,) = graph.output_names
    ys = [np.moveaxis(Executable(graph).run_numpy(s)[name].astype(np.float64), axis, 0) for s in samples]
    return np.asarray(np.mean([y.reshape(len(y), -1).mean(axis=1) for y in ys], axis=0))


@pytest.mark.parametrize("site", SITES)
def test_the_mean_of_each_channel_comes_back(site: str, text_graph: TextGraph) -> None:
    graph = text_graph(SITES[site])
    samples = draw(graph)
    axis = channel_axis(graph.node("node").op)
    wanted = channel_means(graph, samples, axis)
    context = quantized_weights(graph, samples)
    before = np.abs(channel_means(graph, samples, axis) - wanted)
    CorrectBias().run(graph, context)
    verify(graph)
    after = np.abs(channel_means(graph, samples, axis) - wanted)
    assert before.min() > 1e-3  # there is something to correct in every channel
    # exact up to rounding for what reads a float bias; one quantized to 8 bits is good to its step
    step = 0.02 if "add" in site else 1e-5
    assert after.max() < step * np.abs(wanted).max()
    assert after.max() < before.max() / (3 if "add" in site else 100)
    assert context.row.declined == []


def test_in_a_network_the_mean_error_of_the_outputs_shrinks(net: GraphMaker, typical: Any) -> None:
    graph = net("residual")
    samples = [{"x": s["x"] + 1} for s in typical(graph, 12)]
    wanted = channel_means(graph, samples, 1)
    context = quantized_weights(graph, samples, bits=5)
    before = np.abs(channel_means(graph, samples, 1) - wanted)
    CorrectBias().run(graph, context)
    after = np.abs(channel_means(graph, samples, 1) - wanted)
    assert after.mean() < before.mean() / 3


def test_weights_on_the_grid_change_nothing(text_graph: TextGraph) -> None:
    for text in SITES.values():
        graph = text_graph(text)
        samples = draw(graph)
        rng = np.random.default_rng(1)
        weight = graph.value("w")
        assert weight.data is not None
        codes = rng.integers(-7, 8, weight.data.shape)
        codes.reshape(-1)[:] = np.where(rng.random(codes.size) < 0.3, 7, codes.reshape(-1))
        weight.data = codes.astype(np.float32) / 2  # steps of 1/2 in every channel that reaches 7
        context = quantized_weights(graph, samples)
        fake = graph.value("w").users[0]
        scale = fake.input(1)
        assert scale is not None
        assert scale.data is not None
        scale.data = np.full_like(scale.data, 0.5)
        before = print_graph(graph)
        CorrectBias().run(graph, context)
        assert print_graph(graph) == before


def test_a_bias_that_two_nodes_read_is_corrected_for_each(text_graph: TextGraph) -> None:
    graph = text_graph(
        """
        input %x: f32[2, 4, 8, 8]
        weight %v: f32[6, 4, 1, 1] = splat(0.5)
        weight %w: f32[6, 4, 1, 1] = splat(0.5)
        weight %b: f32[6] = splat(0.5)
        %s: f32[2, 6, 8, 8] = Conv(%x, %v, %b) @"one"
        %t: f32[2, 6, 8, 8] = Conv(%x, %w, %b) @"two"
        %y: f32[2, 12, 8, 8] = Concat(%s, %t) {axis = 1}
        return %y
        """
    )
    samples = draw(graph)
    wanted = channel_means(graph, samples, 1)
    context = quantized_weights(graph, samples)
    CorrectBias().run(graph, context)
    biases = [graph.node(n).constant(2) for n in ("one", "two")]
    assert biases[0] is not None
    assert biases[1] is not None
    assert not np.array_equal(biases[0], biases[1])
    assert np.abs(channel_means(graph, samples, 1) - wanted).max() < 1e-4


def test_an_added_constant_that_others_read_stays_for_them(text_graph: TextGraph) -> None:
    graph = text_graph(SITES["matmul and add"].replace("return %y", "return %y, %b"))
    samples = draw(graph)
    bias = graph.value("b").data
    context = quantized_weights(graph, samples)
    CorrectBias().run(graph, context)
    assert graph.outputs[1].data is bias


def test_a_quantized_constant_gets_a_scale_that_holds_its_new_numbers(text_graph: TextGraph) -> None:
    graph = text_graph(SITES["matmul and add"])
    samples = draw(graph)
    context = plain_context(graph, calibration=samples, target=find_target("onnx:qnn"))
    InsertFakeQuant(weight_bits=2).run(graph, context)  # ternary weights: the correction is as large as the bias
    Calibrate().run(graph, context)
    CorrectBias().run(graph, context)
    fake = next(v.producer for v in graph.node("add").inputs if v is not None and _is_quantized_constant(v))
    assert fake is not None
    data, scale, zero_point = fake.constant(0), fake.constant(1), fake.constant(2)
    assert data is not None
    assert scale is not None
    assert zero_point is not None
    codes = np.rint(data / scale) + zero_point
    assert codes.min() >= 0
    assert codes.max() <= 255
    assert codes.max() - codes.min() >= 200  # and spends the codes on them


def _is_quantized_constant(value: Value) -> bool:
    return value.producer is not None and value.producer.constant(0) is not None


def test_without_a_place_for_a_bias_the_reason_is_told(text_graph: TextGraph) -> None:
    graph = text_graph(
        """
        input %x: f32[2, 9, 8]
        weight %w: f32[8, 5] = splat(0.5)
        %y: f32[2, 9, 5] = MatMul(%x, %w) @"node"
        return %y
        """
    )
    samples = draw(graph)
    context = quantized_weights(graph, samples)
    before = print_graph(graph)
    CorrectBias().run(graph, context)
    assert print_graph(graph) == before
    assert [(s.node, s.reason) for s in context.row.declined] == [
        ("node", "the operator has no bias, and no constant is added behind it")
    ]


def test_bodies_are_corrected(net: GraphMaker, typical: Any) -> None:
    graph = net("branches")
    samples = [{"c": np.asarray(True), "x": s["x"] + 1} for s in typical(graph)]
    context = plain_context(graph, calibration=samples, target=find_target("onnx"))
    InsertFakeQuant(weight_bits=4).run(graph, context)
    Calibrate().run(graph, context)
    context.row.declined.clear()
    bias = graph.value("b2").data
    CorrectBias().run(graph, context)
    verify(graph)
    inner = graph.node("if").bodies["then_branch"].node("inner")
    moved = inner.constant(2)
    assert bias is not None
    assert moved is not None
    assert np.abs(moved - bias).max() > 1e-3


def test_without_fake_quant_is_the_float_model(net: GraphMaker, typical: Any) -> None:
    graph = net("attention")
    samples = typical(graph)
    original = print_graph(graph)
    context = plain_context(graph, calibration=samples, target=find_target("onnx"))
    InsertFakeQuant().run(graph, context)
    Calibrate().run(graph, context)
    plain = without_fake_quant(graph)
    for value in plain.constants:
        if not value.uses:
            plain.remove_constant(value)
    assert print_graph(plain) == original


def test_nothing_quantized_is_nothing_to_do(net: GraphMaker) -> None:
    graph = net("residual")
    before = print_graph(graph)
    CorrectBias().run(graph, plain_context(graph))  # and no samples are asked for
    assert print_graph(graph) == before

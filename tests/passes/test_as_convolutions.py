"""A batch norm behind a Concat and an upsampling ConvTranspose run as integer layers where the target wants that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import irc
from irc.analysis.error import relative_error
from irc.backends.registry import find_target
from irc.execution import Executable
from irc.graph import Graph, Value
from irc.ops import BatchNormalization, Concat, Relu, Softmax
from irc.ops.conv import Conv, ConvTranspose
from irc.passes.as_convolutions import as_convolutions
from irc.passes.integer_rules import INTEGER_POLICY
from irc.types import Array, tensor
from irc.verify import verify

SIDE = 6
RANDOM = np.random.default_rng(0)


def norm(graph: Graph, x: Value, name: str, gain: Array | None = None) -> Value:
    channels = x.tensor_type.static_shape[1] if x.tensor_type else 0
    spread = RANDOM.uniform(0.5, 2, (4, channels)).astype(np.float32)
    spread[0] = np.linspace(-2, 2, channels) if gain is None else gain  # negative ones and 0 among them
    held = [graph.add_constant(row, f"{name}.{k}") for k, row in enumerate(spread)]
    return graph.insert(BatchNormalization(), [x, *held], name=name).output


def conv(graph: Graph, x: Value, outputs: int, name: str, side: int = 1) -> Value:
    channels = x.tensor_type.static_shape[1] if x.tensor_type else 0
    weight = RANDOM.standard_normal((outputs, channels, side, side)) / channels**0.5
    held = graph.add_constant(weight.astype(np.float32), f"{name}.weight")
    return graph.insert(Conv(pads=(side // 2,) * 4), [x, held], name=name).output


def dense() -> Graph:
    """Two layers of a dense block and its classifier; the norm in front has nothing integer before it."""
    graph = Graph()
    x = norm(graph, graph.add_input("x", tensor("f32", 1, 3, SIDE, SIDE)), "first")
    x = conv(graph, x, 5, "stem", 3)
    for name in ("a", "b"):
        made = graph.insert(Relu(), [norm(graph, x, f"{name}.norm")]).output
        x = graph.insert(Concat(axis=1), [x, conv(graph, made, 4, f"{name}.conv", 3)], name=f"{name}.concat").output
    x = graph.insert(Relu(), [norm(graph, x, "last.norm")]).output
    graph.add_output(conv(graph, x, 4, "head"), "y")
    verify(graph)
    return graph


def samples(count: int = 8, seed: int = 1) -> list[Array]:
    random = np.random.default_rng(seed)
    return [random.standard_normal((1, 3, SIDE, SIDE)).astype(np.float32) for _ in range(count)]


def run(graph: Graph, x: Array) -> Array:
    return Executable(graph).run_numpy({"x": x})["y"]


def test_it_computes_the_same() -> None:
    graph = dense()
    before = graph.copy()
    made = as_convolutions(graph, INTEGER_POLICY)
    verify(graph)
    assert [node.name for node in made] == ["a.norm", "b.norm", "last.norm"]  # not the first
    assert [getattr(node.op, "group", 0) for node in made] == [5, 9, 13]
    for x in samples(2):
        assert relative_error(run(before, x), run(graph, x)) < 1e-5  # float32, some layers deep


def test_it_is_integer_in_c() -> None:
    graph = dense()
    artifact: Any = irc.compile(graph, "quantize", calibration=samples(), target="c:host")
    assert artifact.fusion.counts() == {"Conv": (7, 7), "Concat": (2, 2)}
    assert [node.name for node in artifact.lowered.walk() if node.op.name == "BatchNormalization"] == ["first"]
    codes = artifact.lowered.node("b.norm").constant(1)
    assert codes is not None
    assert set(np.abs(codes).ravel().tolist()) <= {0, 127}
    wanted = "3 nodes are convolutions now, which the target runs as integer: a.norm, b.norm, last.norm"
    assert wanted in artifact.report.rows[-1].notes
    for x in samples(2, seed=7):
        made = artifact(x)
        np.testing.assert_array_equal(made, run(artifact.lowered, x))
        assert relative_error(run(graph, x), made) < 0.05  # 8 bits, seven layers deep


@pytest.mark.parametrize("target", ["onnx", "onnx:arm"])
def test_targets_of_onnx_keep_it(target: str) -> None:
    artifact = irc.compile(dense(), "quantize", calibration=samples(), target=target)
    assert sum(node.op.name == "BatchNormalization" for node in artifact.graph.walk()) == 4
    assert not find_target(target).policy.as_convolutions


def test_what_is_left_alone() -> None:
    assert [n.name for n in as_convolutions(dense(), INTEGER_POLICY, ("?.norm",))] == ["last.norm"]
    assert as_convolutions(dense(), replace(INTEGER_POLICY, integer_ops=frozenset())) == []
    graph = Graph()
    x = conv(graph, graph.add_input("x", tensor("f32", 1, 3, SIDE, SIDE)), 4, "stem")
    infinite = norm(graph, x, "infinite", np.full(4, np.inf, np.float32))
    graph.add_output(conv(graph, infinite, 4, "head"), "y")
    graph.add_output(graph.insert(Softmax(), [norm(graph, x, "read as float")]).output, "z")
    assert as_convolutions(graph, INTEGER_POLICY) == []


# ---- transposed convolutions


def transposed(op: ConvTranspose, side: int = 2, bias: bool = True, activation: bool = True) -> Graph:
    graph = Graph()
    x = conv(graph, graph.add_input("x", tensor("f32", 1, 3, SIDE, SIDE)), 4, "stem")
    weight = RANDOM.standard_normal((4, 5 // op.group, side, side)).astype(np.float32)
    held = [graph.add_constant(weight, "w")]
    held += [graph.add_constant(RANDOM.standard_normal(5).astype(np.float32), "b")] if bias else []
    y = graph.insert(op, [x, *held], name="up").output
    y = graph.insert(Relu(), [y], name="relu").output if activation else y
    graph.add_output(conv(graph, y, 4, "head"), "y")
    verify(graph)
    return graph


@pytest.mark.parametrize("side", [1, 2, 3])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", [False, True])
def test_a_transposed_convolution_computes_the_same(side: int, bias: bool, activation: bool) -> None:
    graph = transposed(ConvTranspose(strides=(side, side)), side, bias, activation)
    before = graph.copy()
    assert [node.name for node in as_convolutions(graph, INTEGER_POLICY)] == ["up"]
    verify(graph)
    order = [node.op.name for node in graph]
    assert order == ["Conv", "Conv", *(["Relu"] if activation else []), "DepthToSpace", "Conv"]
    for x in samples(2):
        assert relative_error(run(before, x), run(graph, x)) < 1e-5  # sums in another order


def test_a_transposed_convolution_is_integer_in_c() -> None:
    graph = transposed(ConvTranspose(strides=(2, 2)))
    artifact: Any = irc.compile(graph, "quantize", calibration=samples(), target="c:host")
    assert artifact.fusion.counts() == {"Conv": (3, 3)}
    ops = [node.op.name for node in artifact.lowered]
    assert ops == ["QuantizeLinear", "QConv", "QConv", "DepthToSpace", "QConv", "DequantizeLinear"]
    for x in samples(2, seed=7):
        made = artifact(x)
        np.testing.assert_array_equal(made, run(artifact.lowered, x))
        assert relative_error(run(graph, x), made) < 0.03  # 8 bits, three layers deep


OVERLAPPING = {
    "stride": (ConvTranspose(strides=(2, 2)), 3),
    "no stride": (ConvTranspose(), 2),
    "cut": (ConvTranspose(strides=(2, 2), pads=(0, 1, 0, 1)), 2),
    "longer": (ConvTranspose(strides=(2, 2), output_padding=(1, 1)), 2),
    "size": (ConvTranspose(strides=(2, 2), output_shape=(11, 11)), 2),
    "unlike strides": (ConvTranspose(strides=(2, 1)), 2),
}


@pytest.mark.parametrize("case", OVERLAPPING)
def test_other_transposed_convolutions_stay(case: str) -> None:
    assert as_convolutions(transposed(*OVERLAPPING[case]), INTEGER_POLICY) == []

"""The written file computes what the graph's FakeQuants compute, and is shaped as runtimes want to see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import irc
from irc.analysis.codes import quantize_array, storage_dtype
from irc.backends.onnx.lowering import lower
from irc.backends.registry import find_target
from irc.execution import Executable
from irc.graph import Graph, Value
from irc.ops.activation import Clip, Relu
from irc.ops.conv import Conv
from irc.ops.fake_quant import FakeQuant
from irc.passes.qdq import activation_bounds
from irc.target import IntegerFormat, Target
from irc.types import Array, tensor

GraphMaker = Callable[..., Graph]
TARGETS = ["onnx", "onnx:arm", "onnx:tensorrt", "onnx:openvino", "onnx:qnn"]
NETS = ["residual", "concat", "attention", "depthwise", "transposed", "branches"]

U8 = IntegerFormat(bits=8, signed=False, symmetric=False)
WIDE = {
    "4-bit weights": replace(find_target("onnx").policy, weight=IntegerFormat(bits=4)),
    "16-bit weights": replace(find_target("onnx").policy, weight=IntegerFormat(bits=16)),
    "16-bit activations": replace(find_target("onnx").policy, activation=replace(U8, bits=16)),
    "16-bit signed activations": replace(find_target("onnx").policy, activation=IntegerFormat(bits=16)),
    "7-bit activations": replace(find_target("onnx").policy, activation=replace(U8, bits=7)),
    "one scale a tensor": replace(find_target("onnx").policy, per_channel=False),
}


def compiled(graph: Graph, samples: list[dict[str, Array]], target: str | Target, path: Path, **options: Any) -> Any:
    artifact = irc.compile(graph, options.pop("passes", "quantize"), calibration=samples, target=target, **options)
    artifact.save(path)
    onnx.checker.check_model(str(path), full_check=True)
    return artifact


def step_of(value: Value) -> float:
    """The scale of an output, the larger one of an If's branches; 0 where it is float."""
    maker = value.producer
    if maker is not None and maker.bodies:
        return max(step_of(body.outputs[value.index]) for body in maker.bodies.values())
    scale = maker.constant(1) if maker is not None and isinstance(maker.op, FakeQuant) else None
    return 0.0 if scale is None else float(scale)


def steps_between(artifact: Any, path: Path, samples: list[dict[str, Array]], run: Any) -> float:
    """The largest difference between torch on the graph and onnxruntime on the file, in steps of the output's scale."""
    worst = 0.0
    executable = Executable(artifact.graph)
    for sample in samples:
        wanted, got = executable.run_numpy(sample), run(path, sample)
        assert list(wanted) == list(got)
        for (name, a), value in zip(wanted.items(), artifact.graph.outputs, strict=True):
            step = step_of(value) or float(np.abs(a).max()) / 255
            assert a.shape == got[name].shape
            worst = max(worst, float(np.abs(a - got[name]).max()) / step)
    return worst


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", NETS)
def test_the_file_computes_what_the_graph_computes(
    name: str, target: str, net: GraphMaker, typical: Any, tmp_path: Path, in_onnxruntime: Any
) -> None:
    """Sums in another order may round a value to the neighbouring code here and there: one step, two after two layers.

    Inputs are twice as wide as in calibration, so that codes clamp.
    """
    graph = net(name)
    samples = typical(graph)
    artifact = compiled(graph, samples, target, tmp_path / "m.onnx")
    wide = [{k: v * 2 if v.dtype == np.float32 else v for k, v in s.items()} for s in samples]
    assert steps_between(artifact, tmp_path / "m.onnx", wide, in_onnxruntime) <= 2.01


@pytest.mark.parametrize("policy", WIDE)
@pytest.mark.parametrize("name", ["residual", "concat", "depthwise"])
def test_other_widths_too(
    name: str, policy: str, net: GraphMaker, typical: Any, tmp_path: Path, in_onnxruntime: Any
) -> None:
    graph = net(name)
    samples = typical(graph)
    target = Target("custom", "onnx", "", WIDE[policy])
    artifact = compiled(graph, samples, target, tmp_path / "m.onnx")
    wide = [{k: v * 2 for k, v in s.items()} for s in samples]
    # a float32 holds 16-bit codes only so exactly: products of them round, by some codes of 65,535
    limit = 16.0 if policy.startswith("16-bit") and "activations" in policy else 2.01
    assert steps_between(artifact, tmp_path / "m.onnx", wide, in_onnxruntime) <= limit


def initializers(path: Path) -> dict[str, Array]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


@pytest.mark.parametrize(
    ("policy", "weight", "activation"),
    [
        ("4-bit weights", ml_dtypes.int4, np.uint8),
        ("16-bit weights", np.int16, np.uint8),
        ("16-bit activations", np.int8, np.uint16),
        ("16-bit signed activations", np.int8, np.int16),
        ("7-bit activations", np.int8, np.uint8),
        ("one scale a tensor", np.int8, np.uint8),
    ],
)
def test_how_numbers_are_stored(
    policy: str, weight: Any, activation: Any, net: GraphMaker, typical: Any, tmp_path: Path
) -> None:
    graph = net("residual")
    path = tmp_path / "m.onnx"
    compiled(graph, typical(graph), Target("custom", "onnx", "", WIDE[policy]), path)
    model = onnx.load(path).graph
    held = initializers(path)
    makers = {o: n for n in model.node for o in n.output}
    for node in model.node:
        if node.op_type == "Conv":
            for index, dtype in ((1, weight), (2, np.int32)):
                dequantize = makers[node.input[index]]
                assert dequantize.op_type == "DequantizeLinear"
                assert held[dequantize.input[0]].dtype == dtype
        if node.op_type == "QuantizeLinear":
            assert held[node.input[2]].dtype == activation
    floats = [n for n, a in held.items() if a.dtype == np.float32 and a.ndim > 1]
    assert floats == []  # no weight is left in float beside its codes


def test_a_bias_is_in_units_of_both_scales(net: GraphMaker, typical: Any, tmp_path: Path) -> None:
    graph = net("transposed")
    path = tmp_path / "m.onnx"
    artifact = compiled(graph, typical(graph), "onnx:qnn", path)
    up = artifact.graph.node("up")
    scales = [v.producer.constant(1) for v in up.inputs[:2]]
    unit = np.tile(scales[0] * scales[1], 2)  # two groups, each with the same three scales
    held = initializers(path)
    codes, stored = held["b1.int32"], held["b1.scale"]
    assert codes.dtype == np.int32
    np.testing.assert_allclose(stored, unit, rtol=1e-6)
    np.testing.assert_allclose(codes * stored, up.constant(2), atol=float(unit.max()) / 2 * 1.001)


def test_tensorrt_keeps_biases_in_float_and_all_zero_points_0(net: GraphMaker, typical: Any, tmp_path: Path) -> None:
    graph = net("residual")
    path = tmp_path / "m.onnx"
    compiled(graph, typical(graph), "onnx:tensorrt", path)
    model, held = onnx.load(path).graph, initializers(path)
    for node in model.node:
        if node.op_type == "Conv":
            assert held[node.input[2]].dtype == np.float32
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert held[node.input[2]].dtype == np.int8
            assert not held[node.input[2]].any()


def test_a_contraction_feeds_one_quantize_linear_and_is_no_output(
    net: GraphMaker, typical: Any, tmp_path: Path
) -> None:
    for name in NETS:
        for target in ("onnx", "onnx:arm", "onnx:openvino"):
            graph = net(name)
            path = tmp_path / "m.onnx"
            compiled(graph, typical(graph), target, path)
            model = onnx.load(path).graph
            outputs = {o.name for o in model.output}
            for node in model.node:
                if node.op_type != "Conv":
                    continue
                readers = [n for n in model.node if node.output[0] in n.input]
                assert [n.op_type for n in readers] == ["QuantizeLinear"], (name, target, node.name)
                assert node.output[0] not in outputs


def relu_graph(activation: Any, *bounds: float | None, scale: float, zero_point: int, op: FakeQuant) -> Graph:
    graph = Graph()
    x = graph.add_input("x", tensor("f32", 1, 2, 4, 4))
    weight = graph.add_constant(np.ones((2, 2, 1, 1), np.float32), "w")
    conv = graph.insert(Conv(), [x, weight], name="conv")
    reads = [None if b is None else graph.add_constant(np.array(b, np.float32), "bound") for b in bounds]
    made = graph.insert(activation, [conv.output, *reads], name="activation")
    parameters = [graph.add_constant(np.array(scale, np.float32)), graph.add_constant(np.array(zero_point, np.int32))]
    fake = graph.insert(op, [made.output, *parameters], name="fake")
    graph.add_output(fake.output, "y")
    return graph


UNSIGNED, SIGNED = FakeQuant(qmin=0, qmax=255), FakeQuant()
DROPPED = [
    (relu_graph(Relu(), scale=0.01, zero_point=0, op=UNSIGNED), True),
    (relu_graph(Relu(), scale=0.01, zero_point=1, op=UNSIGNED), False),  # code 0 is -0.01
    (relu_graph(Relu(), scale=0.01, zero_point=-128, op=SIGNED), True),
    (relu_graph(Relu(), scale=0.01, zero_point=0, op=FakeQuant(qmin=-127)), False),
    (relu_graph(Clip(), 0.0, 6.0, scale=6 / 255, zero_point=0, op=UNSIGNED), True),
    (relu_graph(Clip(), 0.0, 6.0, scale=3 / 255, zero_point=0, op=UNSIGNED), True),  # the codes end at 3 already
    (relu_graph(Clip(), 0.0, 6.0, scale=7 / 255, zero_point=0, op=UNSIGNED), False),  # they reach 7
    (relu_graph(Clip(), 0.5, 6.0, scale=6 / 255, zero_point=0, op=UNSIGNED), False),  # 0.1 would come through
    (relu_graph(Clip(), None, 6.0, scale=6 / 255, zero_point=0, op=UNSIGNED), True),
    (relu_graph(Clip(), -1.0, 1.0, scale=2 / 255, zero_point=128, op=UNSIGNED), True),  # ends within half a step
    (relu_graph(Clip(), -0.9, 1.0, scale=2 / 255, zero_point=128, op=UNSIGNED), False),
]


@pytest.mark.parametrize(("graph", "dropped"), DROPPED)
def test_an_activation_is_dropped_only_when_the_codes_clamp_alike(graph: Graph, dropped: bool) -> None:
    lowered = lower(graph, find_target("onnx"))
    assert ("activation" not in [n.name for n in lowered]) == dropped
    x = {"x": np.linspace(-9, 9, 32, dtype=np.float32).reshape(1, 2, 4, 4)}
    wanted, got = (Executable(g).run_numpy(x)["y"] for g in (graph, lowered))
    ends_between = "activation" not in [n.name for n in lowered] and graph.node("fake").constant(2) == 128
    np.testing.assert_allclose(got, wanted, rtol=0, atol=2 / 255 if ends_between else 0)  # one code, at the very end


def test_an_activation_that_others_see_stays() -> None:
    for see in ("conv", "activation"):
        graph = relu_graph(Relu(), scale=0.01, zero_point=0, op=UNSIGNED)
        graph.add_output(graph.node(see).output, "seen")
        assert "activation" in [n.name for n in lower(graph, find_target("onnx"))]


def test_bounds_of_activations() -> None:
    inf = float("inf")
    graph = relu_graph(Clip(), 1.0, None, scale=1, zero_point=0, op=SIGNED)
    assert activation_bounds(graph.node("activation")) == (1.0, inf)
    assert activation_bounds(graph.node("conv")) is None
    graph.node("activation").set_input(2, graph.add_input("high", tensor("f32")))
    assert activation_bounds(graph.node("activation")) is None


@pytest.mark.parametrize(
    ("qmin", "qmax", "dtype"),
    [
        (-127, 127, np.int8),
        (-128, 127, np.int8),
        (0, 255, np.uint8),
        (0, 127, np.uint8),
        (0, 128, np.uint8),
        (-7, 7, ml_dtypes.int4),
        (-8, 7, ml_dtypes.int4),
        (0, 15, ml_dtypes.uint4),
        (-1, 255, np.int16),
        (0, 65535, np.uint16),
        (-32767, 32767, np.int16),
        (-(2**31), 2**31 - 1, np.int32),
    ],
)
def test_the_narrowest_type_that_holds_the_codes(qmin: int, qmax: int, dtype: Any) -> None:
    assert storage_dtype(FakeQuant(qmin=qmin, qmax=qmax)) == dtype


def test_codes_round_half_to_even_and_clamp() -> None:
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 300, -300], np.float32)
    codes = quantize_array(x, np.array(1.0), np.array(0), FakeQuant(qmin=-127))
    assert codes.tolist() == [0, 2, 2, 0, -2, 127, -127]
    rows = quantize_array(np.ones((2, 3), np.float32), np.array([0.5, 0.25]), np.zeros(2), FakeQuant(axis=0))
    assert rows.tolist() == [[2, 2, 2], [4, 4, 4]]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=str)
def test_codes_of_half_floats_are_those_that_the_simulation_rounds_to(dtype: Any) -> None:
    """Half floats hold neither the quotients nor the codes of 16 bits."""
    x = np.random.default_rng(0).standard_normal(1000).astype(dtype)
    scale = np.array(1e-4, dtype)
    codes = quantize_array(x, scale, np.array(0, np.int16), FakeQuant(qmin=-32767, qmax=32767))
    wanted = np.rint(x.astype(np.float64) / scale.astype(np.float64)).clip(-32767, 32767)
    np.testing.assert_allclose(codes, wanted, rtol=0, atol=1)  # where float32 and float64 are at either side of a half


def test_a_weight_that_two_nodes_share_is_stored_once(text_graph: Any, typical: Any, tmp_path: Path) -> None:
    graph = text_graph(
        """
        input %x: f32[1, 4, 8, 8]
        weight %w: f32[4, 4, 3, 3] = splat(0.5)
        %a: f32[1, 4, 6, 6] = Conv(%x, %w) @"one"
        %y: f32[1, 4, 4, 4] = Conv(%a, %w) @"two"
        return %y
        """
    )
    compiled(graph, typical(graph, batch=1), "onnx", tmp_path / "m.onnx", passes="quantize{rounding=nearest}")
    assert [a.shape for a in initializers(tmp_path / "m.onnx").values() if a.size == 144] == [(4, 4, 3, 3)]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("optimized", [False, True])
def test_a_symbolic_batch_stays_symbolic(
    target: str, optimized: bool, net: GraphMaker, typical: Any, tmp_path: Path, in_onnxruntime: Any
) -> None:
    for name in NETS:
        graph = net(name)
        path = tmp_path / "m.onnx"
        compiled(graph, typical(graph), target, path)
        model = onnx.load(path).graph
        values = [v for v in (*model.input, *model.output) if v.type.tensor_type.shape.dim]
        assert {v.type.tensor_type.shape.dim[0].dim_param for v in values} == {"N"}, name
        for batch in (1, 7):
            (y,) = in_onnxruntime(path, typical(graph, 1, batch=batch)[0], optimized=optimized).values()
            assert len(y) == batch


def test_names_and_metadata_are_kept(net: GraphMaker, typical: Any, tmp_path: Path) -> None:
    graph = net("residual")
    graph.info.metadata["author"] = "someone"
    graph.info.doc = "what it is"
    compiled(graph, typical(graph), "onnx:arm", tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    assert [v.name for v in model.graph.input] == ["x"]
    assert [v.name for v in model.graph.output] == ["y"]
    assert {p.key: p.value for p in model.metadata_props} == {
        "author": "someone",
        "irc.target": "onnx:arm",
        "irc.passes": "quantize",
    }
    assert model.doc_string == "what it is"
    assert {"conv1", "conv2", "add"} <= {n.name for n in model.graph.node}
    assert graph.info.metadata == {"author": "someone"}  # the caller's graph is the caller's

"""`calibrate` gives scales that follow from the data by the stated formulas, and none where a scale would do harm."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from irc.analysis.ranges import METHODS
from irc.analysis.saturation import adds_pairs
from irc.backends.onnx.artifact import OnnxArtifact
from irc.backends.registry import find_target
from irc.errors import DataError, ModelError, OptionError
from irc.execution import Executable
from irc.graph import Graph, Node
from irc.ops.fake_quant import FakeQuant
from irc.passes.calibrate import Calibrate, scale_of_range
from irc.passes.context import Context, plain_context
from irc.passes.insert_fake_quant import InsertFakeQuant
from irc.report.ledger import Ledger
from irc.report.report import Report
from irc.target import IntegerFormat, QuantPolicy, Target, adds_in_32_bits
from irc.text import print_graph
from irc.types import Array
from irc.verify import verify

GraphMaker = Callable[..., Graph]


def calibrate(
    graph: Graph, samples: Iterable[Any], target: str | Target = "onnx", skip: tuple[str, ...] = (), **options: Any
) -> Context:
    """Insert FakeQuants and calibrate them; the context."""
    goal = find_target(target) if isinstance(target, str) else target
    context = plain_context(graph, calibration=samples, target=goal)
    InsertFakeQuant(skip=skip).run(graph, context)
    Calibrate(**options).run(graph, context)
    verify(graph)
    return context


def fake_quant(graph: Graph, name: str) -> Node:
    """The first FakeQuant of a value."""
    value = graph.find(name)
    assert value is not None
    return next(n for n in value.users if isinstance(n.op, FakeQuant))


def parameters(node: Node) -> tuple[Array, Array]:
    scale, zero_point = node.constant(1), node.constant(2)
    assert scale is not None
    assert zero_point is not None
    return scale, zero_point


def seen(graph: Graph, name: str, samples: Iterable[dict[str, Array]]) -> Array:
    """Every element of a value over the samples, in the float model."""
    watch = graph.copy()
    value = watch.find(name)
    assert value is not None
    watch.add_output(value, "watched")
    run = Executable(watch)
    return np.concatenate([run.run_numpy(s)["watched"].ravel() for s in samples])


def test_min_max_of_activations_is_the_range_that_numpy_sees(net: GraphMaker, typical: Any) -> None:
    graph = net("residual")
    samples = typical(graph)
    wanted = {name: seen(graph, name, samples) for name in ("x", "b", "c", "y")}
    calibrate(graph, samples)
    for name, x in wanted.items():
        low, high = min(x.min(), 0), max(x.max(), 0)
        scale, zero_point = parameters(fake_quant(graph, name))
        np.testing.assert_allclose(scale, (high - low) / 255, rtol=1e-6)
        assert zero_point == round(-low / ((high - low) / 255))
    assert parameters(fake_quant(graph, "b"))[1] == 0  # behind a Relu


def test_symmetric_activations_have_zero_points_0(net: GraphMaker, typical: Any) -> None:
    graph = net("residual")
    samples = typical(graph)
    x = seen(graph, "c", samples)
    calibrate(graph, samples, "onnx:tensorrt")
    for node in graph:
        if isinstance(node.op, FakeQuant):
            assert not parameters(node)[1].any()
    assert np.abs(x).max() > 0
    scale, _ = parameters(fake_quant(graph, "x"))
    np.testing.assert_allclose(scale, np.abs(np.stack([s["x"] for s in samples])).max() / 127, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "value", "axis"),
    [
        ("residual", "w1", 0),
        ("concat", "w3", 1),
        ("depthwise", "w3", 0),
        ("attention", "wq", 1),
        ("transposed", "w1", 1),
    ],
)
def test_weights_have_one_scale_a_channel(name: str, value: str, axis: int, net: GraphMaker, typical: Any) -> None:
    graph = net(name)
    for constant in graph.constants:  # no bias that could ask for a larger scale
        if constant.name.startswith("b"):
            constant.data = np.zeros_like(constant.data)
    w = graph.value(value).data
    assert w is not None
    calibrate(graph, typical(graph), "onnx:qnn")
    scale, zero_point = parameters(fake_quant(graph, value))
    others = tuple(a for a in range(w.ndim) if a != axis)
    np.testing.assert_allclose(scale, np.abs(w).max(axis=others) / 127, rtol=1e-6)
    assert not zero_point.any()
    assert zero_point.shape == scale.shape


def test_weights_for_x86_are_scaled_so_that_pairs_fit(net: GraphMaker, typical: Any) -> None:
    graph = net("residual")
    w = graph.value("w1").data
    assert w is not None
    calibrate(graph, typical(graph))
    scale, _ = parameters(fake_quant(graph, "w1"))
    codes = np.rint(w / scale[:, None, None, None])
    pairs = np.moveaxis(codes, 1, -1).reshape(4, -1, 2)
    assert np.maximum(pairs, 0).sum(axis=2).max() <= 128
    assert np.maximum(-pairs, 0).sum(axis=2).max() <= 128
    plain = net("residual")
    calibrate(plain, typical(plain), vnni=True)
    assert (parameters(fake_quant(plain, "w1"))[0] <= scale).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_stream_in_pieces_gives_what_the_whole_gives(method: str, net: GraphMaker, typical: Any) -> None:
    """Elements are counted, not samples: how they are cut into batches does not matter."""
    whole, pieces = net("residual"), net("residual")
    samples = typical(whole, 6, batch=2)
    joined = [{"x": np.concatenate([s["x"] for s in samples])}]
    calibrate(whole, joined, method=method)
    calibrate(pieces, iter(samples), method=method)  # an iterator: read once, replayed from disk
    for name in ("x", "b", "c", "y"):
        a, b = parameters(fake_quant(whole, name)), parameters(fake_quant(pieces, name))
        # sums of a convolution may differ in the last place with the batch, hence not bit for bit
        np.testing.assert_allclose(a[0], b[0], rtol=1e-5)
        assert a[1] == b[1]


def test_percentile_leaves_out_the_share_that_it_says(net: GraphMaker) -> None:
    graph = net("residual")
    x = np.random.default_rng(0).uniform(-1, 3, (50, 4, 8, 8)).astype(np.float32)
    x.flat[:5] = 1000  # five outliers in 12,800
    calibrate(graph, [x], method="percentile", percentile=99.0)
    scale, zero_point = parameters(fake_quant(graph, "x"))
    low, high = (0 - float(zero_point)) * float(scale), (255 - float(zero_point)) * float(scale)
    width = 1001 / 2048  # of a bin of the histogram, which is stretched by the outliers
    assert abs(high - np.percentile(x, 99.5)) <= 2 * width
    assert abs(low - np.percentile(x, 0.5)) <= 2 * width


@pytest.mark.parametrize("method", ["entropy", "percentile"])
def test_outliers_do_not_stretch_the_range(method: str, net: GraphMaker) -> None:
    graph = net("residual")
    x = np.random.default_rng(0).standard_normal((64, 4, 8, 8)).astype(np.float32)
    x.flat[0] = 60.0
    calibrate(graph, [x], method=method, percentile=99.9)
    plain = net("residual")
    calibrate(plain, [x], method="min-max")
    clipped, full = parameters(fake_quant(graph, "x"))[0], parameters(fake_quant(plain, "x"))[0]
    assert clipped < 0.5 * full

    def error(node: Node) -> float:
        scale, zero_point = parameters(node)
        got = (np.clip(np.rint(x / scale) + zero_point, 0, 255) - zero_point) * scale
        return float(np.mean((got - x)[np.abs(x) < 10] ** 2))

    assert error(fake_quant(graph, "x")) < 0.3 * error(fake_quant(plain, "x"))


def test_what_only_moves_elements_shares_its_scale(net: GraphMaker, typical: Any) -> None:
    graph = net("concat")
    calibrate(graph, typical(graph))
    pool, reshape, concat = (fake_quant(graph, n) for n in ("d", "e", "c"))
    assert pool.input(1) is reshape.input(1) is concat.input(1)
    assert pool.input(2) is reshape.input(2) is concat.input(2)
    a, b = fake_quant(graph, "a"), fake_quant(graph, "b")
    assert a.input(1) is not concat.input(1)
    assert parameters(a)[0] != parameters(b)[0]  # a Concat of unlike tensors keeps its inputs' scales


def test_tensorrt_has_one_scale_through_a_concat(net: GraphMaker, typical: Any) -> None:
    graph = net("concat")
    samples = typical(graph)
    largest = max(np.abs(seen(graph, n, samples)).max() for n in ("a", "b"))
    calibrate(graph, samples, "onnx:tensorrt")
    scales = [float(parameters(fake_quant(graph, n))[0]) for n in ("a", "b", "c", "d", "e")]
    assert scales == [scales[0]] * 5
    np.testing.assert_allclose(scales[0], largest / 127, rtol=1e-6)


def test_a_body_shares_the_scale_of_what_it_captures(net: GraphMaker, typical: Any) -> None:
    graph = net("branches")
    calibrate(graph, typical(graph))
    outer = fake_quant(graph, "a")
    inner = graph.node("if").bodies["then_branch"].node("inner").input(0)
    assert inner is not None
    assert inner.producer is not None
    assert inner.producer.input(1) is outer.input(1)


def test_what_no_sample_reaches_stays_float(net: GraphMaker, typical: Any) -> None:
    graph = net("branches")
    samples = [{**s, "c": np.asarray(True)} for s in typical(graph)]
    context = calibrate(graph, samples)
    other = graph.node("if").bodies["else_branch"]
    left = [n.name for n in other if isinstance(n.op, FakeQuant)]
    assert left == ["x.quantized", "w1.quantized"]  # the graph's input was seen, and a weight needs no sample
    assert {s.reason for s in context.row.declined} == {"no calibration sample reached it"}


@pytest.mark.parametrize("largest", [np.inf, -np.inf, np.nan, np.float32(3.4e38)])
def test_a_value_that_is_no_number_or_a_mask_gets_no_scale(largest: float, net: GraphMaker, typical: Any) -> None:
    graph = net("residual")
    samples = typical(graph)
    samples[3]["x"][0, 0, 0, 0] = largest
    context = calibrate(graph, samples)
    assert not [n for n in graph.value("x").users if isinstance(n.op, FakeQuant)]
    reasons = {s.node: s.reason for s in context.row.declined}["x.quantized"]
    assert "mask" in reasons if np.isfinite(largest) else "NaN or infinite" in reasons
    for node in graph.walk():
        if isinstance(node.op, FakeQuant):
            assert np.isfinite(parameters(node)[0]).all()
            assert parameters(node)[0].max() < 1e3


@pytest.mark.parametrize("minus", [-np.inf, float(np.finfo(np.float32).min)])
def test_a_constant_mask_gets_no_scale(minus: float, text_graph: Any) -> None:
    """FakeQuants that a pass of the user's inserted around a mask are taken out again."""
    graph = text_graph(
        """
        input %x: f32[2, 4]
        weight %m: f32[4] = [0.0, 1.0, 2.0, 3.0]
        %q: f32[4] = irc.FakeQuant(%m) {qmin = 0, qmax = 255} @"mask"
        %y: f32[2, 4] = Add(%x, %q) @"add"
        return %y
        """
    )
    graph.value("m").data = np.array([0, 0, minus, minus], np.float32)
    context = plain_context(graph, calibration=[np.ones((2, 4), np.float32)], target=find_target("onnx"))
    Calibrate().run(graph, context)
    assert [n.op.name for n in graph] == ["Add"]
    assert [s.node for s in context.row.declined] == ["mask"]


def test_added_constants_are_quantized_as_activations(net: GraphMaker, typical: Any) -> None:
    graph = net("attention")
    calibrate(graph, typical(graph))
    bias = graph.value("bk").data
    assert bias is not None
    scale, _ = parameters(fake_quant(graph, "bk"))
    np.testing.assert_allclose(scale, (max(bias.max(), 0) - min(bias.min(), 0)) / 255, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(bad: float, net: GraphMaker, typical: Any) -> None:
    graph = net("residual")
    w = graph.value("w2").data
    assert w is not None
    w = w.copy()
    w[1, 2, 0, 0] = bad
    graph.value("w2").data = w
    with pytest.raises(ModelError, match="weight 'w2' of Conv 'conv2' holds NaN or infinite values"):
        calibrate(graph, typical(graph))


@pytest.mark.parametrize("name", ["residual", "depthwise", "transposed"])
def test_a_tiny_channel_with_a_large_bias_does_not_overflow(
    name: str, net: GraphMaker, typical: Any, tmp_path: Any, in_onnxruntime: Any
) -> None:
    """onnxruntime #11415: bias / (scale_x * scale_w) must fit an int32, so the scale of that channel has a floor."""
    graph = net(name)
    w, b = graph.value("w1"), graph.value("b1")
    assert w.data is not None
    assert b.data is not None
    tiny, large = w.data.copy(), b.data.copy()
    if name == "transposed":
        tiny[:, 1], large[[1, 4]] = 1e-10, (3.0, -2.0)  # axis 1, the same channel of both groups
    else:
        tiny[1], large[1] = 1e-10, 3.0
    tiny[0, 0] = 0  # and something dead
    w.data, b.data = tiny, large
    samples, original = typical(graph), graph.copy()
    target = find_target("onnx:openvino")
    calibrate(graph, samples, target)
    scale, _ = parameters(fake_quant(graph, "w1"))
    step = float(parameters(fake_quant(graph, "x"))[0])
    needed = np.abs(large).reshape(-1, len(scale)).max(axis=0)
    assert (needed / (scale * step) <= 2**30 * (1 + 1e-6)).all()
    OnnxArtifact(graph, target, Report(Ledger())).save(tmp_path / "m.onnx")
    (wanted,) = Executable(original).run_numpy(samples[0]).values()
    got = in_onnxruntime(tmp_path / "m.onnx", samples[0])["y"]
    # int8 in every layer is good to some per cent of the largest value; an overflowed bias is off by all of it
    assert np.abs(got - wanted).max() < 0.05 * np.abs(wanted).max()


def test_dead_channels_and_dead_inputs_have_finite_scales(net: GraphMaker, typical: Any) -> None:
    graph = net("residual")
    graph.value("w1").data = np.zeros((4, 4, 3, 3), np.float32)
    graph.value("b1").data = np.zeros(4, np.float32)
    calibrate(graph, [{"x": np.zeros((1, 4, 8, 8), np.float32)}])
    for node in graph:
        if isinstance(node.op, FakeQuant):
            scale, _ = parameters(node)
            assert np.isfinite(scale).all()
            assert (scale > 0).all()
    for sample in typical(graph, 2):
        assert all(np.isfinite(y).all() for y in Executable(graph).run_numpy(sample).values())


def test_a_matrix_added_by_a_gemm_is_no_bias_a_channel(
    text_graph: Any, typical: Any, tmp_path: Any, in_onnxruntime: Any
) -> None:
    """A column of as many rows as there are channels must not be taken for one number a channel."""
    graph = text_graph(
        """
        input %x: f32[3, 4]
        weight %w: f32[4, 3] = splat(0.5)
        weight %b: f32[3, 1] = [1.0, -2.0, 30.0]
        %y: f32[3, 3] = Gemm(%x, %w, %b) @"gemm"
        return %y
        """
    )
    samples, original = typical(graph), graph.copy()
    target = find_target("onnx")
    calibrate(graph, samples, target)
    OnnxArtifact(graph, target, Report(Ledger())).save(tmp_path / "m.onnx")
    wanted = Executable(original).run_numpy(samples[0])["y"]
    np.testing.assert_allclose(in_onnxruntime(tmp_path / "m.onnx", samples[0])["y"], wanted, atol=0.05)


def test_weights_of_16_bits_are_not_widened_for_pairs(net: GraphMaker, typical: Any) -> None:
    policy = replace(find_target("onnx").policy, weight=IntegerFormat(bits=16))
    graph = net("residual")
    w = graph.value("w1").data
    assert w is not None
    calibrate(graph, typical(graph), Target("wide", "onnx", "", policy))
    scale, _ = parameters(fake_quant(graph, "w1"))
    np.testing.assert_allclose(scale, np.abs(w).max(axis=(1, 2, 3)) / 32767, rtol=1e-6)


@pytest.mark.parametrize("pairs", [True, False])
def test_one_scale_for_a_whole_weight(pairs: bool, net: GraphMaker, typical: Any) -> None:
    adds = adds_pairs if pairs else adds_in_32_bits
    policy: QuantPolicy = replace(find_target("onnx").policy, per_channel=False, adds_in_16_bits=adds)
    graph = net("residual")
    w = graph.value("w1").data
    assert w is not None
    calibrate(graph, typical(graph), Target("whole", "onnx", "", policy))
    scale, zero_point = parameters(fake_quant(graph, "w1"))
    assert scale.shape == zero_point.shape == ()
    assert scale >= np.float32(np.abs(w).max() / 127)
    codes = np.moveaxis(np.rint(w / scale), 1, -1).reshape(4, -1, 2)
    assert (np.maximum(codes, 0).sum(axis=2).max() <= 128) == pairs


def test_without_samples_the_user_is_told_how_to_give_some(net: GraphMaker) -> None:
    graph = net("residual")
    context = plain_context(graph, target=find_target("onnx"))
    InsertFakeQuant().run(graph, context)
    with pytest.raises(DataError, match="give compile"):
        Calibrate().run(graph, context)
    with pytest.raises(DataError, match="not a single sample"):
        calibrate(net("residual"), [])


def test_nothing_to_calibrate_is_noted(net: GraphMaker) -> None:
    graph = net("residual")
    context = plain_context(graph, calibration=[], target=find_target("onnx"))
    Calibrate().run(graph, context)
    assert context.row.notes == ["there is no FakeQuant to calibrate; insert-fake-quant makes them"]


@pytest.mark.parametrize("percentile", [50.0, 100.5, -1.0, float("nan")])
def test_a_percentile_out_of_range_is_refused(percentile: float, net: GraphMaker) -> None:
    graph = net("residual")
    with pytest.raises(OptionError, match=r"not in \(50, 100\]"):
        Calibrate(percentile=percentile).run(graph, plain_context(graph, calibration=[]))


def test_what_has_a_scale_keeps_it(net: GraphMaker, typical: Any) -> None:
    graph = net("residual")
    calibrate(graph, typical(graph, seed=1))
    once = print_graph(graph)
    Calibrate().run(graph, plain_context(graph, calibration=typical(graph, seed=2), target=find_target("onnx")))
    assert print_graph(graph) == once


@pytest.mark.parametrize(
    ("low", "high", "op", "wanted"),
    [
        (-1.0, 1.55, FakeQuant(qmin=0, qmax=255), (0.01, 100)),
        (0.5, 2.55, FakeQuant(qmin=0, qmax=255), (0.01, 0)),  # widened to hold 0
        (-2.55, -0.5, FakeQuant(qmin=0, qmax=255), (0.01, 255)),
        (-1.0, 1.55, FakeQuant(), (0.01, -28)),
        (-1.0, 1.27, FakeQuant(qmin=-127), (0.01, 0)),
        (-2.54, 1.27, FakeQuant(qmin=-127), (0.02, 0)),
        (0.0, 0.0, FakeQuant(qmin=0, qmax=255), (1e-12, 0)),
    ],
)
def test_scale_and_zero_point_of_a_range(low: float, high: float, op: FakeQuant, wanted: tuple[float, int]) -> None:
    scale, zero_point = scale_of_range(low, high, op)
    assert scale == pytest.approx(wanted[0])
    assert zero_point == wanted[1]

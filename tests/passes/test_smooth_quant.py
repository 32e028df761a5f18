"""Smoothing computes the same in float, puts its factors where that is exact, and says what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent

import numpy as np
import pytest

from irc.analysis.error import relative_error
from irc.errors import DataError, OptionError
from irc.execution import Executable
from irc.graph import Graph, Value
from irc.ops import Add, Gelu, Gemm, MatMul, Mul, Relu, RMSNormalization, Softmax, Transpose
from irc.passes import SmoothQuant
from irc.passes.context import Context, plain_context
from irc.passes.smooth_folding import folding
from irc.target import QuantPolicy, Target
from irc.text import parse_graph
from irc.types import Array, tensor
from irc.verify import verify
from tests.passes.smooth_nets import INTEGER, LENGTH, TARGET, K, Net, count, outputs, samples


def smooth(graph: Graph, each: SmoothQuant | None = None, target: Target = TARGET) -> Context:
    """Run the pass; the graph must stay valid and compute the same on other inputs than those it was fitted to."""
    before, context = graph.copy(), plain_context(graph, calibration=samples(), target=target)
    (each or SmoothQuant(alpha=0.6)).run(graph, context)
    verify(graph)
    for x in samples(2, seed=7):
        for wanted, got in zip(outputs(before, x), outputs(graph, x), strict=True):
            assert relative_error(wanted, got) < 5e-6  # some roundings in float32; the pass allows itself 1e-4
    return context


def reasons(context: Context) -> dict[str, str]:
    return {site.node: site.reason for site in context.row.declined}


def ratio(graph: Graph, before: Graph, name: str) -> Array:
    """By what the constant was multiplied."""
    old, new = before.value(name).data, graph.value(name).data
    assert old is not None
    assert new is not None
    return np.asarray(new / old)


# ---- where the factors go


def test_a_normalization_that_only_linear_layers_read_takes_them() -> None:
    net = Net()
    x = net.norm(net.x)
    graph = net.done(*(net.linear(x, name=name) for name in ("q", "k", "v")))
    before = graph.copy()
    smooth(graph)
    assert count(graph, "Mul") == 0
    inverse = ratio(graph, before, "norm.scale")
    np.testing.assert_allclose(ratio(graph, before, "norm.bias"), inverse, rtol=1e-6)
    for name in ("q", "k", "v"):  # one set of factors for all three
        factors = ratio(graph, before, f"{name}.weight")
        np.testing.assert_allclose(factors, np.broadcast_to(1 / inverse[:, None], factors.shape), rtol=1e-6)


def test_the_factors_are_those_of_the_paper() -> None:
    net = Net()
    graph = net.done(net.linear(net.norm(net.x), name="q"))
    before = graph.copy()
    smooth(graph, SmoothQuant(alpha=0.7))
    run, norm, largest = Executable(before), before.value("norm"), np.zeros(K)
    for x in samples():
        run.observe({"x": x}, [norm], lambda _, y: np.maximum(largest, y.abs().amax((0, 1)).numpy(), out=largest))
    weight = before.value("q.weight").data
    assert weight is not None
    wanted = largest**0.7 / np.abs(weight).max(axis=1) ** 0.3
    found = 1 / ratio(graph, before, "norm.scale")
    np.testing.assert_allclose(found, wanted / np.exp(np.log(wanted).mean()), rtol=1e-5)


def test_a_normalization_that_others_read_too_gets_one_mul() -> None:
    net = Net()
    x = net.norm(net.x)
    first, second = net.linear(x, name="q"), net.linear(x, name="k")
    graph = net.done(net.add(Add(), first, x), second)
    before = graph.copy()
    smooth(graph)
    assert count(graph, "Mul") == 1
    assert np.array_equal(ratio(graph, before, "norm.scale"), np.ones(K))
    assert graph.node("q").input(0) is graph.node("k").input(0) is graph.node("norm.smoothed").output


def test_an_input_of_the_graph_and_gelu_get_a_mul() -> None:
    net = Net()
    graph = net.done(net.linear(net.add(Gelu(), net.linear(net.x, name="up"), name="gelu"), name="down"))
    smooth(graph)
    assert [node.name for node in graph if node.op.name == "Mul"] == ["x.smoothed", "gelu.smoothed"]


FOLDS: dict[str, Callable[[Net], Value]] = {
    "relu": lambda net: net.add(Relu(), net.linear(net.x, 7, "up")),
    "no activation": lambda net: net.linear(net.x, 7, "up"),
    "no bias": lambda net: net.add(Relu(), net.add(MatMul(), net.x, net.constant(K, 7, name="up.weight"))),
    "a number added": lambda net: net.add(Add(), net.linear(net.x, 7, "up"), net.constant()),
    "a constant vector": lambda net: net.add(Mul(), net.linear(net.x, 7, "up"), net.constant(7)),
    "a gate": lambda net: net.add(Mul(), net.add(Gelu(), net.linear(net.x, 7, "gate")), net.linear(net.x, 7, "up")),
}


@pytest.mark.parametrize("case", FOLDS)
def test_a_linear_layer_before_takes_them(case: str) -> None:
    net = Net()
    graph = net.done(net.linear(FOLDS[case](net), name="down"))
    muls = count(graph, "Mul")
    context = smooth(graph)
    assert reasons(context) == {}
    assert count(graph, "Mul") == muls + 1  # in front of the first linear layers, and nowhere else
    assert graph.node("x.smoothed").op == Mul()


@pytest.mark.parametrize("turned", [0, 1])
def test_gemm_before_gemm(turned: int) -> None:
    random = np.random.default_rng(0)
    graph = Graph()
    value = graph.add_input("x", tensor("f32", LENGTH, K))
    for name, dims in (("up", (K, 7)), ("down", (7, 5))):
        weight = random.standard_normal(dims[::-1] if turned else dims).astype(np.float32)
        held = [graph.add_constant(weight, f"{name}.weight"), graph.add_constant(weight[:1, :1] * 3, f"{name}.bias")]
        op = Gemm(alpha=0.5, beta=2.0, transB=turned) if name == "up" else Gemm(transB=turned)
        value = graph.insert(op, [value, *held], name=name).output
        value = graph.insert(Relu(), [value]).output if name == "up" else value
    graph.add_output(value, "y")
    before = graph.copy()
    context = plain_context(graph, calibration=[x[0] for x in samples()], target=TARGET)
    SmoothQuant(alpha=0.6).run(graph, context)
    verify(graph)
    assert count(graph, "Mul") == 0  # `up` itself stays float
    assert (ratio(graph, before, "up.bias") != 1).any()
    x = samples(1, seed=7)[0][0]
    assert relative_error(outputs(before, x)[0], outputs(graph, x)[0]) < 5e-6


def test_an_rms_normalization_takes_them() -> None:
    net = Net()
    graph = net.done(net.linear(net.add(RMSNormalization(), net.x, net.constant(K, name="scale"))))
    smooth(graph)
    assert count(graph, "Mul") == 0


def test_only_the_data_of_a_layer_takes_them() -> None:
    """As in `torch.addmm(h, h, W)`: what the layer adds has to stay as it is."""
    net = Net()
    h = net.norm(net.graph.add_input("z", tensor("f32", LENGTH, K)))
    net.add(Gemm(), h, net.constant(K, K), h, name="addmm")
    layer = net.graph.node("addmm")
    assert folding(h, [layer]) is None
    layer.set_input(2, None)
    assert folding(h, [layer]) is not None


def test_a_chain_may_be_longer_than_python_recurses() -> None:
    """Added constants on the way take the factors too, in the order of the chain."""
    net = Net()
    h = net.norm(net.x)
    for number in range(2000):
        h = net.add(Relu(), h) if number % 2 else net.add(Add(), h, net.constant(K, name=f"c{number}"))
    net.done(net.linear(h))
    assert h.producer is not None
    edits = folding(h, [net.graph.node("linear")])
    assert edits is not None
    scales = {"LayerNormalization", "RMSNormalization"}
    assert [edit.node.op.name for edit in edits if edit.node.op.name not in scales] == ["Add"] * 1000
    places = {node: place for place, node in enumerate(net.graph)}
    order = [places[edit.node] for edit in edits]
    assert order == sorted(order)


def test_a_shared_weight_is_not_changed_for_others() -> None:
    net = Net()
    weight, x = net.constant(K, K, name="tied"), net.norm(net.x)
    graph = net.done(net.add(MatMul(), x, weight, name="a"), net.add(MatMul(), net.add(Gelu(), x), weight, name="b"))
    context = smooth(graph)  # computes the same
    assert graph.node("a").input(1) is not graph.node("b").input(1)
    assert context.row.notes == ["the weight of MatMul 'a' is copied (576 bytes): MatMul 'b' reads it"]


def test_a_channel_that_is_always_zero() -> None:
    net = Net()
    gain = np.zeros(K, np.float32)
    gain[3] = 1
    x = net.add(Mul(), net.norm(net.x), net.graph.add_constant(gain, "gain"))
    graph = net.done(net.linear(x, name="q"))
    before = graph.copy()
    smooth(graph)
    factors = ratio(graph, before, "q.weight")
    assert np.isfinite(factors).all()
    np.testing.assert_allclose(factors[gain == 0], 1)


# ---- what is left alone


def test_reasons() -> None:
    net = Net()
    key = net.add(Transpose(perm=(0, 2, 1)), net.linear(net.x, name="k"), name="turned")
    scores = net.add(Softmax(), net.add(MatMul(), net.linear(net.x, name="q"), key, name="scores"), name="softmax")
    mixed = net.add(MatMul(), scores, net.linear(net.x, name="v"), name="mixed")
    stack = net.add(MatMul(), net.x, net.constant(1, K, K), name="stack")
    graph = net.done(net.linear(mixed, name="out"), net.linear(net.x, name="other"), stack)
    context = smooth(graph, SmoothQuant(alpha=0.6, skip=("oth*",)), INTEGER)
    assert reasons(context) == {
        "out": "its input comes as integers from MatMul 'mixed'; a Mul would make them floats",
        "other": "it is on the list of layers to leave alone",
        "stack": "its input channels are not the last axis of its input",
    }
    assert [node.name for node in graph if node.op.name == "Mul"] == ["x.smoothed"]


GEMMS: dict[str, tuple[Gemm, str]] = {
    "alpha": (Gemm(alpha=2.0), "alpha and beta of an integer Gemm must be 1"),
    "beta": (Gemm(beta=2.0), "alpha and beta of an integer Gemm must be 1"),
    "data": (Gemm(), "its bias is not a constant"),
}


@pytest.mark.parametrize("case", GEMMS)
def test_gemms_that_stay_float_are_not_smoothed(case: str) -> None:
    op, reason = GEMMS[case]
    net = Net()
    h = net.norm(net.graph.add_input("z", tensor("f32", LENGTH, K)))
    added = h if case == "data" else net.constant(K)
    graph = net.done(net.add(op, h, net.constant(K, K, name="w"), added, name="gemm"))
    before = graph.copy()
    context = plain_context(graph, target=TARGET)
    SmoothQuant().run(graph, context)
    assert reasons(context) == {"gemm": reason}
    assert np.array_equal(ratio(graph, before, "w"), np.ones((K, K)))


def test_what_a_loop_runs_is_not_smoothed() -> None:
    graph = parse_graph(
        dedent(
            """
            graph main(opset = 21) {
              input %x: f32[4, 3]
              input %count: i64[]
              input %go: bool[]
              weight %w: f32[3, 3] = splat(0.5)
              %y: f32[4, 3] = Loop:21(%count, %go, %x) {body = "body" {
                input %i: i64[]
                input %c: bool[]
                input %h: f32[4, 3]
                %m: f32[4, 3] = MatMul(%h, %w) @"inner"
                return %c, %m
              }} @"loop"
              return %y
            }
            """
        )
    )
    context = plain_context(graph, target=TARGET)
    SmoothQuant().run(graph, context)
    assert reasons(context) == {"inner": "it stands in the body of Loop 'loop', which calibration cannot look into"}


def test_a_target_without_integer_products() -> None:
    net = Net()
    graph = net.done(net.linear(net.x, name="q"))
    context = smooth(graph, target=Target("none", "none", "", QuantPolicy()))
    assert reasons(context) == {"q": "the target has no integer kernel for it"}
    assert context.row.notes == ["there is no linear layer to smooth"]


def test_inputs_that_are_not_finite() -> None:
    net = Net()
    graph = net.done(net.linear(net.x, name="q"))
    context = plain_context(graph, calibration=[np.full((1, LENGTH, K), np.inf, np.float32)], target=TARGET)
    SmoothQuant().run(graph, context)
    assert reasons(context) == {"q": "its input or its weight holds NaN or infinite values"}
    assert count(graph, "Mul") == 0


def test_options() -> None:
    graph = Net().graph
    with pytest.raises(OptionError, match=r"alpha=1.5 is not in \[0, 1\]"):
        SmoothQuant(alpha=1.5).run(graph, plain_context(graph))
    net = Net()
    graph = net.done(net.linear(net.x))
    with pytest.raises(DataError, match="smooth-quant needs calibration data"):
        SmoothQuant(alpha=0.5).run(graph, plain_context(graph, target=TARGET))

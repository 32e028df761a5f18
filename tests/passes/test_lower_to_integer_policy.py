"""What targets of integer ops want quantized: biases float, residuals fused, the right side of a product symmetric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

from irc.execution import Executable
from irc.graph import Graph
from irc.ops.fake_quant import FakeQuant
from irc.passes import Calibrate, CorrectBias, InsertFakeQuant, LowerToInteger, Quantize
from irc.passes.context import plain_context
from irc.passes.integer_rules import INTEGER_POLICY
from irc.target import QuantPolicy, Target
from irc.text import parse_graph, print_graph
from irc.types import Array
from irc.verify import verify

TextGraph = Callable[[str], Graph]


def insert(graph: Graph, policy: QuantPolicy = INTEGER_POLICY) -> None:
    InsertFakeQuant().run(graph, plain_context(graph, target=Target("integer", "c", "", policy)))
    verify(graph)


def quantize(graph: Graph, samples: list[dict[str, Array]], policy: QuantPolicy = INTEGER_POLICY) -> None:
    context = plain_context(graph, calibration=samples, target=Target("integer", "c", "", policy))
    Quantize().run(graph, context)
    verify(graph)


def lower(graph: Graph) -> None:
    LowerToInteger().run(graph, plain_context(graph, target=Target("integer", "c", "", INTEGER_POLICY)))
    verify(graph)


def formats(graph: Graph) -> dict[str, tuple[int, int]]:
    """Smallest and largest code by the name of the value that a FakeQuant reads, weights aside."""
    fakes = [n for n in graph.walk() if isinstance(n.op, FakeQuant) and n.constant(0) is None]
    return {n.inputs[0].name: (n.op.qmin, n.op.qmax) for n in fakes if isinstance(n.op, FakeQuant) and n.inputs[0]}


U8, SYMMETRIC = (0, 255), (-128, 127)


def test_right_operands_are_symmetric(net: Callable[[str], Graph]) -> None:
    """The key, which a Transpose moves, and x, which the probabilities multiply."""
    graph = net("attention")
    insert(graph)
    assert formats(graph) == {
        "x": SYMMETRIC,
        "q": U8,
        "j": SYMMETRIC,
        "t": SYMMETRIC,
        "p": U8,
        "n": U8,
        "f": U8,
        "y": U8,
    }


def test_only_where_the_policy_says_so(net: Callable[[str], Graph]) -> None:
    graph = net("attention")
    insert(graph, replace(INTEGER_POLICY, matmul_right_symmetric=False))
    assert set(formats(graph).values()) == {U8}


SHARED = """
    input %x: f32[N, 4, 8]
    weight %w: f32[8, 24] = splat(0.5)
    weight %v: f32[8, 8] = splat(0.5)
    %a: f32[N, 4, 24] = MatMul(%x, %w) @"qkv"
    %q: f32[N, 4, 8], %k: f32[N, 4, 8], %u: f32[N, 4, 8] = Split(%a) {axis = -1, num_outputs = 3} @"split"
    %t: f32[N, 8, 4] = Transpose(%k) {perm = [0, 2, 1]} @"transpose"
    %s: f32[N, 4, 4] = MatMul(%q, %t) @"scores"
    %p: f32[N, 4, 4] = Softmax(%s) @"softmax"
    %o: f32[N, 4, 8] = MatMul(%p, %u) @"values"
    %y: f32[N, 4, 8] = MatMul(%o, %v) @"out"
    return %y
"""


def test_what_shares_a_scale_with_a_right_operand_is_symmetric_too(text_graph: TextGraph, typical: Any) -> None:
    graph = text_graph(SHARED)
    rng = np.random.default_rng(0)
    for value in graph.constants:
        assert value.data is not None
        value.data = rng.normal(0, 0.5, value.data.shape).astype(np.float32)
    samples, before = typical(graph), graph.copy()
    quantize(graph, samples)
    found = formats(graph)
    assert {name: found[name] for name in ("a", "q", "k", "u", "t")} == dict.fromkeys("aqkut", SYMMETRIC)
    assert found["o"] == found["p"] == U8
    for node in graph:
        if isinstance(node.op, FakeQuant) and node.op.qmin == -128:
            assert node.constant(2) == 0
    fake = graph.copy()
    lower(graph)
    assert [n.op.name for n in graph if n.op.domain] == ["QMatMul", "QBatchMatMul", "QBatchMatMul", "QMatMul"]
    assert all(getattr(n.op, "b_zero_point", 128) == 128 for n in graph)
    for sample in samples:
        real, wanted, got = (Executable(g).run_numpy(sample)["y"] for g in (before, fake, graph))
        assert np.abs(got - wanted).max() <= 0.02 * np.abs(wanted).max()
        assert np.abs(got - real).max() <= 0.1 * np.abs(real).max()


BIASED = """
    input %x: f32[N, 4, 8]
    weight %w: f32[8, 8] = splat(0.5)
    weight %b: f32[8] = splat(0.5)
    %a: f32[N, 4, 8] = MatMul(%x, %w) @"linear"
    %c: f32[N, 4, 8] = Add(%b, %a) @"bias"
    %d: f32[N, 4, 8] = Add(%c, %x) @"skip"
    %e: f32[N, 4, 8] = Relu(%d) @"relu"
    %y: f32[N, 4, 8] = MatMul(%e, %w) @"last"
    return %y
"""


def test_an_added_constant_is_a_bias_and_stays_float(text_graph: TextGraph, typical: Any) -> None:
    graph = text_graph(BIASED)
    insert(graph)
    assert formats(graph) == {"x": U8, "e": U8}
    graph = text_graph(BIASED)
    insert(graph, replace(INTEGER_POLICY, bias_add_fused=False))
    assert {"a", "c"} & set(formats(graph))


def test_bias_and_residual_behind_a_matmul_are_within_it(text_graph: TextGraph, typical: Any) -> None:
    graph = text_graph(BIASED)
    quantize(graph, typical(graph))
    lower(graph)
    assert [n.op.name for n in graph] == ["QuantizeLinear", "QMatMul", "QMatMul"]
    assert len(graph.node("linear").inputs) == 5


@pytest.mark.parametrize("bias", ["f32[1, 4, 8]", "f32[4, 1]"])
def test_a_constant_that_is_no_bias_is_data(bias: str, text_graph: TextGraph, typical: Any) -> None:
    """An embedding of positions: not one number a channel, so it gets codes of its own."""
    graph = text_graph(BIASED.replace("%b: f32[8]", f"%b: {bias}"))
    quantize(graph, typical(graph))
    lower(graph)
    assert [n.op.name for n in graph][:3] == ["QuantizeLinear", "QMatMul", "QAdd"]


def test_a_last_bias_gives_float(text_graph: TextGraph) -> None:
    graph = text_graph(
        """
        input %x: f32[N, 8]
        weight %w: f32[8, 8] = splat(0.5)
        weight %b: f32[8] = splat(0.5)
        %a: f32[N, 8] = MatMul(%x, %w) @"linear"
        %y: f32[N, 8] = Add(%a, %b) @"bias"
        return %y
        """
    )
    insert(graph)
    assert formats(graph) == {"x": U8}


def test_biases_are_corrected_where_an_add_is_the_bias(text_graph: TextGraph, typical: Any) -> None:
    graph = text_graph(BIASED)
    rng = np.random.default_rng(0)
    for value in graph.constants:
        assert value.data is not None
        value.data = rng.normal(0, 0.5, value.data.shape).astype(np.float32)
    samples = [{k: v + 1 for k, v in s.items()} for s in typical(graph)]
    context = plain_context(graph, calibration=samples, target=Target("integer", "c", "", INTEGER_POLICY))
    InsertFakeQuant(weight_bits=3).run(graph, context)
    Calibrate().run(graph, context)
    before = graph.node("bias").constant(0)
    CorrectBias().run(graph, context)
    after = graph.node("bias").constant(0)
    assert before is not None
    assert after is not None
    assert np.abs(after - before).max() > 0.01


def test_a_second_run_finds_nothing_to_do(net: Callable[[str], Graph], net_names: tuple[str, ...]) -> None:
    for name in net_names:
        graph = net(name)
        insert(graph)
        once = print_graph(graph)
        insert(graph)
        assert print_graph(graph) == once, name


def test_the_residual_of_a_product_of_two_data_is_added_by_itself() -> None:
    graph = parse_graph(
        dedent(
            """
            graph main(opset = 21) {
              input %a: f32[4, 8]
              input %b: f32[8, 8]
              input %r: f32[4, 8]
              weight %w: f32[8, 8] = splat(0.5)
              %c: f32[4, 8] = MatMul(%a, %b) @"product"
              %d: f32[4, 8] = Add(%c, %r) @"add"
              %y: f32[4, 8] = MatMul(%d, %w) @"last"
              return %y
            }
            """
        )
    )
    samples = [{v.name: np.random.default_rng(k).normal(size=v.tensor_type.static_shape).astype(np.float32)
                for v in graph.inputs if v.tensor_type is not None} for k in range(4)]  # fmt: skip
    quantize(graph, samples)
    lower(graph)
    assert [n.op.name for n in graph if n.op.domain] == ["QBatchMatMul", "QAdd", "QMatMul"]

"""What `lower-to-integer` cannot lower stays float and is right, and the report says why; bad scales are an error."""

from __future__ import annotations

from textwrap import dedent

import pytest

from irc.errors import GraphError
from irc.graph import Graph
from irc.passes import LowerToInteger
from irc.passes.context import Context, plain_context
from irc.passes.integer_rules import INTEGER_POLICY
from irc.target import Target
from irc.text import parse_graph
from irc.verify import verify

TARGET = Target("integer", "c", "", INTEGER_POLICY)


def graph_of(statements: str) -> Graph:
    graph = parse_graph("graph main(opset = 21) {\n" + dedent(statements).strip() + "\n}\n")
    verify(graph)
    return graph


def lower(graph: Graph) -> Context:
    """Run the pass and verify its work; the context with its notes."""
    context = plain_context(graph, target=TARGET)
    LowerToInteger().run(graph, context)
    verify(graph)
    return context


def ops(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.walk()]


def reasons(context: Context) -> dict[str, str]:
    return {site.node: site.reason for site in context.row.declined}


# scales that are powers of two, so that the numbers can be read
GRIDS = """
    weight %s: f32[] = 0.5
    weight %t: f32[] = 0.25
    weight %z: u8[] = 3
    weight %o: u8[] = 0
"""
QX = "%p: u8[1, 2, 4] = QuantizeLinear(%x, %s, %z)"
DX = "%q: f32[1, 2, 4] = DequantizeLinear(%p, %s, %z)"


WEIGHT = """
    weight %w: i8[2, 2, 1] = [1, 2, 3, 4]
    weight %float: f32[2, 2, 1] = splat(0.5)
    weight %ws: f32[2] = [1.0, 0.5]
    weight %u: u8[2, 2, 1] = splat(255)
    weight %five: u8[] = 5
    input %x: f32[1, 2, 4]
    input %n: f32[1, 2, 4]
    weight %b: f32[2] = [1.0, 2.0]
    %p: u8[1, 2, 4] = QuantizeLinear(%x, %s, %z)
    %q: f32[1, 2, 4] = DequantizeLinear(%p, %s, %z)
    %v: f32[2, 2, 1] = DequantizeLinear(%w, %ws) {axis = 0}
    %v1: f32[2, 2, 1] = DequantizeLinear(%w, %ws) {axis = 1}
    %vu: f32[2, 2, 1] = DequantizeLinear(%u, %s, %five)
"""
DECLINED = {
    "its weight is no constant of symmetric 8-bit codes": [
        "Conv(%q, %float)",
        "Conv(%q, %v1)",
        "Conv(%q, %vu)",
    ],
    "one of its inputs is not quantized": ["Add(%q, %n)", "Mul(%n, %q)"],
}


@pytest.mark.parametrize(("reason", "op"), [(r, op) for r, many in DECLINED.items() for op in many])
def test_declined(reason: str, op: str) -> None:
    graph = graph_of(
        GRIDS
        + WEIGHT
        + f"""
        %c: f32[1, 2, 4] = {op} @"site"
        %f: u8[1, 2, 4] = QuantizeLinear(%c, %t, %o)
        return %f
        """
    )
    assert reason in reasons(lower(graph))["site"]
    assert not graph.node("site").op.domain


def test_sums_that_may_leave_32_bits_are_declined() -> None:
    graph = graph_of(
        GRIDS
        + """
        input %x: f32[1, 70000]
        weight %w: i8[70000, 1] = splat(127)
        %p: u8[1, 70000] = QuantizeLinear(%x, %s, %z)
        %q: f32[1, 70000] = DequantizeLinear(%p, %s, %z)
        %v: f32[70000, 1] = DequantizeLinear(%w, %t)
        %y: f32[1, 1] = MatMul(%q, %v) @"site"
        return %y
        """
    )
    assert reasons(lower(graph)) == {"site": "its sums may exceed 32 bits"}


@pytest.mark.parametrize(("value", "lowered"), [("0.0", True), ("1.5", True), ("1.6", False)])
def test_pad_puts_the_code_of_its_value(value: str, lowered: bool) -> None:
    graph = graph_of(
        GRIDS
        + f"""
        input %x: f32[1, 2, 4]
        weight %pads: i64[6] = [0, 0, 1, 0, 0, 1]
        weight %value: f32[] = {value}
        {QX}
        {DX}
        %c: f32[1, 2, 6] = Pad(%q, %pads, %value) @"pad"
        return %c
        """
    )
    context = lower(graph)
    assert ops(graph)[1] == ("Pad" if lowered else "DequantizeLinear")
    assert ("pad" in reasons(context)) is not lowered
    if lowered:
        assert graph.node("pad").constant(2) == 3 + float(value) / 0.5


def test_a_result_that_is_read_as_float_too_is_float() -> None:
    graph = graph_of(
        GRIDS
        + WEIGHT
        + """
        %c: f32[1, 2, 4] = Conv(%q, %v, %b) @"conv"
        %r: f32[1, 2, 4] = Relu(%c)
        %f: u8[1, 2, 4] = QuantizeLinear(%r, %t, %o)
        return %f, %c as "logits"
        """
    )
    lower(graph)
    assert ops(graph) == ["QuantizeLinear", "QConv", "Relu", "QuantizeLinear"]
    assert graph.output_names == ("f", "logits")


def test_residual_of_another_shape_is_added_in_float() -> None:
    graph = graph_of(
        GRIDS
        + WEIGHT
        + """
        input %g: u8[4]
        %k: f32[4] = DequantizeLinear(%g, %t, %o)
        %c: f32[1, 2, 4] = Conv(%q, %v, %b) @"conv"
        %d: f32[1, 2, 4] = Add(%c, %k) @"add"
        %f: u8[1, 2, 4] = QuantizeLinear(%d, %t, %o)
        return %f
        """
    )
    context = lower(graph)
    assert ops(graph) == ["QuantizeLinear", "DequantizeLinear", "QConv", "Add", "QuantizeLinear"]
    assert reasons(context)["add"] == "one of its inputs is not quantized"


@pytest.mark.parametrize("scale", ["0.0", "1e-45", "inf"])
def test_a_scale_that_leaves_nothing_finite_is_an_error(scale: str) -> None:
    graph = graph_of(
        GRIDS
        + WEIGHT
        + f"""
        weight %bad: f32[] = {scale}
        %c: f32[1, 2, 4] = Conv(%q, %v, %b) @"conv"
        %f: u8[1, 2, 4] = QuantizeLinear(%c, %bad, %o)
        return %f
        """
    )
    if scale == "inf":
        lower(graph)  # everything is the zero point, which is what the file says
        assert ops(graph) == ["QuantizeLinear", "QConv"]
        return
    with pytest.raises(GraphError, match=r"Conv 'conv': the (scale|bias) of its requantization is not finite"):
        lower(graph)


@pytest.mark.parametrize("quantized", [False, True])
def test_a_function_of_very_many_nodes(quantized: bool) -> None:
    """More of them than Python's stack is deep: in float they stay, and of codes each is a table."""
    lines = [GRIDS, "input %x: f32[4]", "%p: u8[4] = QuantizeLinear(%x, %s, %z)"]
    lines += ["%y0: f32[4] = DequantizeLinear(%p, %s, %z)"]
    for k in range(500 if quantized else 2000):
        lines.append(f"%t{k}: f32[4] = Tanh(%y{k})")
        if quantized:
            lines.append(f"%u{k}: u8[4] = QuantizeLinear(%t{k}, %s, %z)")
            lines.append(f"%y{k + 1}: f32[4] = DequantizeLinear(%u{k}, %s, %z)")
        else:
            lines.append(f"%y{k + 1}: f32[4] = Identity(%t{k})")
    lines += [f"%f: u8[4] = QuantizeLinear(%y{500 if quantized else 2000}, %s, %z)", "return %f"]
    graph = graph_of("\n".join(line.strip() for line in "\n".join(lines).splitlines()))
    lower(graph)
    assert ("Tanh" in ops(graph)) is not quantized
    assert ("QLookup" in ops(graph)) is quantized


def test_loops_are_left_to_onnxruntime() -> None:
    graph = graph_of(
        GRIDS
        + """
        input %p: u8[4]
        input %count: i64[]
        input %go: bool[]
        %y: u8[4] = Loop:21(%count, %go, %p) {body = "body" {
          input %i: i64[]
          input %c: bool[]
          input %h: u8[4]
          %a: f32[4] = DequantizeLinear(%h, %s, %z)
          %b: f32[4] = Relu(%a)
          %f: u8[4] = QuantizeLinear(%b, %s, %z)
          return %c, %f
        }}
        return %y
        """
    )
    lower(graph)
    assert ops(graph) == ["Loop", "DequantizeLinear", "Relu", "QuantizeLinear"]

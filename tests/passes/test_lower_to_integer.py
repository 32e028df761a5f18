"""`lower-to-integer` makes of each pattern the integer op that it should."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent

import numpy as np
import pytest

from irc.errors import OptionError
from irc.execution import Executable
from irc.graph import Graph
from irc.passes import LowerToInteger
from irc.passes.context import Context, plain_context
from irc.passes.integer_rules import INTEGER_OPS, INTEGER_POLICY
from irc.target import Target
from irc.text import parse_graph, print_graph
from irc.verify import verify

TARGET = Target("integer", "c", "", INTEGER_POLICY)
NetMaker = Callable[..., Graph]


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


def is_text(before: str, after: str) -> None:
    graph = graph_of(before)
    lower(graph)
    assert print_graph(graph) == print_graph(graph_of(after))


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


def test_convolution_with_bias_clamp_and_residual() -> None:
    """scale = 0.5 * [1, 0.5] / 0.25, bias = b / 0.25 - 3 scale sum(w) - 3 residual_scale, hi = the code of 6."""
    is_text(
        GRIDS
        + """
        input %x: f32[1, 2, 4]
        weight %w: i8[2, 2, 1] = [1, 2, 3, 4]
        weight %ws: f32[2] = [1.0, 0.5]
        weight %wz: i8[2] = [0, 0]
        weight %b: f32[2] = [1.0, 2.0]
        weight %zero: f32[] = 0.0
        weight %six: f32[] = 6.0
        %p: u8[1, 2, 4] = QuantizeLinear(%x, %s, %z)
        %q: f32[1, 2, 4] = DequantizeLinear(%p, %s, %z)
        %v: f32[2, 2, 1] = DequantizeLinear(%w, %ws, %wz) {axis = 0}
        %c: f32[1, 2, 4] = Conv(%q, %v, %b) @"conv"
        %d: f32[1, 2, 4] = Add(%q, %c)
        %e: f32[1, 2, 4] = Clip(%d, %zero, %six)
        %f: u8[1, 2, 4] = QuantizeLinear(%e, %t, %o)
        %y: f32[1, 2, 4] = DequantizeLinear(%f, %t, %o)
        return %y
        """,
        GRIDS
        + """
        input %x: f32[1, 2, 4]
        weight %w: i8[2, 2, 1] = [1, 2, 3, 4]
        weight %conv.scale: f32[2] = [2.0, 1.0]
        weight %conv.bias: f32[2] = [-20.0, -19.0]
        %p: u8[1, 2, 4] = QuantizeLinear(%x, %s, %z)
        %c: u8[1, 2, 4] = irc.QConv(%p, %w, %conv.scale, %conv.bias, %p) {SET} @"conv"
        %y: f32[1, 2, 4] = DequantizeLinear(%c, %t, %o)
        return %y
        """.replace("SET", "zero_point = 3, hi = 24, residual_scale = 2.0"),
    )


def test_product_with_a_constant_matrix_and_the_bias_behind_it() -> None:
    """Transposed, its bias in int32, a scalar factor behind it; nothing quantizes the result: it is float."""
    is_text(
        GRIDS
        + """
        input %x: f32[3, 2]
        weight %w: i8[2, 2] = [1, 2, 3, 4]
        weight %b: i32[2] = [8, 16]
        weight %bs: f32[2] = [0.125, 0.125]
        weight %half: f32[1] = [0.5]
        weight %more: f32[2] = [4.0, 8.0]
        %p: u8[3, 2] = QuantizeLinear(%x, %s, %z)
        %q: f32[3, 2] = DequantizeLinear(%p, %s, %z)
        %v: f32[2, 2] = DequantizeLinear(%w, %t)
        %a: f32[2] = DequantizeLinear(%b, %bs) {axis = 0}
        %c: f32[3, 2] = Gemm(%q, %v, %a) {alpha = 2.0, transB = 1} @"gemm"
        %d: f32[3, 2] = Mul(%c, %half)
        %y: f32[3, 2] = Add(%more, %d)
        return %y
        """,
        """
        weight %s: f32[] = 0.5
        weight %z: u8[] = 3
        input %x: f32[3, 2]
        weight %gemm.weight: i8[2, 2] = [1, 3, 2, 4]
        weight %gemm.scale: f32[2] = [0.125, 0.125]
        weight %gemm.bias: f32[2] = [3.375, 6.375]
        %p: u8[3, 2] = QuantizeLinear(%x, %s, %z)
        %c: f32[3, 2] = irc.QMatMul(%p, %gemm.weight, %gemm.scale, %gemm.bias) {float_output = 1} @"gemm"
        return %c as "y"
        """,
    )


def test_product_of_two_data() -> None:
    is_text(
        GRIDS
        + """
        input %x: f32[1, 2, 4]
        weight %eight: f32[] = 8.0
        %p: u8[1, 2, 4] = QuantizeLinear(%x, %s, %z)
        %q: f32[1, 2, 4] = DequantizeLinear(%p, %s, %z)
        %r: f32[1, 4, 2] = Transpose(%q) {perm = [0, 2, 1]}
        %c: f32[1, 2, 2] = MatMul(%q, %r) @"scores"
        %d: f32[1, 2, 2] = Div(%c, %eight)
        %f: u8[1, 2, 2] = QuantizeLinear(%d, %t, %z)
        return %f
        """,
        """
        weight %s: f32[] = 0.5
        weight %z: u8[] = 3
        input %x: f32[1, 2, 4]
        %p: u8[1, 2, 4] = QuantizeLinear(%x, %s, %z)
        %r: u8[1, 4, 2] = Transpose(%p) {perm = [0, 2, 1]}
        %c: u8[1, 2, 2] = irc.QBatchMatMul(%p, %r) {SET} @"scores"
        return %c as "f"
        """.replace("SET", "a_zero_point = 3, b_zero_point = 3, scale = 0.125, bias = 3.0"),
    )


@pytest.mark.parametrize(
    ("op", "made"),
    [
        ("Add(%q, %u)", "QAdd(%p, %g) {a_scale = 2.0, bias = -3.0, lo = 3}"),
        ("Sub(%q, %u)", "QAdd(%p, %g) {a_scale = 2.0, b_scale = -1.0, bias = -3.0, lo = 3}"),
        ("Mul(%q, %u)", "QMul(%p, %g) {a_zero_point = 3, scale = 0.5, bias = 3.0, lo = 3}"),
    ],
)
def test_arithmetic_of_two_data(op: str, made: str) -> None:
    is_text(
        GRIDS
        + f"""
        input %x: f32[1, 2, 4]
        input %g: u8[4]
        {QX}
        {DX}
        %u: f32[4] = DequantizeLinear(%g, %t, %o)
        %c: f32[1, 2, 4] = {op}
        %r: f32[1, 2, 4] = Relu(%c)
        %f: u8[1, 2, 4] = QuantizeLinear(%r, %t, %z)
        return %f
        """,
        f"""
        weight %s: f32[] = 0.5
        weight %z: u8[] = 3
        input %x: f32[1, 2, 4]
        input %g: u8[4]
        {QX}
        %c: u8[1, 2, 4] = irc.{made}
        return %c as "f"
        """,
    )


@pytest.mark.parametrize(
    ("op", "shape", "made"),
    [
        ("GlobalAveragePool(%q)", "1, 2, 1", "QReduceMean(%p) {axes = [2], zero_point = 3, scale = 0.5}"),
        (
            "ReduceMean(%q, %axes) {keepdims = 0}",
            "1, 4",
            "QReduceMean(%p) {axes = [1], keepdims = 0, zero_point = 3, scale = 1.0}",
        ),
        (
            'AveragePool(%q) {kernel_shape = [2], auto_pad = "SAME_UPPER"}',
            "1, 2, 4",
            "QAveragePool(%p) {kernel_shape = [2], pads = [0, 1], zero_point = 3, scale = 2.0}",
        ),
    ],
)
def test_means(op: str, shape: str, made: str) -> None:
    text = made.replace("scale = 1.0}", "}").replace(", }", "}")
    is_text(
        GRIDS
        + f"""
        input %x: f32[1, 2, 4]
        weight %axes: i64[1] = [-2]
        {QX}
        {DX}
        %c: f32[{shape}] = {op}
        %f: u8[{shape}] = QuantizeLinear(%c, %t, %o)
        return %f
        """,
        f"""
        weight %s: f32[] = 0.5
        weight %z: u8[] = 3
        input %x: f32[1, 2, 4]
        {QX}
        %c: u8[{shape}] = irc.{text}
        return %c as "f"
        """,
    )


SILU = (
    GRIDS
    + f"""
    input %x: f32[1, 2, 4]
    {QX}
    {DX}
    %a: f32[1, 2, 4] = Sigmoid(%q)
    %b: u8[1, 2, 4] = QuantizeLinear(%a, %t, %o)
    %c: f32[1, 2, 4] = DequantizeLinear(%b, %t, %o)
    %d: f32[1, 2, 4] = Mul(%c, %q) @"silu"
    %f: u8[1, 2, 4] = QuantizeLinear(%d, %s, %z)
    return %f
    """
)


def test_function_of_one_code_is_one_table_with_what_is_quantized_within() -> None:
    graph = graph_of(SILU)
    lower(graph)
    assert ops(graph) == ["QuantizeLinear", "QLookup"]
    node = graph.node("silu")
    codes = np.arange(256)
    real = ((codes - 3) * 0.5).astype(np.float64)
    inner = np.rint(1 / (1 + np.exp(-real)) / 0.25) * 0.25
    assert node.constant(1) is not None
    np.testing.assert_array_equal(node.constant(1), np.clip(np.rint(inner * real / 0.5) + 3, 0, 255))


def test_quantizing_to_the_same_scale_is_nothing_and_to_another_a_table() -> None:
    text = (
        GRIDS
        + f"""
        input %x: f32[1, 2, 4]
        {QX}
        {DX}
        %f: u8[1, 2, 4] = QuantizeLinear(%q, SCALE, %z)
        return %f
        """
    )
    same, other = graph_of(text.replace("SCALE", "%s")), graph_of(text.replace("SCALE", "%t"))
    lower(same)
    lower(other)
    assert ops(same) == ["QuantizeLinear"]
    assert ops(other) == ["QuantizeLinear", "QLookup"]


def test_concat_of_unlike_scales() -> None:
    graph = graph_of(
        GRIDS
        + f"""
        input %x: f32[1, 2, 4]
        input %g: u8[1, 2, 4]
        {QX}
        {DX}
        %u: f32[1, 2, 4] = DequantizeLinear(%g, %t, %o)
        %c: f32[1, 4, 4] = Concat(%q, %u) {{axis = 1}} @"concat"
        %f: u8[1, 4, 4] = QuantizeLinear(%c, %s, %z)
        return %f
        """
    )
    lower(graph)
    assert ops(graph) == ["QuantizeLinear", "QLookup", "Concat"]
    assert graph.node("concat").inputs[0] is graph.value("p")


def test_concat_with_constants_quantizes_them_at_once() -> None:
    """One that is quantized already, to another scale, and one that is float."""
    is_text(
        GRIDS
        + """
        input %x: f32[1, 2, 4]
        weight %g: u8[1, 1, 4] = [0, 1, 2, 200]
        weight %h: f32[1, 1, 4] = [-1.0, 0.0, 0.5, 500.0]
        %p: u8[1, 2, 4] = QuantizeLinear(%x, %s, %z)
        %q: f32[1, 2, 4] = DequantizeLinear(%p, %s, %z)
        %u: f32[1, 1, 4] = DequantizeLinear(%g, %t, %o)
        %c: f32[1, 4, 4] = Concat(%q, %u, %h) {axis = 1} @"concat"
        %f: u8[1, 4, 4] = QuantizeLinear(%c, %s, %z)
        return %f
        """,
        """
        weight %s: f32[] = 0.5
        weight %z: u8[] = 3
        input %x: f32[1, 2, 4]
        weight %concat.quantize.1_1: u8[1, 1, 4] = [3, 3, 4, 103]
        weight %concat.quantize.2_1: u8[1, 1, 4] = [1, 3, 4, 255]
        %p: u8[1, 2, 4] = QuantizeLinear(%x, %s, %z)
        %c: u8[1, 4, 4] = Concat(%p, %concat.quantize.1_1, %concat.quantize.2_1) {axis = 1} @"concat"
        return %c as "f"
        """,
    )


def test_int8_activations_become_uint8() -> None:
    is_text(
        """
        input %x: f32[1, 2, 4]
        weight %s: f32[] = 0.5
        weight %z: i8[] = -125
        weight %k: i8[4] = [-128, 0, 1, 127]
        %p: i8[1, 2, 4] = QuantizeLinear(%x, %s, %z)
        %q: f32[1, 2, 4] = DequantizeLinear(%p, %s, %z)
        %u: f32[4] = DequantizeLinear(%k, %s)
        %c: f32[1, 2, 4] = Add(%q, %u)
        %f: i8[1, 2, 4] = QuantizeLinear(%c, %s, %z)
        %y: f32[1, 2, 4] = DequantizeLinear(%f, %s, %z)
        return %y
        """,
        """
        input %x: f32[1, 2, 4]
        weight %s: f32[] = 0.5
        weight %k: u8[4] = [0, 128, 129, 255]
        weight %z.uint8: u8[] = 3
        %p: u8[1, 2, 4] = QuantizeLinear(%x, %s, %z.uint8)
        %c: u8[1, 2, 4] = irc.QAdd(%p, %k) {bias = -128.0}
        %y: f32[1, 2, 4] = DequantizeLinear(%c, %s, %z.uint8)
        return %y
        """,
    )


def test_int8_codes_that_are_given_out_stay() -> None:
    graph = graph_of(
        """
        input %x: f32[4]
        weight %s: f32[] = 0.5
        weight %z: i8[] = -125
        %p: i8[4] = QuantizeLinear(%x, %s, %z)
        %q: f32[4] = DequantizeLinear(%p, %s, %z)
        %y: f32[4] = Softmax(%q)
        return %y, %p as "codes"
        """
    )
    before = print_graph(graph)
    lower(graph)
    assert print_graph(graph) == before


def test_bodies_are_lowered() -> None:
    body = """
        %q: f32[1, 2, 4] = DequantizeLinear(%p, %s, %z)
        %c: f32[1, 2, 4] = Add(%q, %q)
        %d: f32[1, 2, 4] = Mul(%c, %q)
        %f: u8[1, 2, 4] = QuantizeLinear(%d, %t, %o)
    """
    graph = graph_of(
        GRIDS
        + f"""
        input %p: u8[1, 2, 4]
        input %when: bool[]
        %y: u8[1, 2, 4] = If:21(%when) {{then_branch = "then" {{
          {body}
          return %f
        }}, else_branch = "else" {{
          return %p
        }}}}
        return %y
        """
    )
    lower(graph)
    assert ops(graph) == ["If", "QLookup"]


def test_the_pass_finds_nothing_to_do_the_second_time() -> None:
    graph = graph_of(SILU)
    lower(graph)
    once = print_graph(graph)
    lower(graph)
    assert print_graph(graph) == once


def test_a_graph_without_quantization_is_left_alone(net: NetMaker) -> None:
    graph = net("residual")
    before = print_graph(graph)
    context = lower(graph)
    assert print_graph(graph) == before
    assert reasons(context) == {}


def test_onnx_files_do_not_hold_integer_ops() -> None:
    import irc

    with pytest.raises(OptionError, match=r"QLookup 'silu' is no operator of ONNX.*leave out 'lower-to-integer'"):
        irc.compile(graph_of(SILU), "lower-to-integer", target="onnx")


def test_the_graph_runs_as_before() -> None:
    graph = graph_of(SILU)
    x = np.linspace(-9, 9, 8, dtype=np.float32).reshape(1, 2, 4)
    before = Executable(graph).run_numpy({"x": x})["f"]
    lower(graph)
    np.testing.assert_array_equal(Executable(graph).run_numpy({"x": x})["f"], before)


def test_integer_ops_are_those_of_onnx() -> None:
    assert {"Conv", "Gemm", "MatMul", "Add", "Gelu", "MaxPool"} <= INTEGER_OPS == INTEGER_POLICY.integer_ops

"""`insert-fake-quant` puts a FakeQuant exactly where each target computes in integers, and changes nothing else."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent, indent
from typing import Any

import numpy as np
import pytest

from irc.backends.registry import find_target
from irc.errors import OptionError
from irc.execution import Executable
from irc.graph import Graph
from irc.ops.fake_quant import FakeQuant
from irc.passes.context import Context, plain_context
from irc.passes.insert_fake_quant import InsertFakeQuant
from irc.text import parse_graph, print_graph
from irc.verify import verify

TextGraph = Callable[[str], Graph]


def insert(graph: Graph, target: str = "onnx", **options: Any) -> Context:
    """Run the pass, verify its work; the context that it noted things in."""
    context = plain_context(graph, target=find_target(target))
    InsertFakeQuant(**options).run(graph, context)
    verify(graph)
    return context


def quantized(graph: Graph) -> dict[str, list[str]]:
    """By the name of each value that a FakeQuant reads: the nodes and graph outputs that read it quantized."""
    found: dict[str, list[str]] = {}
    for node in graph.walk():
        if isinstance(node.op, FakeQuant):
            source = node.input(0)
            assert source is not None
            readers = [u.user.name for u in node.output.uses]
            found.setdefault(source.name, []).extend(readers)
    return found


def declined(context: Context) -> dict[str, str]:
    return {site.node: site.reason for site in context.row.declined}


HEAD = """
    input %x: f32[N, 4, 8, 8]
    weight %w1: f32[4, 4, 3, 3] = splat(0.5)
    weight %b1: f32[4] = splat(0.5)
    weight %w2: f32[4, 4, 3, 3] = splat(0.5)
    weight %b2: f32[4] = splat(0.5)
"""

RESIDUAL_AFTER = """
    %x.quantized: f32[N, 4, 8, 8] = irc.FakeQuant(%x)ACTIVATION
    %w1.quantized: f32[4, 4, 3, 3] = irc.FakeQuant(%w1) {axis = 0, qmin = -127}
    %a: f32[N, 4, 8, 8] = Conv(%x.quantized, %w1.quantized, %b1) {pads = [1, 1, 1, 1]} @"conv1"
    %b: f32[N, 4, 8, 8] = Relu(%a) @"relu1"
    %b.quantized: f32[N, 4, 8, 8] = irc.FakeQuant(%b)ACTIVATION
    %w2.quantized: f32[4, 4, 3, 3] = irc.FakeQuant(%w2) {axis = 0, qmin = -127}
    %c: f32[N, 4, 8, 8] = Conv(%b.quantized, %w2.quantized, %b2) {pads = [1, 1, 1, 1]} @"conv2"
    %c.quantized: f32[N, 4, 8, 8] = irc.FakeQuant(%c)ACTIVATION
    %d: f32[N, 4, 8, 8] = Add(%c.quantized, %b.quantized) @"add"
    %y: f32[N, 4, 8, 8] = Relu(%d) @"relu2"
    %y.quantized: f32[N, 4, 8, 8] = irc.FakeQuant(%y)ACTIVATION
    return %y.quantized as "y"
"""

# TensorRT adds in the convolution's epilogue: only the skip branch is quantized
TENSORRT_AFTER = (
    RESIDUAL_AFTER.replace("    %c.quantized: f32[N, 4, 8, 8] = irc.FakeQuant(%c)ACTIVATION\n", "")
    .replace("Add(%c.quantized,", "Add(%c,")
    .replace("ACTIVATION", "")
)


@pytest.mark.parametrize(
    ("target", "after"),
    [
        ("onnx", RESIDUAL_AFTER.replace("ACTIVATION", " {qmin = 0, qmax = 255}")),
        ("onnx:openvino", RESIDUAL_AFTER.replace("ACTIVATION", " {qmin = 0, qmax = 255}")),
        ("onnx:qnn", RESIDUAL_AFTER.replace("ACTIVATION", " {qmin = 0, qmax = 255}")),
        ("onnx:arm", RESIDUAL_AFTER.replace("ACTIVATION", "")),  # int8: the op's defaults
        ("onnx:tensorrt", TENSORRT_AFTER),
    ],
)
def test_residual_block(target: str, after: str, net: Callable[[str], Graph], text_graph: TextGraph) -> None:
    graph = net("residual")
    weights = {v.name: v.data for v in graph.constants if v.data is not None}
    insert(graph, target)
    wanted = parse_graph("graph main(opset = 21) {\n" + indent(dedent(HEAD + after), "  ") + "}\n")
    for value in wanted.constants:
        value.data = weights[value.name]
    assert print_graph(graph) == print_graph(wanted)


@pytest.mark.parametrize("target", ["onnx", "onnx:arm", "onnx:tensorrt", "onnx:openvino", "onnx:qnn"])
def test_until_calibrated_nothing_changes(
    target: str, net: Callable[[str], Graph], typical: Any, net_names: tuple[str, ...]
) -> None:
    for name in net_names:
        graph = net(name)
        before = graph.copy()
        insert(graph, target)
        for sample in typical(graph, 2):
            wanted, got = Executable(before).run_numpy(sample), Executable(graph).run_numpy(sample)
            assert list(wanted) == list(got)
            assert all(np.array_equal(wanted[k], got[k]) for k in wanted), name


@pytest.mark.parametrize("target", ["onnx", "onnx:tensorrt", "onnx:qnn"])
def test_a_second_run_finds_nothing_to_do(target: str, net: Callable[[str], Graph], net_names: tuple[str, ...]) -> None:
    for name in net_names:
        graph = net(name)
        insert(graph, target)
        once = print_graph(graph)
        insert(graph, target)
        assert print_graph(graph) == once, name


def test_concat_pool_and_reshape_are_integer_and_the_last_gemm_gives_float(net: Callable[[str], Graph]) -> None:
    graph = net("concat")
    insert(graph)
    assert quantized(graph) == {
        "x": ["conv1"],
        "w1": ["conv1"],
        "a": ["conv2", "concat"],
        "w2": ["conv2"],
        "b": ["concat"],
        "c": ["pool"],
        "d": ["reshape"],
        "e": ["gemm"],
        "w3": ["gemm"],
    }
    assert graph.outputs[0].producer is graph.node("gemm")


def test_qnn_quantizes_the_last_gemm_too(net: Callable[[str], Graph]) -> None:
    graph = net("concat")
    insert(graph, "onnx:qnn")
    assert quantized(graph)["y"] == ["main"]


def test_attention_softmax_norm_and_gelu_stay_float(net: Callable[[str], Graph]) -> None:
    graph = net("attention")
    context = insert(graph)
    # x and n are read by float nodes as well: those go on reading the float; the bias of a MatMul is its own constant
    assert quantized(graph) == {
        "x": ["query", "key", "values"],
        "wq": ["query"],
        "q": ["scores"],
        "wk": ["key"],
        "k": ["key.bias"],
        "bk": ["key.bias"],
        "j": ["transpose"],
        "t": ["scores"],
        "p": ["values"],
        "n": ["up"],
        "wo": ["up"],
    }
    assert [n.name for n in graph.value("x").users if not isinstance(n.op, FakeQuant)] == ["add"]
    reasons = declined(context)
    assert reasons["softmax"] == reasons["gelu"] == "the target has no integer kernel for it"
    assert reasons["add"] == "nothing integer reads it"


def test_qnn_runs_softmax_as_integer(net: Callable[[str], Graph]) -> None:
    graph = net("attention")
    insert(graph, "onnx:qnn")
    assert quantized(graph)["s"] == ["softmax"]


def test_an_activation_is_absorbed_even_where_float_follows(text_graph: TextGraph) -> None:
    graph = text_graph(
        HEAD
        + """
        %a: f32[N, 4, 6, 6] = Conv(%x, %w1) @"conv"
        %b: f32[N, 4, 6, 6] = Relu(%a) @"relu"
        %y: f32[N, 4, 6, 6] = Softmax(%b) @"softmax"
        return %y
        """
    )
    insert(graph)
    assert quantized(graph) == {"x": ["conv"], "w1": ["conv"], "b": ["softmax"]}


def test_an_activation_whose_input_others_read_is_not_absorbed(text_graph: TextGraph) -> None:
    graph = text_graph(
        HEAD
        + """
        %a: f32[N, 4, 6, 6] = Conv(%x, %w1) @"conv"
        %b: f32[N, 4, 6, 6] = Relu(%a) @"relu"
        return %b, %a
        """
    )
    insert(graph)
    assert quantized(graph) == {"x": ["conv"], "w1": ["conv"], "a": ["relu", "main"]}


def test_all_readers_of_a_contraction_read_its_quantized_result_and_inputs_stay_float_for_float(
    text_graph: TextGraph,
) -> None:
    graph = text_graph(
        HEAD
        + """
        %a: f32[N, 4, 6, 6] = Conv(%x, %w1) @"conv1"
        %b: f32[N, 4, 4, 4] = Conv(%a, %w1) @"conv2"
        %s: f32[N, 4, 6, 6] = Softmax(%a) @"softmax1"
        %t: f32[N, 4, 8, 8] = Softmax(%x) @"softmax2"
        return %b, %s, %a, %t, %x
        """
    )
    insert(graph)
    assert quantized(graph) == {
        "x": ["conv1"],
        "w1": ["conv1", "conv2"],
        "a": ["conv2", "softmax1", "main"],
        "b": ["main"],
    }
    weights = [n for n in graph if isinstance(n.op, FakeQuant) and n.input(0) is graph.value("w1")]
    assert len(weights) == 2  # a weight that two nodes share ties nothing else of theirs
    assert graph.output_names == ("b", "s", "a", "t", "x")
    assert graph.outputs[4] is graph.inputs[0]


def test_tensorrt_leaves_the_last_contraction_of_two_unquantized(text_graph: TextGraph) -> None:
    graph = text_graph(
        HEAD
        + """
        %a: f32[N, 4, 6, 6] = Conv(%x, %w1) @"conv1"
        %b: f32[N, 4, 6, 6] = Conv(%x, %w2) @"conv2"
        %y: f32[N, 4, 6, 6] = Add(%a, %b) @"add"
        return %y
        """
    )
    insert(graph, "onnx:tensorrt")
    assert quantized(graph) == {
        "x": ["conv1", "conv2"],
        "w1": ["conv1"],
        "w2": ["conv2"],
        "a": ["add"],
        "y": ["main"],
    }


def test_bodies_quantize_what_they_capture_for_themselves(net: Callable[[str], Graph]) -> None:
    graph = net("branches")
    insert(graph)
    bodies = graph.node("if").bodies
    inner, other = bodies["then_branch"].node("inner"), bodies["else_branch"].node("other")
    for node in (inner, other):
        for index in (0, 1):
            value = node.input(index)
            assert value is not None
            assert value.producer is not None
            assert isinstance(value.producer.op, FakeQuant)
            assert value.producer.graph is node.graph  # runtimes fuse within one graph
    assert quantized(bodies["then_branch"])["u"] == ["then"]
    assert quantized(bodies["else_branch"])["e"] == ["else"]


def test_what_stands_in_a_loop_stays_float_with_a_reason(text_graph: TextGraph) -> None:
    graph = text_graph(
        """
        input %n: i64[]
        input %c: bool[]
        input %x: f32[1, 4, 8, 8]
        weight %w: f32[4, 4, 1, 1] = splat(0.5)
        %y: f32[1, 4, 8, 8] = Loop:21(%n, %c, %x) {body = "body" {
          input %i: i64[]
          input %d: bool[]
          input %v: f32[1, 4, 8, 8]
          %t: f32[1, 4, 8, 8] = Conv(%v, %w) @"inner"
          return %d, %t
        }} @"loop"
        return %y
        """
    )
    context = insert(graph)
    assert quantized(graph) == {}
    assert declined(context) == {"inner": "it stands in the body of Loop 'loop', which calibration cannot look into"}


def test_indices_of_a_pool_are_left_alone(text_graph: TextGraph) -> None:
    graph = text_graph(
        HEAD
        + """
        %a: f32[N, 4, 6, 6] = Conv(%x, %w1) @"conv"
        %b: f32[N, 4, 3, 3], %i: i64[N, 4, 3, 3] = MaxPool(%a) {kernel_shape = [2, 2], strides = [2, 2]} @"pool"
        return %b, %i
        """
    )
    insert(graph)
    assert quantized(graph) == {"x": ["conv"], "w1": ["conv"], "a": ["pool"], "b": ["main"]}


@pytest.mark.parametrize("pattern", ["conv2", "conv[2-9]", "*.second"])
def test_skip_by_name_pattern_or_layer(pattern: str, net: Callable[[str], Graph]) -> None:
    graph = net("residual")
    graph.node("conv2").origin = graph.node("conv2").origin.__class__("block.second")
    context = insert(graph, skip=(pattern,))
    assert "w2" not in quantized(graph)
    assert declined(context)["conv2"] == "it is on the list of layers to leave float"
    assert context.row.notes == []


def test_a_skip_pattern_that_means_nothing_is_told(net: Callable[[str], Graph]) -> None:
    context = insert(net("residual"), skip=("Conv2",))
    assert context.row.notes == ["skip: no node or layer is called 'Conv2'"]


REFUSED = {
    "its weight is not a constant": """
        input %x: f32[1, 2, 4, 4]
        input %w: f32[2, 2, 1, 1]
        %y: f32[1, 2, 4, 4] = Conv(%x, %w) @"node"
        return %y
    """,
    "its bias is not a constant": """
        input %x: f32[1, 4]
        input %b: f32[2]
        weight %w: f32[4, 2] = splat(0.5)
        %y: f32[1, 2] = Gemm(%x, %w, %b) @"node"
        return %y
    """,
    "alpha and beta of an integer Gemm must be 1": """
        input %x: f32[1, 4]
        weight %w: f32[4, 2] = splat(0.5)
        %y: f32[1, 2] = Gemm(%x, %w) {alpha = 2.0} @"node"
        return %y
    """,
    "an integer Gemm cannot transpose its data": """
        input %x: f32[4, 1]
        weight %w: f32[4, 2] = splat(0.5)
        %y: f32[1, 2] = Gemm(%x, %w) {transA = 1} @"node"
        return %y
    """,
    "input 0 is f64[1, 4], not float32": """
        input %x: f64[1, 4]
        weight %w: f64[4, 2] = splat(0.5)
        %y: f64[1, 2] = Gemm(%x, %w) @"node"
        return %y
    """,
    "input 1 ('m') holds a mask's magnitudes, which must not get a scale": """
        input %x: f32[1, 4]
        weight %w: f32[4, 2] = splat(0.5)
        weight %v: f32[2, 2] = splat(0.5)
        weight %m: f32[2] = [0.0, -3.4e38]
        %a: f32[1, 2] = Gemm(%x, %w) @"gemm"
        %b: f32[1, 2] = Add(%a, %m) @"node"
        %y: f32[1, 2] = Gemm(%b, %v) @"next"
        return %y
    """,
    "the target has no integer kernel for it": """
        input %x: f32[1, 2, 4, 4]
        weight %w: f32[2, 2, 1, 1] = splat(0.5)
        %y: f32[1, 2, 4, 4] = ConvTranspose(%x, %w) @"node"
        return %y
    """,
}


@pytest.mark.parametrize("reason", REFUSED)
def test_refused_with_its_reason(reason: str, text_graph: TextGraph) -> None:
    graph = text_graph(REFUSED[reason])
    assert declined(insert(graph))["node"] == reason
    node = graph.node("node")
    assert all(v is None or v.producer is None or v.producer.name != f"{v.name}.quantized" for v in node.inputs[1:])


def test_the_width_of_weights_can_be_chosen(net: Callable[[str], Graph]) -> None:
    graph = net("residual")
    insert(graph, weight_bits=4)
    made = graph.value("w1").users[0]
    assert made.op == FakeQuant(axis=0, qmin=-7, qmax=7)


def test_layers_may_have_widths_of_their_own(net: Callable[[str], Graph]) -> None:
    graph = net("residual")
    context = insert(graph, weight_bits=6, layer_bits=("conv*=4", "conv2=8", "none=3"))
    made = {name: graph.value(name).users[0].op for name in ("w1", "w2")}
    assert made == {"w1": FakeQuant(axis=0, qmin=-7, qmax=7), "w2": FakeQuant(axis=0, qmin=-127, qmax=127)}
    assert context.row.notes == ["layer_bits: no node or layer is called 'none'"]


def test_a_table_may_have_a_width_of_its_own(text_graph: TextGraph) -> None:
    graph = text_graph("""
        input %i: i64[3]
        weight %t: f32[4096, 8] = splat(0.5)
        %y: f32[3, 8] = Gather(%t, %i) @"table"
        return %y
    """)
    insert(graph, "c:portable", layer_bits=("table=4",))
    assert graph.value("t").users[0].op == FakeQuant(axis=0, qmin=-7, qmax=7)


@pytest.mark.parametrize("entry", ["conv1", "conv1=", "conv1=four", "conv1=1", "conv1=17"])
def test_an_entry_of_layer_bits_that_says_no_width_is_refused(entry: str, net: Callable[[str], Graph]) -> None:
    with pytest.raises(OptionError, match=f"insert-fake-quant: layer_bits has '{entry}', which is not"):
        insert(net("residual"), layer_bits=(entry,))


@pytest.mark.parametrize("bits", [-3, 0, 1, 17])  # of 1 bit no code but 0 would be left
def test_a_width_without_codes_or_a_type_is_refused(bits: int, net: Callable[[str], Graph]) -> None:
    with pytest.raises(OptionError, match=rf"weight_bits={bits} is not in \[2, 16\]"):
        insert(net("residual"), weight_bits=bits)


def test_the_axis_of_a_weights_scales(net: Callable[[str], Graph]) -> None:
    axes = {}
    for name in ("concat", "attention", "depthwise", "transposed"):
        graph = net(name)
        insert(graph, "onnx:qnn")
        for node in graph:
            if isinstance(node.op, FakeQuant) and node.op.axis is not None:
                axes[node.output.users[0].name] = node.op.axis
    assert axes["conv1"] == axes["depthwise"] == axes["grouped"] == axes["conv"] == 0
    assert axes["up"] == 1  # ConvTranspose in one net, MatMul in another: both 1
    assert axes["query"] == 1
    assert axes["gemm"] == 0  # transB


def test_a_stack_of_matrices_has_one_scale(text_graph: TextGraph) -> None:
    graph = text_graph(
        """
        input %x: f32[2, 3, 4]
        weight %w: f32[2, 4, 5] = splat(0.5)
        %y: f32[2, 3, 5] = MatMul(%x, %w) @"matmul"
        return %y
        """
    )
    insert(graph)
    assert graph.value("w").users[0].op == FakeQuant(axis=None, qmin=-127, qmax=127)

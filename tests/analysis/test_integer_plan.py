"""A node is planned to be integer only if what feeds it and what reads it make that worth while."""

# ruff: noqa: ISC004 - one case a group of lines

from __future__ import annotations

from collections.abc import Callable

import pytest

from irc.analysis.integer_plan import plan_integer
from irc.backends.registry import find_target
from irc.graph import Graph
from irc.passes.integer_rules import INTEGER_POLICY

TextGraph = Callable[[str], Graph]
ONNX = find_target("onnx").policy
QNN = find_target("onnx:qnn").policy

HEAD = """
    input %x: f32[2, 4, 8, 8]
    weight %w: f32[4, 4, 1, 1] = splat(0.5)
"""

# what stands between the input and the output, and which nodes are integer
CASES = [
    ("", "%y: f32[2, 4, 8, 8] = Add(%x, %x) @'a'", ""),  # nothing integer feeds it
    ("", "%y: f32[2, 4, 8, 8] = Conv(%x, %w) @'c'", "c"),
    ("%t: f32[2, 4, 8, 8] = Conv(%x, %w) @'c'", "%y: f32[2, 4, 8, 8] = Add(%t, %x) @'a'", "c a"),  # an output reads it
    (
        "%t: f32[2, 4, 8, 8] = Conv(%x, %w) @'c'; %s: f32[2, 4, 8, 8] = Add(%t, %x) @'a'",
        "%y: f32[2, 4, 8, 8] = Softmax(%s) @'s'",
        "c",  # nothing integer reads the Add
    ),
    (
        "%t: f32[2, 4, 8, 8] = Conv(%x, %w) @'c'; %s: f32[2, 4, 8, 8] = Add(%t, %x) @'a';"
        "%r: f32[2, 4, 8, 8] = Relu(%s) @'r'",
        "%y: f32[2, 4, 8, 8] = Softmax(%r) @'s'",
        "c",  # nor through its Relu
    ),
    (
        "%t: f32[2, 4, 8, 8] = Conv(%x, %w) @'c'; %s: f32[2, 4, 8, 8] = Add(%t, %x) @'a';"
        "%r: f32[2, 4, 8, 8] = Relu(%s) @'r'",
        "%y: f32[2, 4, 8, 8] = Conv(%r, %w) @'d'",
        "c a r d",
    ),
    (
        "%t: f32[2, 4, 8, 8] = Conv(%x, %w) @'c'; %r: f32[2, 4, 8, 8] = Relu(%t) @'r'",
        "%y: f32[2, 4, 8, 8] = Softmax(%r) @'s'",
        "c r",
    ),
    ("%t: f32[2, 4, 8, 8] = Relu(%x) @'r'", "%y: f32[2, 4, 8, 8] = Conv(%t, %w) @'c'", "c"),  # nothing to be part of
    (
        "%t: f32[2, 8, 4, 8] = Transpose(%x) {perm = [0, 2, 1, 3]} @'t'",
        "%y: f32[2, 8, 8, 4] = Transpose(%t) {perm = [0, 1, 3, 2]} @'u'",
        "",
    ),
    (
        "%t: f32[2, 4, 8, 8] = Conv(%x, %w) @'c'; %m: f32[2, 4, 8, 8] = Mul(%t, %t) @'m';"
        "%n: f32[2, 4, 8, 8] = Mul(%m, %m) @'n'; %o: f32[2, 4, 8, 8] = Mul(%n, %n) @'o'",
        "%y: f32[2, 4, 8, 8] = Exp(%o) @'e'",
        "c",  # a chain that leads nowhere
    ),
    (
        "%t: f32[2, 4, 8, 8] = Conv(%x, %w) @'c'; %m: f32[2, 4, 8, 8] = MaxPool(%t) {kernel_shape = [1, 1]} @'m'",
        "%y: f32[2, 4, 8, 8] = Conv(%m, %w) @'d'",
        "c m d",
    ),
]


@pytest.mark.parametrize(("inner", "last", "integer"), CASES)
def test_integer_nodes(inner: str, last: str, integer: str, text_graph: TextGraph) -> None:
    lines = [HEAD, *inner.split(";"), last, "return %y"]
    graph = text_graph("\n".join(line.strip() for part in lines for line in part.splitlines()).replace("'", '"'))
    plan = plan_integer(graph, ONNX)
    assert " ".join(n.name for n in plan.integer) == integer
    assert not set(plan.integer) & set(plan.declined)
    for node in graph:  # a contraction or arithmetic that stays float has its reason
        if node.op.name in ("Conv", "Add", "Mul", "Softmax"):
            assert (node in plan.integer) != (node in plan.declined)


@pytest.mark.parametrize(("mode", "integer"), [("asymmetric", True), ("tf_crop_and_resize", False)])
def test_a_resize_that_crops_shares_no_scale(mode: str, integer: bool, text_graph: TextGraph) -> None:
    graph = text_graph(
        HEAD
        + f"""
        weight %roi: f32[8] = [0, 0, 0, 0, 1, 1, 2, 2]
        weight %sizes: i64[4] = [2, 4, 8, 8]
        %t: f32[2, 4, 8, 8] = Conv(%x, %w) @"conv"
        %u: f32[2, 4, 8, 8] = Resize(%t, %roi, _, %sizes) {{coordinate_transformation_mode = "{mode}"}} @"resize"
        %y: f32[2, 4, 8, 8] = Conv(%u, %w) @"last"
        return %y
        """
    )
    assert (graph.node("resize") in plan_integer(graph, INTEGER_POLICY).integer) == integer


@pytest.mark.parametrize(("value", "integer"), [(0.0, True), (1.0, False), (None, True)])
def test_only_a_pad_with_zeros_shares_its_scale(
    value: float | None, integer: bool, text_graph: TextGraph
) -> None:
    third = "" if value is None else f"weight %v: f32[] = {value}"
    graph = text_graph(
        HEAD
        + f"""
        weight %p: i64[8] = [0, 0, 1, 1, 0, 0, 1, 1]
        {third}
        %t: f32[2, 4, 8, 8] = Conv(%x, %w) @"conv"
        %u: f32[2, 4, 10, 10] = Pad(%t, %p{"" if value is None else ", %v"}) @"pad"
        %y: f32[2, 4, 10, 10] = Conv(%u, %w) @"last"
        return %y
        """
    )
    assert (graph.node("pad") in plan_integer(graph, QNN).integer) == integer
    assert graph.node("pad") not in plan_integer(graph, ONNX).integer  # onnxruntime has no kernel for it

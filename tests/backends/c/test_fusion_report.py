"""The fusion report of a C artifact says which layers run as integer, and why the others run in float."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import irc
from irc.backends.c.artifact import CArtifact
from irc.graph import Graph
from tests.backends.c.conftest import Compile

GraphMaker = Callable[..., Graph]


def quantized(graph: Graph, samples: Any, skip: str = "") -> CArtifact:
    passes = f"quantize{{skip=[{skip}]}}" if skip else "quantize"
    artifact = irc.compile(graph, passes, calibration=samples, target="c:portable")
    assert isinstance(artifact, CArtifact)
    return artifact


def test_all_is_integer(compile_small: Compile) -> None:
    report = compile_small().fusion
    assert report.counts() == {
        "Conv": (6, 6), "Add": (1, 1), "Sigmoid": (1, 1), "Concat": (1, 1), "ReduceMean": (1, 1), "Gemm": (1, 1)
    }  # fmt: skip
    assert report.refused() == []
    assert (report.left_at_ends, report.left_inside) == (1, 0)
    assert str(report).endswith(
        "1 of 1 Gemm run as integer in C; Quantize/DequantizeLinear left: 1 at the graph's ends, 0 inside"
    )


def test_a_skipped_layer_is_named_with_what_is_not_quantized(net: GraphMaker, typical: Any) -> None:
    graph = net("residual")
    report = quantized(graph, typical(graph), skip="conv1").fusion
    assert report.counts() == {"Conv": (1, 2), "Add": (1, 1)}
    (conv,) = report.refused()
    assert (conv.name, conv.op, conv.reason) == ("conv1", "Conv", "input 0 ('x') is not quantized")
    assert str(report).splitlines()[1:] == ["  Conv 'conv1' runs in float: input 0 ('x') is not quantized"]


def test_the_reason_is_that_of_the_pass(net: GraphMaker, typical: Any) -> None:
    """Quantized to more bits than the integer ops take: `lower-to-integer` declines."""
    graph = net("residual")
    artifact = irc.compile(graph, "quantize{weight_bits=16}", calibration=typical(graph), target="c:portable")
    convs = {n.name: n.reason for n in artifact.fusion.refused() if n.op == "Conv"}
    reason = "its weight is no constant of symmetric 8-bit codes with one scale or one a channel"
    assert convs == {"conv1": reason, "conv2": reason}


def test_what_the_target_has_no_integer_kernel_for(net: GraphMaker, typical: Any) -> None:
    graph = net("transposed")  # of groups, which is no convolution of another kind
    report = quantized(graph, typical(graph)).fusion
    assert [n.reason for n in report.refused()] == ["ConvTranspose has no integer kernel for target 'c:portable'"]
    assert [n["op"] for n in asdict(report)["nodes"]] == ["ConvTranspose", "Conv"]  # as the command line writes it


def test_a_float_model_has_no_integer_layer(net: GraphMaker) -> None:
    report = irc.compile(net("residual"), [], target="c:portable").fusion
    assert report.counts() == {"Conv": (0, 2), "Add": (0, 1)}
    assert all(node.reason for node in report.nodes)

"""Small graphs for the tests of `cast-float`, and what they look at behind it."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import onnx
import onnxruntime

import irc
from irc.graph import Graph
from irc.ops.conv import Conv
from irc.ops.index import Gather
from irc.ops.linear import MatMul
from irc.passes import CastFloat
from irc.passes.context import Context, plain_context
from irc.proto.writer import model_proto
from irc.text import parse_graph, print_graph
from irc.types import Array, tensor
from irc.verify import verify

RNG = np.random.default_rng(0)
HALF = CastFloat("float16")


def floats(*shape: int) -> Array:
    """Normally distributed numbers."""
    return np.asarray(RNG.normal(size=shape), np.float32)


WEIGHTS = {name: floats(8, 8) for name in "abw"}


def cast(graph: Graph | str, step: CastFloat = HALF, calibration: list[Any] | None = None) -> tuple[Graph, Context]:
    """A copy of the graph behind the pass, valid here and as ONNX, and the context; text has `WEIGHTS`."""
    made = parse_graph(dedent(graph), WEIGHTS) if isinstance(graph, str) else graph.copy()
    context = plain_context(made, calibration=calibration)
    step.run(made, context)
    verify(made)
    onnx.checker.check_model(model_proto(made), full_check=True)
    return made, context


def text(graph: Graph) -> str:
    """The graph as text without the numbers of its weights."""
    return re.sub(r" = \[.*]", "", print_graph(graph))


def declined(context: Context) -> dict[str, str]:
    """Reason by node."""
    return {site.node: site.reason for site in context.row.declined}


def run_onnx(graph: Graph, path: Path, **inputs: Array) -> list[Array]:
    """What onnxruntime makes of the saved graph."""
    irc.compile(graph, []).save(path / "model.onnx")
    session = onnxruntime.InferenceSession(path / "model.onnx", providers=["CPUExecutionProvider"])
    return list(session.run(None, inputs))


CHAIN = """\
    graph main(opset = 21) {
      input %x: f32[2, 8]
      weight %a: f32[8, 8]
      weight %b: f32[8, 8]
      %m: f32[2, 8] = MatMul(%x, %a)
      %r: f32[2, 8] = Relu(%m)
      %s: f32[2, 8] = Softmax(%r)
      %n: f32[2, 8] = MatMul(%s, %b)
      %y: f32[2, 8] = Add(%n, %r)
      return %y
    }
    """


def layers() -> Graph:
    """A table, a convolution and a product, with weights that are worth storing."""
    graph = Graph()
    i, x = graph.add_input("i", tensor("i64", 1, 3)), graph.add_input("x", tensor("f32", 1, 16, 6, 6))
    table, w = graph.add_constant(floats(20, 16), "table"), graph.add_constant(floats(16, 24), "w")
    rows = graph.insert(Gather(), [table, i], name="rows").output
    graph.add_output(graph.insert(MatMul(), [rows, w], name="m").output, "y")
    conv, bias = graph.add_constant(floats(8, 16, 3, 3), "conv"), graph.add_constant(floats(8), "bias")
    graph.add_output(graph.insert(Conv(), [x, conv, bias], name="c").output, "z")
    return graph

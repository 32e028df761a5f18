"""What tests of quantization share: small networks in text, with drawn weights, and onnxruntime to compare with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

import irc.ops  # noqa: F401  # fills the registry of ops
from irc.graph import Graph
from irc.text import parse_graph
from irc.types import Array
from irc.verify import verify

NETS = {
    "residual": """
        input %x: f32[N, 4, 8, 8]
        weight %w1: f32[4, 4, 3, 3] = splat(0.5)
        weight %b1: f32[4] = splat(0.5)
        weight %w2: f32[4, 4, 3, 3] = splat(0.5)
        weight %b2: f32[4] = splat(0.5)
        %a: f32[N, 4, 8, 8] = Conv(%x, %w1, %b1) {pads = [1, 1, 1, 1]} @"conv1"
        %b: f32[N, 4, 8, 8] = Relu(%a) @"relu1"
        %c: f32[N, 4, 8, 8] = Conv(%b, %w2, %b2) {pads = [1, 1, 1, 1]} @"conv2"
        %d: f32[N, 4, 8, 8] = Add(%c, %b) @"add"
        %y: f32[N, 4, 8, 8] = Relu(%d) @"relu2"
        return %y
    """,
    "concat": """
        input %x: f32[N, 4, 8, 8]
        weight %w1: f32[6, 4, 1, 1] = splat(0.5)
        weight %w2: f32[2, 6, 3, 3] = splat(0.5)
        weight %b2: f32[2] = splat(0.5)
        weight %shape: i64[2] = [0, -1]
        weight %w3: f32[128, 5] = splat(0.5)
        weight %b3: f32[5] = splat(0.5)
        %a: f32[N, 6, 8, 8] = Conv(%x, %w1) @"conv1"
        %b: f32[N, 2, 8, 8] = Conv(%a, %w2, %b2) {pads = [1, 1, 1, 1]} @"conv2"
        %c: f32[N, 8, 8, 8] = Concat(%a, %b) {axis = 1} @"concat"
        %d: f32[N, 8, 4, 4] = MaxPool(%c) {kernel_shape = [2, 2], strides = [2, 2]} @"pool"
        %e: f32[N, 128] = Reshape(%d, %shape) @"reshape"
        %y: f32[N, 5] = Gemm(%e, %w3, %b3) @"gemm"
        return %y
    """,
    "attention": """
        input %x: f32[N, 4, 8]
        weight %wq: f32[8, 8] = splat(0.5)
        weight %wk: f32[8, 8] = splat(0.5)
        weight %bk: f32[8] = splat(0.5)
        weight %wo: f32[8, 8] = splat(0.5)
        weight %one: f32[8] = splat(1.0)
        weight %zero: f32[8] = splat(0.0)
        %q: f32[N, 4, 8] = MatMul(%x, %wq) @"query"
        %k: f32[N, 4, 8] = MatMul(%x, %wk) @"key"
        %j: f32[N, 4, 8] = Add(%k, %bk) @"key.bias"
        %t: f32[N, 8, 4] = Transpose(%j) {perm = [0, 2, 1]} @"transpose"
        %s: f32[N, 4, 4] = MatMul(%q, %t) @"scores"
        %p: f32[N, 4, 4] = Softmax(%s) @"softmax"
        %o: f32[N, 4, 8] = MatMul(%p, %x) @"values"
        %r: f32[N, 4, 8] = Add(%o, %x) @"add"
        %n: f32[N, 4, 8] = LayerNormalization(%r, %one, %zero) @"norm"
        %f: f32[N, 4, 8] = MatMul(%n, %wo) @"up"
        %y: f32[N, 4, 8] = Gelu(%f) @"gelu"
        return %y
    """,
    "depthwise": """
        input %x: f32[N, 6, 9, 9]
        weight %w1: f32[6, 1, 3, 3] = splat(0.5)
        weight %b1: f32[6] = splat(0.5)
        weight %six: f32[] = 6.0
        weight %zero: f32[] = 0.0
        weight %w2: f32[4, 3, 1, 1] = splat(0.5)
        weight %w3: f32[5, 4] = splat(0.5)
        weight %b3: f32[5] = splat(0.5)
        %a: f32[N, 6, 4, 4] = Conv(%x, %w1, %b1) {group = 6, strides = [2, 2]} @"depthwise"
        %b: f32[N, 6, 4, 4] = Clip(%a, %zero, %six) @"relu6"
        %c: f32[N, 4, 4, 4] = Conv(%b, %w2) {group = 2} @"grouped"
        %d: f32[N, 4, 1, 1] = GlobalAveragePool(%c) @"pool"
        %e: f32[N, 4] = Flatten(%d) @"flatten"
        %y: f32[N, 5] = Gemm(%e, %w3, %b3) {transB = 1} @"gemm"
        return %y
    """,
    "transposed": """
        input %x: f32[N, 4, 5, 5]
        weight %w1: f32[4, 3, 2, 2] = splat(0.5)
        weight %b1: f32[6] = splat(0.5)
        weight %w2: f32[4, 6, 3, 3] = splat(0.5)
        %a: f32[N, 6, 10, 10] = ConvTranspose(%x, %w1, %b1) {group = 2, strides = [2, 2]} @"up"
        %b: f32[N, 6, 10, 10] = Relu(%a) @"relu"
        %y: f32[N, 4, 8, 8] = Conv(%b, %w2) @"conv"
        return %y
    """,
    "branches": """
        input %c: bool[]
        input %x: f32[N, 4, 8, 8]
        weight %w1: f32[4, 4, 3, 3] = splat(0.5)
        weight %w2: f32[4, 4, 1, 1] = splat(0.5)
        weight %b2: f32[4] = splat(0.5)
        %a: f32[N, 4, 8, 8] = Conv(%x, %w1) {pads = [1, 1, 1, 1]} @"conv"
        %y: f32[N, 4, 8, 8] = If:21(%c) {then_branch = "then" {
          %t: f32[N, 4, 8, 8] = Conv(%a, %w2, %b2) @"inner"
          %u: f32[N, 4, 8, 8] = Relu(%t) @"inner.relu"
          return %u
        }, else_branch = "else" {
          %e: f32[N, 4, 8, 8] = Conv(%x, %w1) {pads = [1, 1, 1, 1]} @"other"
          return %e
        }} @"if"
        return %y
    """,
}


def draw_weights(graph: Graph, seed: int = 0) -> Graph:
    """Give every float constant of rank 1 and more numbers from a normal distribution; the graph itself."""
    rng = np.random.default_rng(seed)
    for inner in graph.graphs():
        for value in inner.constants:
            if value.data is not None and value.data.dtype == np.float32 and value.data.ndim:
                size = max(1, value.data[0].size if value.data.ndim > 2 else len(value.data))
                value.data = (rng.standard_normal(value.data.shape) / np.sqrt(size)).astype(np.float32)
    return graph


def graph_of_text(text: str) -> Graph:
    """The graph of statements in the text form, `graph main` left out."""
    graph = parse_graph("graph main(opset = 21) {\n" + dedent(text).strip() + "\n}\n")
    verify(graph)
    return graph


def samples_for(graph: Graph, count: int = 8, seed: int = 1, batch: int = 2) -> list[dict[str, Array]]:
    """Inputs for a graph; booleans alternate, so that both branches of an If are taken."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        sample: dict[str, Array] = {}
        for value in graph.inputs:
            type = value.tensor_type
            assert type is not None
            assert type.shape is not None
            shape = [d if isinstance(d, int) else batch for d in type.shape]
            drawn = rng.standard_normal(shape).astype(np.float32)
            sample[value.name] = np.asarray(number % 2 == 0) if type.dtype.text == "bool" else drawn
        found.append(sample)
    return found


def run_onnxruntime(path: Path, sample: Mapping[str, Array], *, optimized: bool = False) -> dict[str, Array]:
    """Outputs by name, with onnxruntime's graph optimizations or without: then every node runs as ONNX defines it."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, dict(sample)), strict=True))


@pytest.fixture
def text_graph() -> Callable[[str], Graph]:
    """Graph of statements in the text form."""
    return graph_of_text


@pytest.fixture
def net() -> Callable[..., Graph]:
    """One of NETS, by name, with drawn weights."""

    def make(name: str, seed: int = 0) -> Graph:
        return draw_weights(graph_of_text(NETS[name]), seed)

    return make


@pytest.fixture
def typical() -> Callable[..., list[dict[str, Array]]]:
    """Inputs for a graph."""
    return samples_for


@pytest.fixture
def in_onnxruntime() -> Callable[..., Any]:
    """Run a file in onnxruntime."""
    return run_onnxruntime


@pytest.fixture
def net_names() -> tuple[str, ...]:
    """The names of the networks."""
    return tuple(NETS)

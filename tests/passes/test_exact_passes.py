"""On random graphs the passes that keep the function, in any order, leave a valid graph that computes the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from irc.analysis.error import relative_error
from irc.execution import Executable
from irc.graph import Graph, Value
from irc.op import Op
from irc.ops.activation import Clip, Relu
from irc.ops.binary import Add, Mul, Sub
from irc.ops.cast import Cast
from irc.ops.conv import Conv
from irc.ops.index import Concat, Gather, Pad, Split
from irc.ops.misc import Dropout
from irc.ops.norm import BatchNormalization
from irc.ops.onnx_op import OnnxOp
from irc.ops.pool import AveragePool
from irc.ops.shape import Identity, Reshape, Shape, Transpose, Unsqueeze
from irc.ops.unary import Neg
from irc.passes.base import Pass
from irc.passes.common_subexpressions import CommonSubexpressions
from irc.passes.context import plain_context
from irc.passes.dedup_weights import DedupWeights
from irc.passes.eliminate_dead import EliminateDead
from irc.passes.fold_batch_norm import FoldBatchNorm
from irc.passes.fold_constants import FoldConstants
from irc.passes.fold_pad import FoldPad
from irc.passes.simplify import Simplify
from irc.text import print_graph
from irc.types import tensor
from irc.verify import verify

PASSES = (
    CommonSubexpressions(),
    DedupWeights(min_bytes=1),
    EliminateDead(),
    FoldBatchNorm(),
    FoldConstants(),
    FoldPad(),
    Simplify(),
)
TOLERANCE = 1e-3  # a few batch norms folded one into another, each within 1e-4
SHAPE = (2, 4, 6, 6)


class Builder:
    """Grows a graph in which every live value is f32[N, 4, 6, 6]."""

    def __init__(self, choose: Callable[[int], int]) -> None:
        self.choose = choose
        self.graph = Graph()
        self.root = self.graph
        self.values = [self.graph.add_input("x", tensor("f32", "N", *SHAPE[1:]))]
        self.flag = self.graph.add_input("flag", tensor("bool"))

    def any(self) -> Value:
        """One of the last values, so that chains get long and some values stay unread."""
        return self.values[-1 - self.choose(min(4, len(self.values)))]

    def floats(self, *shape: int) -> Value:
        """A constant of one of four contents, so that equal ones occur."""
        data = np.random.default_rng(self.choose(4)).normal(size=shape).astype(np.float32) / max(shape or (1,))
        return self.graph.add_constant(data, "c")

    def ints(self, *numbers: int) -> Value:
        return self.graph.add_constant(np.array(numbers, np.int64), "i")

    def number(self, value: float) -> Value:
        return self.graph.add_constant(np.array(value, np.float32), "n")

    def node(self, op: Op, *inputs: Value | None) -> Value:
        return self.graph.insert(op, inputs).output

    def grow(self) -> None:
        made = BLOCKS[self.choose(len(BLOCKS))](self)
        self.values.append(made)


def _neutral(b: Builder) -> Value:
    op, number = [(Add(), 0.0), (Sub(), 0.0), (Mul(), 1.0), (Mul(), 0.5)][b.choose(4)]
    return b.node(op, b.any(), b.number(number))


def _clip(b: Builder) -> Value:
    return b.node(Clip(), b.any(), b.number([-1.0, 0.0, 0.25][b.choose(3)]), b.number([0.5, 6.0][b.choose(2)]))


def _transposes(b: Builder) -> Value:
    once = b.node(Transpose(perm=(0, 2, 3, 1)), b.any())
    if b.choose(2):
        once = b.node(Relu(), once)
    return b.node(Transpose(perm=(0, 3, 1, 2)), once)


def _reshapes(b: Builder) -> Value:
    flat = b.node(Reshape(), b.any(), b.ints(0, -1))
    return b.node(Reshape(), flat, b.ints(-1, 4, 6, 6))


def _conv(b: Builder) -> Value:
    return b.node(Conv(pads=(1, 1, 1, 1)), b.any(), b.floats(4, 4, 3, 3))


def _batch_norm(b: Builder) -> Value:
    var = b.graph.add_constant(np.linspace(0.5, 2, 4, dtype=np.float32), "var")
    return b.node(BatchNormalization(), b.any(), b.floats(4), b.floats(4), b.floats(4), var)


def _pad_and_conv(b: Builder) -> Value:
    padded = b.node(Pad(), b.any(), b.ints(0, 0, 1, 0, 0, 0, 1, 2))
    return b.node(Conv(), padded, b.floats(4, 4, 3, 3))


def _pad_and_pool(b: Builder) -> Value:
    padded = b.node(Pad(), b.any(), b.ints(0, 0, 1, 1, 0, 0, 1, 1))
    return b.node(AveragePool(kernel_shape=(3, 3)), padded)


def _casts(b: Builder) -> Value:
    return b.node(Cast(to=1), b.node(Cast(to=11), b.any()))


def _split_and_concat(b: Builder) -> Value:
    parts = b.graph.insert(Split(axis=1, num_outputs=2), [b.any()], outputs=2).outputs
    return b.node(Concat(axis=1), *(parts if b.choose(2) else parts[::-1]))


def _shape_arithmetic(b: Builder) -> Value:
    source = b.any()
    batch = b.node(Gather(), b.node(Shape(), source), b.graph.add_constant(np.array(0, np.int64), "zero"))
    wanted = b.node(Concat(axis=0), b.node(Unsqueeze(), batch, b.ints(0)), b.ints(4, 6, -1))
    made = b.graph.insert(Reshape(), [source, wanted], types=[tensor("f32", "N", *SHAPE[1:])])
    return made.output


def _constant_expression(b: Builder) -> Value:
    return b.node(Mul(), b.any(), b.node(Add(), b.floats(4, 1, 1), b.number(1.0)))


def _branches(b: Builder) -> Value:
    outer, outside = b.graph, b.values
    condition = b.flag if b.choose(2) else outer.add_constant(np.array(bool(b.choose(2))), "condition")
    node = outer.insert(OnnxOp("", "If", 21), [condition], types=[tensor("f32", "N", *SHAPE[1:])])
    for key in ("then_branch", "else_branch"):
        b.graph, b.values = outer.add_body(node, key), list(outside)
        for _ in range(1 + b.choose(3)):
            b.grow()
        b.graph.add_output(b.values[-1], outer.root.unique_name("branch"))
    b.graph, b.values = outer, outside
    return node.output


BLOCKS: tuple[Callable[[Builder], Value], ...] = (
    lambda b: b.node(Add(), b.any(), b.any()),
    lambda b: b.node(Sub(), b.any(), b.any()),
    lambda b: b.node(Relu(), b.any()),
    lambda b: b.node(Neg(), b.any()),
    lambda b: b.node(Identity(), b.any()),
    lambda b: b.node(Dropout(), b.any()),
    _neutral,
    _clip,
    _transposes,
    _reshapes,
    _conv,
    _batch_norm,
    _pad_and_conv,
    _pad_and_pool,
    _casts,
    _split_and_concat,
    _shape_arithmetic,
    _constant_expression,
    _branches,
)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    builder = Builder(lambda n: draw(st.integers(0, n - 1)))
    for _ in range(draw(st.integers(3, 12))):
        builder.grow()
    for k in range(draw(st.integers(1, 2))):
        builder.graph.add_output(builder.any(), f"y{k}")
    return builder.graph


def _check(graph: Graph, passes: list[Pass]) -> None:
    verify(graph)
    x = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    samples = [{"x": x, "flag": np.array(flag)} for flag in (False, True)]
    before = Executable(graph)
    wanted = [before.run_numpy(sample) for sample in samples]
    for each in passes:
        each.run(graph, plain_context(graph))
        verify(graph)
    after = Executable(graph)
    for sample, outputs in zip(samples, wanted, strict=True):
        got = after.run_numpy(sample)
        assert list(got) == list(outputs)
        for name, array in outputs.items():
            assert got[name].shape == array.shape
            assert relative_error(array, got[name]) <= TOLERANCE


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(graphs(), st.permutations(PASSES))
def test_any_order(graph: Graph, passes: list[Pass]) -> None:
    _check(graph, passes)


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(graphs(), st.permutations(PASSES))
def test_twice_in_any_order(graph: Graph, passes: list[Pass]) -> None:
    _check(graph, [*passes, *passes])


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(graphs())
def test_same_result_every_time(graph: Graph) -> None:
    first, second = graph.copy(), graph.copy()
    for each in PASSES:
        each.run(first, plain_context(first))
        each.run(second, plain_context(second))
    assert print_graph(first) == print_graph(second)

"""Integer ops compute what the FakeQuants they came from compute: codes at most one apart, 99.9 % of them equal.

FakeQuant graphs round products and sums of dequantized floats; integer ops round one fused multiply-add. Only where
that comes near half a code can the two differ, and then by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irc import ops
from irc.execution import Executable
from irc.graph import Graph, Value
from irc.op import Op
from irc.ops.fake_quant import FakeQuant
from irc.passes import LowerToInteger
from irc.passes.context import plain_context
from irc.passes.integer_rules import INTEGER_POLICY
from irc.target import Target
from irc.types import Array, DType, TensorType, type_of_array
from irc.verify import verify

Rng = np.random.Generator


class Net:
    """A graph in the making, with numbers for its inputs."""

    def __init__(self, rng: Rng) -> None:
        self.rng = rng
        self.graph = Graph()
        self.inputs: dict[str, Array] = {}
        self.step = 1.0

    def constant(self, data: Any, dtype: Any = np.float32) -> Value:
        return self.graph.add_constant(np.asarray(data, dtype), "c")

    def op(self, op: Op, *inputs: Value | None) -> Value:
        return self.graph.insert(op, inputs).output

    def quantized(self, value: Value, low: float, high: float) -> Value:
        """The value through a FakeQuant of uint8, or of int8, whose codes span about [low, high]."""
        signed = bool(self.rng.integers(2))
        jitter = self.rng.uniform(0.95, 1.05)  # scales in simple ratios would make exact halves of a code common
        self.step = float(np.float32((high - low) / 255 * jitter))
        zero_point = int(np.clip(np.rint(-low / self.step), 0, 255)) - 128 * signed
        op = FakeQuant(qmin=-128 * signed, qmax=255 - 128 * signed)
        return self.op(op, value, self.constant(self.step), self.constant(zero_point, np.int32))

    def data(self, *shape: int, reach: float = 1.2) -> Value:
        """An input of [-reach, reach], in codes of about [-1, 1] or less on one side: some saturate."""
        name = f"x{len(self.inputs)}"
        self.inputs[name] = self.rng.uniform(-reach, reach, shape).astype(np.float32)
        low, high = -self.rng.choice([0, 0.3, 1]), self.rng.choice([0.5, 1])
        return self.quantized(self.graph.add_input(name, type_of_array(self.inputs[name])), low, high)

    def weight(self, *shape: int, axis: int) -> Value:
        data = self.rng.uniform(-1, 1, shape).astype(np.float32)
        scale = (self.rng.uniform(0.5, 1, shape[axis]) / 127).astype(np.float32)  # some weights saturate
        zeros = np.zeros(shape[axis], np.int32)
        return self.op(
            FakeQuant(axis=axis, qmin=-127), self.constant(data), self.constant(scale), self.constant(zeros, np.int32)
        )

    def clamped(self, value: Value, reach: float) -> Value:
        """No activation, or a Relu, or a Clip."""
        kind = self.rng.integers(3)
        if kind == 0:
            return value
        if kind == 1:
            return self.op(ops.Relu(), value)
        return self.op(ops.Clip(), value, self.constant(-0.3 * reach), self.constant(0.7 * reach))

    def finish(self, value: Value, reach: float) -> None:
        """Clamp, quantize and give out a value of about [-reach, reach]."""
        low = -self.rng.choice([0.1, 0.8]) * reach
        self.graph.add_output(self.quantized(self.clamped(value, reach), low, reach), "y")


def convolution(net: Net) -> None:
    rank, group = int(net.rng.integers(1, 4)), int(net.rng.integers(1, 4))
    c, m = int(net.rng.integers(1, 4)), int(net.rng.integers(1, 4)) * group
    kernel = net.rng.integers(1, 4, rank).tolist()
    x = net.data(2, c * group, *net.rng.integers(7, 9, rank).tolist())
    op = ops.Conv(
        strides=tuple(net.rng.integers(1, 3, rank).tolist()),
        pads=tuple(net.rng.integers(0, 3, 2 * rank).tolist()),
        dilations=tuple(net.rng.integers(1, 3, rank).tolist()),
        group=group,
    )
    bias = net.constant(net.rng.uniform(-1, 1, m)) if net.rng.integers(2) else None
    reach = np.sqrt(c * np.prod(kernel)) + 0.5
    y = net.op(op, x, net.weight(m, c, *kernel, axis=0), bias)
    if net.rng.integers(2):
        assert isinstance(y.type, TensorType)
        y = net.op(ops.Add(), y, net.data(*y.type.static_shape, reach=reach))
    net.finish(y, reach)


def matrix(net: Net) -> None:
    k, n = net.rng.integers(1, 60, 2).tolist()
    if net.rng.integers(2):
        turned = int(net.rng.integers(2))
        weight = net.weight(*((n, k) if turned else (k, n)), axis=1 - turned)
        y = net.op(ops.Gemm(alpha=0.5, transB=turned), net.data(9, k), weight, net.constant(net.rng.uniform(-1, 1, n)))
    else:
        y = net.op(ops.MatMul(), net.data(2, 3, k), net.weight(k, n, axis=1))
        y = net.op(ops.Sub(), y, net.constant(net.rng.uniform(-1, 1, n)))
        y = net.op(ops.Mul(), y, net.constant(0.5))
        if net.rng.integers(2):
            y = net.op(ops.Add(), net.data(2, 3, n), y)
    net.finish(y, np.sqrt(k) / 2 + 0.5)


def two_data(net: Net) -> None:
    m, k, n = net.rng.integers(1, 30, 3).tolist()
    y = net.op(ops.MatMul(), net.data(2, 1, m, k), net.data(3, k, n))
    y = net.op(ops.Div(), y, net.constant(np.sqrt(k)))
    net.finish(y, 0.8)


def arithmetic(net: Net) -> None:
    op: Op = [ops.Add(), ops.Sub(), ops.Mul()][int(net.rng.integers(3))]
    shapes = [((3, 5, 7), (3, 5, 7)), ((3, 5, 7), (7,)), ((2, 3, 1), (4, 1, 3, 5))]
    a, b = shapes[int(net.rng.integers(3))]
    net.finish(net.op(op, net.data(*a), net.data(*b)), 1.5)


def means(net: Net) -> None:
    x = net.data(2, 8, 7, 9)
    which = int(net.rng.integers(3))
    pool = ops.AveragePool(
        (3, 2),
        strides=tuple(net.rng.integers(1, 3, 2).tolist()),
        pads=tuple(net.rng.integers(0, 2, 4).tolist()),
        count_include_pad=int(net.rng.integers(2)),
        ceil_mode=int(net.rng.integers(2)),
    )
    if which == 0:
        net.finish(net.op(pool, x), 0.7)
    elif which == 1:
        net.finish(net.op(ops.GlobalAveragePool(), x), 0.3)
    else:
        axes = net.constant([-1, 1], np.int64)
        net.finish(net.op(ops.ReduceMean(keepdims=int(net.rng.integers(2))), x, axes), 0.3)


def functions(net: Net) -> None:
    unary: list[Op] = [ops.Sigmoid(), ops.HardSwish(), ops.Gelu(), ops.Tanh(), ops.LeakyRelu(0.1), ops.Elu(), ops.Exp()]
    x = net.data(4, 9, 11)
    y = net.op(unary[int(net.rng.integers(len(unary)))], x)
    if net.rng.integers(2):
        y = net.quantized(y, -1, 1)
    if net.rng.integers(2):
        y = net.op(ops.Mul(), x, y)
    net.finish(net.op(ops.Add(), y, net.constant(0.1)), 1.0)


def movements(net: Net) -> None:
    """Branches of unlike scales that are moved, joined and summed up."""
    x = net.data(2, 3, 6, 6)
    y = net.op(ops.Transpose((0, 1, 3, 2)), net.data(2, 5, 6, 6))
    joined = net.quantized(net.op(ops.Concat(axis=1), x, y), -1, 1)
    pooled = net.op(ops.MaxPool((2, 2), strides=(2, 2)), joined)
    net.finish(net.op(ops.Add(), pooled, net.data(2, 8, 3, 3)), 1.6)


def lowered(graph: Graph) -> Graph:
    made = graph.copy()
    LowerToInteger().run(made, plain_context(made, target=Target("integer", "c", "", INTEGER_POLICY)))
    verify(made)
    return made


def all_integer(graph: Graph) -> bool:
    """Whether floats are only what comes in and goes out."""
    inner = [n for n in graph if n.op.name not in ("QuantizeLinear", "DequantizeLinear")]
    return all(v.type.dtype is DType.U8 for n in inner for v in n.outputs if isinstance(v.type, TensorType))


@pytest.mark.parametrize(
    ("build", "whole"),
    [
        (convolution, {"QConv"}),
        (matrix, {"QMatMul"}),
        (two_data, {"QBatchMatMul"}),
        (arithmetic, {"QAdd", "QMul"}),
        (means, {"QAveragePool", "QReduceMean"}),
        (functions, {"QLookup"}),
        (movements, {"Transpose", "QLookup", "Concat", "MaxPool", "QAdd"}),
    ],
)
def test_codes_are_those_of_the_fake_quants(build: Callable[[Net], None], whole: set[str]) -> None:
    counts = np.zeros(2, int)
    seen: set[str] = set()

    @settings(deadline=None, max_examples=100)
    @given(st.integers(0, 2**32 - 1))
    def compare(seed: int) -> None:
        net = Net(np.random.default_rng(seed))
        build(net)
        verify(net.graph)
        made = lowered(net.graph)
        assert all_integer(made)
        seen.update(n.op.name for n in made)
        wanted, got = (Executable(g).run_numpy(net.inputs)["y"] for g in (net.graph, made))
        assert wanted.shape == got.shape
        apart = np.abs(np.rint(wanted / net.step) - np.rint(got / net.step))
        assert apart.max(initial=0) <= 1
        counts[:] += (apart == 0).sum(), apart.size

    compare()
    assert seen == whole | {"QuantizeLinear", "DequantizeLinear"}
    assert counts[1] > 2_000
    assert counts[0] >= 0.999 * counts[1], counts

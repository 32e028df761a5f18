"""A batch norm becomes part of the product next to it where that is the same function, and says why where it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from irc.graph import Graph
from irc.op import Op
from irc.ops.activation import Relu
from irc.ops.binary import Add, Mul
from irc.ops.conv import Conv, ConvTranspose
from irc.ops.linear import Gemm, MatMul
from irc.ops.norm import BatchNormalization
from irc.passes.context import plain_context
from irc.passes.fold_batch_norm import FoldBatchNorm
from irc.types import Array, tensor

Transform = Callable[..., Any]  # the fixture of conftest.py

RNG = np.random.default_rng(0)


def _floats(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


class Net:
    """A chain of nodes, built one by one."""

    def __init__(self, *dims: int | str) -> None:
        self.graph = Graph()
        self.value = self.graph.add_input("x", tensor("f32", *dims))

    def add(self, op: Op, *constants: Array, name: str, weights: tuple[str, ...] = ()) -> Net:
        names = [*weights, *(f"{name}.{k}" for k in range(len(weights), len(constants)))]
        inputs = [self.graph.add_constant(c, n) for c, n in zip(constants, names, strict=True)]
        self.value = self.graph.insert(op, [self.value, *inputs], name=name).output
        return self

    def norm(self, channels: int, name: str = "bn", **options: int) -> Net:
        scale, bias, mean = _floats(channels), _floats(channels), _floats(channels)
        var = RNG.uniform(0.5, 2.0, channels).astype(np.float32)
        return self.add(BatchNormalization(**options), scale, bias, mean, var, name=name)

    def done(self) -> Graph:
        self.graph.add_output(self.value, "y")
        return self.graph


BEHIND = {
    "conv": ((2, 4, 7, 7), Conv(pads=(1, 1, 1, 1)), (_floats(6, 4, 3, 3),), 6),
    "conv with bias": ((2, 4, 7, 7), Conv(), (_floats(6, 4, 3, 3), _floats(6)), 6),
    "grouped": ((2, 4, 7, 7), Conv(group=2), (_floats(6, 2, 3, 3), _floats(6)), 6),
    "depthwise": ((2, 4, 7, 7), Conv(group=4), (_floats(4, 1, 3, 3),), 4),
    "conv 1d": ((2, 4, 7), Conv(), (_floats(6, 4, 3),), 6),
    "conv 3d": ((1, 2, 4, 4, 4), Conv(), (_floats(3, 2, 2, 2, 2),), 3),
    "transposed": ((2, 4, 5, 5), ConvTranspose(strides=(2, 2)), (_floats(4, 6, 3, 3),), 6),
    "transposed, grouped": ((2, 4, 5, 5), ConvTranspose(group=2), (_floats(4, 3, 3, 3), _floats(6)), 6),
    "gemm": ((3, 4), Gemm(), (_floats(4, 5),), 5),
    "gemm, all attributes": ((4, 3), Gemm(0.5, 2.0, 1, 1), (_floats(5, 4), _floats(1, 5)), 5),
    "gemm, one bias": ((3, 4), Gemm(transB=1), (_floats(5, 4), _floats(1)), 5),
    "gemm, full bias": ((3, 4), Gemm(transB=1, beta=0.5), (_floats(5, 4), _floats(3, 5)), 5),
    "matmul": ((3, 4), MatMul(), (_floats(4, 5),), 5),
}


@pytest.mark.parametrize("case", BEHIND)
def test_behind(transform: Transform, case: str) -> None:
    dims, op, constants, channels = BEHIND[case]
    made = transform(FoldBatchNorm(), Net(*dims).add(op, *constants, name="layer").norm(channels).done())
    assert made.ops() == ["Gemm" if isinstance(op, MatMul) else op.name]
    assert made.declined == {}


BEFORE = {
    "conv": ((2, 4, 7, 7), Conv(), (_floats(6, 4, 3, 3),)),
    "grouped": ((2, 4, 7, 7), Conv(group=2, auto_pad="VALID"), (_floats(6, 2, 3, 3), _floats(6))),
    "gemm": ((3, 4), Gemm(alpha=0.5, beta=2.0), (_floats(4, 5), _floats(5))),
    "gemm, transposed": ((3, 4), Gemm(transB=1), (_floats(5, 4),)),
    "matmul": ((3, 4), MatMul(), (_floats(4, 5),)),
}


@pytest.mark.parametrize("case", BEFORE)
def test_before(transform: Transform, case: str) -> None:
    dims, op, constants = BEFORE[case]
    made = transform(FoldBatchNorm(), Net(*dims).norm(4).add(op, *constants, name="layer").done())
    assert made.ops() == ["Gemm" if isinstance(op, MatMul) else op.name]


def test_before_padding_with_zero_bias(transform: Transform) -> None:
    net = Net(1, 4, 7, 7)
    zeros = np.zeros(4, np.float32)
    net.add(BatchNormalization(), _floats(4), zeros, zeros, np.ones(4, np.float32), name="bn")
    made = transform(FoldBatchNorm(), net.add(Conv(pads=(1, 1, 1, 1)), _floats(6, 4, 3, 3), name="conv").done())
    assert made.ops() == ["Conv"]


def test_two_in_a_row(transform: Transform) -> None:
    net = Net(1, 4, 7, 7).add(Conv(), _floats(6, 4, 3, 3), name="conv").norm(6, "bn1").norm(6, "bn2")
    assert transform(FoldBatchNorm(), net.done()).ops() == ["Conv"]


def test_names(transform: Transform) -> None:
    net = Net(1, 4, 7, 7).add(Conv(), _floats(6, 4, 3, 3), name="conv", weights=("stem.0.weight",)).norm(6)
    made = transform(FoldBatchNorm(), net.done())
    assert made.ops() == ["Conv"]
    assert [c.name for c in made.graph.constants] == ["stem.0.weight", "stem.0.bias"]


def test_shared_weight_is_copied(transform: Transform) -> None:
    net = Net(1, 4, 7, 7).add(Conv(), _floats(6, 4, 3, 3), name="first", weights=("w",))
    graph = net.graph
    other = graph.insert(Conv(), [graph.inputs[0], graph.value("w")], name="second")
    before = np.array(graph.value("w").data)
    graph.add_output(other.output, "z")
    transform(FoldBatchNorm(), net.norm(6).done())
    assert graph.node("second").inputs[1] is graph.value("w")
    assert np.array_equal(np.array(graph.value("w").data), before)
    assert graph.node("first").inputs[1] is graph.value("w_1")


def test_float64_weight_stays_float64(transform: Transform) -> None:
    graph = Graph()
    x = graph.add_input("x", tensor("f64", 1, 2, 4, 4))
    constants = [graph.add_constant(RNG.uniform(0.5, 1, 2)) for _ in range(4)]
    conv = graph.insert(Conv(), [x, graph.add_constant(RNG.normal(size=(2, 2, 3, 3)), "w")])
    graph.add_output(graph.insert(BatchNormalization(), [conv.output, *constants]).output, "y")
    assert transform(FoldBatchNorm(), graph).ops() == ["Conv"]
    assert np.array(graph.value("w").data).dtype == np.float64


# ---- Mul and Add of one constant a channel


@pytest.mark.parametrize("order", [(Mul(), Add()), (Add(), Mul())])
@pytest.mark.parametrize("bias", [False, True])
def test_scale_and_shift_behind_a_conv(transform: Transform, order: tuple[Op, Op], bias: bool) -> None:
    net = Net(1, 4, 7, 7).add(Conv(), _floats(6, 4, 3, 3), *([_floats(6)] if bias else []), name="conv").norm(6)
    for k, op in enumerate(order):
        net.add(op, _floats(6, 1, 1), name=f"affine{k}")
    assert transform(FoldBatchNorm(), net.done()).ops() == ["Conv"]


def test_scale_and_shift_behind_a_batch_norm_that_stays(transform: Transform) -> None:
    net = Net(1, 4, 7, 7).add(Relu(), name="relu").norm(4)
    made = transform(
        FoldBatchNorm(), net.add(Mul(), _floats(1, 4, 1, 1), name="m").add(Add(), _floats(4, 1, 1), name="a").done()
    )
    assert made.ops() == ["Relu", "BatchNormalization"]


@pytest.mark.parametrize("constant", [_floats(7), _floats(7, 1), _floats(1, 6, 7, 7)])
def test_mul_by_other_constants_stays(transform: Transform, constant: Array) -> None:
    net = Net(1, 4, 9, 9).add(Conv(), _floats(6, 4, 3, 3), name="conv").add(Mul(), constant, name="mul")
    assert transform(FoldBatchNorm(), net.done()).ops() == ["Conv", "Mul"]


# ---- declined


def _with_weight_input() -> Graph:
    net = Net(1, 4, 5, 5)
    w = net.graph.add_input("w", tensor("f32", 6, 4, 3, 3))
    net.value = net.graph.insert(Conv(), [net.value, w], name="conv").output
    return net.norm(6).done()


def _read_twice() -> Graph:
    net = Net(1, 4, 5, 5).add(Conv(), _floats(6, 4, 3, 3), name="conv")
    net.graph.add_output(net.graph.insert(Relu(), [net.value], name="relu").output, "z")
    return net.norm(6).done()


def _given_out() -> Graph:
    net = Net(1, 4, 5, 5).add(Conv(), _floats(6, 4, 3, 3), name="conv")
    net.graph.add_output(net.value, "z")
    return net.norm(6).done()


def _statistic_not_constant() -> Graph:
    net = Net(1, 4, 5, 5).add(Conv(), _floats(6, 4, 3, 3), name="conv").norm(6)
    net.graph.node("bn").set_input(3, net.graph.add_input("mean", tensor("f32", 6)))
    return net.done()


def _no_variance() -> Graph:
    net = Net(1, 4, 5, 5).add(Conv(), _floats(6, 4, 3, 3), name="conv")
    zeros = np.zeros(6, np.float32)
    return net.add(BatchNormalization(epsilon=0.0), _floats(6), zeros, zeros, zeros, name="bn").done()


def _half() -> Graph:
    graph = Graph()
    x = graph.add_input("x", tensor("f16", 1, 2, 4, 4))
    constants = [graph.add_constant(RNG.uniform(0.5, 1, 2).astype(np.float16)) for _ in range(4)]
    conv = graph.insert(Conv(), [x, graph.add_constant(_floats(2, 2, 3, 3).astype(np.float16), "w")], name="conv")
    graph.add_output(graph.insert(BatchNormalization(), [conv.output, *constants], name="bn").output, "y")
    return graph


DECLINED: dict[str, Callable[[], Graph]] = {
    "comes from Relu 'relu'": lambda: (
        Net(1, 4, 5, 5).add(Conv(), _floats(6, 4, 3, 3), name="conv").add(Relu(), name="relu").norm(6).done()
    ),
    "'x' is not computed by": lambda: Net(1, 4, 5, 5).norm(4).add(Relu(), name="relu").done(),
    "weight of Conv 'conv' is not a constant": _with_weight_input,
    "'conv' is read by Relu 'relu' too": _read_twice,
    "'conv' is read by graph output of 'main' too": _given_out,
    "its mean is not a constant": _statistic_not_constant,
    "Conv 'conv' behind it pads with zeros": lambda: (
        Net(1, 4, 5, 5).norm(4).add(Conv(pads=(1, 1, 1, 1)), _floats(6, 4, 3, 3), name="conv").done()
    ),
    "would not be finite": _no_variance,
    "the weight of Conv 'conv' is float16": _half,
    "not a product of two matrices": lambda: Net(2, 3, 4).add(MatMul(), _floats(4, 3), name="mm").norm(3).done(),
}


@pytest.mark.parametrize("reason", DECLINED)
def test_declined(transform: Transform, reason: str) -> None:
    graph = DECLINED[reason]()
    made = transform(FoldBatchNorm(), graph)
    assert "BatchNormalization" in made.ops()
    assert reason in made.declined["bn"]


def test_training_mode() -> None:
    net = Net(1, 4, 5, 5).add(Conv(), _floats(6, 4, 3, 3), name="conv")
    constants = [net.graph.add_constant(_floats(6)) for _ in range(4)]
    op = BatchNormalization(training_mode=1)
    net.value = net.graph.insert(op, [net.value, *constants], name="bn", outputs=3).output
    graph = net.done()
    context = plain_context(graph)
    FoldBatchNorm().run(graph, context)
    assert len(graph) == 2
    assert "training mode" in context.row.declined[0].reason


def test_lowered_where_it_is_wanted(transform: Transform) -> None:
    graph = Net(1, 4, 5, 5).norm(4).add(Relu(), name="relu").done()
    assert transform(FoldBatchNorm(lower=True), graph).ops() == ["Mul", "Add", "Relu"]

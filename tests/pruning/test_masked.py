"""The reference that pruning is held to is right: masking by labels gives what ops give on the survivors alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import irc
from irc.graph import Graph, Value
from irc.op import Op
from irc.ops.activation import Sigmoid
from irc.ops.binary import Add, Div
from irc.ops.conv import Conv
from irc.ops.index import Gather
from irc.ops.norm import (
    GroupNormalization,
    InstanceNormalization,
    LayerNormalization,
    LpNormalization,
    MeanVarianceNormalization,
    RMSNormalization,
)
from irc.ops.reduce import (
    ReduceL1,
    ReduceL2,
    ReduceLogSum,
    ReduceLogSumExp,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceProd,
    ReduceSum,
    ReduceSumSquare,
)
from irc.ops.shape import Reshape
from irc.types import Array, tensor
from tests.pruning.masked import random_inputs, run_masked

ROUNDING = 1e-5  # float32 sums of a few dozen numbers of about 1, in two orders
RANDOM = np.random.default_rng(0)
KEEP = np.array([True, True, False, True, True, False, True])  # labels 2 and 5 go; six channels have labels 1 to 6
ALIVE = KEEP[1:]


@dataclass
class Stub:
    """Labels written by hand."""

    labels: dict[Value, Array]
    shapes: dict[Value, tuple[int, ...]] = field(default_factory=dict)

    def mask(self, value: Value, keep: Array, /) -> Array:
        made: Array = keep[self.labels[value]]
        return made


def channels(shape: tuple[int, ...], axis: int) -> Array:
    """Labels 1, 2, … along an axis."""
    place = [1] * len(shape)
    place[axis] = shape[axis]
    return np.broadcast_to(np.arange(1, shape[axis] + 1).reshape(place), shape)


def drawn(*shape: int) -> Array:
    return RANDOM.uniform(0.5, 2, shape).astype(np.float32) * RANDOM.choice([-1, 1], shape).astype(np.float32)


def test_activations_are_zero_where_they_were_removed() -> None:
    """Behind a bias and a sigmoid too, which make something of nothing."""
    graph = Graph()
    x = graph.add_input("x", tensor("f32", 2, 3, 5, 5))
    w1, b1, w2 = drawn(6, 3, 3, 3), drawn(6), drawn(4, 6, 1, 1)
    a = graph.insert(Conv(), [x, graph.add_constant(w1), graph.add_constant(b1)]).output
    s = graph.insert(Sigmoid(), [a]).output
    y = graph.insert(Conv(), [s, graph.add_constant(w2)]).output
    graph.add_output(y, "y")
    stub = Stub({v: channels((2, 6, 3, 3), 1) for v in (a, s)})
    data = drawn(2, 3, 5, 5)
    (made,) = run_masked(graph, stub, KEEP, {"x": data}).values()
    t = [torch.from_numpy(each) for each in (data, w1[ALIVE], b1[ALIVE], w2[:, ALIVE])]
    small = torch.conv2d(torch.sigmoid(torch.conv2d(t[0], t[1], t[2])), t[3])
    np.testing.assert_allclose(made, small, atol=ROUNDING * float(small.abs().max()))


# op, axis of the channels, whether it has a scale and a bias along that axis, axes input
SURVIVORS: list[tuple[Op, int, int, tuple[int, ...] | None]] = [
    (LayerNormalization(), 3, 2, None),
    (LayerNormalization(epsilon=0.1), 3, 1, None),
    (RMSNormalization(), 3, 1, None),
    (MeanVarianceNormalization(axes=(1,)), 1, 0, None),
    (MeanVarianceNormalization(axes=(0, 1, 3)), 1, 0, None),
    (LpNormalization(axis=1), 1, 0, None),
    (InstanceNormalization(), 1, 2, None),
    (GroupNormalization(num_groups=1), 1, 2, None),
    *[
        (kind(), axis, 0, axes)
        for kind in (ReduceMean, ReduceMax, ReduceMin, ReduceProd, ReduceLogSumExp, ReduceL1, ReduceL2, ReduceSum)
        for axis, axes in ((1, (1,)), (2, (1, 2)))
    ],
    (ReduceSumSquare(keepdims=0), 1, 0, (1,)),
    (ReduceMean(keepdims=0), 1, 0, (1, 2, 3)),
    (ReduceMean(), 1, 0, None),
    (ReduceMax(keepdims=0), 3, 0, (3, -3)),
]


@pytest.mark.parametrize("case", SURVIVORS, ids=lambda c: f"{c[0].name}-{c[1]}-{c[3]}")
def test_statistics_are_those_of_the_survivors(case: tuple[Op, int, int, tuple[int, ...] | None]) -> None:
    op, axis, parameters, axes = case
    shape = tuple(6 if k == axis else k + 2 for k in range(4))
    graph = Graph()
    x = graph.add_input("x", tensor("f32", *shape))
    weights = [drawn(6) for _ in range(parameters)]
    constants: list[Array] = [np.array(axes, np.int64)] if axes is not None else list(weights)
    y = graph.insert(op, [x, *map(graph.add_constant, constants)]).output
    graph.add_output(y, "y")
    data = drawn(*shape)
    stub = Stub({x: channels(shape, axis)})
    type = y.tensor_type
    assert type is not None
    if type.shape == shape:
        stub.labels[y] = stub.labels[x]
    (made,) = run_masked(graph, stub, KEEP, {"x": data}).values()
    rest = [each[ALIVE] for each in weights] if axes is None else constants
    small = op.run(*(torch.from_numpy(np.compress(ALIVE, data, axis)), *map(torch.from_numpy, rest))).numpy()
    if y in stub.labels:
        assert not np.compress(~ALIVE, made, axis).any()
        made = np.compress(ALIVE, made, axis)
    np.testing.assert_allclose(made, small, rtol=ROUNDING, atol=ROUNDING * np.abs(small).max())


def test_log_of_a_sum_does_not_see_zeros() -> None:
    graph = Graph()
    x = graph.add_input("x", tensor("f32", 2, 6))
    y = graph.insert(ReduceLogSum(), [x, graph.add_constant(np.array([1]))]).output
    graph.add_output(y, "y")
    data = np.abs(drawn(2, 6))
    (made,) = run_masked(graph, Stub({x: channels((2, 6), 1)}), KEEP, {"x": data}).values()
    np.testing.assert_allclose(made, np.log(data[:, ALIVE].sum(1, keepdims=True)), rtol=ROUNDING)


def test_every_group_of_a_norm_has_statistics_of_its_own_survivors() -> None:
    graph = Graph()
    x = graph.add_input("x", tensor("f32", 2, 6, 3))
    scale, bias = drawn(6), drawn(6)
    y = graph.insert(GroupNormalization(2), [x, graph.add_constant(scale), graph.add_constant(bias)]).output
    graph.add_output(y, "y")
    data, stub = drawn(2, 6, 3), Stub({v: channels((2, 6, 3), 1) for v in (x, y)})
    (made,) = run_masked(graph, stub, KEEP, {"x": data}).values()
    rest = (torch.from_numpy(each) for each in (data[:, ALIVE], scale[ALIVE], bias[ALIVE]))
    small = GroupNormalization(2).run(*rest)
    np.testing.assert_allclose(made[:, ALIVE], small, atol=ROUNDING * 5)


def test_what_divides_by_a_removed_element_is_zero_too() -> None:
    """Zero over zero is no number, and a mask that is multiplied leaves it one."""
    graph = Graph()
    x = graph.add_input("x", tensor("f32", 2, 6))
    y = graph.insert(LpNormalization(axis=0), [x]).output
    z = graph.insert(Div(), [y, x]).output
    graph.add_output(z, "z")
    stub = Stub({v: channels((2, 6), 1) for v in (x, y, z)})
    (made,) = run_masked(graph, stub, KEEP, {"x": drawn(2, 6)}).values()
    assert np.isfinite(made).all()
    assert not made[:, ~ALIVE].any()


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("states", [False, True], ids=["zero", "given"])
def test_removed_units_of_a_recurrence_do_nothing(kind: type[nn.LSTM | nn.GRU], states: bool) -> None:
    """Each direction loses units of its own; the rest is the torch module with sliced weights."""
    torch.manual_seed(0)
    net = kind(3, 6, bidirectional=True).eval()
    x, start = torch.randn(4, 2, 3), torch.randn(2, 2, 6)
    given = ((start, start.flip(0)) if kind is nn.LSTM else start) if states else None
    graph = irc.load(_States(net, given), example_inputs=(x,))
    (node,) = (node for node in graph if node.op.name == net.mode)
    labels = np.arange(1, 13).reshape(1, 2, 1, 6)  # a label for each unit of each direction
    alive = np.array([[1, 0, 1, 1, 0, 1], [0, 1, 1, 1, 0, 1]], bool)
    keep = np.concatenate([[True], alive.reshape(-1)])
    stub = Stub({node.output: np.broadcast_to(labels, (4, 2, 2, 6))})
    (made,) = run_masked(graph, stub, keep, {graph.inputs[0].name: x.numpy()}).values()
    small = kind(3, 4, bidirectional=True).eval()
    gates = {"LSTM": 4, "GRU": 3}[net.mode]
    for name, parameter in small.named_parameters():
        units = alive[int("reverse" in name)]
        whole = dict(net.named_parameters())[name].detach()
        left = whole.reshape(gates, 6, *whole.shape[1:])[:, units].reshape(-1, *whole.shape[1:])
        parameter.data = left[:, units].clone() if "weight_hh" in name else left
    with torch.no_grad():
        wanted = small(x, _left(given, alive))[0].numpy()
    np.testing.assert_allclose(made[..., alive.reshape(-1)], wanted, atol=ROUNDING)
    assert not made[..., ~alive.reshape(-1)].any()


def _left(states: Any, alive: Array) -> Any:
    """The states, (directions, batch, hidden), of what is left of each direction."""
    if isinstance(states, tuple):
        return tuple(_left(each, alive) for each in states)
    return None if states is None else torch.stack([states[d][:, alive[d]] for d in (0, 1)])


class _States(nn.Module):
    """A recurrence from given states, without its last one."""

    def __init__(self, net: nn.Module, given: Any) -> None:
        super().__init__()
        self.net, self.given = net, given

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.net(x, self.given)[0]
        return made


def test_inputs_are_words_that_all_embeddings_have() -> None:
    graph = Graph()
    words = graph.add_input("words", tensor("i64", 40))
    graph.add_input("mask", tensor("i64", 40))
    graph.add_input("x", tensor("f32", 40))
    flat = graph.insert(Reshape(), [words, graph.add_constant(np.array([-1]))]).output
    made = [
        graph.insert(Gather(), [graph.add_constant(drawn(rows, 2)), v]).output for rows, v in ((9, words), (5, flat))
    ]
    graph.add_output(graph.insert(Add(), made).output)
    given = random_inputs(graph, Stub({}, dict.fromkeys(graph.inputs, (40,))))
    assert set(given["words"].tolist()) == {0, 1, 2, 3, 4}
    assert (given["mask"] == 1).all()
    assert given["x"].std() > 0.5
    assert random_inputs(graph, Stub({}, dict.fromkeys(graph.inputs, (3,))), seed=1)["x"].shape == (3,)

"""A constant that is read in several ways loses channels only where they go, and is whole wherever else it is read."""

from __future__ import annotations

import numpy as np

from irc.graph import Node, Value
from irc.ops.activation import Relu
from irc.ops.binary import Add
from irc.ops.conv import Conv
from irc.ops.index import Gather
from irc.ops.linear import MatMul
from irc.ops.pool import GlobalAveragePool
from irc.ops.reduce import ReduceSum
from irc.ops.shape import Transpose
from irc.types import tensor
from tests.pruning.random_graphs import Builder
from tests.pruning.removal import Traced, check_masked, draw, traced


def net() -> tuple[Builder, Value]:
    """Two convolutions, the first of 3 channels to 8, whose weight is given too."""
    b = Builder()
    b.conv(b.open[0], 8, 3)
    (x,) = b.open
    b.graph.add_output(b.op(GlobalAveragePool(), b.op(Conv(), b.op(Relu(), x), b.weight(5, 8, 1, 1, fan=8))), "y")
    assert x.producer is not None
    weight = x.producer.input(1)
    assert weight is not None
    return b, weight


def check(b: Builder, *groups: tuple[str, int]) -> Traced:
    """The groups are these, and whatever goes of them, what is left equals the masked original."""
    model = traced(b.graph)
    assert [(group.name, len(group.units)) for group in model.channels.groups] == list(groups)
    for seed in range(3):
        units = draw(model.channels, seed)
        assert bool(units) == bool(groups)
        check_masked(model, units)
    return model


def reasons(model: Traced) -> list[str]:
    return [barrier.reason for barrier in model.channels.barriers]


def test_a_sum_over_the_weight_is_over_all_of_it() -> None:
    b, weight = net()
    total = b.op(ReduceSum(keepdims=0), weight, b.ints(1, 2, 3))
    b.graph.add_output(total, "sum")
    model = check(b, ("Conv", 8))
    pruned, made = check_masked(model, draw(model.channels, 0))
    assert made["sum"].shape == (8,)
    shapes = [each.data.shape for each in pruned.constants if each.data is not None and each.name.startswith("weight")]
    assert {(8, 3, 3, 3), (1, 3, 3, 3)} <= set(shapes)


def test_a_weight_that_is_added_to_an_input_is_whole() -> None:
    b, weight = net()
    b.graph.add_output(b.op(Add(), weight, b.graph.add_input("z", tensor("f32", 8, 3, 3, 3))), "z2")
    check(b, ("Conv", 8))


def test_a_weight_that_is_an_output_is_whole() -> None:
    b, weight = net()
    b.graph.add_output(weight, "w")
    check(b, ("Conv", 8))


def test_a_weight_that_is_added_to_other_channels_goes_with_those() -> None:
    """Along its second axis it loses what the sum loses, along its first nothing: the batch stays."""
    b = Builder()
    x = b.graph.add_input("samples", tensor("f32", 8, 3, 1, 1))
    weight = b.weight(8, 6, 1, 1)
    first = b.op(Relu(), b.op(Conv(), b.op(Relu(), b.op(Conv(), x, b.weight(6, 3, 1, 1))), weight))
    other = b.op(Add(), b.op(Conv(), x, b.weight(6, 3, 1, 1)), weight)
    for name, value in (("first", first), ("other", other)):
        channels = b.shape(value)[1]
        b.graph.add_output(b.op(Conv(), value, b.weight(2, channels, 1, 1)), name)
    model = traced(b.graph)
    assert sorted(len(group.units) for group in model.channels.groups) == [6, 6, 8]
    for seed in range(3):
        pruned, _ = check_masked(model, draw(model.channels, seed))
        assert [d.shape[0] for n in pruned if isinstance(n.op, Add) if (d := n.constant(1)) is not None] == [8]


def test_a_shared_bias_becomes_two() -> None:
    b = Builder()
    x, bias = b.graph.inputs[0], b.weight(8)
    for name in ("y", "z"):
        h = b.op(Relu(), b.op(Conv(), x, b.weight(8, 3, 1, 1), bias))
        b.graph.add_output(b.op(Conv(), h, b.weight(2, 8, 1, 1)), name)
    model = traced(b.graph)
    first, second = model.channels.groups
    pruned, _ = check_masked(model, [*first.units[:3], *second.units[2:7]])
    biases = [node.constant(2) for node in pruned if isinstance(node.op, Conv) and node.constant(2) is not None]
    assert sorted(each.size for each in biases if each is not None) == [3, 5]


def test_a_weight_that_also_reads_the_input_keeps_its_input_channels() -> None:
    """The same convolution on the input and on what it made of it: its channels are those of the input."""
    b = Builder()
    x, weight = b.graph.add_input("z", tensor("f32", 2, 8, 4, 4)), b.weight(8, 8, 1, 1, fan=8)
    once = b.op(Relu(), b.op(Conv(), x, weight))
    twice = b.op(Relu(), b.op(Conv(), once, weight))
    b.graph.add_output(b.op(Conv(), twice, b.weight(2, 8, 1, 1)), "y")
    model = check(b)
    assert any("along an axis that stays" in reason for reason in reasons(model))


def test_words_of_a_table_stay_where_it_also_scores_them() -> None:
    """A tied table of embeddings: its columns go, its rows are looked up, even if the scores are read by a layer."""
    b = Builder()
    words, table = b.graph.add_input("words", tensor("i64", 2, 5)), b.weight(10, 6)
    h = b.op(MatMul(), b.op(Gather(), table, words), b.weight(6, 6, fan=6))
    scores = b.op(Relu(), b.op(MatMul(), h, b.op(Transpose((1, 0)), table)))
    b.graph.add_output(b.op(MatMul(), scores, b.weight(10, 3)), "y")
    model = check(b, ("Gather", 6))
    assert any("along an axis that stays" in reason for reason in reasons(model))


def test_two_readers_of_one_weight_lose_the_same() -> None:
    """A convolution applied to two inputs stays one weight, also where one of its results cannot lose anything."""
    for whole in (False, True):
        b, weight = net()
        other = b.op(Conv(pads=(1, 1, 1, 1)), b.graph.add_input("z", tensor("f32", 2, 3, 6, 6)), weight)
        b.graph.add_output(other if whole else b.op(Conv(), other, b.weight(2, 8, 1, 1)), "z2")
        model = check(b, *[] if whole else [("Conv", 8)])
        pruned, _ = check_masked(model, draw(model.channels, 1))
        readers = [n.input(1) for n in pruned if isinstance(n.op, Conv) and _kernel(n) == 3]
        assert len(readers) == 2
        assert readers[0] is readers[1]


def _kernel(node: Node) -> int:
    data = node.constant(1)
    assert data is not None
    return int(np.asarray(data.shape)[-1])

"""`low-rank{criterion=activations}`: calibration says which directions matter, as far as it can say anything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from irc.analysis.cost import cost
from irc.analysis.error import relative_error
from irc.errors import DataError
from irc.graph import Graph
from irc.ops.binary import Add
from irc.ops.conv import Conv
from irc.ops.linear import Gemm, MatMul
from irc.passes import LowRank
from irc.types import tensor
from tests.passes.low_rank_nets import declined, factored, floats, kernel_of_rank, layer, output, same_numbers  # noqa: F401  # a fixture


def ranks(context: Any) -> dict[tuple[str, str], int]:
    return {(group.name, group.kind): group.after for group in context.row.groups}


def test_directions_that_data_have_are_kept() -> None:
    """Data in five of 32 dimensions: five ranks lose nothing, where the weight alone would need nearly all."""
    weight, subspace = floats(32, 32), floats(5, 32)
    data = [floats(2000, 5) @ subspace for _ in range(6)]
    graph = layer(MatMul(), ("N", 32), None, weight)
    aware, context = factored(graph, LowRank(energy=0.99, criterion="activations", multiple=1), data)
    assert ranks(context) == {("layer", "rank"): 5}
    blind, _ = factored(graph, LowRank(ratio=1 - 5 / 16, multiple=1))
    x = floats(8, 5) @ subspace
    assert relative_error(output(graph, x=x), output(aware, x=x)) < 1e-2  # S is moved by some 1e-4 of its trace
    assert relative_error(output(graph, x=x), output(blind, x=x)) > 0.1


def test_few_samples_do_not_say_what_is_useless() -> None:
    """Four inputs span four directions of 32; that the others are empty is not known, and the weight decides."""
    weight, data = floats(32, 32), list(np.linalg.qr(floats(32, 4))[0].T[:, None])
    graph = layer(MatMul(), ("N", 32), None, weight)
    aware, context = factored(graph, LowRank(ratio=0.2, criterion="activations", multiple=1), data)
    blind, other = factored(graph, LowRank(ratio=0.2, multiple=1))
    assert ranks(context) == ranks(other)
    x = floats(64, 32)
    assert relative_error(output(blind, x=x), output(aware, x=x)) < 1e-4


@pytest.mark.parametrize("left", [False, True])
def test_no_other_factors_of_the_rank_have_less_error(left: bool) -> None:
    weight, mix = floats(24, 24), floats(24, 24) * np.exp(-np.arange(24) / 4).astype(np.float32)
    stack = [floats(4000, 24) @ mix for _ in range(4)]
    data = [x.T for x in stack] if left else stack
    graph = layer(MatMul(), data[0].shape, *((weight, None) if left else (None, weight)))
    lost = []
    for criterion in ("activations", "weights"):
        made, context = factored(graph, LowRank(ratio=0.6, multiple=1, criterion=criterion), data)
        errors = [np.linalg.norm(output(made, x=x) - output(graph, x=x)) ** 2 for x in data]
        lost.append(sum(errors) / sum(np.linalg.norm(output(graph, x=x)) ** 2 for x in data))
        if criterion == "activations":
            said = float(context.row.groups[0].reason.split()[1])
            assert said**2 == pytest.approx(lost[0], rel=0.02)
    best = np.linalg.svd(np.concatenate(stack) @ (weight.T if left else weight), compute_uv=False) ** 2
    rank = ranks(context)["layer", "rank"]
    assert lost[0] == pytest.approx(best[rank:].sum() / best.sum(), rel=0.01)
    assert lost[0] < 0.8 * lost[1]


@pytest.mark.parametrize("op", [Gemm(), Gemm(transB=1), MatMul()])
def test_a_bias_makes_up_for_the_mean(op: Gemm | MatMul) -> None:
    """With a bias to move, only what varies counts: the error is that of the centred outputs' best approximation."""
    mix = (floats(24, 24) * np.exp(-np.arange(24) / 4)).astype(np.float32)
    data = [floats(4000, 24) @ mix + 5 * np.ones(24, np.float32) for _ in range(4)]
    weight, bias = floats(24, 24), floats(24)
    if isinstance(op, MatMul):
        graph = layer(op, (4000, 24), None, weight)
        (node,) = graph
        added = graph.insert(Add(), [node.output, graph.add_constant(bias, "bias")], name="add")
        graph.set_output(0, added.output)
    else:
        graph = layer(op, (4000, 24), None, weight.T if op.transB else weight, bias)
    made, context = factored(graph, LowRank(ratio=0.6, multiple=1, criterion="activations"), data)
    lost = np.concatenate([output(made, x=x) - output(graph, x=x) for x in data])
    wanted = np.concatenate([output(graph, x=x) for x in data])
    best = np.linalg.svd(wanted - wanted.mean(0), compute_uv=False) ** 2
    assert np.square(lost).sum() == pytest.approx(best[ranks(context)["layer", "rank"] :].sum(), rel=0.01)
    assert np.abs(lost.mean(0)).max() < 1e-3


def test_a_kernel_looks_at_what_its_channels_get() -> None:
    weight, strength = floats(24, 24, 3, 3), np.exp(-np.arange(24) / 3).astype(np.float32)[:, None, None]
    data = [floats(1, 24, 9, 9) * strength for _ in range(4)]
    graph = layer(Conv(pads=(1, 1, 1, 1)), (1, 24, 9, 9), None, weight)
    lost = []
    for criterion in ("activations", "weights"):
        made, _ = factored(graph, LowRank(ratio=0.5, multiple=1, criterion=criterion), data)
        lost.append(sum(float(np.linalg.norm(output(made, x=x) - output(graph, x=x))) for x in data))
    assert lost[0] < 0.5 * lost[1]


def test_activations_need_data() -> None:
    with pytest.raises(DataError, match="criterion=activations of low-rank needs calibration data"):
        factored(layer(MatMul(), (3, 24), None, floats(24, 20)), LowRank(energy=0.9, criterion="activations"))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", ["nothing", "the same", "one"])
def test_samples_that_do_not_differ_say_nothing(kind: str, bias: bool) -> None:
    """What only zeros, or one and the same input, were seen of is not for that reason of rank 1."""
    x = np.zeros((1, 32), np.float32) if kind == "nothing" else floats(1, 32)
    data = [x] if kind == "one" else [x] * 5
    graph = layer(Gemm(), (1, 32), None, floats(32, 32), *([floats(32)] if bias else []))
    _, blind = factored(graph, LowRank(energy=0.7, multiple=1))
    aware, context = factored(graph, LowRank(energy=0.7, multiple=1, criterion="activations"), data)
    assert ranks(context) == ranks(blind)
    if bias:
        assert "error 0.5" in context.row.groups[0].reason
        assert context.row.groups[0].reason.endswith("of the weight")
        assert any("its weight alone decides" in note for note in context.row.notes)
        assert relative_error(output(graph, x=x), output(aware, x=x)) < 1e-5  # the bias makes up for all of it


def test_a_shared_weight_sees_what_each_of_its_readers_multiplies() -> None:
    """One Gemm has its inputs in rows, the other in columns, both of five dimensions: five ranks lose nothing."""
    weight, subspace = floats(32, 32), floats(5, 32)
    graph = Graph()
    rows, columns = graph.add_input("x", tensor("f32", 500, 32)), graph.add_input("z", tensor("f32", 32, 500))
    held = graph.add_constant(weight, "weight")
    graph.add_output(graph.insert(Gemm(), [rows, held], name="rows").output, "y")
    graph.add_output(graph.insert(Gemm(transA=1), [columns, held], name="columns").output, "w")
    data: Any = [(floats(500, 5) @ subspace, (floats(500, 5) @ subspace).T) for _ in range(6)]
    made, context = factored(graph, LowRank(energy=0.99, criterion="activations", multiple=1), data)
    assert set(ranks(context).values()) == {5}
    sample = dict(zip("xz", data[0], strict=True))
    assert relative_error(output(graph, **sample), output(made, **sample)) < 1e-2


def test_a_product_that_is_given_out_itself_keeps_its_mean() -> None:
    """The constant added behind it cannot make up for what the product alone loses of the mean input."""
    graph = layer(MatMul(), (500, 24), None, floats(24, 24))
    (node,) = graph
    bias = graph.add_constant(floats(24), "bias")
    graph.add_output(graph.insert(Add(), [node.output, bias], name="add").output, "z")
    data = [floats(500, 24) + 5 for _ in range(3)]
    made, _ = factored(graph, LowRank(ratio=0.6, multiple=1, criterion="activations"), data)
    lost = np.concatenate([output(made, x=x) - output(graph, x=x) for x in data]).mean(0)
    whole = np.concatenate([output(graph, x=x) for x in data]).mean(0)
    assert np.linalg.norm(lost) < 0.02 * np.linalg.norm(whole)


def test_parameters_count_the_biases_that_are_added() -> None:
    graph = layer(Gemm(), (1, 40), None, floats(40, 40))
    data = [floats(1, 40) for _ in range(200)]
    for left in (10 * 80, 10 * 80 + 39):  # ten ranks, of which one goes for the bias
        made, context = factored(graph, LowRank(parameters=left, multiple=1, criterion="activations"), data)
        assert cost(made).parameters <= left
        assert not [note for note in context.row.notes if "not reached" in note]


def test_float16_factors_of_a_layer_whose_inputs_are_small() -> None:
    graph = Graph()
    x = graph.add_input("x", tensor("f16", 1, 24, 7, 7))
    weight = graph.add_constant(kernel_of_rank((5, 3), 20, 24, 3, 3).astype(np.float16), "weight")
    graph.add_output(graph.insert(Conv(), [x, weight], name="layer").output, "y")
    data = [(1e-3 * floats(1, 24, 7, 7)).astype(np.float16) for _ in range(8)]
    made, _ = factored(graph, LowRank(energy=0.99999, criterion="activations", multiple=1), data)
    for constant in made.constants:
        assert constant.data is not None
        assert 1e-2 < np.abs(constant.data).max() < 1e2

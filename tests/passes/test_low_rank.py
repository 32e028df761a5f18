"""`low-rank` puts factors in place of weights: which nodes come of which layer, and that they compute the same."""

from __future__ import annotations

import re
from textwrap import dedent

import numpy as np
import pytest

from irc.analysis.cost import cost
from irc.analysis.error import relative_error
from irc.graph import Graph
from irc.op import Op
from irc.ops.binary import Add
from irc.ops.conv import Conv, ConvTranspose
from irc.ops.linear import Gemm, MatMul
from irc.ops.onnx_op import OnnxOp
from irc.passes import CastFloat, FoldConstants
from irc.passes.context import plain_context
from irc.passes.low_rank import LowRank
from irc.text import parse_graph, print_graph
from irc.types import Array, tensor
from tests.passes.low_rank_nets import (
    declined,
    factored,
    floats,
    kernel_of_rank,
    layer,
    of_rank,
    output,
    same_numbers,  # noqa: F401  # a fixture
)

EXACT = LowRank(energy=1 - 1e-9, multiple=1)  # float32 weights of a rank have 1e-14 beyond it
ROUNDING = 1e-5  # factors are rounded to float32, and sums of some dozen products reordered

LINEAR: dict[str, tuple[Op, tuple[int | str, ...], tuple[Array | None, ...]]] = {
    "gemm": (Gemm(), (3, 24), (None, of_rank(4, 24, 20), floats(20))),
    "gemm without bias": (Gemm(), (3, 24), (None, of_rank(4, 24, 20))),
    "gemm, all attributes": (Gemm(0.5, 2.0, 1, 1), (24, 3), (None, of_rank(4, 20, 24), floats(3, 20))),
    "gemm, weight left": (Gemm(0.5, 2.0), (24, 3), (of_rank(4, 20, 24), None, floats(20, 1))),
    "gemm, weight left, transposed": (Gemm(1.0, 1.0, 1, 1), (3, 24), (of_rank(4, 24, 20), None)),
    "matmul": (MatMul(), (3, 24), (None, of_rank(4, 24, 20))),
    "matmul, batches": (MatMul(), ("N", 2, 3, 24), (None, of_rank(4, 24, 20))),
    "matmul, vector": (MatMul(), (24,), (None, of_rank(4, 24, 20))),
    "matmul, weight left": (MatMul(), (2, 24, 3), (of_rank(4, 20, 24), None)),
    "matmul, weight left of a vector": (MatMul(), (24,), (of_rank(4, 20, 24), None)),
    "conv, one tap": (Conv(), ("N", 24, 5, 5), (None, of_rank(4, 20, 24).reshape(20, 24, 1, 1), floats(20))),
    "conv, one tap, strided": (
        Conv(strides=(2, 3), pads=(1, 0, 1, 2)),
        (2, 24, 6, 7),
        (None, of_rank(4, 20, 24).reshape(20, 24, 1, 1), floats(20)),
    ),
    "conv 1d, one tap": (Conv(), (2, 24, 5), (None, of_rank(4, 20, 24)[:, :, None], floats(20))),
}


def _sample(dims: tuple[int | str, ...]) -> Array:
    return floats(*(2 if isinstance(d, str) else d for d in dims))


@pytest.mark.parametrize("case", LINEAR)
def test_a_matrix_becomes_two(case: str) -> None:
    op, dims, inputs = LINEAR[case]
    graph = layer(op, dims, *inputs)
    made, context = factored(graph, EXACT)
    assert [node.op.name for node in made] == [op.name] * 2
    assert [node.name for node in made] == ["layer.first", "layer"]
    assert sorted(v.name for v in made.constants if "weight" in v.name) == ["layer.weight.first", "layer.weight.last"]
    (group,) = context.row.groups
    assert (group.kind, group.before, group.after) == ("rank", 20, 4)
    assert cost(made).macs < cost(graph).macs
    assert cost(made).parameters < cost(graph).parameters
    x = _sample(dims)
    wanted, got = output(graph, x=x), output(made, x=x)
    assert got.shape == wanted.shape
    assert relative_error(wanted, got) < ROUNDING


CONVOLUTIONS: dict[str, tuple[Op, tuple[int | str, ...], Array]] = {
    "same": (Conv(pads=(1, 1, 1, 1)), (2, 24, 7, 7), kernel_of_rank((5, 3), 20, 24, 3, 3)),
    "strided": (Conv(strides=(2, 1), pads=(0, 1, 2, 0)), ("N", 24, 7, 8), kernel_of_rank((5, 3), 20, 24, 3, 2)),
    "dilated": (Conv(dilations=(2, 2)), (2, 24, 9, 9), kernel_of_rank((5, 3), 20, 24, 3, 3)),
    "auto pad": (Conv(auto_pad="SAME_UPPER", strides=(2, 2)), (1, 24, 7, 7), kernel_of_rank((5, 3), 20, 24, 3, 3)),
    "1d": (Conv(pads=(1, 1)), (2, 24, 7), kernel_of_rank((5, 3), 20, 24, 3)),
    "3d": (Conv(), (1, 12, 4, 4, 4), kernel_of_rank((3, 2), 12, 12, 2, 2, 2)),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_a_kernel_becomes_three(case: str) -> None:
    op, dims, weight = CONVOLUTIONS[case]
    graph = layer(op, dims, None, weight, floats(len(weight)))
    made, context = factored(graph, EXACT)
    assert [node.name for node in made] == ["layer.first", "layer.core", "layer"]
    assert [node.op for node in made] == [Conv(), op, Conv()]
    assert [len(node.inputs) for node in made] == [2, 2, 3]
    ranks = {group.kind: group.after for group in context.row.groups}
    assert made.value("layer.weight.core").data is not None
    assert made.value("layer.weight.core").data.shape == (  # type: ignore[union-attr]  # asserted above
        ranks["output rank"],
        ranks["input rank"],
        *weight.shape[2:],
    )
    assert cost(made).macs < cost(graph).macs
    x = _sample(dims)
    assert relative_error(output(graph, x=x), output(made, x=x)) < ROUNDING


@pytest.mark.parametrize("side", [0, 1])
def test_a_side_of_full_rank_stays_whole(side: int) -> None:
    ranks = ((20, 3), (3, 24))[side]
    graph = layer(Conv(pads=(1, 1, 1, 1)), (1, 24, 7, 7), None, kernel_of_rank(ranks, 20, 24, 3, 3), floats(20))
    made, _ = factored(graph, EXACT)
    assert [node.name for node in made] == (["layer.first", "layer"], ["layer.core", "layer"])[side]
    x = floats(1, 24, 7, 7)
    assert relative_error(output(graph, x=x), output(made, x=x)) < ROUNDING


def test_text() -> None:
    graph = parse_graph(
        dedent("""\
        graph main(opset = 21) {
          input %x: f32[N, 8]
          weight %fc.weight: f32[6, 8]
          weight %fc.bias: f32[6]
          %y: f32[N, 6] = Gemm(%x, %fc.weight, %fc.bias) {transB = 1} @"fc"
          return %y
        }
        """),
        {"fc.weight": of_rank(1, 6, 8), "fc.bias": floats(6)},
    )
    made, _ = factored(graph, EXACT)
    assert re.sub(r" = \[.*]", "", print_graph(made)) == dedent("""\
        graph main(opset = 21) {
          input %x: f32[N, 8]
          weight %fc.bias: f32[6]
          weight %fc.weight.first: f32[1, 8]
          weight %fc.weight.last: f32[6, 1]
          %fc.first: f32[N, 1] = Gemm(%x, %fc.weight.first) {transB = 1}
          %y: f32[N, 6] = Gemm(%fc.first, %fc.weight.last, %fc.bias) {transB = 1} @"fc"
          return %y
        }
        """)


def _two_readers(second: Op, *, swapped: bool = False, given_out: bool = False) -> Graph:
    graph = Graph()
    x = graph.add_input("x", tensor("f32", 20, 20))
    weight = graph.add_constant(of_rank(3, 20, 20), "w")
    graph.add_output(graph.insert(MatMul(), [x, weight], name="one").output, "y")
    graph.add_output(graph.insert(second, [weight, x] if swapped else [x, weight], name="two").output, "z")
    if given_out:
        graph.add_output(weight, "w")
    return graph


def test_a_shared_weight_is_factored_once() -> None:
    graph = _two_readers(MatMul())
    made, _ = factored(graph, EXACT)
    assert [node.name for node in made] == ["one.first", "one", "two.first", "two"]
    assert len(made.constants) == 2
    x = floats(20, 20)
    assert relative_error(output(graph, x=x), output(made, x=x)) < ROUNDING


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (_two_readers(MatMul(), swapped=True), "is read in two ways, by MatMul 'one' and MatMul 'two'"),
        (_two_readers(Gemm()), "is read in two ways"),
        (_two_readers(Add()), "is read by Add 'two' too"),
        (_two_readers(MatMul(), given_out=True), "is read by the graph's output too"),
    ],
)
def test_a_shared_weight_that_stays(graph: Graph, said: str) -> None:
    made, context = factored(graph, EXACT)
    assert print_graph(made) == print_graph(graph)
    assert said in declined(context)["one"]


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (layer(Conv(group=4), (1, 4, 5, 5), None, floats(8, 1, 3, 3)), "its 4 groups keep it sparse already"),
        (layer(ConvTranspose(), (1, 4, 5, 5), None, floats(4, 8, 3, 3)), "transposed convolution"),
        (layer(MatMul(), (4, 4), None, None), "its weight is not a constant"),
        (layer(MatMul(), (2, 3, 4), None, floats(2, 4, 5)), "its weight has 3 axes and is no matrix"),
        (layer(MatMul(), (3, 8), None, floats(8, 8)), "of a weight of shape (8, 8) save nothing"),
        (layer(MatMul(), (3, 8), None, np.full((8, 8), np.nan, np.float32)), "NaN or infinity"),
        (layer(MatMul(), (3, 0), None, np.zeros((0, 8), np.float32)), "of float32 and shape (0, 8)"),
    ],
)
def test_declined(graph: Graph, said: str) -> None:
    made, context = factored(graph, EXACT)
    assert print_graph(made) == print_graph(graph)
    assert said in declined(context)["layer"]


def test_a_weight_that_is_computed() -> None:
    graph = Graph()
    x = graph.add_input("x", tensor("f32", 1, 4, 5, 5))
    w = graph.add_input("w", tensor("f32", 8, 4, 3, 3))
    graph.add_output(graph.insert(Conv(), [x, w], name="layer").output, "y")
    assert declined(factored(graph, EXACT)[1]) == {"layer": "its weight is not a constant"}


@pytest.mark.parametrize("pattern", ["layer", "lay*", "*.weight"])
def test_skip(pattern: str) -> None:
    graph = layer(MatMul(), (3, 24), None, of_rank(2, 24, 24))
    made, context = factored(graph, LowRank(energy=0.9, skip=(pattern, "nobody")))
    assert len(made) == 1
    assert declined(context)["layer"] == f"'{pattern}' is in skip"
    assert [note for note in context.row.notes if "nobody" in note]


def test_zero_weights() -> None:
    graph = layer(MatMul(), (3, 24), None, np.zeros((24, 24), np.float32))
    made, _ = factored(graph, LowRank(energy=0.9, multiple=1))
    assert len(made) == 2
    assert not output(made, x=floats(3, 24)).any()


def test_a_weight_around_two_branches() -> None:
    """The factors of a weight that both branches of an If read stand where it stood."""
    graph = Graph()
    condition, x = graph.add_input("c", tensor("bool")), graph.add_input("x", tensor("f32", 4, 24))
    weight = graph.add_constant(of_rank(3, 24, 20), "w")
    node = graph.insert(OnnxOp("", "If", 21, ()), [condition], name="if", types=[tensor("f32", 4, 20)])
    for key in ("then_branch", "else_branch"):
        body = graph.add_body(node, key)
        made = body.insert(MatMul(), [x, weight], name=key)
        if key == "else_branch":
            made = body.insert(Add(), [made.output, body.add_constant(floats(20), "b")], name="add")
        body.add_output(made.output)
    graph.add_output(node.output, "y")
    made_graph, _ = factored(graph, EXACT)
    assert [c.name for c in made_graph.constants] == ["w.first", "w.last"]
    for taken in (True, False):
        sample = {"c": np.array(taken), "x": floats(4, 24)}
        assert relative_error(output(graph, **sample), output(made_graph, **sample)) < ROUNDING


def test_a_weight_that_is_its_own_bias_stays() -> None:
    graph = Graph()
    x, weight = graph.add_input("x", tensor("f32", 20, 20)), graph.add_constant(of_rank(3, 20, 20), "w")
    graph.add_output(graph.insert(Gemm(), [x, weight, weight], name="layer").output, "y")
    assert declined(factored(graph, EXACT)[1]) == {"layer": "its weight 'w' is its bias too"}


def test_a_stored_weight_is_declined_with_the_way_out() -> None:
    graph = layer(MatMul(), (3, 24), None, of_rank(2, 24, 24))
    CastFloat("float16", compute=False).run(graph, plain_context(graph))
    assert "fold-constants{widen=true}" in declined(factored(graph, EXACT)[1])["layer"]
    FoldConstants(widen=True).run(graph, plain_context(graph))
    made, _ = factored(graph, LowRank(energy=0.99, multiple=1))
    assert [node.name for node in made] == ["layer.first", "layer"]


@pytest.mark.parametrize("size", [1e-200, 1e100])
def test_the_size_of_float64_weights_does_not_matter(size: float) -> None:
    graph = Graph()
    x = graph.add_input("x", tensor("f64", 3, 24))
    weight = graph.add_constant(size * of_rank(4, 24, 20).astype(np.float64), "w")
    graph.add_output(graph.insert(MatMul(), [x, weight], name="layer").output, "y")
    _, context = factored(graph, EXACT)
    assert context.row.groups[0].after == 4

"""Rows times patches is what the contraction computes, and rows go back to the weight they came from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from irc.analysis.contraction import has_rows, patches, rows_of_weight, weight_of_rows
from irc.graph import Graph, Node
from irc.op import Op
from irc.ops import Conv, ConvTranspose, Gemm, MatMul
from irc.types import Array, type_of_array

CASES: list[tuple[Op, tuple[int, ...], tuple[int, ...]]] = [
    (Conv(), (2, 3, 7, 6), (4, 3, 1, 1)),
    (Conv(strides=(2, 2)), (2, 3, 7, 6), (4, 3, 1, 1)),
    (Conv(pads=(1, 0, 2, 1), strides=(2, 1), dilations=(1, 2)), (2, 3, 7, 9), (4, 3, 3, 2)),
    (Conv(group=2, pads=(1, 1, 1, 1)), (1, 6, 5, 5), (4, 3, 3, 3)),
    (Conv(group=4), (2, 4, 5, 5), (8, 1, 3, 3)),
    (Conv(auto_pad="SAME_UPPER", strides=(2, 2)), (1, 3, 7, 8), (2, 3, 3, 3)),
    (Conv(pads=(2, 1), dilations=(2,)), (2, 3, 9), (4, 3, 3)),
    (Gemm(), (5, 3), (3, 4)),
    (Gemm(transB=1), (5, 3), (4, 3)),
    (MatMul(), (2, 5, 3), (3, 4)),
]


def node_of(op: Op, x: Array, w: Array) -> Node:
    graph = Graph()
    return graph.insert(op, [graph.add_input("x", type_of_array(x)), graph.add_constant(w, "w")])


@pytest.mark.parametrize(("op", "x_shape", "w_shape"), CASES, ids=lambda c: str(c))
def test_rows_times_patches(op: Op, x_shape: tuple[int, ...], w_shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    x, w = (random.standard_normal(s).astype(np.float32) for s in (x_shape, w_shape))
    node = node_of(op, x, w)
    assert has_rows(node, w)
    rows = rows_of_weight(node, torch.from_numpy(w))
    assert torch.equal(weight_of_rows(node, rows, w.shape), torch.from_numpy(w))
    product = rows @ patches(node, torch.from_numpy(x), w.shape)  # (G, N/G, L), L over samples, then positions
    wanted = op.run(torch.from_numpy(x), torch.from_numpy(w))
    channels = 1 if isinstance(op, Conv) else -1
    by_channel = wanted.movedim(channels, 0).flatten(1)
    torch.testing.assert_close(product.flatten(0, 1), by_channel)


def test_what_is_no_matrix_product_has_no_rows() -> None:
    x, w = np.zeros((1, 3, 5, 5), np.float32), np.zeros((3, 4, 2, 2), np.float32)
    assert not has_rows(node_of(ConvTranspose(), x, w), w)
    cube = np.zeros((4, 3, 2, 2, 2), np.float32)
    assert not has_rows(node_of(Conv(), np.zeros((1, 3, 4, 4, 4), np.float32), cube), cube)

"""Weights that cannot saturate on x86 without VNNI.

There an integer kernel multiplies uint8 activations by int8 weights with `vpmaddubsw`, which adds two neighbouring
products in 16 bits and saturates: 255 * 127 + 255 * 127 does not fit. If no two neighbours of the same sign sum to more
than 128 in codes, nothing saturates and every x86 computes the same numbers. A kernel that adds four products before it
widens them is a third faster again, if no four sum to more.

    2 products   k and k + 1                       k along the contraction, channels innermost: onnxruntime, OpenVINO
                                                   k along a row of the kernel: the C backend on x86-64
    4 products   k, k + 1, k + 4, k + 5 of each 8  k along a row of the kernel: the C backend on AVX2
"""

from __future__ import annotations

import math

import numpy as np

from irc.graph import Node
from irc.op import Op
from irc.types import Array

# codes; 128 * 255 still fits in 16 bits, and rounding may add half a code to each of two
SUM_LIMIT = 128
LARGEST_ADDED = 127  # the largest code of the 8-bit weights that kernels add in 16 bits; wider ones they do not


def adds_pairs(op: Op, weight: tuple[int, ...]) -> int:
    """What onnxruntime and OpenVINO do: pairs, but for a true depthwise convolution, whose kernel widens."""
    depthwise = op.name == "Conv" and weight[1:2] == (1,) and getattr(op, "group", 1) == weight[0] > 1
    return 0 if depthwise else 2


def product_groups(node: Node, weight: tuple[int, ...], products: int, *, by_rows: bool) -> Array:
    """For each k of the contraction the number of the group of products that it is added up with; int64, shape (K,).

    by_rows : whether groups start anew with each row of the kernel, as those of four always do
    """
    runs, length = _runs(node, weight)
    if products == 2 and not by_rows:
        return np.arange(runs * length) // 2
    k = np.arange(length)
    groups = k // 2 if products == 2 else k // 8 * 2 + k % 4 // 2
    return np.concatenate([groups + run * (groups.max(initial=0) + 1) for run in range(runs)])


def largest_sums(node: Node, weight: Array, products: int, *, by_rows: bool) -> Array:
    """For each output channel the largest magnitude that the weights of a group of one sign sum to.

    Parameters
    ----------
    node : the Conv, Gemm or MatMul that contracts with the weight
    weight : float, as the node takes it
    products, by_rows : how many are added, and which; 0 gives zeros

    Returns
    -------
    float, shape (out,); over all of a batch of matrices.
    """
    outputs = weight.shape[node.op.quant.weight_axis]
    rows = _rows(node, weight) if products else None
    if rows is None:
        return np.zeros(outputs)
    groups = product_groups(node, weight.shape, products, by_rows=by_rows)
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    sorted_rows = rows[:, order]
    positive = np.add.reduceat(np.maximum(sorted_rows, 0), starts, axis=1).max(axis=1, initial=0)
    negative = np.add.reduceat(np.maximum(-sorted_rows, 0), starts, axis=1).max(axis=1, initial=0)
    largest = np.maximum(positive, negative)
    return np.asarray(largest.reshape(-1, outputs).max(axis=0))


def sum_limit(products: int) -> float:
    """What the exact weights of a group may sum to, so that the rounded ones stay within SUM_LIMIT."""
    return SUM_LIMIT - products / 2


def _runs(node: Node, weight: tuple[int, ...]) -> tuple[int, int]:
    """How many contiguous rows of products the kernel of the node goes through, and how long each is."""
    if node.op.name != "Conv":
        return 1, weight[1 if getattr(node.op, "transB", 0) else -2]
    dilations = getattr(node.op, "dilations", None) or (1,)
    taps, channels = math.prod(weight[2:]), weight[1]
    joined = weight[-1] if dilations[-1] == 1 and getattr(node.op, "group", 1) == 1 else 1
    return taps // max(joined, 1), joined * channels


def _rows(node: Node, weight: Array) -> Array | None:
    """The weight as (batch * out, contraction) in the order of the kernel's products; None where there is no kernel."""
    op = node.op
    if op.name == "Conv":
        return np.moveaxis(weight, 1, -1).reshape(len(weight), -1)
    if op.name == "Gemm":
        return weight if getattr(op, "transB", 0) else weight.T
    if op.name == "MatMul" and weight.ndim >= 2:
        return np.swapaxes(weight, -1, -2).reshape(-1, weight.shape[-2])
    return None

"""Weights that cannot saturate on x86 without VNNI.

There an integer kernel multiplies uint8 activations by int8 weights with `vpmaddubsw`, which adds two neighbouring
products in 16 bits and saturates: 255 * 127 + 255 * 127 does not fit. If no two neighbours of the same sign sum to more
than 128 in codes, nothing saturates and every x86 computes the same numbers. Neighbours are neighbours along the
contraction, channels innermost, as onnxruntime packs them; a depthwise convolution with one output channel a group has
kernels of its own that widen.
"""

from __future__ import annotations

import numpy as np

from irc.graph import Node
from irc.types import Array

# codes; 128 * 255 still fits in 16 bits, and rounding may add half a code to each of the two
PAIR_LIMIT = 127.0
LARGEST_PAIRED = 127  # the largest code of the 8-bit weights that kernels multiply in pairs; wider ones they do not


def largest_pairs(node: Node, weight: Array) -> Array:
    """For each output channel the largest magnitude that two neighbours of one sign sum to (over all of a batch).

    Parameters
    ----------
    node : the Conv, Gemm or MatMul that contracts with the weight
    weight : float, as the node takes it

    Returns
    -------
    float, shape (out,); zeros where the kernel cannot saturate.
    """
    rows = _rows(node, weight)
    if rows is None:
        return np.zeros(weight.shape[node.op.quant.weight_axis])
    if rows.shape[1] % 2:
        rows = np.pad(rows, ((0, 0), (0, 1)))
    pairs = rows.reshape(len(rows), -1, 2)
    positive = np.maximum(pairs, 0).sum(axis=2).max(axis=1, initial=0)
    negative = np.maximum(-pairs, 0).sum(axis=2).max(axis=1, initial=0)
    largest = np.maximum(positive, negative)
    return np.asarray(largest.reshape(-1, weight.shape[node.op.quant.weight_axis]).max(axis=0))


def in_pairs(node: Node, weight: Array) -> bool:
    """Whether the kernel for the node adds its products in pairs; that of a true depthwise convolution does not."""
    return not (weight.shape[1:2] == (1,) and getattr(node.op, "group", 1) == len(weight) > 1)


def _rows(node: Node, weight: Array) -> Array | None:
    """The weight as (batch * out, contraction) in the order of the kernel's products; None where it does not pair."""
    op = node.op
    if op.name == "Conv":
        if not in_pairs(node, weight):
            return None
        return np.moveaxis(weight, 1, -1).reshape(len(weight), -1)
    if op.name == "Gemm":
        return weight if getattr(op, "transB", 0) else weight.T
    if op.name == "MatMul" and weight.ndim >= 2:
        return np.swapaxes(weight, -1, -2).reshape(-1, weight.shape[-2])
    return None

"""A contraction as a matrix product: rows of weights times patches of data.

    Conv, Gemm, MatMul:  y[g] = rows[g] @ patches[g]      rows (G, N/G, K), patches (G, K, L)

K runs over the kernel with the input channels innermost, which is the order in which onnxruntime multiplies; L runs
over samples and positions; G is the number of groups.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from irc.graph import Node
from irc.ops.conv import Conv
from irc.ops.linear import Gemm, MatMul
from irc.ops.spatial import padded
from irc.types import Array


def has_rows(node: Node, weight: Array) -> bool:
    """Whether the node with this weight is a product of rows and patches that this module can form."""
    match node.op:
        case Conv():
            return weight.ndim in (3, 4)
        case Gemm(transA=0):
            return weight.ndim == 2
        case MatMul():
            return weight.ndim == 2
    return False


def rows_of_weight(node: Node, weight: torch.Tensor) -> torch.Tensor:
    """The weight as rows (G, N/G, K)."""
    match node.op:
        case Conv(group=group):
            return weight.movedim(1, -1).reshape(group, len(weight) // group, -1)
        case Gemm(transB=1):
            return weight[None]
    return weight.T[None]


def weight_of_rows(node: Node, rows: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """The weight of that shape whose rows these are."""
    match node.op:
        case Conv():
            return rows.reshape(shape[0], *shape[2:], shape[1]).movedim(-1, 1)
        case Gemm(transB=1):
            return rows[0]
    return rows[0].T


def patches(node: Node, x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """The data that the rows are multiplied with, (G, K, L), for a weight of that shape."""
    if not isinstance(node.op, Conv):
        return x.reshape(-1, x.shape[-1]).T[None]
    op = node.op
    axes = op.windows(x.shape, shape)
    x = padded(x, axes)
    strides, dilations = [a.stride for a in axes], [a.dilation for a in axes]
    kernel = list(shape[2:])
    if len(kernel) == 1:
        x, kernel, strides, dilations = x[:, :, None], [1, *kernel], [1, *strides], [1, *dilations]
    if kernel == [1, 1]:
        seen = x[:, :, :: strides[0], :: strides[1]].flatten(2)
    else:
        seen = F.unfold(x, tuple(kernel), dilation=tuple(dilations), stride=tuple(strides))
    batch, positions, inner = x.shape[0], seen.shape[-1], shape[1]
    split = seen.reshape(batch, op.group, inner, -1, positions).permute(1, 3, 2, 0, 4)
    return split.reshape(op.group, -1, batch * positions)

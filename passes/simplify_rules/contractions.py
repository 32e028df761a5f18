"""Ops said in the words that runtimes fuse.

    Add(MatMul(x, W), b)                      =  Gemm(x, W, b)                      (x and W matrices, b a constant)
    Add(Gemm(x, W), b)                        =  Gemm(x, W, b)
    Add(Conv(x, W), b)                        =  Conv(x, W, b)                      (b a constant, one number a channel)
    ReduceMean[all spatial axes](x)           =  GlobalAveragePool(x)               (with the axes kept; not in float64)

A product takes the sum in only if nothing else reads the product.
"""

from __future__ import annotations

from dataclasses import replace

from irc.graph import Node, Value
from irc.ops.binary import Add
from irc.ops.conv import Conv, ConvTranspose
from irc.ops.linear import Gemm, MatMul
from irc.ops.pool import GlobalAveragePool
from irc.ops.reduce import ReduceMean
from irc.passes.base import Outcome
from irc.passes.edit import per_channel, substitute
from irc.passes.simplify_rules.rule import Table
from irc.types import Array, DType

_POOLED = (DType.F16, DType.F32)  # onnxruntime has no GlobalAveragePool of float64, where it has a ReduceMean


def _add(node: Node) -> Outcome:
    for index in (0, 1):
        product, bias = node.inputs[index], node.inputs[1 - index]
        if product is None or bias is None or bias.data is None or product.use_count != 1 or product.producer is None:
            continue
        if product.producer.graph is node.graph and _take_in(product.producer, bias, bias.data):
            substitute(node, product)
            return True
    return None


def _take_in(producer: Node, bias: Value, data: Array) -> bool:
    """Make the product add the bias; False if it cannot."""
    if producer.input(2) is not None:
        return False
    match producer.op:
        case MatMul() if _is_matrix_product(producer) and _is_row(data, producer.output):
            producer.set_input(2, bias)
            producer.set_op(Gemm())
        case Gemm() if _is_row(data, producer.output):
            producer.set_input(2, bias)
            producer.set_op(replace(producer.op, beta=1.0))
        case Conv() | ConvTranspose() if (channels := per_channel(data, producer.output)) is not None:
            producer.set_input(2, producer.graph.add_constant(channels, bias.name))
            producer.set_op(producer.op)
        case _:
            return False
    return True


def _is_matrix_product(node: Node) -> bool:
    types = [v.tensor_type if v is not None else None for v in node.inputs]
    return all(t is not None and t.rank == 2 and t.dtype.is_float for t in types)


def _is_row(data: Array, product: Value) -> bool:
    """Whether the bias broadcasts to (M, N) by repeating rows: Gemm's bias must not be larger than the product."""
    type = product.tensor_type
    if type is None or type.shape is None or len(type.shape) != 2 or data.ndim > 2:
        return False
    shape = (1, 1, *data.shape)[-2:]
    return shape[0] == 1 and shape[1] in (1, type.shape[1])


def _reduce_mean(node: Node) -> Outcome:
    op, type = node.op, node.inputs[0].tensor_type if node.inputs[0] is not None else None
    assert isinstance(op, ReduceMean)
    axes = node.constant(1)
    if axes is None or not op.keepdims or type is None or type.dtype not in _POOLED:
        return None
    rank = type.rank
    if rank is None or rank < 3 or sorted(int(a) % rank for a in axes) != list(range(2, rank)):
        return None
    node.set_input(1, None)
    node.set_op(GlobalAveragePool())
    return True


RULES: Table = {Add: (_add,), ReduceMean: (_reduce_mean,)}

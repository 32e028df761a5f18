"""Normalizations that are elementwise, or sums over a window of channels; the others are compositions."""

from __future__ import annotations

import numpy as np

from irc.backends.c.lowering.accumulate import Sum, accumulate
from irc.backends.c.lowering.builder import Builder
from irc.backends.c.lowering.expressions import Expr, c_literal
from irc.backends.c.lowering.rules import lowers
from irc.backends.c.views import View, constant
from irc.errors import BackendError
from irc.graph import Node
from irc.ops.norm import LRN, BatchNormalization
from irc.types import Array, DType


@lowers(BatchNormalization)
def lower_batch_norm(b: Builder, node: Node) -> None:
    """x * gain + shift, gain = scale / sqrt(var + epsilon), shift = b - mean * gain, both float32 per channel."""
    op = node.op
    assert isinstance(op, BatchNormalization)
    x = b.operand(node, 0)
    data = [node.constant(i) for i in range(1, 5)]
    scale, bias, mean, var = data
    if x.dtype is not DType.F32 or op.training_mode or scale is None or bias is None or mean is None or var is None:
        raise BackendError(f"{node!r}: the C backend takes it of f32, not in training mode, with constant statistics")
    gain = (scale / np.sqrt(var + np.float32(op.epsilon))).astype(np.float32)
    shift = (bias - mean * gain).astype(np.float32)
    shape = b.shape(node.output)
    views = [_per_channel(each, len(shape), node.name) for each in (gain, shift)]
    b.express(node.output, Expr(DType.F32, shape, "{0} * {1} + {2}", (x, *views)))


def _per_channel(data: Array, rank: int, name: str) -> View:
    return constant(data.reshape(-1, *(1,) * (rank - 2)), name)


@lowers(LRN)
def lower_local_response(b: Builder, node: Node) -> None:
    """x / (bias + alpha / size * sum of x^2 over neighbouring channels)^beta."""
    op, x = node.op, b.input(node, 0)
    assert isinstance(op, LRN)
    if x.dtype is not DType.F32:
        raise BackendError(f"{node!r}: the C backend has it of f32 only, not of {x.dtype}; cast its input to f32")
    before = (op.size - 1) // 2
    whole = b.scratch(x.dtype, (x.shape[0], x.shape[1] + op.size - 1, *x.shape[2:]), x.order, f"{node.name}.padded")
    b.border(whole, ((0, 0), (before, op.size - 1 - before), *((0, 0),) * (x.rank - 2)), 0, node)
    b.copy(x, whole.sliced(1, before, x.shape[1]), node)
    y = b.output(node.output, b.order(node.output, x.order))
    window = View(whole.buffer, (*y.shape, op.size), (*whole.strides, whole.strides[1]), whole.offset)
    numbers = (c_literal(np.float32(v), DType.F32) for v in (op.bias, op.alpha / op.size, op.beta))
    finish = "e0 / irc_pow({} + {} * acc, {})".format(*numbers)
    accumulate(b, node, y, [window], Sum(DType.F32, step="acc + v0 * v0", finish=finish), [x])

"""Pools that the kernels of pool.h do not take, by generated loops: over three axes, of other types, of powers.

The input is copied with its padding around it, which holds what counts for nothing: the lowest number, 0, or the zero
point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from irc.backends.c.lowering.accumulate import Sum, accumulate
from irc.backends.c.lowering.builder import Builder
from irc.backends.c.lowering.expressions import c_literal
from irc.backends.c.lowering.rules import lowers
from irc.backends.c.views import View, constant
from irc.errors import BackendError
from irc.graph import Node
from irc.ops.int8 import QAveragePool
from irc.ops.pool import AveragePool, GlobalLpPool, LpPool, MaxPool
from irc.ops.spatial import Window, windows
from irc.types import Array, DType

MAXIMUM = "v0 > acc ? v0 : acc"


def loop_pool(
    b: Builder, node: Node, axes: Sequence[Window], value: float, what: Sum, factors: Array | None = None
) -> None:
    """A pool whose windows lie over x padded with `value`; `factors` of shape (*out) are the sum's extra operand."""
    view = b.input(node, 0)
    x = padded(b, node, view, axes, value)
    y = b.output(node.output, b.order(node.output, view.order))
    steps = [s * a.stride for s, a in zip(x.strides[2:], axes, strict=True)]
    taps = [s * a.dilation for s, a in zip(x.strides[2:], axes, strict=True)]
    shape = (*y.shape, *(a.kernel for a in axes))
    over = View(x.buffer, shape, (*x.strides[:2], *steps, *taps), x.offset)
    extra = [] if factors is None else [constant(factors, node.name).broadcast(y.shape)]
    accumulate(b, node, y, [over], what, extra)


def padded(b: Builder, node: Node, view: View, axes: Sequence[Window], value: float) -> View:
    """A copy of (N, C, *spatial) with what the windows put around it; the view itself if that is nothing."""
    around = [(a.begin, a.end + a.slack) for a in axes]
    if not any(begin or end for begin, end in around):
        return view
    sizes = [n + begin + end for n, (begin, end) in zip(view.shape[2:], around, strict=True)]
    whole = b.scratch(view.dtype, (*view.shape[:2], *sizes), view.order, f"{node.name}.padded")
    b.fill(whole, value, node)
    inner = whole
    for axis, (begin, _) in enumerate(around, 2):
        inner = inner.sliced(axis, begin, view.shape[axis])
    b.copy(view, inner, node)
    return whole


def counts(shape: Sequence[int], axes: Sequence[Window], include_pad: bool) -> Array:
    """How many cells each window's mean is taken over, float32, shape (*out)."""
    made = np.ones((), np.float32)
    for n, a in zip(shape, axes, strict=True):
        before, after = (a.begin, a.end) if include_pad else (0, 0)
        cells = np.arange(a.size)[:, None] * a.stride - a.begin + np.arange(a.kernel) * a.dilation
        made = np.multiply.outer(made, ((cells >= -before) & (cells < n + after)).sum(axis=1).astype(np.float32))
    return np.asarray(made, np.float32)


def loop_max_pool(b: Builder, node: Node) -> None:
    """The largest element of each window; one without cells gives the lowest number."""
    op, view = node.op, b.input(node, 0)
    assert isinstance(op, MaxPool)
    low = -math.inf if view.dtype.is_float else int(np.iinfo(view.dtype.numpy).min)
    loop_pool(b, node, op.windows(view.shape), low, Sum(view.dtype, c_literal(low, view.dtype), MAXIMUM))


def loop_average_pool(b: Builder, node: Node) -> None:
    """The sum of each window, divided by the number of its cells."""
    op, view = node.op, b.input(node, 0)
    assert isinstance(op, AveragePool)
    axes = op.windows(view.shape)
    factors = counts(view.shape[2:], axes, bool(op.count_include_pad))
    loop_pool(b, node, axes, 0, Sum(view.dtype, step="acc + v0", finish="acc / e0"), factors)


def loop_quantized_average_pool(b: Builder, node: Node) -> None:
    """QAveragePool: exact sums of x - zero_point, times float32(scale / count)."""
    op, view = node.op, b.input(node, 0)
    assert isinstance(op, QAveragePool)
    axes = windows(view.shape[2:], op.kernel_shape, op.strides, op.dilations, op.pads, ceil_mode=op.ceil_mode)
    cells = counts(view.shape[2:], axes, bool(op.count_include_pad))
    bias, lo, hi = (c_literal(np.float32(v), DType.F32) for v in (op.bias, op.lo, op.hi))
    finish = f"irc_clamped_code(IRC_FMAF((float)acc, e0, {bias}), {lo}, {hi})"
    what = Sum(DType.I32, step=f"acc + (int32_t)v0 - {op.zero_point}", finish=finish)
    loop_pool(b, node, axes, op.zero_point, what, (np.float32(op.scale) / cells).astype(np.float32))


@lowers(LpPool)
def lower_lp_pool(b: Builder, node: Node) -> None:
    """(sum of |x|^p)^(1/p) over each window."""
    op, shape = node.op, b.input(node, 0).shape
    assert isinstance(op, LpPool)
    axes = windows(shape[2:], op.kernel_shape, op.strides, op.dilations, op.pads, op.auto_pad, op.ceil_mode)
    loop_pool(b, node, axes, 0, _power_sum(node, op.p))


@lowers(GlobalLpPool)
def lower_global_lp_pool(b: Builder, node: Node) -> None:
    """The same over all spatial axes."""
    op = node.op
    assert isinstance(op, GlobalLpPool)
    axes = windows(b.input(node, 0).shape[2:], b.input(node, 0).shape[2:], None, None, None)
    loop_pool(b, node, axes, 0, _power_sum(node, op.p))


def _power_sum(node: Node, p: int) -> Sum:
    """Sums of |x|^p and their p-th root."""
    type = node.output.tensor_type
    if type is None or type.dtype is not DType.F32:
        raise BackendError(f"{node!r}: the C backend takes such a pool of f32 only; cast its input")
    if p == 1:
        return Sum(DType.F32, step="acc + fabsf(v0)")
    if p == 2:
        return Sum(DType.F32, step="acc + v0 * v0", finish="sqrtf(acc)")
    inverse = c_literal(np.float32(1 / p), DType.F32)
    return Sum(
        DType.F32, step=f"acc + irc_pow(fabsf(v0), {c_literal(float(p), DType.F32)})", finish=f"irc_pow(acc, {inverse})"
    )

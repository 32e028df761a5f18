"""Matrix products of float32, and of other numbers by generated loops.

MatMul   y = A B            a constant that is added right behind, one number a column, is the kernel's bias
Gemm     y = alpha A' B' + beta C
"""

from __future__ import annotations

import math

import numpy as np

from irc.backends.c.lowering.accumulate import Sum, accumulate, spread
from irc.backends.c.lowering.builder import Builder
from irc.backends.c.lowering.expressions import Axis, Expr, c_literal, loops
from irc.backends.c.lowering.float_contraction import pack_panels
from irc.backends.c.lowering.rules import lowers
from irc.backends.c.program import Scratch, Struct
from irc.backends.c.views import View, constant
from irc.graph import Node, Value
from irc.ops.binary import Add
from irc.ops.linear import Gemm, MatMul
from irc.types import Array, DType

_BATCHES = 2  # axes of batches that the kernel takes
_PANEL = 16  # columns of a packed panel


@lowers(MatMul)
def lower_matmul(b: Builder, node: Node) -> None:
    """The product over the last two axes, the others broadcast; a vector is a row or a column."""
    left, right = b.input(node, 0), b.input(node, 1)
    # with a vector on the right the last axis of the result is that of rows, and there is one column
    value, bias = _biased(b, node) if left.dtype is DType.F32 and right.rank > 1 else (node.output, None)
    y = _home(b, value)
    shaped = y
    if right.rank == 1:
        right = _with_axis(right, 1)
        shaped = _with_axis(shaped, shaped.rank)
    if left.rank == 1:
        left = _with_axis(left, 0)
        shaped = _with_axis(shaped, shaped.rank - 1)
    batch = shaped.shape[:-2]
    a = left.broadcast((*batch, *left.shape[-2:]))
    w = right.broadcast((*batch, *right.shape[-2:]))
    if left.dtype is not DType.F32:
        loop_product(b, node, a, w, shaped)
        return
    product(b, node, a, w, shaped, node.constant(1), bias)


def _with_axis(view: View, axis: int) -> View:
    """The view with one more axis, of size 1."""
    shape, strides = list(view.shape), list(view.strides)
    shape.insert(axis, 1)
    strides.insert(axis, 1)
    return View(view.buffer, tuple(shape), tuple(strides), view.offset)


def _home(b: Builder, value: Value) -> View:
    """A home for the result in the order that its readers want, if that leaves the columns adjacent."""
    rank = len(b.shape(value))
    order = b.order(value)
    return b.output(value, order if rank and order[-1] == rank - 1 else None)


def _biased(b: Builder, node: Node) -> tuple[Value, View | None]:
    """The sum with a constant vector over the columns that alone reads the product, and that vector."""
    value = node.output
    user = value.users[0] if len(value.uses) == 1 and value.users and not value.is_output else None
    shape = b.shape(value)
    if user is None or not isinstance(user.op, Add) or user.graph is not node.graph or not shape:
        return value, None
    index = 0 if user.input(0) is value else 1
    data = user.constant(1 - index)
    if data is None or data.size != shape[-1] or data.shape[-1:] != shape[-1:] or b.shape(user.output) != shape:
        return value, None
    return user.output, constant(data.reshape(-1), node.name)


def product(
    b: Builder, node: Node, a: View, w: View, y: View, data: Array | None = None, bias: View | None = None
) -> None:
    """y = a w + bias by the kernel.

    a : (*batch, M, K);  w : (*batch, K, N);  y : (*batch, M, N);  bias : broadcasts against (M, N)
    data : the contents of `w` if it is constant
    """
    if y.strides[-1] != 1 and y.shape[-1] != 1:
        private = b.scratch(y.dtype, y.shape)
        product(b, node, a, w, private, data, bias)
        b.copy(private, y, node)
        return
    k, n = w.shape[-2:]
    packed = data is not None and data.ndim == 2
    if data is not None and packed:
        w = constant(pack_panels(data), node.name)
    batches, rows = _axes(a, View(w.buffer, (*a.shape[:-2], k, n), (0,) * a.rank, w.offset) if packed else w, y)
    spread_bias = None if bias is None else bias.broadcast((y.shape[-2], n))
    outer = batches[:-_BATCHES]
    inner = [Axis(1, (0, 0, 0))] * (_BATCHES - len(batches)) + batches[-_BATCHES:]
    fields: dict[str, int] = {
        "batch0": inner[0].count, "batch1": inner[1].count, "m": rows.count, "n": n, "k": k,
        "a0": inner[0].strides[0], "a1": inner[1].strides[0], "a_row": rows.strides[0], "a_col": a.strides[-1],
        "b0": inner[0].strides[1], "b1": inner[1].strides[1], "b_row": 0 if packed else w.strides[-2],
        "b_col": 0 if packed else w.strides[-1], "c0": inner[0].strides[2], "c1": inner[1].strides[2],
        "c_row": rows.strides[2], "b_packed": int(packed),
    }  # fmt: skip
    if spread_bias is not None:
        fields |= {"bias_row": spread_bias.strides[0], "bias_col": spread_bias.strides[1]}
    struct = Struct.of("irc_matmul", fields)
    scratch = None if packed else Scratch(4 * _PANEL * max(k, 1))
    for at in np.ndindex(*(axis.count for axis in outer)):
        moved = [
            View(v.buffer, v.shape, v.strides, v.offset + sum(i * o.strides[j] for i, o in zip(at, outer, strict=True)))
            for j, v in enumerate((a, w, y))
        ]
        b.call(
            node, "irc_matmul_f32", "matmul_f32.h", (struct, moved[0], moved[1], bias, scratch, moved[2]),
            reads=(a, w, bias), writes=(y,), macs=rows.count * n * k * inner[0].count * inner[1].count,
        )  # fmt: skip


def _axes(a: View, w: View, y: View) -> tuple[list[Axis], Axis]:
    """The axes of batches, merged, and the axis of rows; with one `w` for all, rows and batches are alike."""
    heads = [View(v.buffer, y.shape[:-2], v.strides[:-2], v.offset) for v in (a, w, y)]
    rows = Axis(y.shape[-2], (a.strides[-2], 0, y.strides[-2]))
    batches = [axis for axis in loops(y.shape[:-2], heads) if axis.count != 1]
    if any(axis.strides[1] for axis in batches):
        return batches, rows
    with_rows = [View(v.buffer, y.shape[:-1], v.strides[:-1], v.offset) for v in (a, y)]
    merged = loops(y.shape[:-1], with_rows)
    made = [Axis(axis.count, (axis.strides[0], 0, axis.strides[1])) for axis in merged]
    return made[:-1], made[-1]


def loop_product(b: Builder, node: Node, a: View, w: View, y: View, what: Sum | None = None) -> None:
    """y = a w by generated loops, in y's type; the shapes as for `product`."""
    rank, k = y.rank, a.shape[-1]
    batch = range(rank - 2)
    left = spread(a, [*batch, rank - 2, None, rank - 1], (*y.shape, k))
    right = spread(w, [*batch, None, rank - 1, rank - 2], (*y.shape, k))
    accumulate(b, node, y, [left, right], what or Sum(y.dtype), macs=y.elements * k)


@lowers(Gemm)
def lower_gemm(b: Builder, node: Node) -> None:
    """alpha goes into a constant B, else into A."""
    op = node.op
    assert isinstance(op, Gemm)
    a, w, data = b.input(node, 0), b.input(node, 1), node.constant(1)
    a = a.permuted((1, 0)) if op.transA else a
    w = w.permuted((1, 0)) if op.transB else w
    data = data if data is None or not op.transB else data.T
    if a.dtype is not DType.F32:
        _loop_gemm(b, node, a, w)
        return
    if op.alpha != 1 and data is not None:
        data = data * np.float32(op.alpha)
    elif op.alpha != 1:
        a = b.materialize(_scaled(a, op.alpha), node)
    product(b, node, a, w, _home(b, node.output), data, _addend(b, node, op.beta))


def _scaled(view: View, factor: float) -> Expr:
    return Expr(view.dtype, view.shape, f"{{0}} * {c_literal(np.float32(factor), view.dtype)}", (view,))


def _addend(b: Builder, node: Node, beta: float) -> View | None:
    """beta C; None if there is no C."""
    if node.input(2) is None or beta == 0:
        return None
    view, data = b.input(node, 2), node.constant(2)
    if beta == 1:
        return view
    if data is not None:
        return constant(np.ascontiguousarray(data * np.float32(beta)), node.name)
    return b.materialize(_scaled(view, beta), node)


def _loop_gemm(b: Builder, node: Node, a: View, w: View) -> None:
    op = node.op
    assert isinstance(op, Gemm)
    y = b.output(node.output)
    dtype = y.dtype
    finish = "acc" if op.alpha == 1 else f"acc * {c_literal(op.alpha, DType.F64)}"
    extra = []
    if node.input(2) is not None:
        extra.append(b.input(node, 2).broadcast(y.shape))
        finish += " + e0" if op.beta == 1 else f" + e0 * {c_literal(op.beta, DType.F64)}"
    left, right = spread(a, (0, None, 1), (*y.shape, a.shape[1])), spread(w, (None, 1, 0), (*y.shape, a.shape[1]))
    accumulate(b, node, y, [left, right], Sum(dtype, finish=finish), extra, macs=math.prod((*y.shape, a.shape[1])))

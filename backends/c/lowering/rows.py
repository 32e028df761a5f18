"""Ops over the rows of a tensor: softmax and the norms, their result quantized in the same pass where it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from irc.backends.c.lowering.builder import Builder
from irc.backends.c.lowering.expressions import Axis, Expr, loops
from irc.backends.c.lowering.rules import lowers
from irc.backends.c.program import Argument, Scratch, Struct
from irc.backends.c.views import View
from irc.errors import BackendError
from irc.graph import Node, Value
from irc.ops.norm import LayerNormalization, RMSNormalization
from irc.ops.quantize import QuantizeLinear
from irc.ops.softmax import LogSoftmax, Softmax
from irc.types import DType

_OUTER = 3  # axes of the kernels besides the row's own


def outer_axes(node: Node, views: Sequence[View]) -> list[Axis]:
    """The axes before the last of views of one shape, merged where all allow it, as three."""
    shape = views[0].shape[:-1]
    heads = [View(v.buffer, shape, v.strides[:-1], v.offset) for v in views]
    axes = loops(shape, heads)
    if len(axes) > _OUTER:
        raise BackendError(f"{node!r}: its rows lie in {len(axes)} nested strides, the kernel takes {_OUTER}")
    return [Axis(1, (0,) * len(views))] * (_OUTER - len(axes)) + axes


def last(view: View, axis: int) -> View:
    """The view with an axis moved to the end."""
    axis %= view.rank
    return view.permuted([*(a for a in range(view.rank) if a != axis), axis])


def rows_of(b: Builder, node: Node, axis: int) -> View:
    """The first input with its rows along the last axis, elements adjacent."""
    view = last(b.input(node, 0), axis)
    if view.strides[-1] == 1 or view.shape[-1] == 1:
        return view
    original = b.input(node, 0)
    axis %= original.rank
    order = [*(a for a in range(original.rank) if a != axis), axis]
    return last(b.copied(original, node, order), axis)


def quantized_reader(value: Value) -> Node | None:
    """The QuantizeLinear that alone reads the value, per tensor to uint8; None if there is none."""
    users = value.users
    if value.is_output or len(value.uses) != 1 or not users or not isinstance(users[0].op, QuantizeLinear):
        return None
    if users[0].graph is not value.graph:
        return None  # it may not come to that
    scale, zero = users[0].constant(1), users[0].constant(2)
    ok = scale is not None and scale.size == 1 and (zero is None or zero.dtype == np.uint8)
    return users[0] if ok else None


def rows_output(b: Builder, node: Node, like: View, axis: int) -> tuple[View, dict[str, int | float]]:
    """A home for the result with adjacent rows, and how it is quantized: the fields of a struct, none if it is not."""
    reader = quantized_reader(node.outputs[0])
    value = node.outputs[0] if reader is None else reader.output
    rank = like.rank
    axis %= rank
    home = b.output(value, [*(a for a in range(rank) if a != axis), axis])
    if reader is None:
        return last(home, axis), {}
    scale, zero = reader.constant(1), reader.constant(2)
    assert scale is not None
    point = 0 if zero is None else int(zero.reshape(())[()])
    return last(home, axis), {"y_scale": float(scale.reshape(())[()]), "y_zero_point": point}


def rows_struct(node: Node, x: View, y: View, mask: View | None, extra: dict[str, int | float]) -> Struct:
    """The parameters of the row kernels."""
    axes = outer_axes(node, [x, *([] if mask is None else [mask]), y])
    fields: dict[str, int | float] = {"n": x.shape[-1]}
    for i, axis in enumerate(axes):
        fields |= {f"outer{i}": axis.count, f"x{i}": axis.strides[0], f"y{i}": axis.strides[-1]}
        if mask is not None:
            fields[f"mask{i}"] = axis.strides[1]
    if mask is not None:
        fields["mask_col"] = int(mask.strides[-1] != 0)
    return Struct.of("irc_rows", fields | extra)


@lowers(Softmax)
def lower_softmax(b: Builder, node: Node) -> None:
    """Softmax of x + mask, where that sum is still to be computed; else of x."""
    assert isinstance(node.op, Softmax)
    axis = node.op.axis
    x, mask = _masked(b, node, axis)
    y, quantized = rows_output(b, node, x, axis)
    struct = rows_struct(node, x, y, mask, quantized | {"x_scale": 1.0})
    scratch: list[Argument] = [Scratch(4 * x.shape[-1] + 64)] if quantized else []
    name = "irc_softmax_f32_u8" if quantized else "irc_softmax_f32"
    b.call(node, name, "rows.h", (struct, x, mask, *scratch, y), reads=(x, mask), writes=(y,))


def _masked(b: Builder, node: Node, axis: int) -> tuple[View, View | None]:
    value = node.input(0)
    assert value is not None
    operand = b.operand_of(value)
    if (
        axis % len(b.shape(value)) == len(b.shape(value)) - 1
        and isinstance(operand, Expr)
        and operand.rhs == "{0} + {1}"
    ):
        x, mask = operand.arguments
        if isinstance(mask, View) and isinstance(x, View | Expr):
            if x.shape != operand.shape:
                x, mask = mask, x
            if isinstance(x, Expr) and isinstance(mask, View):
                x = b.materialize(x, node)
            whole = isinstance(x, View) and x.shape == operand.shape and x.strides[-1] == 1
            if whole and isinstance(mask, View) and mask.shape != operand.shape:
                spread = mask.broadcast(operand.shape)
                if spread.strides[-1] in (0, 1):
                    return x, spread
    return rows_of(b, node, axis), None


@lowers(LogSoftmax)
def lower_log_softmax(b: Builder, node: Node) -> None:
    """x - max - log(sum exp(x - max))."""
    assert isinstance(node.op, LogSoftmax)
    axis = node.op.axis
    x = rows_of(b, node, axis)
    rank = x.rank
    home = b.output(node.output, [*(a for a in range(rank) if a != axis % rank), axis % rank])
    y = last(home, axis)
    struct = rows_struct(node, x, y, None, {"x_scale": 1.0})
    scratch = Scratch(4 * x.shape[-1] + 64)
    b.call(node, "irc_log_softmax_f32", "rows.h", (struct, x, None, scratch, y), reads=(x,), writes=(y,))


@lowers(LayerNormalization, RMSNormalization)
def lower_norm(b: Builder, node: Node) -> None:
    """Over the last axis, or the last few if they are one in memory."""
    op = node.op
    assert isinstance(op, LayerNormalization | RMSNormalization)
    axis = op.axis % len(b.shape(node.outputs[0]))
    x = b.input(node, 0)
    count = int(np.prod(x.shape[axis:]))
    flat = x.reshaped((*x.shape[:axis], count))
    if flat is None or flat.strides[-1] != 1:
        flat = b.copied(x, node).reshaped((*x.shape[:axis], count))
    assert flat is not None
    home, quantized = rows_output(b, node, x, x.rank - 1)
    y = home.reshaped((*x.shape[:axis], count))
    assert y is not None
    factors = [_row(b, node, i, x.shape[axis:]) for i in (1, 2)]
    arguments = factors if isinstance(op, LayerNormalization) else factors[:1]
    struct = rows_struct(node, flat, y, None, quantized | {"epsilon": float(op.epsilon)})
    scratch: list[Argument] = [Scratch(4 * count + 64)] if quantized else []
    kind = "layer_norm" if isinstance(op, LayerNormalization) else "rms_norm"
    name = f"irc_{kind}_f32_u8" if quantized else f"irc_{kind}_f32"
    b.call(node, name, "rows.h", (struct, flat, *arguments, *scratch, y), reads=(flat, *factors), writes=(y,))


def _row(b: Builder, node: Node, index: int, shape: tuple[int, ...]) -> View | None:
    """A scale or bias as one dense row."""
    if node.input(index) is None:
        return None
    view = b.input(node, index).broadcast(shape)
    if view.is_dense():
        return view
    made = b.scratch(DType.F32, shape)
    b.copy(view, made, node)
    return made

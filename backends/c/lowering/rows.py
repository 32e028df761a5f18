"""Ops over the rows of a tensor: softmax and the norms, their result quantized in the same pass where it is."""

from __future__ import annotations

import math

from irc.backends.c.lowering.builder import Builder
from irc.backends.c.lowering.expressions import Axis, Expr, loops
from irc.backends.c.lowering.quantize import scalars
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


def outer_axes(x: View, mask: View | None, y: View) -> list[Axis]:
    """The axes before the last, merged where all allow it; at least three."""
    views = [x, y] if mask is None else [x, mask, y]
    shape = x.shape[:-1]
    axes = loops(shape, [View(v.buffer, shape, v.strides[:-1], v.offset) for v in views])
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
    type = users[0].output.tensor_type
    return users[0] if scalars(users[0]) and type is not None and type.dtype is DType.U8 else None


def rows_result(node: Node) -> tuple[Value, dict[str, int | float]]:
    """What the kernel writes, and how that is quantized: the fields of a struct, none if it is not."""
    reader = quantized_reader(node.outputs[0])
    numbers = None if reader is None else scalars(reader)
    if reader is None or numbers is None:
        return node.outputs[0], {}
    scale, zero_point = numbers
    return reader.output, {"y_scale": scale, "y_zero_point": zero_point}


def operands(
    b: Builder, node: Node, value: Value, axis: int, x: View, mask: View | None = None
) -> tuple[View, View | None, View]:
    """What a row kernel reads, and a home for the value that it writes, with the rows along the last axis.

    They are made dense if they lie in more nested strides than the kernel takes.
    """
    axis %= x.rank
    order = [*(a for a in range(x.rank) if a != axis), axis]
    y = last(b.output(value, order), axis)
    if len(outer_axes(x, mask, y)) <= _OUTER:
        return x, mask, y
    spread = None if mask is None else b.copied(mask, node)
    return b.copied(x, node), spread, last(b.private(value, order), axis)


def check_float(node: Node, view: View) -> None:
    """Refuse what the row kernels do not take.

    Raises
    ------
    BackendError : it is not of float32.
    """
    if view.dtype is not DType.F32:
        raise BackendError(f"{node!r}: the C backend has it of f32 only, not of {view.dtype}; cast its input to f32")


def rows_struct(x: View, y: View, mask: View | None, extra: dict[str, int | float]) -> Struct:
    """The parameters of the row kernels."""
    axes = outer_axes(x, mask, y)
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
    check_float(node, x)
    value, quantized = rows_result(node)
    x, mask, y = operands(b, node, value, axis, x, mask)
    struct = rows_struct(x, y, mask, quantized)
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
    check_float(node, x)
    x, _, y = operands(b, node, node.output, axis, x)
    struct = rows_struct(x, y, None, {})
    scratch = Scratch(4 * x.shape[-1] + 64)
    b.call(node, "irc_log_softmax_f32", "rows.h", (struct, x, None, scratch, y), reads=(x,), writes=(y,))


@lowers(LayerNormalization, RMSNormalization)
def lower_norm(b: Builder, node: Node) -> None:
    """Over the last axis, or the last few if they are one in memory."""
    op = node.op
    assert isinstance(op, LayerNormalization | RMSNormalization)
    axis = op.axis % len(b.shape(node.outputs[0]))
    x = b.input(node, 0)
    check_float(node, x)
    shape = (*x.shape[:axis], math.prod(x.shape[axis:]))
    value, quantized = rows_result(node)
    flat, y = x.reshaped(shape), b.output(value).reshaped(shape)
    if flat is None or flat.strides[-1] != 1:
        flat = b.copied(x, node).reshaped(shape)
    assert flat is not None
    if y is None or len(outer_axes(flat, None, y)) > _OUTER:
        flat, y = b.copied(flat, node), b.private(value).reshaped(shape)
    assert y is not None
    factors = [_row(b, node, i, x.shape[axis:]) for i in (1, 2)]
    arguments = factors if isinstance(op, LayerNormalization) else factors[:1]
    struct = rows_struct(flat, y, None, quantized | {"epsilon": float(op.epsilon)})
    scratch: list[Argument] = [Scratch(4 * shape[-1] + 64)] if quantized else []
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

"""Where float meets codes."""

from __future__ import annotations

import numpy as np

from irc.backends.c.lowering.builder import Builder
from irc.backends.c.lowering.elementwise import express, float_literal
from irc.backends.c.lowering.expressions import Expr
from irc.backends.c.lowering.rules import lowers
from irc.backends.c.program import Struct
from irc.backends.c.views import View, channels_last
from irc.errors import BackendError
from irc.graph import Node
from irc.ops.quantize import DequantizeLinear, QuantizeLinear
from irc.types import DType

_WIDEST = 16  # bits of a code
_PLANES = 4  # most channels of an image that the kernel for planes takes


def scalars(node: Node) -> tuple[float, int] | None:
    """Scale and zero point of a QuantizeLinear or DequantizeLinear; None if they are not one constant number each."""
    scale, zero = node.constant(1), node.constant(2)
    if scale is None or scale.size != 1 or (node.input(2) is not None and (zero is None or zero.size != 1)):
        return None
    return float(scale.reshape(())[()]), 0 if zero is None else int(zero.reshape(())[()])


def aligned(b: Builder, node: Node, index: int, shape: tuple[int, ...]) -> View | Expr | None:
    """A scale or zero point that broadcasts against `shape`: one for all, for each of the axis, or for each block."""
    op, value = node.op, node.input(index)
    assert isinstance(op, QuantizeLinear | DequantizeLinear)
    if value is None:
        return None
    data = value.data
    if data is not None and data.size == 1:
        return Expr.literal(data.reshape(()).item(), b.dtype(value))
    if op.block_size:
        return _blocks(b, node, b.input(node, index), op.axis % len(shape), op.block_size).sliced(
            op.axis % len(shape), 0, shape[op.axis]
        )
    view = b.input(node, index)
    return view.reshaped([n if a == op.axis % len(shape) and view.elements > 1 else 1 for a, n in enumerate(shape)])


def _blocks(b: Builder, node: Node, view: View, axis: int, size: int) -> View:
    """Each element along an axis `size` times, by a copy."""
    shape, strides = list(view.shape), list(view.strides)
    shape.insert(axis + 1, size)
    strides.insert(axis + 1, 0)
    repeated = b.copied(View(view.buffer, tuple(shape), tuple(strides), view.offset), node)
    made = repeated.reshaped([n * size if a == axis else n for a, n in enumerate(view.shape)])
    assert made is not None
    return made


@lowers(QuantizeLinear)
def lower_quantize(b: Builder, node: Node) -> None:
    """clamp(round(x / scale) + zero_point, lowest code, highest code)."""
    x, dtype = b.operand(node, 0), b.dtype(node.output)
    one = scalars(node)
    if (
        dtype.bits > _WIDEST
        or x.dtype is not DType.F32
        or getattr(node.op, "precision", 0) not in (0, DType.F32.onnx_type)
    ):
        raise BackendError(
            f"{node!r}: the C backend quantizes f32 to integers of 8 or 16 bits, not {x.dtype} to {dtype}"
        )
    limits = np.iinfo(dtype.numpy)
    if one is None:
        _quantize_each(b, node, x, int(limits.min), int(limits.max))
        return
    scale, zero = one
    if isinstance(x, View) and dtype.numpy == np.uint8 and _is_planes(b, node, x):
        _quantize_planes(b, node, x, scale, zero)
        return
    low, high = float_literal(float(limits.min - zero)), float_literal(float(limits.max - zero))
    express(b, node, f"irc_clamped_code({{0}} / {float_literal(scale)}, {low}, {high}) + {zero}", [x])


def _quantize_each(b: Builder, node: Node, x: View | Expr, low: int, high: int) -> None:
    """With scales and zero points of their own for parts of x, or that are computed."""
    shape = b.shape(node.output)
    scale, zero = aligned(b, node, 1, shape), aligned(b, node, 2, shape)
    assert scale is not None
    zero = Expr.literal(0, DType.I32) if zero is None else zero
    bounds = f"(float)({low} - (int32_t){{2}}), (float)({high} - (int32_t){{2}})"
    express(b, node, f"irc_clamped_code({{0}} / {{1}}, {bounds}) + (int32_t){{2}}", [x, scale, zero])


def _is_planes(b: Builder, node: Node, x: View) -> bool:
    """Whether x is an image of few channels, one plane each, that is wanted with its channels innermost."""
    return (
        x.rank == 4
        and 1 < x.shape[1] <= _PLANES
        and x.strides[3] == 1
        and b.order(node.output) == channels_last(4)
        and b.dtype(node.output).numpy == np.uint8
    )


def _quantize_planes(b: Builder, node: Node, x: View, scale: float, zero: int) -> None:
    y = b.output(node.output, channels_last(4))
    struct = Struct.of("irc_quantize_planes", {
        "batch": x.shape[0], "channels": x.shape[1], "rows": x.shape[2], "cols": x.shape[3],
        "x_batch": x.strides[0], "x_channel": x.strides[1], "x_row": x.strides[2],
        "y_batch": y.strides[0], "y_row": y.strides[2], "y_col": y.strides[3], "scale": scale, "zero_point": zero,
    })  # fmt: skip
    b.call(node, "irc_quantize_planes_f32_u8", "quantize.h", (struct, x, y), reads=(x,), writes=(y,))


@lowers(DequantizeLinear)
def lower_dequantize(b: Builder, node: Node) -> None:
    """(x - zero_point) * scale."""
    x, one, shape = b.operand(node, 0), scalars(node), b.shape(node.output)
    if b.dtype(node.output) is not DType.F32:
        raise BackendError(f"{node!r}: the C backend dequantizes to f32, not to {b.dtype(node.output)}")
    if one is not None:
        scale, zero = one
        express(b, node, f"(float)((int32_t){{0}} - {zero}) * {float_literal(scale)}", [x])
        return
    factor, offset = aligned(b, node, 1, shape), aligned(b, node, 2, shape)
    assert factor is not None
    offset = Expr.literal(0, DType.I32) if offset is None else offset
    express(b, node, "(float)((int32_t){0} - (int32_t){1}) * {2}", [x, offset, factor])

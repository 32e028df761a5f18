"""Where float meets codes."""

from __future__ import annotations

import numpy as np

from irc.backends.c.lowering.builder import Builder
from irc.backends.c.lowering.elementwise import express, float_literal
from irc.backends.c.lowering.rules import lowers
from irc.backends.c.program import Struct
from irc.backends.c.views import View, channels_last
from irc.errors import BackendError
from irc.graph import Node
from irc.ops.quantize import DequantizeLinear, QuantizeLinear

_PLANES = 4  # most channels of an image that the kernel for planes takes


def parameters(node: Node) -> tuple[float, int]:
    """Scale and zero point of a QuantizeLinear or DequantizeLinear.

    Raises
    ------
    BackendError : they are not one number each, or not constant.
    """
    scale, zero = node.constant(1), node.constant(2)
    if scale is None or scale.size != 1 or (node.input(2) is not None and (zero is None or zero.size != 1)):
        raise BackendError(f"{node!r}: the C backend quantizes with one constant scale and zero point for a tensor")
    return float(scale.reshape(())[()]), 0 if zero is None else int(zero.reshape(())[()])


@lowers(QuantizeLinear)
def lower_quantize(b: Builder, node: Node) -> None:
    """clamp(round(x / scale) + zero_point, lowest code, highest code)."""
    scale, zero = parameters(node)
    x = b.operand(node, 0)
    dtype = b.dtype(node.output)
    if isinstance(x, View) and dtype.numpy == np.uint8 and _is_planes(b, node, x):
        _quantize_planes(b, node, x, scale, zero)
        return
    if dtype.bits > 16:
        raise BackendError(f"{node!r}: the C backend does not quantize to {dtype}")
    limits = np.iinfo(dtype.numpy)
    low, high = float_literal(float(limits.min - zero)), float_literal(float(limits.max - zero))
    express(b, node, f"irc_clamped_code({{0}} / {float_literal(scale)}, {low}, {high}) + {zero}", [x])


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
    scale, zero = parameters(node)
    express(b, node, f"(float)((int32_t){{0}} - {zero}) * {float_literal(scale)}", [b.operand(node, 0)])

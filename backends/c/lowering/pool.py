"""Pools over windows of one or two spatial axes, channels innermost; and tables of codes."""

from __future__ import annotations

from irc.backends.c.lowering.builder import Builder
from irc.backends.c.lowering.expressions import Axis, loops
from irc.backends.c.lowering.gather import indexed
from irc.backends.c.lowering.loop_pool import loop_average_pool, loop_max_pool, loop_quantized_average_pool
from irc.backends.c.lowering.rules import lowers
from irc.backends.c.lowering.windows import images, window_output
from irc.backends.c.program import Struct
from irc.backends.c.views import View, channels_last
from irc.graph import Node
from irc.ops.int8 import QAveragePool, QLookup
from irc.ops.pool import AveragePool, MaxPool
from irc.ops.spatial import Window, windows
from irc.types import DType

_IMAGE = 4  # axes of what the kernels take: no third spatial one


def _pool(b: Builder, node: Node, function: str, axes: list[Window], extra: dict[str, int | float]) -> None:
    view = b.input(node, 0)
    if view.strides[1] != 1 and view.shape[1] != 1:
        view = b.copied(view, node, channels_last(view.rank))
    home = window_output(b, node)
    x, y = images(view)[0], images(home)[0]
    if len(axes) == 1:
        axes = [Window(1, 1, 1, 0, 0, 1, 0), *axes]
    down, right = axes
    fields: dict[str, int | float] = {
        "batch": x.shape[0], "channels": x.shape[1], "rows": x.shape[2], "cols": x.shape[3], "out_rows": y.shape[2],
        "out_cols": y.shape[3], "kernel_rows": down.kernel, "kernel_cols": right.kernel, "stride_rows": down.stride,
        "stride_cols": right.stride, "dilation_rows": down.dilation, "dilation_cols": right.dilation,
        "pad_top": down.begin, "pad_left": right.begin, "pad_bottom": down.end, "pad_right": right.end,
        "x_batch": x.strides[0], "x_row": x.strides[2], "x_col": x.strides[3],
        "y_batch": y.strides[0], "y_row": y.strides[2], "y_col": y.strides[3],
    }  # fmt: skip
    struct = Struct.of("irc_pool", fields | extra)
    b.call(node, function, "pool.h", (struct, x, y), reads=(x,), writes=(y,))


@lowers(MaxPool)
def lower_max_pool(b: Builder, node: Node) -> None:
    """The largest element of each window."""
    op = node.op
    assert isinstance(op, MaxPool)
    view = b.input(node, 0)
    kind = {DType.U8: "u8", DType.I8: "s8", DType.F32: "f32"}.get(view.dtype)
    if kind is None or view.rank > _IMAGE:
        loop_max_pool(b, node)
        return
    _pool(b, node, f"irc_max_pool_{kind}", op.windows(view.shape), {})


@lowers(AveragePool)
def lower_average_pool(b: Builder, node: Node) -> None:
    """The mean of each window."""
    op = node.op
    assert isinstance(op, AveragePool)
    view = b.input(node, 0)
    if view.dtype is not DType.F32 or view.rank > _IMAGE:
        loop_average_pool(b, node)
        return
    axes = op.windows(view.shape)
    _pool(b, node, "irc_average_pool_f32", axes, {"count_include_pad": op.count_include_pad})


@lowers(QAveragePool)
def lower_quantized_average_pool(b: Builder, node: Node) -> None:
    """The mean of the codes of each window."""
    op = node.op
    assert isinstance(op, QAveragePool)
    view = b.input(node, 0)
    if view.rank > _IMAGE:
        loop_quantized_average_pool(b, node)
        return
    axes = windows(view.shape[2:], op.kernel_shape, op.strides, op.dilations, op.pads, ceil_mode=op.ceil_mode)
    extra: dict[str, int | float] = {
        "count_include_pad": op.count_include_pad, "zero_point": op.zero_point, "scale": float(op.scale),
        "bias": float(op.bias), "lo": op.lo, "hi": op.hi,
    }  # fmt: skip
    _pool(b, node, "irc_average_pool_u8", axes, extra)


@lowers(QLookup)
def lower_lookup(b: Builder, node: Node) -> None:
    """A table of 256 codes."""
    view, table = b.input(node, 0), b.input(node, 1)
    home = b.output(node.output, b.order(node.output, view.order))
    axes = loops(view.shape, [view, home])
    if not _are_rows(axes):
        where = View(table.buffer, home.shape, (0,) * home.rank, table.offset)
        indexed(b, node, where, [(view, table.elements, table.strides[0])], home)
        return
    sizes = [1] * (3 - len(axes)) + [a.count for a in axes]
    steps = [(0, 0)] * (3 - len(axes)) + [(a.strides[0], a.strides[1]) for a in axes]
    struct = Struct.of("irc_lookup", {
        "size0": sizes[0], "size1": sizes[1], "n": sizes[2], "x0": steps[0][0], "x1": steps[1][0], "y0": steps[0][1],
        "y1": steps[1][1],
    })  # fmt: skip
    b.call(node, "irc_lookup_u8", "lookup.h", (struct, view, table, home), reads=(view,), writes=(home,), in_place=view)


def _are_rows(axes: list[Axis]) -> bool:
    """Whether the loops are what the lookup kernel takes: three, the innermost over adjacent elements."""
    return len(axes) <= 3 and (axes[-1].strides == (1, 1) or axes[-1].count == 1)

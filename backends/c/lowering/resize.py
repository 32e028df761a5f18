"""Resize: along rows and columns by the kernels of resize.h, along any other axis by loops over tables or weights.

The op itself gives the tables: which elements of an axis make each output, and with what weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from irc.backends.c.lowering.accumulate import Sum, accumulate
from irc.backends.c.lowering.builder import Builder
from irc.backends.c.lowering.expressions import Expr, c_literal
from irc.backends.c.lowering.gather import indexed
from irc.backends.c.lowering.rules import lowers
from irc.backends.c.lowering.windows import images
from irc.backends.c.program import Struct, Table
from irc.backends.c.views import View, channels_last, constant
from irc.errors import BackendError
from irc.graph import Node
from irc.ops.resize import Resize
from irc.types import Array, DType


@dataclass(frozen=True)
class AxisTable:
    """How one axis is resized.

    index : int32 (resized, taps), elements of x
    weight : float64 (resized, taps)
    outside : which outputs lie beyond the region that may be read and hold `extrapolation_value`; None if none
    """

    axis: int
    index: Array
    weight: Array
    outside: Array | None = None

    @property
    def taps(self) -> int:
        return int(self.index.shape[1])


def axis_tables(node: Node, shape: tuple[int, ...]) -> list[AxisTable]:
    """The tables of the axes that change.

    Raises
    ------
    BackendError : scales, sizes or the region are not constant.
    """
    op = node.op
    assert isinstance(op, Resize)
    given = [node.constant(i) for i in (1, 2, 3)]
    if any(node.input(i) is not None and data is None for i, data in enumerate(given, 1)):
        raise BackendError(f"{node!r}: the C backend needs its region, scales and sizes as constants")
    crop = op.coordinate_transformation_mode == "tf_crop_and_resize"
    made = []
    for a in op._plan(shape, *(None if d is None else torch.from_numpy(d.copy()) for d in given)):
        if a.size == a.resized and a.scale == 1 and not crop:
            continue
        places = op._places(a)
        beyond = (places < 0) | (places > a.size - 1)
        if op.mode == "nearest":
            index = op._nearest(places.float()).clamp(0, a.size - 1).numpy().astype(np.int32)[:, None]
            weight = np.ones(index.shape)
        else:
            index, weight = _taps(op._weights(a, places).numpy())
        made.append(AxisTable(a.axis, index, weight, beyond.numpy() if crop and bool(beyond.any()) else None))
    return made


def _taps(weights: Array) -> tuple[Array, Array]:
    """Of weights (resized, size) the run of elements that each output needs: indices and weights, all of one length."""
    rows = [np.flatnonzero(row) for row in weights]
    taps = max(int(row[-1] - row[0]) + 1 if len(row) else 1 for row in rows)
    size = weights.shape[1]
    first = [min(int(row[0]) if len(row) else 0, size - min(taps, size)) for row in rows]
    index = np.array(first)[:, None] + np.arange(min(taps, size))
    return index.astype(np.int32), np.take_along_axis(weights, index, 1)


@lowers(Resize)
def lower_resize(b: Builder, node: Node) -> None:
    """Images of float32 or codes by one kernel call; anything else one axis after the other."""
    op, view = node.op, b.input(node, 0)
    assert isinstance(op, Resize)
    tables = axis_tables(node, view.shape)
    if not tables:
        b.alias(node.output, view)
        return
    nearest = op.mode == "nearest"
    spatial = view.rank in (3, 4) and all(t.axis >= 2 for t in tables)
    if spatial and (view.dtype is DType.F32 or (nearest and view.dtype is DType.U8)):
        _image(b, node, view, tables)
        return
    for table in tables:
        view = _pick(b, node, view, table) if nearest else _weigh(b, node, view, table)
    _finish(b, node, view, tables)


def _image(b: Builder, node: Node, view: View, tables: list[AxisTable]) -> None:
    op = node.op
    assert isinstance(op, Resize)
    if view.strides[1] != 1 and view.shape[1] != 1:
        view = b.copied(view, node, channels_last(view.rank))
    y = b.output(node.output, channels_last(view.rank))
    image, home = images(view)[0], images(y)[0]
    found = {t.axis + 4 - view.rank: t for t in tables}
    fields: dict[str, int | float | Table | None] = {
        "batch": image.shape[0], "channels": image.shape[1], "out_rows": home.shape[2], "out_cols": home.shape[3],
        "x_batch": image.strides[0], "x_row": image.strides[2], "x_col": image.strides[3],
        "y_batch": home.strides[0], "y_row": home.strides[2], "y_col": home.strides[3],
        "extrapolation": float(op.extrapolation_value),
    }  # fmt: skip
    for axis, name in ((2, "row"), (3, "col")):
        same = np.arange(image.shape[axis], dtype=np.int32)[:, None]
        table = found.get(axis) or AxisTable(axis, same, np.ones(same.shape))
        index = table.index.copy()
        if table.outside is not None:
            index[table.outside, 0] = -1
        weights = table.weight.astype(np.float32).reshape(-1).tolist()
        fields |= {
            f"{name}_taps": table.taps,
            f"{name}_index": Table("int32_t", tuple(index.reshape(-1).tolist())),
            f"{name}_weight": None if op.mode == "nearest" else Table("float", tuple(weights)),
        }
    kind = f"nearest_{view.dtype}" if op.mode == "nearest" else "weighted_f32"
    struct = Struct.of("irc_resize", fields)
    b.call(node, f"irc_resize_{kind}", "resize.h", (struct, image, home), reads=(image,), writes=(home,))


def _resized(b: Builder, view: View, table: AxisTable, dtype: DType) -> View:
    shape = list(view.shape)
    shape[table.axis] = len(table.index)
    return b.scratch(dtype, shape, view.order)


def _pick(b: Builder, node: Node, view: View, table: AxisTable) -> View:
    """The elements of one axis that the table names."""
    y = _resized(b, view, table, view.dtype)
    strides = tuple(0 if a == table.axis else s for a, s in enumerate(view.strides))
    places = constant(np.ascontiguousarray(table.index[:, 0]), node.name)
    where = View(places.buffer, y.shape, tuple(int(a == table.axis) for a in range(y.rank)))
    data = View(view.buffer, y.shape, strides, view.offset)
    indexed(b, node, data, [(where, view.shape[table.axis], view.strides[table.axis])], y)
    return y


def _weigh(b: Builder, node: Node, view: View, table: AxisTable) -> View:
    """Every element of one axis times its weight, mostly 0; integers are summed in float64."""
    work = DType.F32 if view.dtype is DType.F32 else DType.F64
    y = _resized(b, view, table, work)
    axis, count = table.axis, view.shape[table.axis]
    full = np.zeros((len(table.index), count))
    np.put_along_axis(full, table.index, table.weight, 1)
    weights = constant(full.astype(work.numpy), node.name)
    shape = (*y.shape, count)
    strides = tuple(0 if a == axis else s for a, s in enumerate(view.strides))
    x = View(view.buffer, shape, (*strides, view.strides[axis]), view.offset)
    w = View(weights.buffer, shape, (*(count if a == axis else 0 for a in range(y.rank)), 1))
    accumulate(b, node, y, [x, w], Sum(work))
    return y


def _finish(b: Builder, node: Node, view: View, tables: list[AxisTable]) -> None:
    """What was computed in the output's type, the part outside of the region filled."""
    op, dtype = node.op, b.dtype(node.output)
    assert isinstance(op, Resize)
    made = Expr.of(view)
    for table in tables:
        if table.outside is not None:
            shape = [len(table.index) if a == table.axis else 1 for a in range(view.rank)]
            outside = constant(table.outside.reshape(shape), node.name)
            other = c_literal(op.extrapolation_value, view.dtype)
            made = Expr(view.dtype, view.shape, f"{{1}} ? {other} : {{0}}", (made, outside))
    if not dtype.is_float and view.dtype.is_float:
        made = Expr(dtype, view.shape, f"irc_to_integer_{dtype}({{0}})", (made,))
    b.express(node.output, made)

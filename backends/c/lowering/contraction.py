"""Convolutions and matrix products of codes."""

from __future__ import annotations

import math

import numpy as np

from irc.backends.c.blocking import block_size
from irc.backends.c.lowering.builder import Builder
from irc.backends.c.lowering.demands import window_pads
from irc.backends.c.lowering.rules import lowers
from irc.backends.c.lowering.windows import (
    Positions,
    image_pairs,
    images,
    last_two,
    pack_windows,
    positions,
    read_freely,
    window_output,
    window_view,
)
from irc.backends.c.packing import (
    CODES_FIT,
    LANES,
    STEP,
    codes_fit,
    fit_flags,
    fits_winograd,
    pack_dense,
    pack_depthwise,
)
from irc.backends.c.program import Argument, Call, Scratch, Struct, Table
from irc.backends.c.views import Place, View, constant
from irc.graph import Node
from irc.ops.int8 import QBatchMatMul, QConv, QMatMul
from irc.types import Array, DType


def conv_struct(
    at: Positions, op: QConv | QMatMul | QBatchMatMul, n: int, groups: int, x_group: int, runs: tuple[int, ...],
    length: int, flags: int, residual: bool, y_group: int | None = None,
) -> Struct:  # fmt: skip
    """The parameters of `irc_conv_u8`."""
    at = at.flat()
    count, adds = at.batch * at.rows * at.cols, at.x[1] // at.cols if at.rows > 1 else at.x[2]
    fields: dict[str, int | float | Table | None] = {
        "batch": at.batch, "rows": at.rows, "cols": at.cols, "n": n, "groups": groups, "runs": len(runs),
        "run_length": length, "run_offset": Table("int32_t", runs),
        "x_batch": at.x[0], "x_row": at.x[1], "x_col": at.x[2], "x_group": x_group,
        "y_batch": at.y[0], "y_row": at.y[1], "y_col": at.y[2], "y_group": n if y_group is None else y_group,
        "r_batch": at.r[0], "r_row": at.r[1], "r_col": at.r[2], "r_group": n if residual else 0,
        "residual_scale": float(np.float32(getattr(op, "residual_scale", 0.0) if residual else 0.0)),
        "lo": float(op.lo), "hi": float(op.hi), "float_output": op.float_output,
        "flags": flags, "positions": block_size(count, len(runs) * length, adds, n),
    }  # fmt: skip
    return Struct.of("irc_conv", fields)


def _vectors(b: Builder, node: Node) -> tuple[View, View]:
    return b.input(node, 2), b.input(node, 3)


@lowers(QConv)
def lower_conv(b: Builder, node: Node) -> None:
    """A convolution: depthwise by its own kernel, everything else as a product of packed weights and windows."""
    op = node.op
    assert isinstance(op, QConv)
    w = node.constant(1)
    assert w is not None
    rank = w.ndim
    x = window_view(b, node, window_pads(op.pads, rank), op.zero_point)
    residual = None if node.input(4) is None else read_freely(b, node, b.input(node, 4), 1)
    y = window_output(b, node)
    strides, dilations = op.strides or (1,) * (rank - 2), op.dilations or (1,) * (rank - 2)
    if w.shape[1] == 1 and op.group == x.shape[1] == w.shape[0] > 1 and rank <= 4:
        depthwise(b, node, x, y, residual, w, strides, dilations)
        return
    taps, length, packed = pack_windows(w, x, op.group, dilations, pack_dense)
    weights = constant(packed, node.name)
    scale, bias = _vectors(b, node)
    flags = fit_flags(packed) | _codes_flag(w, scale, bias, residual, op.residual_scale)
    wino = fits_winograd(w, op.group, (*strides, *dilations))
    for index, (image, home) in enumerate(image_pairs(x, y, strides[0])):
        rest = None if residual is None else images(residual)[index]
        at = positions(image, home, rest, last_two(strides))
        struct = conv_struct(
            at, op, w.shape[0] // op.group, op.group, w.shape[1], taps, length, flags, rest is not None
        )
        special = _with_scratch(struct, image, weights, None, None, scale, bias, rest, home)
        others: dict[str, tuple[Call, ...]] = {}
        if wino:
            direct, winograd = special["avx2"], _winograd(struct, image, weights, scale, bias, rest, home)
            pays = home.shape[2] * home.shape[3] >= _WINOGRAD_POSITIONS
            special["avx2"], others["avx2"] = (winograd, (direct,)) if pays else (direct, (winograd,))
        b.call(
            node, "irc_conv_u8", "conv.h", (struct, image, weights, None, None, scale, bias, rest, home),
            reads=(x, residual), writes=(y,), in_place=residual, special=special, others=others,
            macs=home.elements * w[0].size,
        )  # fmt: skip


# IRC_CONV_SCRATCH and IRC_WINOGRAD_SCRATCH of kernels/irc_types.h
_CONV_SCRATCH, _WINOGRAD_SCRATCH = 256 * 1024, 640 * 1024
_SCRATCH_ISAS = ("avx2", "amx", "i8mm")  # those whose kernels put activations in order before they multiply
_WINOGRAD_POSITIONS = 16  # from which on it pays


def _with_scratch(*arguments: Argument) -> dict[str, Call]:
    """The calls of the instruction sets whose kernel wants memory to widen activations in."""
    call = Call("irc_conv_scratch_u8", (*arguments, Scratch(_CONV_SCRATCH)), "conv.h")
    return dict.fromkeys(_SCRATCH_ISAS, call)


def _winograd(*arguments: Argument) -> Call:
    return Call("irc_winograd_u8", (*arguments, Scratch(_WINOGRAD_SCRATCH)), "winograd.h")


def _codes_flag(w: Array, scale: View, bias: View, residual: View | None, residual_scale: float) -> int:
    factors = (scale.buffer.data, bias.buffer.data)
    assert factors[0] is not None
    assert factors[1] is not None
    return CODES_FIT if codes_fit(w, factors[0], factors[1], residual_scale if residual is not None else 0.0) else 0


def depthwise(
    b: Builder,
    node: Node,
    x: View,
    y: View,
    r: View | None,
    w: Array,
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> None:
    """One input channel for each output channel."""
    op = node.op
    assert isinstance(op, QConv)
    (image,), (home,) = images(x), images(y)
    rest = None if r is None else images(r)[0]
    at = positions(image, home, rest, last_two(strides))
    kernel, (down, right) = last_two(w.shape[2:]), last_two(dilations)
    scale, bias = _vectors(b, node)
    fields: dict[str, int | float | Table | None] = {
        "batch": at.batch, "rows": at.rows, "cols": at.cols, "channels": len(w), "kh": kernel[0], "kw": kernel[1],
        "x_batch": at.x[0], "x_row": at.x[1], "x_col": at.x[2],
        "tap_row": image.strides[2] * down, "tap_col": image.strides[3] * right,
        "y_batch": at.y[0], "y_row": at.y[1], "y_col": at.y[2],
        "r_batch": at.r[0], "r_row": at.r[1], "r_col": at.r[2],
        "residual_scale": float(np.float32(op.residual_scale)) if r is not None else 0.0,
        "lo": float(op.lo), "hi": float(op.hi), "float_output": op.float_output,
        "flags": _codes_flag(w, scale, bias, r, op.residual_scale),
    }  # fmt: skip
    weights = constant(pack_depthwise(w.reshape(len(w), -1).T), node.name)
    b.call(
        node, "irc_depthwise_u8", "depthwise.h",
        (Struct.of("irc_depthwise", fields), image, weights, scale, bias, rest, home),
        reads=(x, r), writes=(y,), in_place=r, macs=home.elements * w[0].size,
    )  # fmt: skip


def _matrix(b: Builder, node: Node, index: int) -> View:
    """An input (*, K) as a matrix (M, K) with K innermost, in the arena, where a kernel may read past its end."""
    view = b.input(node, index)
    made = view.reshaped((math.prod(view.shape[:-1]), view.shape[-1]))
    if made is None or (made.strides[1] != 1 and made.shape[1] != 1) or view.buffer.place is not Place.ARENA:
        made = b.copied(view, node).reshaped((math.prod(view.shape[:-1]), view.shape[-1]))
        assert made is not None
    return made


@lowers(QMatMul)
def lower_matmul(b: Builder, node: Node) -> None:
    """A matrix product is a 1x1 convolution: rows of x are positions."""
    op = node.op
    assert isinstance(op, QMatMul)
    w = node.constant(1)
    assert w is not None
    x = _matrix(b, node, 0)
    residual = None if node.input(4) is None else _matrix(b, node, 4)
    y = _matrices(b, node, b.output(node.output), (x.shape[0], w.shape[1]))
    packed = pack_dense(w.T[:, None])
    scale, bias = _vectors(b, node)
    at = Positions(1, 1, x.shape[0], _line(x), _line(y), (0, 0, 0) if residual is None else _line(residual))
    flags = fit_flags(packed) | _codes_flag(w.T, scale, bias, residual, op.residual_scale)
    struct = conv_struct(at, op, w.shape[1], 1, 0, (0,), w.shape[0], flags, residual is not None)
    weights = constant(packed, node.name)
    b.call(
        node, "irc_conv_u8", "conv.h", (struct, x, weights, None, None, scale, bias, residual, y),
        reads=(x, residual), writes=(y,), in_place=residual,
        special=_with_scratch(struct, x, weights, None, None, scale, bias, residual, y), macs=y.elements * w.shape[0],
    )  # fmt: skip


def _matrices(b: Builder, node: Node, home: View, shape: tuple[int, ...]) -> View:
    """The output's home as matrices with adjacent columns, or private memory if it is none."""
    made = home.reshaped(shape)
    if made is None or (made.strides[-1] != 1 and made.shape[-1] != 1):
        made = b.private(node.output).reshaped(shape)
    assert made is not None
    return made


def _line(view: View) -> tuple[int, int, int]:
    return 0, 0, view.strides[0]


@lowers(QBatchMatMul)
def lower_batch_matmul(b: Builder, node: Node) -> None:
    """The second operand is packed at run time, as weights are at compile time; each matrix is a group."""
    op = node.op
    assert isinstance(op, QBatchMatMul)
    left, right = _stacks(b, node)
    (count, m, k), n = left.shape, right.shape[-1]
    y = _matrices(b, node, b.output(node.output, b.order(node.output)), (count, m, n))
    packed = b.scratch(DType.I8, (count * -(-n // LANES) * -(-k // STEP) * LANES * STEP,), name=f"{node.name}.packed")
    columns = b.scratch(DType.I32, (count, n), name=f"{node.name}.columns")
    pack = Struct.of("irc_pack_b", {
        "matrices": count, "k": k, "n": n,
        "b_matrix": right.strides[0], "b_k": right.strides[1], "b_n": right.strides[2],
        "a_zero_point": op.a_zero_point, "b_zero_point": op.b_zero_point,
    })  # fmt: skip
    b.call(node, "irc_pack_b_u8", "pack_b.h", (pack, right, packed, columns), reads=(right,), writes=(packed, columns))
    rows = _row_sums(b, node, left, 128 - op.b_zero_point)
    scale = constant(np.full(count * n, op.scale, np.float32))
    bias = constant(np.full(count * n, op.bias, np.float32))
    at = Positions(1, 1, m, (0, 0, left.strides[1]), (0, 0, y.strides[1]))
    struct = conv_struct(at, op, n, count, left.strides[0], (0,), k, 0, False, y.strides[0])
    b.call(
        node, "irc_conv_u8", "conv.h", (struct, left, packed, columns, rows, scale, bias, None, y),
        reads=(left, packed, columns, rows), writes=(y,), macs=y.elements * k,
        special=_with_scratch(struct, left, packed, columns, rows, scale, bias, None, y),
    )  # fmt: skip


def _stacks(b: Builder, node: Node) -> tuple[View, View]:
    """Both operands as (matrices, rows, columns): the first with K adjacent, the second with either axis."""
    views = [b.input(node, 0), b.input(node, 1)]
    if views[0].rank == 1:
        views[0] = View(views[0].buffer, (1, *views[0].shape), (0, *views[0].strides), views[0].offset)
    if views[1].rank == 1:
        views[1] = View(views[1].buffer, (*views[1].shape, 1), (*views[1].strides, 0), views[1].offset)
    batch = np.broadcast_shapes(views[0].shape[:-2], views[1].shape[:-2])
    made = []
    for index, view in enumerate(views):
        shape = (math.prod(batch), *view.shape[-2:])
        spread = view.broadcast((*batch, *view.shape[-2:]))
        flat = spread.reshaped(shape)
        axes = (2,) if index == 0 else (2, 1)
        adjacent = flat is not None and any(flat.strides[a] == 1 or flat.shape[a] == 1 for a in axes)
        if flat is None or not adjacent or view.buffer.place is not Place.ARENA:
            flat = b.copied(spread, node).reshaped(shape)
        assert flat is not None
        made.append(flat)
    return made[0], made[1]


def _row_sums(b: Builder, node: Node, left: View, multiplier: int) -> View | None:
    """What the zero point of the second operand adds to each row; None if that is nothing."""
    if not multiplier:
        return None
    count, m, k = left.shape
    rows = b.scratch(DType.I32, (count, m), name=f"{node.name}.rows")
    struct = Struct.of("irc_row_sums", {
        "matrices": count, "m": m, "k": k, "a_matrix": left.strides[0], "a_row": left.strides[1],
        "multiplier": multiplier,
    })  # fmt: skip
    b.call(node, "irc_row_sums_u8", "pack_b.h", (struct, left, rows), reads=(left,), writes=(rows,))
    return rows

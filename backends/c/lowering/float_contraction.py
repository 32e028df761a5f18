"""Convolutions of float32, and of whatever else has no kernel of its own.

With constant weights the kernels of conv_f32.h; an activation right behind is taken into them:

    y = min(max(conv(x, w) + b, lo), hi)

With weights that are computed, over three axes transposed, and in float64: generated loops.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from irc.backends.c.lowering.accumulate import Sum, accumulate
from irc.backends.c.lowering.builder import Builder
from irc.backends.c.lowering.rules import lowers
from irc.backends.c.lowering.windows import (
    image_pairs,
    images,
    last_two,
    pack_windows,
    positions,
    window_view,
)
from irc.backends.c.program import Struct, Table
from irc.backends.c.views import View, channels_last, constant
from irc.errors import BackendError
from irc.graph import Node, Value
from irc.ops.activation import Clip, Relu
from irc.ops.conv import Conv, ConvTranspose
from irc.types import Array, DType

PANEL = 16  # output channels of a panel of packed weights


@dataclass(frozen=True)
class Clamped:
    """A value that a kernel writes, held in [low, high]."""

    value: Value
    low: float = -math.inf
    high: float = math.inf

    @property
    def fields(self) -> dict[str, int | float | Table | None]:
        return {"lo": self.low, "hi": self.high}


def clamped(node: Node) -> Clamped:
    """The node's output, or that of the Relu or Clip that alone reads it."""
    value = node.output
    user = value.users[0] if len(value.uses) == 1 and value.users and not value.is_output else None
    if user is None or user.graph is not node.graph:
        return Clamped(value)
    if isinstance(user.op, Relu):
        return Clamped(user.output, 0.0)
    if isinstance(user.op, Clip) and user.input(0) is value:
        bounds = [_bound(user, 1, -math.inf), _bound(user, 2, math.inf)]
        if None not in bounds:
            low, high = bounds
            assert low is not None
            assert high is not None
            return Clamped(user.output, low, high)
    return Clamped(value)


def _bound(node: Node, index: int, default: float) -> float | None:
    if node.input(index) is None:
        return default
    data = node.constant(index)
    return None if data is None else float(data.reshape(())[()])


def pack_panels(rows: Array) -> Array:
    """Weights float32 (K, N) as (ceil(N / 16), K, 16), zeros where there is no channel; one dimension."""
    k, n = rows.shape
    padded = np.zeros((k, -(-n // PANEL) * PANEL), np.float32)
    padded[:, :n] = rows
    return np.ascontiguousarray(padded.reshape(k, -1, PANEL).transpose(1, 0, 2)).reshape(-1)


@lowers(Conv)
def lower_conv(b: Builder, node: Node) -> None:
    """A convolution: depthwise by its own kernel, with constant weights by the kernel of panels, else by loops."""
    op = node.op
    assert isinstance(op, Conv)
    source, weight = node.input(0), node.input(1)
    assert source is not None
    assert weight is not None
    axes = op.windows(b.shape(source), b.shape(weight))
    x = window_view(b, node, ((0, 0), (0, 0), *((a.begin, a.end) for a in axes)), 0)
    steps, spacing = tuple(a.stride for a in axes), tuple(a.dilation for a in axes)
    w = node.constant(1)
    if w is None or x.dtype is not DType.F32:
        y = b.output(node.output, channels_last(x.rank))
        convolve(b, node, x, b.input(node, 1), b.optional(node, 2), y, steps, spacing, op.group)
        return
    goal = clamped(node)
    y = b.output(goal.value, channels_last(x.rank))
    bias = b.optional(node, 2)
    bias = None if bias is None else bias if bias.is_dense() else b.copied(bias, node)
    if w.shape[1] == 1 and op.group == x.shape[1] == w.shape[0] > 1 and x.rank <= 4:
        _depthwise(b, node, x, y, bias, w, steps, spacing, goal)
    else:
        _panels(b, node, x, y, bias, w, steps, spacing, goal)


def _panels(
    b: Builder, node: Node, x: View, y: View, bias: View | None, w: Array, strides: tuple[int, ...],
    dilations: tuple[int, ...], goal: Clamped,
) -> None:  # fmt: skip
    group = x.shape[1] // w.shape[1]
    taps, length, packed = pack_windows(w, x, group, dilations, lambda runs: pack_panels(runs.reshape(len(runs), -1).T))
    weights = constant(packed, node.name)
    n = w.shape[0] // group
    for image, home in image_pairs(x, y, strides[0]):
        at = positions(image, home, None, last_two(strides)).flat()
        struct = Struct.of("irc_float_conv", {
            "batch": at.batch, "rows": at.rows, "cols": at.cols, "n": n, "groups": group, "runs": len(taps),
            "run_length": length, "run_offset": Table("int32_t", taps), "x_batch": at.x[0], "x_row": at.x[1],
            "x_col": at.x[2], "x_group": w.shape[1], "y_batch": at.y[0], "y_row": at.y[1], "y_col": at.y[2],
            "y_group": n, **goal.fields,
        })  # fmt: skip
        b.call(
            node, "irc_conv_f32", "conv_f32.h", (struct, image, weights, bias, home), reads=(x, bias), writes=(y,),
            macs=home.elements * w[0].size,
        )  # fmt: skip


def _depthwise(
    b: Builder, node: Node, x: View, y: View, bias: View | None, w: Array, strides: tuple[int, ...],
    dilations: tuple[int, ...], goal: Clamped,
) -> None:  # fmt: skip
    (image,), (home,) = images(x), images(y)
    at = positions(image, home, None, last_two(strides))
    kernel, spacing = last_two(w.shape[2:]), last_two(dilations)
    struct = Struct.of("irc_float_depthwise", {
        "batch": at.batch, "rows": at.rows, "cols": at.cols, "channels": len(w), "kernel_rows": kernel[0],
        "kernel_cols": kernel[1], "x_batch": at.x[0], "x_row": at.x[1], "x_col": at.x[2],
        "tap_row": image.strides[2] * spacing[0], "tap_col": image.strides[3] * spacing[1],
        "y_batch": at.y[0], "y_row": at.y[1], "y_col": at.y[2], **goal.fields,
    })  # fmt: skip
    weights = constant(np.ascontiguousarray(w.reshape(len(w), -1).T), node.name)
    b.call(
        node, "irc_depthwise_f32", "conv_f32.h", (struct, image, weights, bias, home), reads=(x, bias), writes=(y,),
        macs=home.elements * w[0].size,
    )  # fmt: skip


def convolve(
    b: Builder, node: Node, x: View, w: View, bias: View | None, y: View, strides: tuple[int, ...],
    dilations: tuple[int, ...], group: int, what: Sum | None = None,
) -> None:  # fmt: skip
    """A convolution by generated loops; x is padded already.

    x : (N, C, *padded);  w : (M, C/group, *kernel);  y : (N, M, *out);  bias : (M), optional
    """
    spatial = y.rank - 2
    n, m = y.shape[:2]
    c, kernel, out = w.shape[1], w.shape[2:], y.shape[2:]
    shape = (n, group, m // group, *out)
    steps = [s * k for s, k in zip(x.strides[2:], strides, strict=True)]
    taps = [s * d for s, d in zip(x.strides[2:], dilations, strict=True)]
    windows = View(
        x.buffer, (*shape, c, *kernel), (x.strides[0], c * x.strides[1], 0, *steps, x.strides[1], *taps), x.offset
    )
    weights = View(
        w.buffer, (*shape, c, *kernel), (0, m // group * w.strides[0], w.strides[0], *(0,) * spatial, *w.strides[1:]),
        w.offset,
    )  # fmt: skip
    home = View(y.buffer, shape, (y.strides[0], m // group * y.strides[1], *y.strides[1:]), y.offset)
    extra = [] if bias is None else [
        View(bias.buffer, shape, (0, m // group * bias.strides[0], bias.strides[0], *(0,) * spatial), bias.offset)
    ]  # fmt: skip
    made = what or Sum(y.dtype, finish="acc" if bias is None else "acc + e0")
    accumulate(b, node, home, [windows, weights], made, extra, macs=home.elements * c * math.prod(kernel))


@lowers(ConvTranspose)
def lower_conv_transpose(b: Builder, node: Node) -> None:
    """Up to two spatial axes with constant weights by the kernel, else a convolution of x with zeros between."""
    op = node.op
    assert isinstance(op, ConvTranspose)
    x, w = b.input(node, 0), node.constant(1)
    spatial = x.rank - 2
    weight = node.input(1)
    assert weight is not None
    kernel = b.shape(weight)[2:]
    strides, dilations = op.strides or (1,) * spatial, op.dilations or (1,) * spatial
    extra = op.output_padding or (0,) * spatial
    crops = op._crops(x.shape[2:], kernel, strides, dilations, extra)
    if w is None or x.dtype is not DType.F32 or spatial > 2:
        _stuffed(b, node, x, strides, dilations, crops)
        return
    if x.strides[1] != 1 and x.shape[1] != 1:
        x = b.copied(x, node, channels_last(x.rank))
    goal = clamped(node)
    y = b.output(goal.value, channels_last(x.rank))
    (image,), (home,) = images(x), images(y)
    group, down = op.group, spatial - 2
    begins = (0,) * -down + tuple(begin for begin, _ in crops)
    channels, n = w.shape[0] // group, w.shape[1]
    taps = np.moveaxis(w.reshape(group, channels, n, -1), -1, 1)  # (group, taps, channels, n)
    packed = np.concatenate([pack_panels(part.reshape(-1, n)) for part in taps])
    fields: dict[str, int | float | Table | None] = {
        "batch": image.shape[0], "rows": image.shape[2], "cols": image.shape[3], "out_rows": home.shape[2],
        "out_cols": home.shape[3], "channels": channels, "n": n, "groups": group,
        "x_batch": image.strides[0], "x_row": image.strides[2], "x_col": image.strides[3],
        "y_batch": home.strides[0], "y_row": home.strides[2], "y_col": home.strides[3],
        "pad_top": begins[0], "pad_left": begins[1],
    }  # fmt: skip
    for name, pair in (("kernel", kernel), ("stride", strides), ("dilation", dilations)):
        fields[f"{name}_rows"], fields[f"{name}_cols"] = last_two(pair)
    struct = Struct.of("irc_conv_transpose", fields | goal.fields)
    bias = b.optional(node, 2)
    bias = None if bias is None else bias if bias.is_dense() else b.copied(bias, node)
    b.call(
        node, "irc_conv_transpose_f32", "conv_f32.h", (struct, image, constant(packed, node.name), bias, home),
        reads=(image, bias), writes=(home,), macs=image.elements * w[0].size,
    )  # fmt: skip


def _stuffed(
    b: Builder, node: Node, x: View, strides: tuple[int, ...], dilations: tuple[int, ...], crops: list[tuple[int, int]]
) -> None:
    """The convolution, with the kernel mirrored, of x with strides - 1 zeros between its elements."""
    op = node.op
    assert isinstance(op, ConvTranspose)
    w = b.input(node, 1)
    y = b.output(node.output)
    group, (c, n), kernel = op.group, w.shape[:2], w.shape[2:]
    if y.strides[1] == 0 or any(begin > (k - 1) * d for (begin, _), k, d in zip(crops, kernel, dilations, strict=True)):
        raise BackendError(f"{node!r}: the C backend does not cut off more than a kernel's reach")
    sizes = [o + (k - 1) * d for o, k, d in zip(y.shape[2:], kernel, dilations, strict=True)]
    whole = b.scratch(x.dtype, (*x.shape[:2], *sizes), name=f"{node.name}.stuffed")
    b.fill(whole, 0, node)
    inner, source = whole, x
    for axis, ((begin, _), k, s, d) in enumerate(zip(crops, kernel, strides, dilations, strict=True), 2):
        first = (k - 1) * d - begin
        count = min(x.shape[axis], -(-(whole.shape[axis] - first) // s))  # what lies behind reaches no output
        inner, source = inner.sliced(axis, first, count, s), source.sliced(axis, 0, count)
    b.copy(source, inner, node)
    mirrored = w
    for axis, k in enumerate(kernel, 2):
        mirrored = mirrored.sliced(axis, k - 1, k, -1)
    # (C, M/group) as (M, C/group): group g's channels c read the weights of its own rows
    shape = (group, n, c // group)
    packed = View(w.buffer, (*shape, *kernel), (c // group * w.strides[0], w.strides[1], w.strides[0],
                  *mirrored.strides[2:]), mirrored.offset)  # fmt: skip
    dense = b.scratch(w.dtype, packed.shape, name=f"{node.name}.mirrored")
    b.copy(packed, dense, node)
    weights = dense.reshaped((group * n, c // group, *kernel))
    assert weights is not None
    ones = (1,) * len(kernel)
    convolve(b, node, whole, weights, b.optional(node, 2), y, ones, dilations, group)

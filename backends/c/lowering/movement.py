"""Ops that move or select elements: other views of the same memory where that is possible, else copies."""

from __future__ import annotations

import numpy as np

from irc.backends.c.lowering.attributes import optional_constant, required_constant
from irc.backends.c.lowering.builder import Builder, border_views
from irc.backends.c.lowering.expressions import Expr
from irc.backends.c.lowering.rules import lowers
from irc.backends.c.views import View, constant
from irc.errors import BackendError
from irc.graph import Node
from irc.ops.index import Concat, Pad, Slice, Split
from irc.ops.misc import Dropout
from irc.ops.shape import (
    DepthToSpace,
    Expand,
    Flatten,
    Identity,
    Reshape,
    Shape,
    Size,
    SpaceToDepth,
    Squeeze,
    Tile,
    Transpose,
    Unsqueeze,
)


@lowers(Reshape, Flatten, Squeeze, Unsqueeze)
def lower_reshape(b: Builder, node: Node) -> None:
    """The same memory under another shape; a copy in ONNX's order if its layout does not allow it."""
    shape = b.shape(node.output)
    view = b.input(node, 0)
    made = view.reshaped(shape)
    if made is None:
        made = b.copied(view, node).reshaped(shape)
        assert made is not None
    b.alias(node.output, made)


@lowers(Identity, Dropout, outputs=2)
def lower_identity(b: Builder, node: Node) -> None:
    """The value itself; Dropout's mask is all true."""
    b.alias(node.outputs[0], b.input(node, 0))
    for mask in node.outputs[1:]:
        if mask.use_count:
            b.alias(mask, constant(np.ones(b.shape(mask), np.bool_), mask.name))


@lowers(Shape, Size)
def lower_shape(b: Builder, node: Node) -> None:
    """A constant: all shapes are known."""
    value, op = node.input(0), node.op
    assert value is not None
    shape = b.shape(value)
    dims = shape[op.start : op.end] if isinstance(op, Shape) else shape
    data = np.array(dims, np.int64) if isinstance(op, Shape) else np.prod(dims, dtype=np.int64)
    b.alias(node.output, constant(np.asarray(data, np.int64), node.name))


@lowers(Transpose)
def lower_transpose(b: Builder, node: Node) -> None:
    """The axes of the view in another order."""
    view = b.input(node, 0)
    perm = node.op.perm if isinstance(node.op, Transpose) else None
    b.alias(node.output, view.permuted(perm or tuple(reversed(range(view.rank)))))


@lowers(Expand)
def lower_expand(b: Builder, node: Node) -> None:
    """Repeated with stride 0."""
    b.alias(node.output, b.input(node, 0).broadcast(b.shape(node.output)))


@lowers(Slice)
def lower_slice(b: Builder, node: Node) -> None:
    """A part of the view."""
    view = b.input(node, 0)
    starts, ends = required_constant(node, 1, "starts"), required_constant(node, 2, "ends")
    axes, steps = optional_constant(node, 3, "axes"), optional_constant(node, 4, "steps")
    for i, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        axis = int(axes[i]) % view.rank if axes is not None else i
        step = int(steps[i]) if steps is not None else 1
        whole = step < 0 and end < -view.shape[axis]  # past the first element, which Python has no index for
        chosen = range(view.shape[axis])[slice(start, None if whole else end, step)]
        view = view.sliced(axis, chosen.start, len(chosen), step)
    b.alias(node.output, view)


@lowers(Split, outputs=1 << 30)
def lower_split(b: Builder, node: Node) -> None:
    """Each part a view."""
    view = b.input(node, 0)
    assert isinstance(node.op, Split)
    axis = node.op.axis % view.rank
    start = 0
    for value in node.outputs:
        size = b.shape(value)[axis]
        b.alias(value, view.sliced(axis, start, size))
        start += size


@lowers(Concat)
def lower_concat(b: Builder, node: Node) -> None:
    """Parts that were not computed in their place are copied there."""
    assert isinstance(node.op, Concat)
    views = [b.input(node, i) for i in range(len(node.inputs))]
    whole = b.concatenation(node.output, views[0].order)
    axis = node.op.axis % whole.rank
    start = 0
    for view in views:
        part = whole.sliced(axis, start, view.shape[axis])
        if view != part:
            b.copy(view, part, node)
        start += view.shape[axis]


_MODES = ("constant", "reflect", "edge", "wrap")


@lowers(Pad)
def lower_pad(b: Builder, node: Node) -> None:
    """Constant padding: a border and a copy. Reflected and repeated edges: copies of slices."""
    assert isinstance(node.op, Pad)
    if node.op.mode not in _MODES:
        raise BackendError(f"{node!r}: a Pad has no mode '{node.op.mode}'; it takes {', '.join(_MODES)}")
    view = b.input(node, 0)
    widths = _pad_widths(node, view.rank)
    for axis, (begin, end) in enumerate(widths):  # negative widths cut off
        view = view.sliced(axis, max(-begin, 0), view.shape[axis] - max(-begin, 0) - max(-end, 0))
    widths = [(max(a, 0), max(e, 0)) for a, e in widths]
    whole = b.output(node.output, b.order(node.output, view.order))
    inner = whole
    for axis, (begin, _) in enumerate(widths):
        inner = inner.sliced(axis, begin, view.shape[axis])
    b.copy(view, inner, node)
    if node.op.mode == "constant":
        number = _pad_number(b, node)
        for side in border_views(whole, widths):
            b.loop(number, side, node)
        return
    for axis, (begin, end) in enumerate(widths):
        _repeat(b, node, whole, axis, begin, end, widths)


def _pad_number(b: Builder, node: Node) -> Expr:
    """What a Pad puts around: a constant, or an element that is computed."""
    dtype, data = b.dtype(node.output), node.constant(2)
    if data is None and node.input(2) is not None:
        view = b.input(node, 2)
        if view.elements != 1:
            raise BackendError(f"{node!r}: it pads with {view.elements} elements; it must be one")
        return Expr.of(View(view.buffer, (), (), view.offset))
    return Expr.literal(0 if data is None else data.reshape(()).item(), dtype)


def _pad_widths(node: Node, rank: int) -> list[tuple[int, int]]:
    """How many elements a Pad puts before and after each axis."""
    pads, given = required_constant(node, 1, "pads"), optional_constant(node, 3, "axes")
    axes = range(rank) if given is None else [int(a) % rank for a in given]
    flat = pads.tolist()
    widths = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        widths[axis] = flat[i], flat[len(flat) // 2 + i]
    return widths


def _repeat(
    b: Builder, node: Node, whole: View, axis: int, begin: int, end: int, widths: list[tuple[int, int]]
) -> None:
    """Fill both ends of one axis from the cells inside; the axes before it are whole already."""
    assert isinstance(node.op, Pad)
    band = whole
    for later in range(axis + 1, whole.rank):
        band = band.sliced(later, widths[later][0], whole.shape[later] - sum(widths[later]))
    size = whole.shape[axis] - begin - end
    for first, last in ((-begin, 0), (size, size + end)):
        sources = [_source(node.op.mode, i, size) for i in range(first, last)]
        for start, count, step in _runs(sources):
            source = band.sliced(axis, begin + sources[start], count, step)
            b.copy(source, band.sliced(axis, begin + first + start, count), node)


def _source(mode: str, i: int, size: int) -> int:
    """Which cell of an axis of that size the cell i outside of it repeats."""
    match mode:
        case "edge":
            return min(max(i, 0), size - 1)
        case "wrap":
            return i % size
    return (size - 1) - abs(i % (2 * size - 2) - (size - 1)) if size > 1 else 0


def _runs(places: list[int]) -> list[tuple[int, int, int]]:
    """Runs of places that lie one step apart: index of the first, how many, the step."""
    runs: list[tuple[int, int, int]] = []
    start = 0
    while start < len(places):
        step = places[start + 1] - places[start] if start + 1 < len(places) else 0
        end = start + 1
        while end < len(places) and places[end] - places[end - 1] == step:
            end += 1
        runs.append((start, end - start, step))
        start = end
    return runs


@lowers(Tile)
def lower_tile(b: Builder, node: Node) -> None:
    """One copy: each axis as two, of which the first repeats with stride 0."""
    view, whole = b.input(node, 0), b.output(node.output)
    times = [int(n) for n in required_constant(node, 1, "repeats")]
    shape = tuple(size for pair in zip(times, view.shape, strict=True) for size in pair)
    read = tuple(stride for own in view.strides for stride in (0, own))
    written = tuple(s for n, own in zip(view.shape, whole.strides, strict=True) for s in (n * own, own))
    b.copy(View(view.buffer, shape, read, view.offset), View(whole.buffer, shape, written, whole.offset), node)


@lowers(DepthToSpace, SpaceToDepth)
def lower_blocks(b: Builder, node: Node) -> None:
    """A reshape, a transposition and a reshape, as one copy."""
    op = node.op
    assert isinstance(op, DepthToSpace | SpaceToDepth)
    view, shape, size = b.input(node, 0), b.shape(node.output), op.blocksize
    n, c, h, w = view.shape
    if isinstance(op, DepthToSpace):
        split = (n, size, size, c // size**2, h, w) if op.mode == "DCR" else (n, c // size**2, size, size, h, w)
        axes = (0, 3, 4, 1, 5, 2) if op.mode == "DCR" else (0, 1, 4, 2, 5, 3)
    else:
        split, axes = (n, c, h // size, size, w // size, size), (0, 3, 5, 1, 2, 4)
        if op.mode != "DCR":
            axes = (0, 1, 3, 5, 2, 4)
    apart = view.reshaped(split) or b.copied(view, node).reshaped(split)
    assert apart is not None
    moved = apart.permuted(axes)
    home = b.scratch(view.dtype, moved.shape, name=node.output.name)
    b.copy(moved, home, node)
    made = home.reshaped(shape)
    assert made is not None
    b.alias(node.output, made)

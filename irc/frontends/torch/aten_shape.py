"""Movements: the same elements in another shape, order or selection; nothing is calculated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from irc.frontends.torch.emitter import Emitter, axis_of, dtype, elements, rank, shape
from irc.frontends.torch.rules import Unsupported, rule
from irc.frontends.torch.symbols import Size
from irc.graph import Value
from irc.types import TensorType

_LAST = 2**63 - 1  # torch's and ONNX's way of saying "to the end"


@rule("aten.clone.default", "aten.detach.default", "aten.alias.default", "aten.contiguous.default")
@rule("aten.lift_fresh.default", "aten.lift_fresh_copy.default", "aten.lift.default", "aten.positive.default")
@rule("aten.resolve_conj.default", "aten.resolve_neg.default")
def identity(e: Emitter, x: Value, *, memory_format: object = None) -> Value:
    return x


@rule("aten.view.default", "aten.reshape.default", "aten._unsafe_view.default", "aten.view_copy.default")
@rule("aten._reshape_copy.default")
def view(e: Emitter, x: Value, size: Sequence[Size]) -> Value:
    if shape(x) == e.out_shape:
        return x
    return e.reshape(x, size, part="")


@rule("aten.view_as.default", "aten.reshape_as.default")
def view_as(e: Emitter, x: Value, other: Value) -> Value:
    return e.reshape(x, _known(e.out_shape), part="")


def _known(dims: Sequence[Size | None]) -> list[Size]:
    known = [d for d in dims if d is not None]
    if len(known) < len(dims):
        raise Unsupported("a size that is not known")
    return known


@rule("aten.flatten.using_ints")
def flatten(e: Emitter, x: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    n = rank(x)
    start, end = axis_of(start_dim, n), axis_of(end_dim, n)
    if n > 0 and start == end:
        return x
    if start == 1 and end == n - 1:
        return e.emit("Flatten", x, part="", axis=1, type=e.out)
    dims = _known(shape(x))
    return e.reshape(x, [*dims[:start], -1, *dims[end + 1 :]], part="")


@rule("aten.unflatten.int")
def unflatten(e: Emitter, x: Value, dim: int, sizes: Sequence[Size]) -> Value:
    axis, dims = axis_of(dim, rank(x)), _known(shape(x))
    return e.reshape(x, [*dims[:axis], *sizes, *dims[axis + 1 :]], part="")


@rule("aten.permute.default", "aten.permute_copy.default")
def permute(e: Emitter, x: Value, dims: Sequence[int]) -> Value:
    return e.transpose(x, [axis_of(d, rank(x)) for d in dims], part="")


@rule("aten.transpose.int", "aten.swapaxes.default", "aten.swapdims.default", "aten.transpose_copy.int")
def transpose(e: Emitter, x: Value, dim0: int, dim1: int) -> Value:
    n = rank(x)
    order = list(range(n))
    if n:
        a, b = axis_of(dim0, n), axis_of(dim1, n)
        order[a], order[b] = b, a
    return e.transpose(x, order, part="")


@rule("aten.numpy_T.default")
def numpy_t(e: Emitter, x: Value) -> Value:
    return e.transpose(x, list(range(rank(x)))[::-1], part="")


@rule("aten.t.default", "aten.mT.default", "aten.t_copy.default")
def t(e: Emitter, x: Value) -> Value:
    n = rank(x)
    return x if n < 2 else transpose(e, x, n - 2, n - 1)


@rule("aten.movedim.int", "aten.movedim.intlist", "aten.moveaxis.int", "aten.moveaxis.intlist")
def movedim(e: Emitter, x: Value, source: Sequence[int] | int, destination: Sequence[int] | int) -> Value:
    n = rank(x)
    sources = [axis_of(s, n) for s in ([source] if isinstance(source, int) else source)]
    places = [axis_of(d, n) for d in ([destination] if isinstance(destination, int) else destination)]
    rest = iter(a for a in range(n) if a not in sources)
    at = dict(zip(places, sources, strict=True))
    return e.transpose(x, [at[i] if i in at else next(rest) for i in range(n)], part="")


@rule("aten.unsqueeze.default", "aten.unsqueeze_copy.default")
def unsqueeze(e: Emitter, x: Value, dim: int) -> Value:
    return e.emit("Unsqueeze", x, [axis_of(dim, rank(x) + 1)], part="")


@rule("aten.squeeze.default", "aten.squeeze.dim", "aten.squeeze.dims", "aten.squeeze_copy.dim")
@rule("aten.squeeze_copy.dims")
def squeeze(e: Emitter, x: Value, dim: Sequence[int] | int | None = None) -> Value:
    wanted = range(rank(x)) if dim is None else [dim] if isinstance(dim, int) else dim
    axes = [a for a in (axis_of(d, rank(x)) for d in wanted) if rank(x) and shape(x)[a] == 1]
    return e.emit("Squeeze", x, axes, part="") if axes else x


@rule("aten.expand.default", "aten.broadcast_to.default", "aten.expand_copy.default")
def expand(e: Emitter, x: Value, size: Sequence[Size], *, implicit: bool = False) -> Value:
    if shape(x) == e.out_shape:
        return x
    dims = [1 if d == -1 else d for d in size]  # ONNX keeps a size that is to become 1
    return e.emit("Expand", x, e.sizes(dims), part="", type=e.out)


@rule("aten.expand_as.default")
def expand_as(e: Emitter, x: Value, other: Value) -> Value:
    return e.expand(x, _known(e.out_shape), part="")


@rule("aten.repeat.default", "aten.tile.default")
def repeat(e: Emitter, x: Value, repeats: Sequence[Size]) -> Value:
    times: list[Size] = [*([1] * (rank(x) - len(repeats))), *repeats]
    x = e.unsqueeze(x, *range(len(times) - rank(x)))
    return e.emit("Tile", x, e.sizes(times, "repeats"), part="", type=e.out)


@rule("aten.repeat_interleave.self_int")
def repeat_interleave(e: Emitter, x: Value, repeats: Size, dim: int | None = None, **_: object) -> Value:
    if dim is None:
        x, dim = e.reshape(x, [elements(shape(x))]), 0
    axis, dims = axis_of(dim, rank(x)), _known(shape(x))
    spread = e.expand(e.unsqueeze(x, axis + 1), [*dims[: axis + 1], repeats, *dims[axis + 1 :]])
    return e.reshape(spread, _known(e.out_shape), part="")


@rule("aten.slice.Tensor", "aten.slice_copy.Tensor")
def slice(
    e: Emitter, x: Value, dim: int = 0, start: Size | None = None, end: Size | None = None, step: int = 1
) -> Value:
    axis = axis_of(dim, rank(x))
    start, end = 0 if start is None else start, _LAST if end is None else end
    size = shape(x)[axis]
    if start == 0 and step == 1 and (end == size or (isinstance(end, int) and end >= _whole(size))):
        return x
    return e.slice(x, axis, start, end, step, part="")


def _whole(size: Size | None) -> int:
    return size if isinstance(size, int) else _LAST


@rule("aten.select.int", "aten.select_copy.int")
def select(e: Emitter, x: Value, dim: int, index: Size) -> Value:
    return e.emit("Gather", x, e.size_scalar(index), part="", axis=axis_of(dim, rank(x)))


@rule("aten.narrow.default")
def narrow(e: Emitter, x: Value, dim: int, start: Size, length: Size) -> Value:
    if not isinstance(start, int) or not isinstance(length, int):
        raise Unsupported("narrow by a symbolic size")
    end = start + length if start >= 0 or start + length < 0 else _LAST
    return slice(e, x, dim, start, end)


def _pieces(e: Emitter, x: Value, axis: int, sizes: Sequence[Size]) -> list[Value]:
    if len(sizes) == 1:
        return [x]
    dims = shape(x)
    types = [TensorType(dtype(x), (*dims[:axis], s, *dims[axis + 1 :])) for s in sizes]
    return list(e.emit_many("Split", [x, e.sizes(sizes, "split")], len(sizes), part="", types=types, axis=axis))


@rule("aten.split.Tensor", "aten.split.sizes", "aten.split_with_sizes.default", "aten.split_copy.Tensor")
@rule("aten.chunk.default", "aten.tensor_split.sections", "aten.split_with_sizes_copy.default")
def split(e: Emitter, x: Value, sizes: object, dim: int = 0) -> list[Value]:
    axis = axis_of(dim, rank(x))
    return _pieces(e, x, axis, _known([(t.shape or ())[axis] for t in e.outputs]))


@rule("aten.unbind.int")
def unbind(e: Emitter, x: Value, dim: int = 0) -> list[Value]:
    axis = axis_of(dim, rank(x))
    count = e.static([shape(x)[axis]], "the number of parts")[0]
    return [e.squeeze(piece, axis) for piece in _pieces(e, x, axis, [1] * count)]


@rule("aten.cat.default", "aten.concat.default", "aten.concatenate.default")
def cat(e: Emitter, tensors: Sequence[Value], dim: int = 0) -> Value:
    used = [t for t in tensors if shape(t) != (0,) or len(e.out_shape) == 1]  # torch skips the legacy empty tensor
    values = [e.cast(t, e.out.dtype) for t in used]
    return values[0] if len(values) == 1 else e.emit("Concat", *values, part="", type=e.out, axis=dim)


@rule("aten.stack.default")
def stack(e: Emitter, tensors: Sequence[Value], dim: int = 0) -> Value:
    axis = axis_of(dim, len(e.out_shape))
    values = [e.unsqueeze(e.cast(t, e.out.dtype), axis) for t in tensors]
    return values[0] if len(values) == 1 else e.emit("Concat", *values, part="", axis=axis)


@rule("aten.roll.default")
def roll(e: Emitter, x: Value, shifts: Sequence[Size], dims: Sequence[int] = ()) -> Value:
    """Each axis cut in two, the parts swapped."""
    if not dims:
        flat = _rolled(e, e.reshape(x, [-1]), 0, shifts[0], elements(shape(x)))
        return e.reshape(flat, _known(shape(x)), part="")
    for shift, dim in zip(shifts, dims, strict=True):
        axis = axis_of(dim, rank(x))
        size = shape(x)[axis]
        if size is None:
            raise Unsupported("roll along a size that is not known")
        x = _rolled(e, x, axis, shift, size)
    return x


def _rolled(e: Emitter, x: Value, axis: int, shift: Size, size: Size) -> Value:
    if not isinstance(shift, int) or (not isinstance(size, int) and shift == 0):
        raise Unsupported("roll by a symbolic amount")
    if isinstance(size, int):
        shift = shift % size if size else 0
        if shift == 0:
            return x
    back = e.slice(x, axis, -shift, _LAST, part="back")
    front = e.slice(x, axis, 0, -shift, part="front")
    return e.emit("Concat", back, front, part="", type=x.type, axis=axis)


@rule("aten.flip.default")
def flip(e: Emitter, x: Value, dims: Sequence[int]) -> Value:
    axes = [axis_of(d, rank(x)) for d in dims]
    starts, ends = [-1] * len(axes), [-_LAST] * len(axes)
    return e.emit("Slice", x, starts, ends, axes, [-1] * len(axes), part="", type=e.out) if axes else x


@rule("aten.pixel_shuffle.default")
def pixel_shuffle(e: Emitter, x: Value, upscale_factor: int) -> Value:
    if rank(x) != 4:
        raise Unsupported(f"pixel_shuffle of {rank(x)} dimensions")
    return e.emit("DepthToSpace", x, part="", blocksize=upscale_factor, mode="CRD")


@rule("aten.pixel_unshuffle.default")
def pixel_unshuffle(e: Emitter, x: Value, downscale_factor: int) -> Value:
    """The inverse of pixel_shuffle; ONNX's SpaceToDepth orders the channels otherwise."""
    if rank(x) != 4:
        raise Unsupported(f"pixel_unshuffle of {rank(x)} dimensions")
    r, (n, *rest) = downscale_factor, _known(shape(x))
    c, h, w = e.static(rest, "pixel_unshuffle")
    x = e.reshape(x, [n, c, h // r, r, w // r, r], part="blocks")
    return e.reshape(e.transpose(x, (0, 1, 3, 5, 2, 4)), _known(e.out_shape), part="")


@rule("aten.channel_shuffle.default", "aten.native_channel_shuffle.default")
def channel_shuffle(e: Emitter, x: Value, groups: int) -> Value:
    n, c, *rest = _known(shape(x))
    channels = e.static([c], "the number of channels")[0]
    x = e.reshape(x, [n, groups, channels // groups, *rest], part="groups")
    swapped = e.transpose(x, (0, 2, 1, *range(3, rank(x))))
    return e.reshape(swapped, [n, c, *rest], part="")


@rule("aten.slice_scatter.default")
def slice_scatter(
    e: Emitter,
    x: Value,
    source: Value,
    dim: int = 0,
    start: Size | None = None,
    end: Size | None = None,
    step: int = 1,
) -> Value:
    """`x` with `source` in place of one slice."""
    axis = axis_of(dim, rank(x))
    begin, stop = 0 if start is None else start, _LAST if end is None else end
    if not isinstance(begin, int):
        raise Unsupported("slice_scatter from a symbolic start")
    size = shape(x)[axis]
    if step != 1:
        return _scattered(e, x, source, axis, _places(begin, stop, step, size))
    begin = begin + size if begin < 0 and isinstance(size, int) else begin
    parts = [source]
    if begin != 0:
        parts.insert(0, e.slice(x, axis, 0, begin, part="before"))
    if stop != size and not (isinstance(stop, int) and stop >= _whole(size)):
        parts.append(e.slice(x, axis, stop, _LAST, part="behind"))
    return source if len(parts) == 1 else e.emit("Concat", *parts, part="", type=e.out, axis=axis)


def _places(start: int, end: Size, step: int, size: Size | None) -> Sequence[int]:
    if not isinstance(size, int) or not isinstance(end, int):
        raise Unsupported("a slice with a step along a symbolic size")
    return range(size)[start:end:step]


def _scattered(e: Emitter, x: Value, source: Value, axis: int, places: Sequence[int]) -> Value:
    """`x` with the slices of `source` at `places` along one axis."""
    order = [axis, *(a for a in range(rank(x)) if a != axis)]
    indices = np.array(places, np.int64)[:, None]
    first, updates = e.transpose(x, order, part="first"), e.transpose(source, order, part="updates")
    y = e.emit("ScatterND", first, indices, updates, part="scattered")
    return e.transpose(y, [order.index(a) for a in range(rank(x))], part="back")


@rule("aten.select_scatter.default")
def select_scatter(e: Emitter, x: Value, source: Value, dim: int, index: Size) -> Value:
    """`x` with `source` in place of one index."""
    axis = axis_of(dim, rank(x))
    if not isinstance(index, int):
        raise Unsupported("select_scatter at a symbolic index")
    end = index + 1 if index != -1 else _LAST
    size = shape(x)[axis]
    if index < 0 and not isinstance(size, int):
        raise Unsupported("select_scatter from the end of a symbolic size")
    if index < 0 and isinstance(size, int):
        index, end = index + size, index + size + 1
    return slice_scatter(e, x, e.unsqueeze(source, axis), axis, index, end)

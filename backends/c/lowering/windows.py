"""Windows over images: their padded input, the positions at which they lie, and weights in the order they are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from irc.backends.c.lowering.builder import Builder
from irc.backends.c.views import Place, View, channels_last
from irc.graph import Node
from irc.types import Array


@dataclass(frozen=True)
class Positions:
    """The output positions of a contraction, and how far apart they are in x, y and the residual."""

    batch: int
    rows: int
    cols: int
    x: tuple[int, int, int]
    y: tuple[int, int, int]
    r: tuple[int, int, int] = (0, 0, 0)

    def flat(self) -> Positions:
        """With rows and columns, and then batches, in one line wherever their memory is one line."""
        made = self
        if all(s[1] == made.cols * s[2] for s in (made.x, made.y, made.r)) or made.rows == 1:
            made = Positions(made.batch, 1, made.rows * made.cols, *map(_joined, (made.x, made.y, made.r)))
        if made.rows == 1 and all(s[0] == made.cols * s[2] for s in (made.x, made.y, made.r)):
            made = Positions(1, 1, made.batch * made.cols, made.x, made.y, made.r)
        return made


def _joined(strides: tuple[int, int, int]) -> tuple[int, int, int]:
    return strides[0], 0, strides[2]


def window_view(b: Builder, node: Node, pads: Sequence[tuple[int, int]], zero_point: int) -> View:
    """The padded input of a convolution, channels innermost: the border is in its buffer already, or in a copy.

    pads : cells before and after each axis; negative ones cut off
    """
    view = b.input(node, 0)
    around = [(max(begin, 0), max(end, 0)) for begin, end in pads]
    border = b.borders.get(view)
    fits = not any(begin or end for begin, end in around) or (
        border is not None
        and border.value == zero_point
        and all(have[0] >= want[0] and have[1] >= want[1] for have, want in zip(border.widths, around, strict=True))
    )
    if not fits or not _is_read_freely(view, 1):
        outer = [n + begin + end for n, (begin, end) in zip(view.shape, around, strict=True)]
        whole = b.scratch(view.dtype, outer, channels_last(view.rank), view.buffer.name)
        if outer != list(view.shape):
            b.fill(whole, zero_point, node)
        inner = whole
        for axis, (begin, _) in enumerate(around):
            inner = inner.sliced(axis, begin, view.shape[axis])
        b.copy(view, inner, node)
        view = inner
    moved = view
    for axis, (begin, end) in enumerate(pads):
        moved = moved.sliced(axis, -begin, view.shape[axis] + begin + end)
    return moved


def _is_read_freely(view: View, axis: int) -> bool:
    """Whether elements along the axis are adjacent, in the arena, where a kernel may read past the end."""
    return view.buffer.place is Place.ARENA and (view.strides[axis] == 1 or view.shape[axis] == 1)


def read_freely(b: Builder, node: Node, view: View, axis: int) -> View:
    """The view itself, or a copy in the arena with the elements along the axis adjacent."""
    order = [*(a for a in range(view.rank) if a != axis), axis]
    return view if _is_read_freely(view, axis) else b.copied(view, node, order)


def window_output(b: Builder, node: Node) -> View:
    """A home for the output, channels innermost."""
    return b.output(node.output, channels_last(len(b.shape(node.output))))


def images(view: View) -> list[View]:
    """A view (N, C, *spatial) as views (N, C, H, W): one, or for three spatial axes one for each depth."""
    if view.rank == 3:
        return [
            View(view.buffer, (*view.shape[:2], 1, view.shape[2]), (*view.strides[:2], 0, view.strides[2]), view.offset)
        ]
    if view.rank == 4:
        return [view]
    return [view.sliced(2, depth, 1).without(2) for depth in range(view.shape[2])]


def image_pairs(x: View, y: View, stride: int) -> list[tuple[View, View]]:
    """Images of x and y that belong together: for three spatial axes one pair for each depth of y."""
    if x.rank <= 4:
        return list(zip(images(x), images(y), strict=True))
    depths = images(x)
    return [(depths[depth * stride], home) for depth, home in enumerate(images(y))]


def last_two(values: Sequence[int]) -> tuple[int, int]:
    """The numbers of rows and columns, from those of 1 to 3 spatial axes; 1 for rows that there are not."""
    made = (1, *values)[-2:]
    return made[0], made[1]


def positions(x: View, y: View, r: View | None, strides: tuple[int, int]) -> Positions:
    """Of images x, y and r (N, C, H, W), stepping through x by the strides of the convolution."""

    def of(view: View, steps: tuple[int, int]) -> tuple[int, int, int]:
        return view.strides[0], view.strides[2] * steps[0], view.strides[3] * steps[1]

    inner = (0, 0, 0) if r is None else of(r, (1, 1))
    return Positions(y.shape[0], y.shape[2], y.shape[3], of(x, strides), of(y, (1, 1)), inner)


def pack_windows(
    w: Array, x: View, group: int, dilations: Sequence[int], pack: Callable[[Array], Array]
) -> tuple[tuple[int, ...], int, Array]:
    """Offsets of a window's runs in x, their length, and the packed weights.

    w : (M, C/group, *kernel)
    pack : of one group's weights (M/group, runs, length)
    """
    moved = np.moveaxis(w, 1, -1)  # (M, *kernel, C/group)
    channels, kernel = w.shape[1], w.shape[2:]
    joined = dilations[-1] == 1 and x.strides[-1] == channels and group == 1
    axes = kernel[:-1] if joined else kernel
    strides = [s * d for s, d in zip(x.strides[2:], dilations, strict=True)]
    taps = tuple(int(sum(i * s for i, s in zip(at, strides, strict=False))) for at in np.ndindex(*axes))
    runs = moved.reshape(len(w), len(taps), -1)
    return taps, runs.shape[2], np.concatenate([pack(part) for part in np.split(runs, group)])

"""Reductions over axes: as (outer, reduced, inner) in memory, copied into such an order if they do not lie in one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from irc.backends.c.lowering.attributes import optional_constant
from irc.backends.c.lowering.builder import Builder
from irc.backends.c.lowering.rules import lowers
from irc.backends.c.program import Argument, Struct
from irc.backends.c.views import View
from irc.errors import BackendError
from irc.graph import Node
from irc.ops import reduce
from irc.ops.int8 import QReduceMean
from irc.ops.pool import GlobalAveragePool, GlobalMaxPool
from irc.types import DType

_FLOAT = {
    reduce.ReduceSum: "sum", reduce.ReduceMean: "mean", reduce.ReduceMax: "max", reduce.ReduceMin: "min",
    reduce.ReduceProd: "prod", reduce.ReduceL1: "l1", reduce.ReduceL2: "l2", reduce.ReduceSumSquare: "sum_square",
    reduce.ReduceLogSum: "log_sum", reduce.ReduceLogSumExp: "log_sum_exp", GlobalAveragePool: "mean",
    GlobalMaxPool: "max",
}  # fmt: skip
_INTEGER = {
    reduce.ReduceSum: ("i32", "i64"), reduce.ReduceProd: ("i32", "i64"), reduce.ReduceMax: ("i32", "i64", "u8"),
    reduce.ReduceMin: ("i32", "i64", "u8"), GlobalMaxPool: ("u8",),
}  # fmt: skip


@dataclass(frozen=True)
class Reduction:
    """A view as outer, reduced and inner axes, each group in the order of memory.

    view : axes permuted to (outer..., reduced..., inner...)
    """

    view: View
    outer: tuple[int, ...]
    reduced: tuple[int, ...]
    inner: tuple[int, ...]

    def three(self) -> View | None:
        """The view with one axis for each group, if each lies in one line."""
        return self.view.reshaped([math.prod(sizes) for sizes in self.sizes])

    @property
    def sizes(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """The sizes of the axes of each group."""
        first, end = len(self.outer), len(self.outer) + len(self.reduced)
        return self.view.shape[:first], self.view.shape[first:end], self.view.shape[end:]


def arrange(b: Builder, node: Node, axes: Sequence[int]) -> Reduction:
    """The first input arranged for a reduction over `axes`, copied if that is needed."""
    view = b.input(node, 0)
    summed = {a % view.rank for a in axes}
    order = [a for a in view.order if a in summed or view.shape[a] != 1]
    order = [*(a for a in range(view.rank) if a not in order), *order]
    positions = [i for i, a in enumerate(order) if a in summed]
    first, end = (positions[0], positions[-1] + 1) if positions else (len(order), len(order))
    made = Reduction(view.permuted(order), tuple(order[:first]), tuple(order[first:end]), tuple(order[end:]))
    flat = made.three()
    fits = (
        all(a in summed for a in order[first:end]) and flat is not None and (flat.shape[2] == 1 or flat.strides[2] == 1)
    )
    if fits:
        return made
    kept = [a for a in range(view.rank) if a not in summed]
    copied = b.copied(view, node, [*kept, *sorted(summed)])
    return Reduction(copied.permuted([*kept, *sorted(summed)]), tuple(kept), tuple(sorted(summed)), ())


def reduced_home(b: Builder, node: Node, made: Reduction) -> View:
    """A home for the result, seen as (outer, inner)."""
    value = node.output
    shape = b.shape(value)
    kept = [*made.outer, *made.inner]
    rank = made.view.rank
    if len(shape) == rank:
        order = [*sorted(made.reduced), *kept]
    else:
        names = sorted(kept)
        order = [names.index(a) for a in kept]
    sizes = math.prod(made.sizes[0]), math.prod(made.sizes[2])
    home = b.output(value, order)
    flat = home.permuted(order).reshaped(sizes)
    if flat is None or (flat.shape[1] != 1 and flat.strides[1] != 1):
        flat = b.private(value, order).permuted(order).reshaped(sizes)
    assert flat is not None
    return flat


def axes_of(node: Node, rank: int) -> tuple[int, ...]:
    """The axes that a Reduce op sums over."""
    op = node.op
    if isinstance(op, GlobalAveragePool | GlobalMaxPool):
        return tuple(range(2, rank))
    given = optional_constant(node, 1, "axes")
    axes = () if given is None else tuple(int(a) for a in given)
    if axes:
        return axes
    return () if getattr(op, "noop_with_empty_axes", 0) else tuple(range(rank))


@lowers(*_FLOAT)
def lower_reduce(b: Builder, node: Node) -> None:
    """One kernel call."""
    dtype = b.dtype(node.output)
    name = _FLOAT[type(node.op)]
    if dtype is not DType.F32 and str(dtype) not in _INTEGER.get(type(node.op), ()):
        raise BackendError(f"{node!r}: the C backend has no {name} reduction of {dtype}")
    view = b.input(node, 0)
    axes = axes_of(node, view.rank)
    _call(b, node, f"irc_reduce_{name}_{dtype}", axes)


def _call(b: Builder, node: Node, function: str, axes: Sequence[int], *arguments: Argument) -> None:
    made = arrange(b, node, axes)
    x = made.three()
    assert x is not None
    y = reduced_home(b, node, made)
    struct = Struct.of("irc_reduce", {
        "outer": x.shape[0], "reduced": x.shape[1], "inner": x.shape[2], "x_outer": x.strides[0],
        "x_reduced": x.strides[1], "y_outer": y.strides[0],
    })  # fmt: skip
    b.call(node, function, "reduce.h", (struct, *arguments, x, y), reads=(x,), writes=(y,))


@lowers(reduce.ArgMax, reduce.ArgMin)
def lower_argument(b: Builder, node: Node) -> None:
    """The index of the largest or smallest element."""
    op = node.op
    assert isinstance(op, reduce.ArgMax | reduce.ArgMin)
    value = node.input(0)
    assert value is not None
    kind = "max" if isinstance(op, reduce.ArgMax) else "min"
    dtype = b.dtype(value)
    if dtype not in (DType.F32, DType.U8, DType.I64):
        raise BackendError(f"{node!r}: the C backend has no arg{kind} of {dtype}")
    _call(b, node, f"irc_arg_{kind}_{dtype}", (op.axis,), op.select_last_index)


@lowers(QReduceMean)
def lower_quantized_mean(b: Builder, node: Node) -> None:
    """The mean of codes; the cells that are summed lie in rows and columns, so a border does no harm."""
    op = node.op
    assert isinstance(op, QReduceMean)
    made = _cells(b, node, op.axes)
    x, rows, cols = made
    y = reduced_home(b, node, x)
    view = x.view
    sizes = (math.prod(x.sizes[0]), rows[0], cols[0], y.shape[1])
    flat = view.reshaped(sizes)
    assert flat is not None
    struct = Struct.of("irc_reduce_mean", {
        "outer": sizes[0], "rows": sizes[1], "cols": sizes[2], "inner": sizes[3], "x_outer": flat.strides[0],
        "x_row": flat.strides[1], "x_col": flat.strides[2], "y_outer": y.strides[0], "zero_point": op.zero_point,
        "scale": float(op.scale), "bias": float(op.bias), "lo": op.lo, "hi": op.hi,
    })  # fmt: skip
    b.call(node, "irc_reduce_mean_u8", "reduce.h", (struct, flat, y), reads=(flat,), writes=(y,))


def _cells(b: Builder, node: Node, axes: Sequence[int]) -> tuple[Reduction, tuple[int], tuple[int]]:
    """The arrangement whose reduced axes are at most two lines, with the counts of both."""
    view = b.input(node, 0)
    made = arrange(b, node, axes) if view.rank != 4 else _image(b, node, axes)
    sizes = made.sizes[1]
    if len(sizes) == 2:
        return made, (sizes[0],), (sizes[1],)
    return made, (1,), (math.prod(sizes),)


def _image(b: Builder, node: Node, axes: Sequence[int]) -> Reduction:
    """The mean over rows and columns of an image with channels innermost needs no copy even if it has a border."""
    view = b.input(node, 0)
    if {a % 4 for a in axes} == {2, 3} and view.strides[1] == 1 and view.order[-1] == 1:
        return Reduction(view.permuted((0, 2, 3, 1)), (0,), (2, 3), (1,))
    return arrange(b, node, axes)

"""Elements chosen by indices that are known only at run time; one out of range takes the nearest element there is."""

from __future__ import annotations

from collections.abc import Sequence

from irc.backends.c.lowering.builder import Builder
from irc.backends.c.lowering.expressions import c_type, index, loops, nest
from irc.backends.c.lowering.rules import lowers
from irc.backends.c.program import Call, Function, Step
from irc.backends.c.views import View
from irc.errors import BackendError
from irc.graph import Node
from irc.ops.index import Gather, GatherElements, GatherND, ScatterElements, ScatterND


def indexed(
    b: Builder,
    node: Node,
    data: View,
    indices: Sequence[tuple[View, int, int]],
    other: View,
    *,
    scatter: str = "",
) -> None:
    """A step over the elements of `other`: other = data[indices], or with `scatter` data[indices] = other.

    data : of the shape of `other`, stride 0 along the axes that the indices choose on
    indices : for each axis so chosen the index tensor, broadcast to that shape, and size and stride of the axis in data
    scatter : the right-hand side in C from the old element {0} and the new {1}, done by one thread in order, as indices
        may repeat
    """
    operands = [data, *(view for view, _, _ in indices), other]
    axes = loops(other.shape, operands)
    terms = [index(axes, 0)]
    for i, (_, size, stride) in enumerate(indices, 1):
        terms.append(f"irc_index(a{i}[{index(axes, i)}], {size}) * {stride}")
    at, mine = " + ".join(terms), index(axes, len(operands) - 1)
    chosen, own = f"a0[{at}]", f"y[{mine}]"
    body = nest(axes, [f"{chosen} = {scatter.format(chosen, own)};" if scatter else f"{own} = {chosen};"])
    if scatter:
        body = f"    if (thread > 0) return;\n    threads = 1;\n{body}"
    const = ("", "const ") if scatter else ("const ", "")
    parameters = [f"{const[0]}{c_type(data.dtype)} *a0"]
    parameters += [f"const {c_type(v.dtype)} *a{i}" for i, (v, _, _) in enumerate(indices, 1)]
    parameters += [f"{const[1]}{c_type(other.dtype)} *y", "int thread", "int threads"]
    read, written = (other, data) if scatter else (data, other)
    buffers = (read.buffer, *(v.buffer for v, _, _ in indices))
    step = Step(
        Call(Function(tuple(parameters), body), tuple(operands), "elementwise.h"), node, buffers, (written.buffer,)
    )
    b.steps.append(step)


def _spread(view: View, shape: Sequence[int], axes: Sequence[int]) -> View:
    """A view whose axes stand at `axes` of a larger shape, stride 0 along the others."""
    strides = [0] * len(shape)
    for axis, stride in zip(axes, view.strides, strict=True):
        strides[axis] = stride
    return View(view.buffer, tuple(shape), tuple(strides), view.offset)


@lowers(Gather)
def lower_gather(b: Builder, node: Node) -> None:
    """y[outer, indices..., inner] = x[outer, index, inner]."""
    assert isinstance(node.op, Gather)
    x, chosen = b.input(node, 0), b.input(node, 1)
    axis = node.op.axis % x.rank
    shape = b.shape(node.output)
    y = b.output(node.output)
    after = range(axis + chosen.rank, len(shape))
    kept = View(x.buffer, (), (*x.strides[:axis], *x.strides[axis + 1 :]), x.offset)
    data = _spread(kept, shape, [*range(axis), *after])
    where = _spread(chosen, shape, range(axis, axis + chosen.rank))
    indexed(b, node, data, [(where, x.shape[axis], x.strides[axis])], y)


@lowers(GatherElements)
def lower_gather_elements(b: Builder, node: Node) -> None:
    """y[i, j] = x[index[i, j], j], for axis 0."""
    assert isinstance(node.op, GatherElements)
    x, chosen = b.input(node, 0), b.input(node, 1)
    axis = node.op.axis % x.rank
    y = b.output(node.output)
    strides = tuple(0 if a == axis else s for a, s in enumerate(x.strides))
    indexed(b, node, View(x.buffer, y.shape, strides, x.offset), [(chosen, x.shape[axis], x.strides[axis])], y)


@lowers(GatherND)
def lower_gather_nd(b: Builder, node: Node) -> None:
    """y[batch, outer, rest] = x[batch, index..., rest]."""
    assert isinstance(node.op, GatherND)
    x, chosen = b.input(node, 0), b.input(node, 1)
    indexed(b, node, *_nd(x, chosen, node.op.batch_dims, b.shape(node.output)), b.output(node.output))


def _nd(x: View, chosen: View, batch: int, shape: tuple[int, ...]) -> tuple[View, list[tuple[View, int, int]]]:
    depth, outer = chosen.shape[-1], chosen.rank - 1
    rest = range(batch + depth, x.rank)
    kept = View(x.buffer, (), (*x.strides[:batch], *(x.strides[a] for a in rest)), x.offset)
    data = _spread(kept, shape, [*range(batch), *range(outer, len(shape))])
    indices = []
    for k in range(depth):
        column = chosen.sliced(chosen.rank - 1, k, 1)
        flat = View(column.buffer, column.shape[:-1], column.strides[:-1], column.offset)
        axis = batch + k
        indices.append((_spread(flat, shape, range(outer)), x.shape[axis], x.strides[axis]))
    return data, indices


_ASSIGN = {
    "none": "{1}", "add": "{0} + {1}", "mul": "{0} * {1}", "max": "{1} > {0} ? {1} : {0}",
    "min": "{1} < {0} ? {1} : {0}",
}  # fmt: skip


def _copied(b: Builder, node: Node) -> tuple[View, str]:
    """The output with x in it, and how an update is put in."""
    reduction = getattr(node.op, "reduction", "none")
    if reduction not in _ASSIGN:
        raise BackendError(f"{node!r}: the C backend has no reduction '{reduction}'")
    y = b.output(node.output)
    b.copy(b.input(node, 0), y, node)
    return y, _ASSIGN[reduction]


@lowers(ScatterElements)
def lower_scatter_elements(b: Builder, node: Node) -> None:
    """y = x, then y[index[i, j], j] = updates[i, j], for axis 0."""
    assert isinstance(node.op, ScatterElements)
    chosen, updates = b.input(node, 1), b.input(node, 2)
    y, assign = _copied(b, node)
    axis = node.op.axis % y.rank
    strides = tuple(0 if a == axis else s for a, s in enumerate(y.strides))
    data = View(y.buffer, updates.shape, strides, y.offset)
    indexed(b, node, data, [(chosen, y.shape[axis], y.strides[axis])], updates, scatter=assign)


@lowers(ScatterND)
def lower_scatter_nd(b: Builder, node: Node) -> None:
    """y = x, then y[index..., rest] = updates[outer, rest]."""
    assert isinstance(node.op, ScatterND)
    chosen, updates = b.input(node, 1), b.input(node, 2)
    y, assign = _copied(b, node)
    data, indices = _nd(y, chosen, 0, updates.shape)
    indexed(b, node, data, indices, updates, scatter=assign)

"""Mend the inputs of a movement that state sizes, positions or counts of channels which are there no longer.

Each is planned from the surviving labels, then run on them and held against what has to come out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from irc.analysis.channels.arrays import Mask, survivors, varying
from irc.analysis.channels.trace import run_on_arrays
from irc.errors import IrcError, PassError
from irc.graph import Node, Value
from irc.ops.index import Gather, Pad, Slice, Split
from irc.ops.logic import Where
from irc.ops.resize import Resize
from irc.ops.shape import Expand, Reshape
from irc.types import Array

if TYPE_CHECKING:
    from irc.passes.channels.remove import Plan

Edit = Callable[[], None]
_BACKWARDS_END = -(2**62)  # where a Slice with a negative step ends that takes the first element too


class MovementError(PassError):
    """No choice of its other inputs makes the node give what is left of its output."""


def mend_movement(plan: Plan, node: Node) -> list[Edit]:
    """The edits after which the node moves what is left as it moved everything.

    Raises
    ------
    MovementError : there are none.
    """
    if isinstance(node.op, Pad):
        return _pad(plan, node)
    now = [plan.settled(v) for v in node.inputs]
    if isinstance(node.op, Resize):
        return _sizes(plan, node, 3, now)
    if any(v is not None and now[k] is None for k, v in enumerate(node.inputs) if k > 0):
        return _moved_by_data(plan, node)
    if _fits(plan, node, node.op, now):
        return []
    if isinstance(node.op, Reshape | Expand):
        return _sizes(plan, node, 1, now)
    new, op = list(now), node.op
    if isinstance(node.op, Split):
        new[1:] = [np.array([plan.shape(v)[node.op.axis] for v in node.outputs], np.int64)]
        op = replace(node.op, num_outputs=None)
    elif isinstance(node.op, Gather):
        new[1] = _indices(plan, node, plan.channels.trace.static(node.input(1)))
    gathered: list[tuple[int, Array]] = []
    if isinstance(node.op, Slice):
        new, gathered = _slices(plan, node, now)
    if not _fits(plan, node, op, new, gathered):
        raise MovementError(f"{node!r} cannot move what is left of its channels")
    return [*(partial(_gather_before, node, *each) for each in gathered), lambda: _set(node, op, now, new)]


def _fits(
    plan: Plan, node: Node, op: Any, inputs: list[Array | None], gathered: Sequence[tuple[int, Array]] = ()
) -> bool:
    """Whether `op` gives what is left of every output when it is run on what is left of its first input.

    gathered : axes of that input, each with the places that are taken of it first
    """
    value = node.input(0)
    if value is None or plan.places(value) is None:
        raise MovementError(f"{node!r} gives channels out of something that has none")
    shape = plan.channels.shapes[value]
    elements = np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape)  # labels do not tell copies apart
    source = plan.left(value, elements)
    for axis, places in gathered:
        source = source.take(places, axis)
    before = [elements, *(plan.channels.trace.static(v) for v in node.inputs[1:])]
    try:
        made = run_on_arrays(node, [source, *inputs[1:]], op)
    except (IrcError, RuntimeError, IndexError, ValueError, NotImplementedError):
        return False
    wanted = [plan.left(v, each) for v, each in zip(node.outputs, run_on_arrays(node, before), strict=False)]
    return all(w.shape == m.shape and np.array_equal(w, m) for w, m in zip(wanted, made, strict=False))


def _moved_by_data(plan: Plan, node: Node) -> list[Edit]:
    """Nothing to mend: along the axes that data decides about, all channels are the same."""
    value = node.input(0)
    if isinstance(node.op, Gather | Expand) or value is None:
        return []
    if isinstance(node.op, Reshape):
        return _sizes(plan, node, 1, [None] * len(node.inputs))
    if varying(plan.channels.labels[value]) != varying(plan.channels.labels[node.output]):
        raise MovementError(f"{node!r} moves channels as data says")
    return []


def _set(node: Node, op: Any, old: list[Array | None], new: list[Array | None]) -> None:
    if op != node.op:
        node.set_op(op)
    for index, (before, after) in enumerate(zip([*old, *[None] * len(new)], new, strict=False)):
        if not index or after is None or (before is not None and np.array_equal(before, after)):
            continue
        value = node.input(index)
        computed = value is not None and not value.is_constant
        if computed and value is not None and before is not None and before.shape == after.shape == (after.size,):
            _mix(node, index, value, before != after, after.astype(before.dtype))
        else:
            node.set_input(index, node.graph.add_constant(after, f"{node.name}.{index}"))


def _sizes(plan: Plan, node: Node, index: int, now: list[Array | None]) -> list[Edit]:
    """Write the new sizes into a shape input; those that do not change stay what they are: -1, 0 or computed."""
    value = node.input(index)
    if value is None:
        return []
    before, after = plan.channels.shapes[node.output], plan.shape(node.output)
    stated, original = now[index], plan.channels.trace.static(value)
    if isinstance(node.op, Resize) and node.op.axes is not None:
        before, after = (tuple(shape[a] for a in node.op.axes) for shape in (before, after))
    offset = len(before) - len(original) if original is not None else 0  # Expand's shape may have fewer axes
    before, after = before[offset:], after[offset:]
    changed = np.array([n != m for n, m in zip(before, after, strict=True)])
    if original is not None:
        changed &= ~np.isin(original.reshape(-1), (-1, 1) if isinstance(node.op, Expand) else (-1,))
    if stated is not None:
        changed &= stated.reshape(-1) != np.array(after)
    if not changed.any():
        return _checked(plan, node, now)
    new = np.array(after, np.int64)
    if value.is_constant and stated is not None:
        data = np.where(changed, new, stated.reshape(-1))
        now = [*now[:index], data, *now[index + 1 :]]
        return [*_checked(plan, node, now), lambda: node.set_input(index, node.graph.add_constant(data, value.name))]
    return [lambda: _mix(node, index, value, changed, new)]


def _checked(plan: Plan, node: Node, inputs: list[Array | None]) -> list[Edit]:
    if not isinstance(node.op, Resize) and inputs[1] is not None and not _fits(plan, node, node.op, inputs):
        raise MovementError(f"{node!r} cannot give what is left of its channels a shape")
    return []


def _mix(node: Node, index: int, sizes: Value, changed: Mask, new: Array) -> None:
    """Read computed sizes, with some of them replaced by numbers."""
    graph = node.graph
    fixed = [graph.add_constant(changed, f"{node.name}.is_fixed"), graph.add_constant(new, f"{node.name}.fixed")]
    mixed = graph.insert(Where(), [*fixed, sizes], before=node, name=f"{node.name}.sizes", types=(sizes.type,))
    node.set_input(index, mixed.output)


def _indices(plan: Plan, node: Node, indices: Array | None) -> Array:
    """Where the elements that are taken stand now."""
    value = node.input(0)
    assert value is not None
    assert isinstance(node.op, Gather)
    assert indices is not None
    axis = node.op.axis % len(plan.channels.shapes[value])
    left = plan.alive_along(value, axis)
    taken = np.where(indices < 0, indices + left.size, indices)
    where = survivors(left[taken]) if taken.ndim else np.zeros((), np.int64)
    if where is None:
        raise MovementError(f"{node!r} takes channels of which no rectangle is left")
    return np.asarray((np.cumsum(left) - 1)[taken.reshape(-1)[where]]).astype(indices.dtype)


def _slices(
    plan: Plan, node: Node, now: list[Array | None]
) -> tuple[list[Array | None], list[tuple[int, Array]]]:
    """Inputs that take what survives of what was taken; and axes along which a Gather has to, as no slice can."""
    value = node.input(0)
    starts, ends = (plan.channels.trace.static(v) for v in node.inputs[1:3])  # places in what there was
    assert value is not None
    assert starts is not None
    assert ends is not None
    rank = len(plan.channels.shapes[value])
    axes = now[3] if len(now) > 3 and now[3] is not None else np.arange(starts.size)
    steps = now[4] if len(now) > 4 and now[4] is not None else np.ones(starts.size, starts.dtype)
    starts, ends, steps = starts.copy(), ends.copy(), steps.copy()
    gathered: list[tuple[int, Array]] = []
    for k, axis in enumerate(axes.reshape(-1).tolist()):
        left = plan.alive_along(value, axis % rank)
        if left.all():
            continue
        taken = np.arange(left.size)[slice(int(starts[k]), int(ends[k]), int(steps[k]))]
        places = (np.cumsum(left) - 1)[taken[left[taken]]]
        strides = set(np.diff(places).tolist())
        if not places.size:
            raise MovementError(f"{node!r} takes channels of which none is left")
        if len(strides) > 1:
            gathered.append((axis % rank, places))
            places, strides = np.arange(places.size), {1}
        step = strides.pop() if strides else 1
        starts[k], steps[k] = places[0], step
        ends[k] = places[-1] + step if places[-1] + step >= 0 else _BACKWARDS_END
    given = [now[0], starts, ends, axes]
    if len(now) > 4 or (steps != 1).any():
        return [*given, steps], gathered
    return list(given[: len(now)]), gathered


def _gather_before(node: Node, axis: int, places: Array) -> None:
    indices = node.graph.add_constant(places.astype(np.int64), f"{node.name}.places")
    made = node.graph.insert(Gather(axis=axis), [node.input(0), indices], before=node, name=f"{node.name}.gather")
    node.set_input(0, made.output)


def _pad(plan: Plan, node: Node) -> list[Edit]:
    """As many new channels as are left of those that were put there."""
    value, pads = node.input(0), plan.channels.trace.static(node.input(1))
    assert value is not None
    if pads is None:
        return []
    rank = len(plan.channels.shapes[value])
    chosen = plan.settled(node.input(3))
    axes = list(range(rank)) if chosen is None else [int(a) % rank for a in chosen.reshape(-1)]
    new = pads.copy()
    for k, axis in enumerate(axes):
        left = plan.alive_along(node.output, axis)
        if not left.all():
            begin, end = int(pads[k]), int(pads[k + len(axes)])
            new[k], new[k + len(axes)] = left[:begin].sum(), left[left.size - end :].sum()
    if np.array_equal(new, pads):
        return []
    return [lambda: node.set_input(1, node.graph.add_constant(new, f"{node.name}.pads"))]

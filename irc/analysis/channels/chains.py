"""Chains of movements that only put channels in another order, such as a channel shuffle.

Where the channels in between would not be a rectangle any more, one Gather can do what the chain did.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from irc.analysis.channels.arrays import varying
from irc.analysis.channels.trace import Trace, run_on_arrays
from irc.graph import Node, Value
from irc.op import ChannelKind
from irc.types import Array

_LONGEST = 8
_LARGEST = 1 << 24  # elements that are moved to see what a chain does


@dataclass(frozen=True)
class Chain:
    """A chain from `start` to `end`: `end` is `start` with the places `order` of `axis` taken."""

    start: Value
    end: Value
    nodes: tuple[Node, ...]
    axis: int
    order: Array

    @property
    def inside(self) -> tuple[Value, ...]:
        """The values between start and end."""
        return tuple(node.output for node in self.nodes[:-1])


def find_chains(trace: Trace) -> list[Chain]:
    """The chains of the graph, each as short as can be."""
    found = []
    for node in trace.graph:
        start = node.input(0)
        if start is None or not _splits(trace, node, start):
            continue
        chain = _follow(trace, start, node)
        if chain is not None:
            found.append(chain)
    return found


def _splits(trace: Trace, node: Node, start: Value) -> bool:
    held, made = trace.read(start), trace.read(node.output)
    return (
        _moves(node) and held is not None and made is not None and len(varying(held)) == 1 and len(varying(made)) > 1
    )


def _moves(node: Node) -> bool:
    return node.op.channels is ChannelKind.MOVEMENT and len(node.outputs) == 1 and node.op.name != "Concat"


def _follow(trace: Trace, start: Value, first: Node) -> Chain | None:
    nodes = [first]
    while len(nodes) < _LONGEST and nodes[-1].output.use_count == 1 and not nodes[-1].output.is_output:
        (node,) = nodes[-1].output.users
        if not _moves(node) or node.input(0) is not nodes[-1].output or node.graph is not first.graph:
            return None
        nodes.append(node)
        made = trace.read(node.output)
        if made is not None and len(varying(made)) == 1:
            return _as_gather(trace, start, tuple(nodes))
    return None


def _as_gather(trace: Trace, start: Value, nodes: tuple[Node, ...]) -> Chain | None:
    """The chain as one Gather, if it moves nothing but channels along one axis."""
    held, end = trace.read(start), nodes[-1].output
    shape = trace.shape(start)
    assert held is not None
    (axis,) = varying(held)
    if len(trace.shape(end)) != len(shape) or np.prod(shape) > _LARGEST:
        return None
    places = np.arange(int(np.prod(shape))).reshape(shape)
    moved = places
    for node in nodes:
        others = [trace.static(v) for v in node.inputs[1:]]
        if any(v is not None and o is None for v, o in zip(node.inputs[1:], others, strict=True)):
            return None
        (moved,) = run_on_arrays(node, [moved, *others])
    stride = int(np.prod(shape[axis + 1 :]))
    if moved.ndim != places.ndim or moved.size == 0:
        return None
    line = np.moveaxis(moved, axis, 0).reshape(moved.shape[axis], -1)[:, 0]
    order = line // stride % shape[axis]
    if not np.array_equal(places.take(order, axis), moved):
        return None
    return Chain(start, end, nodes, axis, order)

"""One node for equal computations."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Hashable, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from irc.graph import Graph, Node, Value
from irc.passes.base import Pass

if TYPE_CHECKING:
    from irc.passes.context import Context

Known = MutableMapping[Hashable, Node]

_COMMUTATIVE = frozenset({"Add", "Mul", "And", "Or", "Xor", "Equal", "BitwiseAnd", "BitwiseOr", "BitwiseXor"})
# runtimes fuse a Q/DQ pair into its neighbour only if that is the pair's one reader
_KEPT_APART = frozenset({"QuantizeLinear", "DequantizeLinear"})
_SMALL = 64  # elements; constants up to here are compared by content: shapes, axes, scalars


@dataclass(frozen=True)
class CommonSubexpressions(Pass):
    """Compute equal expressions once: nodes of the same op on the same inputs are merged into the first of them.

        op_i = op_j  and  inputs_i = inputs_j  and  op deterministic   =>   outputs_j := outputs_i

    Valid because such ops are functions of their inputs and the first node stands before every reader of the second:
    a body sees what stands before the node that owns it, never the other way round. Add, Mul and other commutative
    ops are equal with their inputs swapped (IEEE 754 addition and multiplication commute). Small constants are equal
    when their bytes are. Exact. Left alone: random ops, ops of unknown domains, nodes with bodies (what stands within
    the bodies is merged), and QuantizeLinear and DequantizeLinear, which runtimes want one a reader.

    Source: Muchnick, "Advanced Compiler Design and Implementation" (1997), section 12.4 (value numbering).
    """

    def run(self, graph: Graph, context: Context) -> None:
        _merge(graph, {})


def _merge(graph: Graph, known: Known) -> None:
    for node in graph:
        for body in node.bodies.values():
            _merge(body, ChainMap({}, known))  # what a body computes is known within it only
        if node.bodies or not node.op.deterministic or node.op.name in _KEPT_APART:
            continue
        first = known.setdefault(_key(node), node)
        if first is not node:
            for old, new in zip(node.outputs, first.outputs, strict=True):
                if new.type is None:
                    new.type = old.type
            graph.replace(node, first.outputs)


def _key(node: Node) -> Hashable:
    """What two nodes have in common exactly if they compute the same."""
    inputs = tuple(_identity(value) for value in node.inputs)
    if len(inputs) == 2 and node.op.name in _COMMUTATIVE and not node.op.domain:
        return node.op, frozenset(inputs), len(node.outputs)
    return node.op, inputs, len(node.outputs)


def _identity(value: Value | None) -> Hashable:
    data = None if value is None else value.data
    if data is None or data.size > _SMALL or data.dtype == object:
        return value
    return data.dtype, data.shape, data.tobytes()

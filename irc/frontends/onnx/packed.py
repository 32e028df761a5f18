"""Weights that `irc.backends.onnx.packing` stored as bits, read back as the constants that they are."""

from __future__ import annotations

import json
import math

from irc.errors import ExecutionError, GraphError
from irc.execution.evaluate import evaluate_node
from irc.graph import Graph, Node, Value
from irc.ops.binary import Add, Div, Mod, Mul
from irc.ops.cast import Cast
from irc.ops.index import Concat, Gather, GatherElements, Slice, Split
from irc.ops.reduce import CumSum
from irc.ops.shape import Reshape, Transpose

PACKED = "irc.packed"  # metadata: of each value that is unpacked, what the weight was called; a JSON object
_OPS = (Add, Cast, Concat, CumSum, Div, Gather, GatherElements, Mod, Mul, Reshape, Slice, Split, Transpose)
_LARGEST = 64  # times the bytes that are read: float64 of one bit an element
_IN_ALL = 512  # times the bytes of all constants, that may be computed: some forty for a bit of a sparse float64


def unpack(graph: Graph) -> None:
    """Compute the weights that the metadata names, in place, and forget the names.

    A name that is no value, or none that follows from constants, is left alone: a file may say anything.
    """
    listed = graph.info.metadata.pop(PACKED, None)
    names = _names(listed) if listed is not None else {}
    left: float = _IN_ALL * _bytes([value for inner in graph.graphs() for value in inner.constants]) if names else 0
    for inner in graph.graphs():
        for value in [node.output for node in inner if len(node.outputs) == 1 and node.output.name in names]:
            nodes = _cone(value)
            limit = min(left, _LARGEST * _bytes(_constants(nodes)))
            if nodes and all(_size(node) <= limit for node in nodes):
                left = _fold(nodes, names[value.name], left)


def _names(text: str) -> dict[str, str]:
    try:
        held = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {key: name for key, name in held.items() if isinstance(name, str)} if isinstance(held, dict) else {}


def _cone(value: Value) -> list[Node]:
    """The nodes that compute the value of constants as irc does, in order; none if it depends on anything else."""
    found: dict[Node, None] = {}
    todo = [value]
    while todo:
        each = todo.pop()
        if each.is_constant:
            continue
        node = each.producer
        if node is None or not isinstance(node.op, _OPS) or node.graph is not value.graph:
            return []
        if node not in found:
            found[node] = None
            todo += [v for v in node.inputs if v is not None]
    return sorted(found, key=lambda node: node.position)


def _constants(nodes: list[Node]) -> list[Value]:
    return list(dict.fromkeys(v for node in nodes for v in node.inputs if v is not None and v.is_constant))


def _bytes(constants: list[Value]) -> int:
    return sum(v.data.nbytes for v in constants if v.data is not None)


def _size(node: Node) -> float:
    """Bytes of the outputs as their types say, infinite if one does not say; nothing small may swell without end."""
    types = [v.tensor_type for v in node.outputs]
    return sum(type.bytes() if type is not None and type.is_static else math.inf for type in types)


def _fold(nodes: list[Node], name: str, left: float) -> float:
    """Put a constant of that name in the place of the last node's output; the bytes that may still be computed."""
    graph = nodes[0].graph
    for node in nodes:
        try:
            node.infer()  # of constants, where a file may have said anything
            size = _size(node)
            if size > left:
                return left
            arrays = evaluate_node(node)
        except (ExecutionError, GraphError):  # not what irc writes
            return left
        left -= size
        read = _constants([node])
        for value, array in zip(node.outputs, arrays, strict=True):
            value.replace_uses(graph.add_constant(array, name if node is nodes[-1] else "unpacked"))
        graph.remove(node)
        for each in read:
            if not each.use_count:
                each.graph.remove_constant(each)
    return left

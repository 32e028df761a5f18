"""Weights that `irc.backends.onnx.packing` stored as bits, read back as the constants that they are."""

from __future__ import annotations

import json

from irc.errors import ExecutionError
from irc.execution.evaluate import evaluate_node
from irc.graph import Graph, Node, Value

PACKED = "irc.packed"  # metadata: of each value that is unpacked, what the weight was called; a JSON object
_LARGEST = 64  # times the bytes that are read: float64 of one bit an element


def unpack(graph: Graph) -> None:
    """Compute the weights that the metadata names, in place, and forget the names.

    A name that is no value, or none that follows from constants, is left alone: a file may say anything.
    """
    listed = graph.info.metadata.pop(PACKED, None)
    if listed is None:
        return
    names = _names(listed)
    for inner in graph.graphs():
        for value in [node.output for node in inner if len(node.outputs) == 1 and node.output.name in names]:
            nodes = _cone(value)
            limit = _LARGEST * sum(v.data.nbytes for v in _constants(nodes) if v.data is not None)
            if nodes and all(_is_bounded(node, limit) for node in nodes):
                _fold(nodes, names[value.name])


def _names(text: str) -> dict[str, str]:
    try:
        held = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {key: name for key, name in held.items() if isinstance(name, str)} if isinstance(held, dict) else {}


def _cone(value: Value) -> list[Node]:
    """The nodes that compute the value of constants, in order; none if it depends on anything else."""
    found: dict[Node, None] = {}
    todo = [value]
    while todo:
        each = todo.pop()
        if each.is_constant:
            continue
        node = each.producer
        if node is None or node.bodies or not node.op.deterministic or node.graph is not value.graph:
            return []
        if node not in found:
            found[node] = None
            todo += [v for v in node.inputs if v is not None]
    return [node for node in value.graph if node in found]


def _constants(nodes: list[Node]) -> list[Value]:
    return list(dict.fromkeys(v for node in nodes for v in node.inputs if v is not None and v.is_constant))


def _is_bounded(node: Node, limit: int) -> bool:
    """Whether the result is of a stated size that bits could hold: nothing small swells without end."""
    types = [v.tensor_type for v in node.outputs]
    return all(type is not None and type.is_static and type.bytes() <= limit for type in types)


def _fold(nodes: list[Node], name: str) -> None:
    """Put a constant of that name in the place of the last node's output."""
    graph = nodes[0].graph
    constants = _constants(nodes)
    for node in nodes:
        try:
            arrays = evaluate_node(node)
        except ExecutionError:  # not what irc writes
            return
        for value, array in zip(node.outputs, arrays, strict=True):
            made = graph.add_constant(array, name if node is nodes[-1] else "unpacked")
            constants.append(made)
            value.replace_uses(made)
        graph.remove(node)
    for each in constants:
        if not each.use_count:
            graph.remove_constant(each)

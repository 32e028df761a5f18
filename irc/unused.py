"""Removal of what nothing reads."""

from __future__ import annotations

from irc.graph import Graph


def remove_unused(graph: Graph) -> None:
    """Remove the nodes and constants that no output depends on, in bodies too; graph inputs stay."""
    for node in reversed(graph):  # readers before what they read, so one walk takes whole dead chains
        if all(value.use_count == 0 for value in node.outputs):
            graph.remove(node)
            continue
        for body in node.bodies.values():
            remove_unused(body)
    for constant in graph.constants:
        if constant.use_count == 0:
            graph.remove_constant(constant)

"""Weights that are one: a matrix that one layer reads as it is, and another, as a torch model ties them, transposed.

The torch frontend stores `weight` and its transpose `weight.T`. Training moves the first, and the second follows.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from irc.execution.executable import Executable
from irc.graph import Graph, Value


def tied_weights(graph: Graph) -> dict[Value, Value]:
    """The constants `name.T` that are the transpose of the constant `name`, each with that."""
    named = {value.name: value for value in graph.constants if value.use_count}
    pairs = {value: named.get(name.removesuffix(".T")) for name, value in named.items() if name.endswith(".T")}
    return {copy: source for copy, source in pairs.items() if source is not None and _is_transpose(copy, source)}


def _is_transpose(a: Value, b: Value) -> bool:
    return a.data is not None and b.data is not None and a.data.ndim == 2 and np.array_equal(a.data, b.data.T)


def tie(run: Executable, tied: Mapping[Value, Value]) -> None:
    """Let the module compute the transposes."""
    graph = run.module.graph
    nodes = {value: node for node in graph.nodes if (value := run.values.get(node.name)) is not None}
    for copy, source in tied.items():
        with graph.inserting_after(nodes[source]):
            made = graph.call_function(torch.t, (nodes[source],))
        nodes[copy].replace_all_uses_with(made)
        del run.values[nodes[copy].name]
        graph.erase_node(nodes[copy])
        run.values[made.name] = copy
    run.module.recompile()


def write_tied(tied: Mapping[Value, Value]) -> None:
    """Put the transposes of what was trained into the graph."""
    for copy, source in tied.items():
        assert source.data is not None
        if copy.data is not None and not np.array_equal(copy.data, source.data.T):
            copy.data = np.ascontiguousarray(source.data.T)

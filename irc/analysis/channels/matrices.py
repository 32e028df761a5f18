"""Matrices of labels whose rows have to lose equally many elements: blocks, and tensors with channels on two axes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import networkx as nx
import numpy as np

from irc.analysis.channels.arrays import Mask, core, varying
from irc.analysis.channels.chains import Chain
from irc.analysis.channels.closure import Closure
from irc.analysis.channels.labels import Block
from irc.analysis.channels.trace import Role
from irc.graph import Value
from irc.types import Array


def matrices(
    labels: Mapping[Value, Array], roles: Iterable[Role], closure: Closure, chains: Iterable[Chain]
) -> list[Array]:
    """Every such matrix once, its rows distinct."""
    skipped = {value for chain in chains for value in chain.inside}
    held = [each for value, each in labels.items() if value not in skipped] + [role.labels for role in roles]
    found: dict[tuple[tuple[int, ...], bytes], Array] = {}
    for matrix in (*(block.matrix for block in closure.blocks), *map(_as_matrix, filter(_is_split, held))):
        rows = np.unique(matrix, axis=0)
        if rows.any():
            found.setdefault((rows.shape, rows.tobytes()), rows)
    return list(found.values())


def _is_split(array: Array) -> bool:
    return len(varying(array)) > 1


def _as_matrix(array: Array) -> Array:
    held = core(array)
    last = varying(array)[-1]
    return np.moveaxis(held, last, -1).reshape(-1, held.shape[last])


def is_even(matrix: Array, gone: Mask) -> bool:
    """Whether all rows of which something is left keep equally many elements.

    gone : of every label whether it goes
    """
    counts = (~gone[matrix]).sum(1)
    return len(set(counts[counts > 0].tolist())) == 1


def components(held: list[Array], blocks: Iterable[Block]) -> list[list[Array]]:
    """The matrices that share labels, or labels of columns that go together."""
    graph: nx.Graph[int | tuple[str, int]] = nx.Graph()
    for number, matrix in enumerate(held):
        graph.add_node(("matrix", number))
        graph.add_edges_from((("matrix", number), label) for label in np.unique(matrix).tolist() if label)
    for block in blocks:
        if block.columns is not None:
            pairs = zip(block.columns.tolist(), block.matrix[0].tolist(), strict=True)
            graph.add_edges_from((column, label) for column, label in pairs if column and label)
    found = []
    for component in nx.connected_components(graph):
        numbers = sorted(node[1] for node in component if isinstance(node, tuple))
        if numbers:
            found.append([held[number] for number in numbers])
    return sorted(found, key=lambda each: int(each[0].max()))


def distinct_rows(held: list[Array]) -> list[Array] | None:
    """The distinct rows of all matrices as sets of labels; None if two of them overlap in part, or repeat unevenly."""
    rows: dict[bytes, Array] = {}
    for matrix in held:
        for row in matrix:
            labels, counts = np.unique(row, return_counts=True)
            if counts.min() != counts.max():
                return None
            rows.setdefault(labels.tobytes(), labels)
    everything = np.concatenate(list(rows.values()))
    if np.unique(everything).size != everything.size:
        return None
    return list(rows.values())

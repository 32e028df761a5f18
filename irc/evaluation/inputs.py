"""One sample for several models: which inputs of one are those of another."""

from __future__ import annotations

from irc.execution.samples import Sample
from irc.graph import Graph
from irc.signature import compatible


def required(graph: Graph) -> list[str]:
    """The inputs that have no default."""
    return [value.name for value in graph.inputs if value not in graph.defaults]


def refusal(graph: Graph, other: Graph) -> str:
    """Why a graph does not take the samples of another one; empty if it does."""
    mine, theirs = required(graph), required(other)
    if len(mine) != len(theirs):
        return f"it takes {len(mine)} inputs, not {len(theirs)}"
    for left, right in zip(mine, mine if set(mine) == set(theirs) else theirs, strict=True):
        types = graph.value(left).type, other.value(right).type
        if not compatible(*types):
            return f"its input '{left}' is {types[0]}, not {types[1]}"
    return ""


def renamed(sample: Sample, graph: Graph, other: Graph) -> Sample:
    """A sample of another graph, for this one: by name if the names are the same, else by place."""
    mine, theirs = required(graph), required(other)
    if set(mine) == set(theirs):
        return sample
    names = dict(zip(theirs, mine, strict=True))
    return {names[name]: array for name, array in sample.items() if name in names}

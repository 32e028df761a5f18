"""The weights of a graph: matrices and kernels that data are multiplied with, and along which axes they sum."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from irc.graph import Graph, Node, Value
from irc.op import QuantKind
from irc.ops.fake_quant import FakeQuant
from irc.ops.linear import MatMul
from irc.types import Array

_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})


@dataclass
class Weight:
    """A constant that contractions or recurrent layers multiply with.

    value : the constant, two axes or more
    nodes : what reads it, through FakeQuants
    sum_axis : the axis of input channels, which the first of them sums over
    channel_axis : the axis of output channels
    """

    value: Value
    sum_axis: int
    channel_axis: int
    nodes: list[Node] = field(default_factory=list)

    @property
    def data(self) -> Array:
        """Its elements."""
        assert self.value.data is not None
        return self.value.data

    @property
    def names(self) -> set[str]:
        """What a pattern may call it: its own name, its readers' and their layers'."""
        return {self.value.name, *(n for each in self.nodes for n in (each.name, each.origin.layer) if n)}


def weights_of(graph: Graph) -> list[Weight]:
    """The weights of the nest, each once, in the order in which they are read."""
    found: dict[Value, Weight] = {}
    for node in graph.walk():
        for index, sum_axis, channel_axis in _places(node):
            value = _constant_behind(node.input(index))
            if value is None or value.data is None or not is_matrix(value.data):
                continue
            rank = value.data.ndim
            made = found.setdefault(value, Weight(value, sum_axis % rank, channel_axis % rank))
            if node not in made.nodes:
                made.nodes.append(node)
    return list(found.values())


def _places(node: Node) -> Iterator[tuple[int, int, int]]:
    """Of each input that may be a weight: its index, the axis summed over, the axis of output channels."""
    op, quant = node.op, node.op.quant
    if op.name in _RECURRENT and not op.domain:
        yield from ((1, -1, 1), (2, -1, 1))
    elif isinstance(op, MatMul):
        yield from ((0, -1, -2), (1, -2, -1))
    elif quant.kind is QuantKind.CONTRACTION and quant.weight is not None:
        value = node.input(quant.weight)
        type = value.tensor_type if value is not None else None
        if type is not None and type.rank is not None and type.rank >= 2:
            yield quant.weight, 1 - quant.weight_axis % type.rank, quant.weight_axis


def _constant_behind(value: Value | None) -> Value | None:
    while value is not None and value.producer is not None and isinstance(value.producer.op, FakeQuant):
        value = value.producer.input(0)
    return value if value is not None and value.is_constant else None


def is_matrix(data: Array | None) -> bool:
    """Whether it is of floats (float8 has its own scales, and is stored only), of two axes or more."""
    return data is not None and data.ndim >= 2 and (data.dtype.kind == "f" or data.dtype.name == "bfloat16")


def chosen(weights: Iterable[Weight], skip: Sequence[str]) -> tuple[list[Weight], list[tuple[Weight, str]]]:
    """The weights that no pattern of `skip` names, and the others with the pattern."""
    taken: list[Weight] = []
    left: list[tuple[Weight, str]] = []
    for weight in weights:
        pattern = next((p for p in skip if any(fnmatchcase(name, p) for name in weight.names)), None)
        if pattern is None:
            taken.append(weight)
        else:
            left.append((weight, pattern))
    return taken, left


def unmatched(weights: Sequence[Weight], skip: Sequence[str]) -> list[str]:
    """The patterns that name no weight."""
    return [p for p in skip if not any(fnmatchcase(name, p) for weight in weights for name in weight.names)]

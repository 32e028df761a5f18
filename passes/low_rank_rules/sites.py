"""Which weights can be factored.

    Gemm, MatMul   weight on either side, a matrix          rows (N, K)
    Conv           of one group, all taps in one            rows (M, C)
                   of one group, more taps                  rows (M, C, *kernel)

A weight that several nodes read is one site if all read it in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import numpy as np

from irc.graph import Graph, Node, Value
from irc.op import Op, QuantKind
from irc.ops.cast import Cast
from irc.ops.conv import Conv, ConvTranspose
from irc.ops.fake_quant import FakeQuant
from irc.ops.linear import Gemm, MatMul
from irc.passes.context import Context
from irc.passes.quantized_contractions import bias_refusal
from irc.types import Array, DType


@dataclass(frozen=True)
class Layout:
    """How a node reads its weight.

    index : which input the weight is
    as_rows : whether it is stored as (N, K), not as (K, N)
    axis : the axis of the data over which the products are summed; nodes that share a weight may differ in it
    """

    index: int
    as_rows: bool
    axis: int


@dataclass
class Site:
    """A weight that can be factored.

    layouts, nodes : its readers, and how each reads it;  rows : the weight as (N, K), or (M, C, *kernel)
    moment : float64, shape (K, K) or (C, C), mean of x x^T over the inputs; None where nothing is known of them
    means : float64, shape (K,) or (C,), mean input of each node, where its bias can make up for what that loses; the
        moment is then of what inputs have beside it
    """

    weight: Value
    layouts: list[Layout]
    nodes: list[Node]
    rows: Array
    moment: Array | None = field(default=None, repr=False)
    means: list[Array] | None = field(default=None, repr=False)

    @property
    def is_spatial(self) -> bool:
        """Whether it is a convolution of more than one tap."""
        return self.rows.ndim > 2

    @property
    def layout(self) -> Layout:
        """How the nodes read the weight, but for the axis of their data."""
        return self.layouts[0]

    @property
    def data(self) -> list[tuple[Value, int]]:
        """What each of the nodes multiplies the weight with, and the axis of it over which the products are summed."""
        values = [node.input(1 - self.layout.index) for node in self.nodes]
        return [(v, layout.axis) for v, layout in zip(values, self.layouts, strict=True) if v is not None]

    @property
    def has_bias(self) -> bool:
        """Whether every node has, or can be given, a number to add to each of its outputs."""
        if self.layout.index != 1 or self.weight.tensor_type is None or self.weight.tensor_type.dtype is not DType.F32:
            return False
        return all(_adds_as_it_is(node.op) and bias_refusal(node) is None for node in self.nodes)

    @property
    def added(self) -> int:
        """How many numbers the biases have that nodes are given which have none."""
        places = [(node, node.op.quant.bias) for node in self.nodes if self.means is not None]
        return sum(len(self.rows) for node, place in places if place is not None and node.input(place) is None)

    @property
    def names(self) -> set[str]:
        """What the nodes, their layers and the weight are called."""
        return {self.weight.name, *(n.name for n in self.nodes), *(n.origin.layer for n in self.nodes)} - {""}


def find_sites(graph: Graph, skip: Sequence[str], context: Context) -> list[Site]:
    """The sites of the nest, in order; every other contraction is declined with the reason."""
    readers: dict[Value, list[tuple[Node, Layout]]] = {}
    for node in graph.walk():
        if node.op.quant.kind is not QuantKind.CONTRACTION or node.op.domain:
            continue
        found = _layout(node)
        if isinstance(found, str):
            context.decline(node, found)
            continue
        weight = node.input(found.index)
        assert weight is not None
        readers.setdefault(weight, []).append((node, found))
    sites = []
    for weight, reads in readers.items():
        site, reason = _site(weight, reads)
        kept = next((p for p in skip if any(fnmatchcase(name, p) for name in site.names)), None)
        if reason or kept is not None:
            for node in site.nodes:
                context.decline(node, reason or f"'{kept}' is in skip")
        else:
            sites.append(site)
    return sites


def unmatched(graph: Graph, skip: Sequence[str]) -> Iterator[str]:
    """The patterns of `skip` that no contraction's node, layer or weight is called."""
    names: set[str] = set()
    for node in graph.walk():
        if node.op.quant.kind is QuantKind.CONTRACTION:
            names |= {node.name, node.origin.layer, *(v.name for v in node.inputs if v is not None and v.is_constant)}
    return (pattern for pattern in skip if not any(fnmatchcase(name, pattern) for name in names))


def _adds_as_it_is(op: Op) -> bool:
    return not isinstance(op, Gemm) or (op.alpha, op.beta) == (1.0, 1.0)


def _layout(node: Node) -> Layout | str:
    """How the node reads its weight, or why it has none to factor."""
    op = node.op
    if isinstance(op, ConvTranspose):
        return "it is a transposed convolution, which is not factored"
    if not isinstance(op, Conv | Gemm | MatMul):
        return f"no factors of {op.title} are known"
    if any(v is not None and v.producer is not None and isinstance(v.producer.op, FakeQuant) for v in node.inputs):
        return "it is quantized; put low-rank before quantize"
    if isinstance(op, Conv):
        if node.constant(1) is None:
            return _not_constant(node)
        if op.group != 1:
            return f"its {op.group} groups keep it sparse already"
        return Layout(1, True, 1)
    left, right = (node.constant(k) is not None for k in (0, 1))
    if left == right:
        return "both its inputs are constants: fold-constants" if left else _not_constant(node)
    if isinstance(op, Gemm):
        return Layout(1, bool(op.transB), -2 if op.transA else -1) if right else _left(op)
    return Layout(1, False, -1) if right else Layout(0, True, -2)


def _not_constant(node: Node) -> str:
    made = [v.producer for v in node.inputs[:2] if v is not None and v.producer is not None]
    if any(isinstance(each.op, Cast) and each.constant(0) is not None for each in made):
        return "its weight is stored in a smaller float; put fold-constants{widen=true} before low-rank"
    return "its weight is not a constant"


def _left(op: Gemm) -> Layout:
    return Layout(0, not op.transA, -1 if op.transB else -2)


def _site(weight: Value, reads: list[tuple[Node, Layout]]) -> tuple[Site, str]:
    """The site of a weight; and why it is none, else empty."""
    (first, layout), data = reads[0], weight.data
    assert data is not None
    site = Site(weight, [layout for _, layout in reads], [node for node, _ in reads], data)
    for node, other in reads:
        if (type(node.op), other.index, other.as_rows) != (type(first.op), layout.index, layout.as_rows):
            return site, f"its weight '{weight.name}' is read in two ways, by {first!r} and {node!r}"
    if weight.use_count != len(reads):
        user = next((user for user, _ in weight.uses if user not in site.nodes), None)
        if user is None:
            return site, f"its weight '{weight.name}' is its bias too"
        said = "the graph's output" if isinstance(user, Graph) else repr(user)
        return site, f"its weight '{weight.name}' is read by {said} too"
    if isinstance(first.op, Conv):
        if data.ndim < 3:
            return site, f"its weight has {data.ndim} axes"
        rows = data.reshape(data.shape[:2]) if all(d == 1 for d in data.shape[2:]) else data
    else:
        if data.ndim != 2:
            return site, f"its weight has {data.ndim} axes and is no matrix"
        rows = data if layout.as_rows else data.T
    site.rows = rows
    if data.size == 0 or not _is_float(data):
        return site, f"its weight is of {data.dtype} and shape {data.shape}"
    if not np.isfinite(data).all():
        return site, "its weight holds NaN or infinity"
    return site, ""


def _is_float(data: Array) -> bool:
    return data.dtype.kind == "f" or data.dtype.name == "bfloat16"

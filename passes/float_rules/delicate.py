"""Values that a small float type cannot hold.

    wide   a constant beyond the type's range, such as a mask's "minus infinity", and what is computed from it
    tiny   a constant below its normal numbers, such as the epsilon of a division, and what guards with it
    hot    a value that comes near the end of the range in calibration samples
    sizes  whole numbers computed from shapes, with which tensors are made and cut

In all ways a number is lost: -3.4e38 becomes an infinity, of which 0 times is NaN; 1e-12 becomes 0, by which one
divides; and float16 has no odd numbers above 2048, so that a tensor of 3001 rows would be cut at 3000.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from irc.execution.samples import Sample
from irc.execution.statistics import collect_ranges
from irc.graph import Graph, Node, Value
from irc.passes.float_rules.formats import largest, overflow, underflow
from irc.passes.float_rules.keep import is_f32
from irc.types import DType

MARGIN = 2.0  # other inputs may go so much further than the samples do
_BOUNDED = frozenset({"Softmax", "Sigmoid", "HardSigmoid", "Tanh", "Erf", "Sign", "Softsign", "LayerNormalization",
                      "RMSNormalization", "Clip", "Cast", "Not", "IsInf", "IsNaN"})  # fmt: skip
_GUARDS = frozenset({"Add", "Clip", "Expand", "Identity", "Max", "Reshape", "Sqrt", "Squeeze", "Unsqueeze"})

_AXES = 16  # of a tensor, at most

Reasons = dict[Node, str]


def delicate(graph: Graph, dtype: DType) -> Reasons:
    """The nodes that read or make wide or tiny values, and why they stay in float32."""
    name = dtype.numpy.name
    wide: dict[Value, str] = {}
    tiny: dict[Value, str] = {}
    for inner in graph.graphs():
        for value in inner.constants:
            if not is_f32(value) or value.data is None or not value.data.size:
                continue
            if (most := overflow(value.data, dtype)) is not None:
                wide[value] = f"'{value.name}' holds {most:.4g}, and {name} ends at {largest(dtype):g}"
            elif (share := underflow(value.data, dtype)) is not None:
                tiny[value] = f"{share:.0%} of '{value.name}' is below the normal numbers of {name}"
    _follow(graph, wide, lambda node: node.op.name not in _BOUNDED)
    _follow(graph, tiny, lambda node: node.op.name in _GUARDS)
    return {n: r for n in graph.walk() for value, r in _marked(n, wide, tiny) if not _only_bounds(n, value, wide)}


def _follow(graph: Graph, marked: dict[Value, str], goes_on: Callable[[Node], bool]) -> None:
    """Mark what is computed from marked values, through bodies, as long as `goes_on`."""
    if not marked:
        return
    count = -1
    while count != len(marked):
        count = len(marked)
        for node in graph.walk():
            inside = [v for body in node.bodies.values() for v in body.outputs]
            source = next((v for v in (*node.inputs, *inside) if v is not None and v in marked), None)
            if source is not None and goes_on(node):
                for value in filter(is_f32, node.outputs):
                    marked.setdefault(value, marked[source])


def _marked(node: Node, *marks: dict[Value, str]) -> Iterator[tuple[Value, str]]:
    for mark in marks:
        yield from ((v, mark[v]) for v in (*node.inputs, *node.outputs) if v is not None and v in mark)


def _only_bounds(node: Node, value: Value, wide: dict[Value, str]) -> bool:
    """Whether a wide value is a bound of a Clip, which the largest number of the type bounds as well."""
    return node.op.name == "Clip" and value.is_constant and value in wide and value is not node.input(0)


def sizes(graph: Graph) -> Reasons:
    """The nodes that compute floats from nothing but shapes and constants."""
    found: set[Value] = set()
    reasons: Reasons = {}
    for node in graph.walk():
        read = [v for v in node.inputs if v is not None and not v.is_constant]
        stated = node.op.name in ("Shape", "Size") and not node.op.domain
        if stated or (read and found.issuperset(read) and all(map(_is_small, node.outputs))):
            found.update(node.outputs)
            if not stated:
                reasons[node] = "it computes with a shape, whose numbers must stay whole"
    return reasons


def _is_small(value: Value) -> bool:
    """Whether it has few enough elements for sizes: one an axis, not one a position as a row of a table would."""
    type = value.tensor_type
    return type is not None and type.is_static and len(type.static_shape) <= 1 and type.elements() <= _AXES


def hot(graph: Graph, dtype: DType, samples: Iterable[Sample]) -> Reasons:
    """The nodes that make or read values which come near the end of the type's range in the samples."""
    limit, name = largest(dtype) / MARGIN, dtype.numpy.name
    values = [v for inner in graph.graphs() for v in inner.values if is_f32(v) and not v.is_constant]
    reasons: Reasons = {}
    for value, range in collect_ranges(graph, values, samples).items():
        if range.is_finite and range.largest <= limit:
            continue
        said = f"'{value.name}' reaches {range.largest:.4g} in the samples, and {name} ends at {largest(dtype):g}"
        for node in ([value.producer] if value.producer is not None else []) + value.users:
            reasons.setdefault(node, said)
    return reasons

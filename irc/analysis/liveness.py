"""How much memory the activations take, when each is kept from the node that makes it to the last that reads it.

    at node n:  bytes(n) = sum of size(v) over the values v that are made at or before n and read at or after it
    peak        = max over n of bytes(n) + the peak of the largest body of n

Nodes run one by one in the order of the graph; constants do not count; symbolic and unknown dimensions are 1.
A value that is quantized takes the bits of its codes, and rounding it (with the activation before, if nothing else
reads that) takes no memory of its own: a runtime does both in the epilogue of the op that computes the value. What
comes in and goes out of the model keeps its full width.
"""

from __future__ import annotations

from irc.graph import Graph, Node, Value
from irc.op import QuantKind
from irc.ops.fake_quant import FakeQuant
from irc.types import TensorType


def peak_memory(graph: Graph) -> int:
    """Largest number of bytes that activations take at one time, inputs and outputs included."""
    last = _last_reads(graph)
    sizes = {value: size(value) for value in graph.values if not value.is_constant}
    live = peak = sum(sizes[value] for value in graph.inputs)
    live -= sum(sizes[value] for value in graph.inputs if value not in last)
    for node in graph:
        dying = sum(sizes[value] for value in _read(node) if value in sizes and last[value] is node)
        if _in_place(node):
            live -= dying
            dying = 0
        live += sum(sizes[value] for value in node.outputs)
        peak = max(peak, live + max((peak_memory(body) for body in node.bodies.values()), default=0))
        live -= dying + sum(sizes[value] for value in node.outputs if value not in last)
    return peak


def size(value: Value) -> int:
    """Bytes that the value takes while it is alive; 0 for what is stored with the model, or of unknown type."""
    type = value.tensor_type
    if type is None or value.is_constant or _is_weight(value.producer):
        return 0
    bits = type.dtype.bits if value.producer is None or value.is_output else _bits(value)
    return (type.elements() * bits + 7) // 8


def code_bits(op: FakeQuant) -> int:
    """Bits of one code: 8 for -128..127 and for -127..127."""
    return max(1, (op.qmax - op.qmin).bit_length())


def _bits(value: Value) -> int:
    type = value.tensor_type
    assert isinstance(type, TensorType)
    seen = value
    while True:  # an activation that is absorbed passes the width of its output on to its input
        if seen.producer is not None and isinstance(seen.producer.op, FakeQuant):
            return min(code_bits(seen.producer.op), type.dtype.bits)
        users = [use.user for use in seen.uses]
        codes = [code_bits(u.op) for u in users if isinstance(u, Node) and isinstance(u.op, FakeQuant)]
        if codes and len(codes) == len(users):
            return min(max(codes), type.dtype.bits)
        if len(users) != 1 or not isinstance(users[0], Node) or not _is_activation(users[0]):
            return type.dtype.bits
        seen = users[0].output


def _is_activation(node: Node) -> bool:
    return node.op.quant.kind is QuantKind.ACTIVATION and len(node.outputs) == 1


def _is_weight(producer: Node | None) -> bool:
    """Whether the node rounds a constant, which a backend does once and for all."""
    return producer is not None and isinstance(producer.op, FakeQuant) and producer.constant(0) is not None


def _in_place(node: Node) -> bool:
    """Whether the node is done in the epilogue of the one before it."""
    if isinstance(node.op, FakeQuant):
        return True
    value = node.input(0)
    type = value.tensor_type if value is not None and _is_activation(node) else None
    return value is not None and type is not None and _bits(value) < type.dtype.bits


def _read(node: Node) -> dict[Value, None]:
    """The values of the node's own graph that it or its bodies read, each once."""
    read = dict.fromkeys(value for value in node.inputs if value is not None and value.graph is node.graph)
    if node.bodies:
        read.update(dict.fromkeys(value for value in node.captures() if value.graph is node.graph))
    return read


def _last_reads(graph: Graph) -> dict[Value, Node | None]:
    """The last node that reads each value; None for what is given out, which stays."""
    last: dict[Value, Node | None] = {}
    for node in graph:
        last.update(dict.fromkeys(_read(node), node))
    last.update(dict.fromkeys(graph.outputs, None))
    return last

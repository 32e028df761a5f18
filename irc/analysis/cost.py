"""What a model costs: nodes, parameters, bytes, multiply-accumulates, activation memory; whole and layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from irc.analysis.codes import quantize_array
from irc.analysis.liveness import code_bits, peak_memory
from irc.encoding import encode, encoded_bytes
from irc.graph import Graph, Node, Use, Value
from irc.op import QuantKind
from irc.ops.fake_quant import FakeQuant
from irc.types import TensorType, Type

_QUANTIZERS = frozenset({"FakeQuant", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})


@dataclass(frozen=True)
class Cost:
    """What one inference with the model costs, symbolic dimensions counted as 1.

    nodes : of the graph and all its bodies
    parameters : elements of the weights, each once however often it is read; scales and zero points are none
    bytes : of all constants that are read, as a file holds them: a weight that is only read quantized takes its codes,
        and where that is less what `irc.encoding` makes of it
    macs : multiply-accumulates; of an If those of the costlier branch, of a Loop or Scan those of one turn
    peak_memory : bytes of activations that are alive at one time, see `irc.analysis.liveness`
    """

    nodes: int
    parameters: int
    bytes: int
    macs: int
    peak_memory: int


@dataclass(frozen=True)
class Layer:
    """One node and what it adds to the cost; a constant that several nodes read counts for the first."""

    name: str
    op: str
    type: Type | None
    parameters: int
    bytes: int
    macs: int


def cost(graph: Graph, *, packed: bool = True) -> Cost:
    """The cost of the graph and all its bodies.

    packed : whether weights of few different numbers, or of many zeros, are stored as bits: `Target.packs`
    """
    constants = [value for inner in graph.graphs() for value in inner.constants if value.uses]
    return Cost(
        nodes=sum(1 for _ in graph.walk()),
        parameters=sum(parameters_of(value) for value in constants),
        bytes=sum(stored_bytes(value, packed=packed) for value in constants),
        macs=_macs(graph),
        peak_memory=peak_memory(graph),
    )


def layers(graph: Graph, *, packed: bool = True) -> list[Layer]:
    """One row a node, those of bodies behind the node that owns them; `packed` as for `cost`.

    A weight that is quantized counts for the layer that reads it, not for the FakeQuant between them.
    """
    counted: set[Value] = set()
    rows = []
    for node in graph.walk():
        fresh = [value for value in _constants_of(node) if value not in counted]
        counted.update(fresh)
        rows.append(
            Layer(
                name=node.name,
                op=node.op.title,
                type=node.outputs[0].type if node.outputs else None,
                parameters=sum(parameters_of(value) for value in fresh),
                bytes=sum(stored_bytes(value, packed=packed) for value in fresh),
                macs=_own_macs(node),
            )
        )
    return rows


def parameters_of(value: Value) -> int:
    """Elements of the constant if it is a weight, else 0."""
    type = value.tensor_type
    return type.elements() if type is not None and any(_is_weight_use(use, type) for use in value.uses) else 0


def _is_weight_use(use: Use, type: TensorType) -> bool:
    """Float data is a weight unless it is a scale; integer data if a contraction or dequantization reads it."""
    if not isinstance(use.user, Node):
        return type.dtype.is_float
    op = use.user.op
    if op.name in _QUANTIZERS:
        return use.index == 0 and (type.dtype.is_float or op.name == "DequantizeLinear")
    quant = op.quant
    if quant.kind is QuantKind.CONTRACTION and use.index in (quant.weight, quant.bias):
        return True
    return type.dtype.is_float


def stored_bytes(value: Value, *, packed: bool = True) -> int:
    """Bytes of the constant in a file: of its codes if only FakeQuants read it, of its encoding if `packed`."""
    type = value.tensor_type
    if type is None:
        return 0
    if value.data is not None and value.data.dtype.kind == "O":
        return sum(len(each if isinstance(each, bytes) else each.encode()) for each in value.data.ravel().tolist())
    codes = [_code_bits(use) for use in value.uses]
    bits = type.dtype.bits if None in codes else min(type.dtype.bits, max(b for b in codes if b is not None))
    dense = (type.elements() * bits + 7) // 8
    if not packed or value.data is None or encoded_bytes(value.data) == value.data.nbytes:
        return dense
    if bits == type.dtype.bits:
        return encoded_bytes(value.data)
    return min(dense, _encoded_codes(value))


def _encoded_codes(value: Value) -> int:
    """Bytes of the codes of a weight that has structure, which they keep."""
    made = 0
    for user in dict.fromkeys(value.users):
        scale, zero_point = user.constant(1), user.constant(2)
        if scale is None or not isinstance(user.op, FakeQuant) or value.data is None:
            continue
        if zero_point is None:
            zero_point = np.zeros_like(scale)
        made = max(made, encode(quantize_array(value.data, scale, zero_point, user.op)).nbytes)
    return made or encoded_bytes(value.data)  # type: ignore[arg-type]  # a constant


def _code_bits(use: Use) -> int | None:
    """Bits of the codes that this use makes of the constant; None if it reads the constant as it is."""
    if isinstance(use.user, Node) and isinstance(use.user.op, FakeQuant) and use.index == 0:
        return code_bits(use.user.op)
    return None


def _constants_of(node: Node) -> Iterator[Value]:
    """The constants that count for the node: those it reads, and those that reach it through a FakeQuant."""
    for value in node.inputs:
        if value is None:
            continue
        producer = value.producer
        if producer is not None and isinstance(producer.op, FakeQuant) and producer.constant(0) is not None:
            yield from (v for v in producer.inputs if v is not None and v.is_constant)
        elif value.is_constant and not (isinstance(node.op, FakeQuant) and node.constant(0) is not None):
            yield value


def _own_macs(node: Node) -> int:
    inputs = [None if value is None else value.type for value in node.inputs]
    return node.op.macs(inputs, [value.type for value in node.outputs])


def _macs(graph: Graph) -> int:
    total = 0
    for node in graph:
        bodies = [_macs(body) for body in node.bodies.values()]
        total += _own_macs(node) + (max(bodies, default=0) if node.op.name == "If" else sum(bodies))
    return total

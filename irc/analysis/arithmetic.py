"""What a model computes with: multiply-accumulates by the width of their factors, and the bytes that go from op to op.

A graph may hold its quantization as FakeQuants, or as the Q/DQ pairs of an ONNX file. `as_run` makes the second the
first, so that both are counted alike:

    DequantizeLinear(QuantizeLinear(x))   ->  FakeQuant(x)
    DequantizeLinear(codes)               ->  FakeQuant(constant)        a weight, whose codes are what is stored
    FakeQuant without a scale             ->  x                          not calibrated: nothing is rounded
    any other node of constants           ->  constant                   a runtime computes it once

A product is one of integers if both its factors are codes, whatever becomes of the sum, and is as wide as the wider of
them. So do integer hardware, TensorRT, OpenVINO and irc's C. (onnxruntime runs a Conv in float if its result is not
quantized; `irc compile` prints which.)
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from irc.analysis.integer_plan import absorbed
from irc.analysis.liveness import code_bits, size
from irc.graph import Graph, Node, Value
from irc.op import QuantKind
from irc.ops.fake_quant import FakeQuant
from irc.ops.onnx_op import OnnxOp
from irc.ops.quantize import DequantizeLinear, QuantizeLinear
from irc.types import AnyDType, Array, DType, TensorType, Type

QUANTIZERS = frozenset({"FakeQuant", "QuantizeLinear", "DequantizeLinear"})
_FACTORS = {"QLinearConv": (0, 3), "QLinearMatMul": (0, 3)}  # indices of the inputs; 0 and 1 of all others
_VIEWS = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})


def as_run(graph: Graph) -> Graph:
    """A copy for counting, in which Q/DQ are FakeQuants; the numbers of dequantized weights are left out of it."""
    made = graph.copy()
    codes: set[Value] = set()
    for node in list(made.walk()):
        source = node.input(0)
        if source is None or _is_fold(node):
            continue
        if isinstance(node.op, FakeQuant) and node.input(1) is None:
            node.graph.replace(node, [source])
        elif isinstance(node.op, QuantizeLinear) and not node.output.is_output:
            codes.update(_replaced(node, source, node.output.type, source.type))
        elif isinstance(node.op, DequantizeLinear):
            if source in codes:
                node.graph.replace(node, [source])
            else:
                _replaced(node, source, source.type, node.output.type)
    return made


def _is_fold(node: Node) -> bool:
    """Put constants in the place of a node that reads nothing else; whether it was one."""
    read = [value for value in node.inputs if value is not None]
    types = [value.tensor_type for value in node.outputs if not value.is_omitted]
    if node.op.name in QUANTIZERS or node.bodies or not node.op.deterministic or not all(v.is_constant for v in read):
        return False
    if len(types) != len(node.outputs) or any(v.is_output for v in node.outputs):
        return False
    shapes = [(type.dtype.numpy, type.static_shape) for type in types if type is not None and type.is_static]
    if len(shapes) == len(types):
        node.graph.replace(node, [node.graph.add_constant(_nothing(*each)) for each in shapes])
    return len(shapes) == len(types)


def _nothing(dtype: AnyDType, shape: tuple[int, ...]) -> Array:
    """An array that takes the memory of one element."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def _replaced(node: Node, source: Value, held: Type | None, result: Type | None) -> list[Value]:
    """Put a FakeQuant to codes of type `held` in the place of the node, if they are integers; its output."""
    if not (isinstance(held, TensorType) and held.dtype.is_integer and isinstance(result, TensorType)):
        return []
    high = (1 << (held.dtype.bits - 1)) - 1
    op = FakeQuant(qmin=-high - 1, qmax=high)
    if source.data is not None:
        source = node.graph.add_constant(_nothing(result.dtype.numpy, source.data.shape), source.name)
    made = node.graph.insert(op, [source], before=node, types=[result]).output
    node.graph.replace(node, [made])
    return [made]


def nodes(graph: Graph) -> int:
    """How many nodes the nest has, those aside that only quantize: a runtime makes them part of their neighbours.

    graph : as `as_run` makes it
    """
    return sum(node.op.name not in QUANTIZERS for node in graph.walk())


def macs_by_width(graph: Graph) -> dict[str, int]:
    """Multiply-accumulates of one inference by the type of the wider factor, as `{"float32": 40, "int8": 1200}`.

    Symbolic dimensions are 1; of an If those of the costlier branch, of a Loop or Scan those of one turn.

    graph : as `as_run` makes it
    """
    total: Counter[str] = Counter()
    for node in graph:
        bodies = [macs_by_width(body) for body in node.bodies.values()]
        if node.op.name == "If":
            bodies = [max(bodies, key=lambda macs: sum(macs.values()))]
        for macs in bodies:
            total.update(macs)
        own = node.op.macs([None if v is None else v.type for v in node.inputs], [v.type for v in node.outputs])
        if own:
            total[_width(node)] += own
    return dict(sorted(total.items()))


def _width(node: Node) -> str:
    """The type that a product is taken in: integer if both factors are, and as wide as the wider."""
    factors = [_factor(node.input(index)) for index in _FACTORS.get(node.op.name, (0, 1))]
    kind = "int" if all(kind == "int" for kind, _ in factors) else "float"
    return f"{kind}{max(bits for each, bits in factors if each == kind)}"


def _factor(value: Value | None) -> tuple[str, int]:
    """Whether a factor is of integers, and its bits; of codes those of the codes."""
    made = value.producer if value is not None else None
    if made is not None and isinstance(made.op, FakeQuant):
        return "int", code_bits(made.op)
    if made is not None and isinstance(made.op, DequantizeLinear):
        value = made.input(0)
    type = value.tensor_type if value is not None else None
    dtype = DType.F32 if type is None else type.dtype
    return "int" if dtype.is_integer else "float", dtype.bits


def uncounted(graph: Graph) -> list[str]:
    """The operators that read a matrix and of which irc does not know what they do with it, such as LSTM."""
    found = set()
    for node in graph.walk():
        arrays = [node.constant(index) for index in range(len(node.inputs))]
        if (
            isinstance(node.op, OnnxOp)
            and not node.bodies
            and any(array is not None and array.ndim > 1 for array in arrays)
        ):
            found.add(node.op.title)
    return sorted(found)


def activation_bytes(graph: Graph) -> int:
    """Bytes of all values that one op hands to others, inputs and outputs of the model included, each once.

    What a runtime does in the epilogue of an op hands nothing on, nor does a change of shape: a value counts only where
    no FakeQuant and no absorbed activation alone reads it. Codes take their own bits; of an If the costlier branch
    counts.

    graph : as `as_run` makes it
    """
    total = sum(size(value) for value in graph.values if _is_handed_on(value))
    for node in graph:
        bodies = [activation_bytes(body) for body in node.bodies.values()]
        total += max(bodies, default=0) if node.op.name == "If" else sum(bodies)
    return total


def _is_handed_on(value: Value) -> bool:
    made = value.producer
    if value.is_constant or (made is not None and made.op.name in _VIEWS and not made.op.domain):
        return False
    if made is None or len(value.uses) != 1 or not isinstance(user := value.uses[0].user, Node):
        return True
    return not (isinstance(user.op, FakeQuant) or (user.op.quant.kind is QuantKind.ACTIVATION and absorbed(user)))

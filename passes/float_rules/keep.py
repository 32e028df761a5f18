"""Which nodes stay in float32, and why.

    Node stays ::= its op is in KEEP  |  a pattern of the user means it  |  its type constraints forbid the small type
                 | it is next to a quantized value  |  it reads or makes what is no tensor, such as a sequence
                 | it reads or makes what the type cannot hold (`delicate`)
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache

import onnx

from irc.analysis.integer_plan import matches
from irc.graph import Node, Value
from irc.ops.onnx_op import OnnxOp
from irc.passes.fold_constants import STORED_AS_CODES
from irc.types import DType, TensorType

# ops by why they stay: what torch.autocast keeps in float32 too, by ONNX's names
KEEP = {
    "exponentials and powers overflow early": (
        "Exp", "Log", "LogSoftmax", "Pow", "Reciprocal", "Softmax", "Softplus", "Sinh", "Cosh", "Tan", "Celu", "Elu",
    ),
    "a sum over many numbers overflows, or stops growing": (
        "CumProd", "CumSum", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean", "ReduceProd",
        "ReduceSum", "ReduceSumSquare", "Einsum", "Det",
    ),
    "its statistics are sums of squares": (
        "BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "LpNormalization",
        "LRN", "MeanVarianceNormalization", "RMSNormalization", "LpPool", "GlobalLpPool",
    ),
    "it computes a loss": ("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"),
    "its numbers are positions": ("GridSample", "AffineGrid", "NonMaxSuppression", "Range", "Resize", "RoiAlign"),
    "it adds up rounding, step by step": ("GRU", "LSTM", "RNN", "ScatterElements", "ScatterND"),
}  # fmt: skip
_REASONS = {name: reason for reason, names in KEEP.items() for name in names}
_SUMS = frozenset({"ConvInteger", "MatMulInteger"})  # whose int32 a Cast and a Mul make the floats that they stand for
_QUANTIZED = STORED_AS_CODES | _SUMS | {"QLinearConv", "QLinearMatMul"}
_ANY_TYPE = frozenset({"Shape", "Size", "Cast"})


def is_f32(value: Value | None) -> bool:
    """Whether the value is a tensor of float32."""
    return value is not None and isinstance(value.type, TensorType) and value.type.dtype is DType.F32


def touches_floats(node: Node) -> bool:
    """Whether the node reads or makes float32."""
    return any(map(is_f32, (*node.inputs, *node.outputs)))


def reads_any_type(node: Node) -> bool:
    """Whether it makes no difference to the node in which float type its data come."""
    return node.op.name in _ANY_TYPE and not node.op.domain


def becomes(node: Node) -> bool:
    """Whether the node is a Cast to float32, which may as well be one to the small type."""
    return node.op.name == "Cast" and not node.op.domain and is_f32(node.output) and not is_f32(node.input(0))


def matching(node: Node, patterns: Sequence[str]) -> str | None:
    """The pattern that means the node, its layer or its op; None if none does."""
    return next((p for p in patterns if matches(node, p) or fnmatchcase(node.op.name, p)), None)


def refusal(node: Node, dtype: DType, patterns: Sequence[str], opset: int) -> str | None:
    """Why the node stays in float32, whatever the numbers; None if it need not."""
    pattern = matching(node, patterns)
    if pattern is not None:
        return f"'{pattern}' is in keep"
    if node.op.name in _QUANTIZED or is_quantized(node):
        return "it is quantized, or next to what is: integer kernels have float32 scales"
    if node.bodies:
        return "what its bodies read and give out stays in float32; the nodes in them need not"
    if not node.op.domain and node.op.name in _REASONS:
        return _REASONS[node.op.name]
    for value in (*node.inputs, *node.outputs):
        if value is not None and not value.is_omitted and not isinstance(value.type, TensorType):
            return f"'{value.name}' is no tensor, or of a type that is not known"
    if not any(map(is_f32, node.inputs)) and not becomes(node):
        return "it makes float32 of no floats"
    if small_inputs(node, dtype, opset) is None:
        return f"ONNX does not define {node.op.title} on {dtype.numpy.name}"
    return None


def is_quantized(node: Node) -> bool:
    """Whether the node reads a dequantized value, or sums of codes, or makes a value that is quantized."""
    before = _producers(node)
    behind = [user for value in node.outputs for user in value.users]
    sums = any(each.op.name == "Cast" and any(n.op.name in _SUMS for n in _producers(each)) for each in before)
    return sums or any(each.op.name in _QUANTIZED for each in (*before, *behind))


def _producers(node: Node) -> list[Node]:
    return [v.producer for v in node.inputs if v is not None and v.producer is not None]


def small_inputs(node: Node, dtype: DType, opset: int) -> frozenset[int] | None:
    """Which float32 inputs take the small type; None if one of them, or an output, must not.

    An input whose type is float32 whatever the others are, as Resize's scales, stays.
    """
    version = node.op.opset if isinstance(node.op, OnnxOp) else opset
    formals = _formals(node.op.domain, node.op.name, version)
    if formals is None:
        return None
    inputs, outputs = formals
    wanted, taken = f"tensor({dtype.numpy.name})", set()
    for index, value in enumerate(node.inputs):
        allowed = inputs[min(index, len(inputs) - 1)]
        if is_f32(value) and allowed is not None:
            if wanted not in allowed:
                return None
            taken.add(index)
    for index, value in enumerate(node.outputs):
        allowed = outputs[min(index, len(outputs) - 1)]
        if is_f32(value) and allowed is not None and wanted not in allowed:
            return None
    return frozenset(taken)


_Allowed = frozenset[str] | None  # what a type variable may be; None where the type is fixed


@cache
def _formals(domain: str, name: str, version: int) -> tuple[list[_Allowed], list[_Allowed]] | None:
    """The types of an operator's inputs and outputs; None if onnx does not know it."""
    try:
        schema = onnx.defs.get_schema(name, version, domain)
    except onnx.defs.SchemaError:
        return None
    variables = {c.type_param_str: frozenset(c.allowed_type_strs) for c in schema.type_constraints}
    inputs, outputs = ([variables.get(p.type_str) for p in side] for side in (schema.inputs, schema.outputs))
    return inputs, outputs

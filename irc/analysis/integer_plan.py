"""Which nodes a target will run as integer: the part of quantization that is decided before any scale is known.

    contraction  integer, if data is float32 and weight and bias are constants (or, for MatMul, both sides data)
    arithmetic   integer, if an integer node feeds it and an integer node or an output of the graph reads it
    movement     integer, if an integer node feeds it and an integer node or an output reads it
    activation   integer, if it is the only reader of an integer contraction or arithmetic node (it is absorbed, and
                 what reads it reads that node)
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from irc.graph import Graph, Node, Use, Value
from irc.op import QuantKind
from irc.ops.fake_quant import FakeQuant
from irc.target import QuantPolicy
from irc.types import Array, DType

MASK = 1e9  # a magnitude that only a mask's "minus infinity" has; a scale for it would leave nothing to the rest
_SMALLEST_TABLE = 1 << 14  # elements; below, a Gather more costs more than the bytes that codes save
_OPAQUE = ("Loop", "Scan")  # run whole by onnxruntime, so that calibration cannot look into their bodies


@dataclass
class IntegerPlan:
    """The integer nodes in topological order, and why each other candidate is none."""

    integer: dict[Node, None] = field(default_factory=dict)
    declined: dict[Node, str] = field(default_factory=dict)


def plan_integer(graph: Graph, policy: QuantPolicy, skip: Sequence[str] = ()) -> IntegerPlan:
    """The plan for the whole nest.

    skip : patterns (as in file names) of node names and layers that stay float
    """
    plan = IntegerPlan()
    for node in graph.walk():
        if node.op.quant.kind is QuantKind.FLOAT:
            continue
        reason = integer_refusal(node, policy, skip)
        if reason is None:
            plan.integer[node] = None
        elif _computes(node):
            plan.declined[node] = reason
    _settle(plan)
    return plan


def embeddings(graph: Graph, policy: QuantPolicy, skip: Sequence[str] = ()) -> list[Node]:
    """The Gathers that take rows out of a constant table worth holding as codes, if the target does that."""
    found = []
    for node in graph.walk() if policy.quantize_embeddings else ():
        table, indices = node.constant(0), node.input(1)
        if node.op.name != "Gather" or node.op.domain or table is None or indices is None or indices.is_constant:
            continue
        by_rows = table.ndim == 2 and getattr(node.op, "axis", 0) in (0, -2)
        if not by_rows or table.dtype != DType.F32.numpy or table.size < _SMALLEST_TABLE:
            continue
        if np.isfinite(table).all() and not is_mask(table) and opaque_owner(node) is None:
            found.append(node)
    return [node for node in found if not any(matches(node, pattern) for pattern in skip)]


def matches(node: Node, pattern: str) -> bool:
    """Whether a pattern of the list to skip means the node."""
    return fnmatch.fnmatchcase(node.name, pattern) or fnmatch.fnmatchcase(node.origin.layer, pattern)


def _computes(node: Node) -> bool:
    """Whether the node is a contraction, or arithmetic of floats: what a user asks about when it stays float."""
    if node.op.quant.kind is QuantKind.CONTRACTION:
        return True
    type = node.output.tensor_type
    return node.op.quant.kind is QuantKind.ARITHMETIC and type is not None and type.dtype.is_float


def data_inputs(node: Node) -> list[int]:
    """Indices of the inputs that are activations (constants among them too)."""
    quant = node.op.quant
    if quant.kind is QuantKind.CONTRACTION:
        weight = node.input(quant.weight) if quant.weight is not None else None
        both = node.op.name == "MatMul" and weight is not None and source_of(weight).data is None
        return [0, 1] if both else [0]
    if quant.variadic:
        return [i for i, v in enumerate(node.inputs) if v is not None and i >= quant.data[0]]
    return [i for i in quant.data if node.input(i) is not None]


def weight_input(node: Node) -> int | None:
    """Index of the weight of a contraction, None where both sides are data."""
    weight = node.op.quant.weight
    return None if weight is None or weight in data_inputs(node) else weight


def source_of(value: Value) -> Value:
    """The value behind a FakeQuant, if one made it."""
    made = value.producer
    if made is not None and isinstance(made.op, FakeQuant):
        source = made.input(0)
        assert source is not None
        return source
    return value


def integer_refusal(node: Node, policy: QuantPolicy, skip: Sequence[str] = ()) -> str | None:
    """Why the node cannot be integer whatever stands around it; None if it can."""
    if not policy.runs_integer(node.op):
        return "the target has no integer kernel for it"
    if any(matches(node, p) for p in skip):
        return "it is on the list of layers to leave float"
    if (owner := opaque_owner(node)) is not None:
        return f"it stands in the body of {owner!r}, which calibration cannot look into"
    for index in data_inputs(node):
        value = node.input(index)
        type = value.tensor_type if value is not None else None
        if type is None or type.dtype is not DType.F32:
            return f"input {index} is {type or 'of unknown type'}, not float32"
        if value is not None and node.op.quant.kind is QuantKind.ARITHMETIC and is_mask(source_of(value).data):
            return f"input {index} ('{value.name}') holds a mask's magnitudes, which must not get a scale"
    if node.op.name == "Resize" and getattr(node.op, "mode", "") != "nearest":
        return "only nearest Resize moves elements without computing"
    if getattr(node.op, "coordinate_transformation_mode", "") == "tf_crop_and_resize":
        return "what it puts outside of its input need not lie in the range of that"
    if _smooths(node):
        return "it makes channels alike for the linear layer behind it; rounding in front of it would undo that"
    if node.op.name == "Pad" and not _pads_zeros(node):
        return "what it pads with need not lie in the range of its input"
    if node.op.quant.kind is QuantKind.CONTRACTION:
        return _contraction_refusal(node)
    return None


def _smooths(node: Node) -> bool:
    """Whether it multiplies by a constant for each channel and only linear layers, which could do so, read the result.

    `smooth-quant` and its like (AWQ, models that were smoothed elsewhere) leave such a Mul behind.
    """
    if node.op.name != "Mul" or not node.output.uses:
        return False
    vectors = [source_of(v).data for v in node.inputs if v is not None]
    if not any(data is not None and data.size > 1 and data.shape[-1:] == (data.size,) for data in vectors):
        return False
    uses = [use for first in node.output.uses for use in _behind_fake_quant(first)]
    return all(isinstance(u.user, Node) and u.user.op.name in ("Gemm", "MatMul") and u.index == 0 for u in uses)


def _behind_fake_quant(use: Use) -> tuple[Use, ...]:
    """The use itself, or those of what a FakeQuant there makes."""
    return use.user.output.uses if isinstance(use.user, Node) and isinstance(use.user.op, FakeQuant) else (use,)


def _pads_zeros(node: Node) -> bool:
    """Whether a Pad puts nothing but zeros or copies of its input around it; every range holds 0."""
    value = node.input(2)
    return getattr(node.op, "mode", "constant") != "constant" or value is None or (
        value.data is not None and not value.data.any()
    )


def opaque_owner(node: Node) -> Node | None:
    """The Loop or Scan around the node, if there is one."""
    owner = node.graph.parent
    while owner is not None and owner.op.name not in _OPAQUE:
        owner = owner.graph.parent
    return owner


def is_mask(data: Array | None) -> bool:
    """Whether a constant holds an infinity or a number as large as only a mask has; NaN is no mask."""
    return data is not None and bool(float(data.max(initial=0)) >= MASK or float(data.min(initial=0)) <= -MASK)


def _contraction_refusal(node: Node) -> str | None:
    quant = node.op.quant
    weight = weight_input(node)
    if weight is not None:
        value = node.input(weight)
        data = None if value is None else source_of(value).data
        if data is None:
            return "its weight is not a constant"
        if not data.size:
            return "its weight has no elements"
    bias = node.input(quant.bias) if quant.bias is not None else None
    if bias is not None and bias.data is None:
        return "its bias is not a constant"
    op = node.op
    if getattr(op, "alpha", 1.0) != 1.0 or (bias is not None and getattr(op, "beta", 1.0) != 1.0):
        return "alpha and beta of an integer Gemm must be 1"
    if getattr(op, "transA", 0):
        return "an integer Gemm cannot transpose its data"
    return None


def _settle(plan: IntegerPlan) -> None:
    """Drop the nodes that nothing integer feeds or reads, again and again until all that stay hold each other up."""
    changed = True
    while changed:
        changed = False
        for forward in (True, False):
            for node in list(plan.integer) if forward else list(reversed(plan.integer)):
                kind = node.op.quant.kind
                if kind is QuantKind.CONTRACTION:
                    continue
                if not (_fed(node, plan) if forward else _read(node, plan)):
                    del plan.integer[node]
                    changed = True
                    if _computes(node):
                        plan.declined[node] = f"nothing integer {'feeds' if forward else 'reads'} it"


def producer(value: Value | None) -> Node | None:
    """The node behind a value, FakeQuants looked through."""
    return None if value is None else source_of(value).producer


def _fed(node: Node, plan: IntegerPlan) -> bool:
    makers = [producer(node.input(i)) for i in data_inputs(node)]
    if node.op.quant.kind is QuantKind.ACTIVATION:
        return makers[0] in plan.integer and absorbed(node)
    return any(m in plan.integer for m in makers)


def _read(node: Node, plan: IntegerPlan) -> bool:
    if node.op.quant.kind is QuantKind.ACTIVATION:
        return True  # it goes where its producer goes
    return _is_read(node, plan)


def _is_read(node: Node, plan: IntegerPlan) -> bool:
    return any(v.is_output or any(_reads_integer(u, v, plan) for u in v.users) for v in node.outputs)


def _reads_integer(user: Node, value: Value, plan: IntegerPlan) -> bool:
    if isinstance(user.op, FakeQuant):
        return any(u in plan.integer for u in user.output.users) or user.output.is_output
    if user.op.quant.kind is QuantKind.ACTIVATION:
        return user in plan.integer and _is_read(user, plan)
    return user in plan.integer


def absorbed(node: Node) -> bool:
    """Whether an activation can be part of its producer's requantization: nobody else sees the value before it."""
    value = node.input(0)
    made = producer(value)
    if value is None or made is None or len(value.uses) != 1:
        return False
    if made.op.quant.kind not in (QuantKind.CONTRACTION, QuantKind.ARITHMETIC):
        return False
    return all(v is None or v.is_constant for v in node.inputs[1:])

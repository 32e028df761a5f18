"""What rules must know when the model is compiled: constant inputs, and attributes that are kept as ONNX has them."""

from __future__ import annotations

from typing import Any

from onnx import AttributeProto, helper

from irc.errors import BackendError
from irc.graph import Node
from irc.ops.onnx_op import OnnxOp
from irc.types import Array


def optional_constant(node: Node, index: int, what: str) -> Array | None:
    """A constant input, None if it is omitted.

    Raises
    ------
    BackendError : it is computed.
    """
    data = node.constant(index) if index < len(node.inputs) else None
    if data is None and index < len(node.inputs) and node.input(index) is not None:
        raise BackendError(f"{node!r}: the C backend needs its {what} as a constant")
    return data


def required_constant(node: Node, index: int, what: str) -> Array:
    """A constant input that must be there.

    Raises
    ------
    BackendError : it is computed, or omitted.
    """
    data = optional_constant(node, index, what)
    if data is None:
        raise BackendError(f"{node!r}: it has no {what}")
    return data


def onnx_attributes(op: OnnxOp) -> dict[str, Any]:
    """The attributes as Python values, strings decoded."""
    made = {}
    for name, data in op.serialized:
        value = helper.get_attribute_value(AttributeProto.FromString(data))
        values = [v.decode() if isinstance(v, bytes) else v for v in value] if isinstance(value, list) else value
        made[name] = values.decode() if isinstance(values, bytes) else values
    return made

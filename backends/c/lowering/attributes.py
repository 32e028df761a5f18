"""The attributes of operators that the graph keeps as ONNX has them."""

from __future__ import annotations

from typing import Any

from onnx import AttributeProto, helper

from irc.ops.onnx_op import OnnxOp


def onnx_attributes(op: OnnxOp) -> dict[str, Any]:
    """The attributes as Python values, strings decoded."""
    made = {}
    for name, data in op.serialized:
        value = helper.get_attribute_value(AttributeProto.FromString(data))
        values = [v.decode() if isinstance(v, bytes) else v for v in value] if isinstance(value, list) else value
        made[name] = values.decode() if isinstance(values, bytes) else values
    return made

"""ONNX operators by name: the typed op where irc has one."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import Any

import onnx

import irc.ops  # noqa: F401  # the typed ops enter their registry
from irc.op import Op
from irc.ops.onnx_op import OnnxOp

OPSET = 21  # what the rules are written for


def make_op(name: str, /, **attributes: Any) -> Op:
    """The ONNX operator of that name: the typed op if irc has one with these attributes, else an `OnnxOp`."""
    cls = Op.registry.get(("", name))
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in attributes.items() if v is not None}
    if cls is not None and {f.name for f in fields(cls)} >= set(values):
        return cls(**values)
    protos = [onnx.helper.make_attribute(k, v) for k, v in values.items()]
    return OnnxOp("", name, OPSET, tuple((p.name, p.SerializeToString(deterministic=True)) for p in protos))


@cache
def input_name(op: str, index: int) -> str:
    """What ONNX calls input `index` of the operator."""
    inputs = onnx.defs.get_schema(op, OPSET).inputs
    return str(inputs[min(index, len(inputs) - 1)].name)

"""Ops as ONNX protos: reading one from a `NodeProto`, writing it as one, and asking onnx for its output types.

    NodeProto  --op_of_proto-->  Op  --attribute_protos-->  AttributeProto*
"""

from __future__ import annotations

import types as pytypes
import typing
from collections.abc import Sequence
from dataclasses import MISSING, fields, replace
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, NodeProto, TypeProto

from irc.errors import GraphError, ModelError
from irc.op import Attribute, Op
from irc.ops.onnx_op import OnnxOp
from irc.types import Array, DType, OpaqueType, TensorType, Type

_INLINE_CONSTANT = 4096  # elements; larger constants cannot be shapes, so shape inference is not given their data
_GRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


# ---- types


def type_of_proto(proto: TypeProto) -> Type | None:
    """The type that onnx's proto states, None if it states none."""
    kind = proto.WhichOneof("value")
    if kind is None:
        return None
    if kind != "tensor_type":
        return OpaqueType(proto.SerializeToString(deterministic=True))
    tensor = proto.tensor_type
    if tensor.elem_type == 0:
        return None
    if not tensor.HasField("shape"):
        return TensorType(DType.of_onnx(tensor.elem_type))
    dims = tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else d.dim_param or None for d in tensor.shape.dim
    )
    return TensorType(DType.of_onnx(tensor.elem_type), dims)


def proto_of_type(type: Type | None) -> TypeProto:
    """The proto that states the type; an empty one if nothing is known."""
    proto = TypeProto()
    if isinstance(type, OpaqueType):
        proto.ParseFromString(type.proto)
    elif isinstance(type, TensorType):
        proto.tensor_type.elem_type = type.dtype.onnx_type
        if type.shape is not None:
            proto.tensor_type.shape.SetInParent()
            for dim in type.shape:
                entry = proto.tensor_type.shape.dim.add()
                if isinstance(dim, int):
                    entry.dim_value = dim
                elif dim is not None:
                    entry.dim_param = dim
    return proto


# ---- attributes


def attribute_value(proto: AttributeProto) -> Attribute:
    """A number, string or tuple attribute as Python data (a dtype is its ONNX number)."""
    value = onnx.helper.get_attribute_value(proto)
    if proto.type == AttributeProto.STRING:
        return str(value.decode("utf-8"))
    if proto.type == AttributeProto.STRINGS:
        return tuple(v.decode("utf-8") for v in value)
    if proto.type == AttributeProto.FLOAT:
        return _shortest(value)
    if proto.type == AttributeProto.FLOATS:
        return tuple(map(_shortest, value))
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else value


def attribute_of(op: OnnxOp, name: str) -> Attribute:
    """An attribute of an `OnnxOp`; None if it does not have it."""
    data = dict(op.serialized).get(name)
    return None if data is None else attribute_value(AttributeProto.FromString(data))


def with_attribute(op: OnnxOp, name: str, value: int) -> OnnxOp:
    """The op with another whole number as an attribute that it has."""
    data = onnx.helper.make_attribute(name, value).SerializeToString(deterministic=True)
    return replace(op, serialized=tuple((key, data if key == name else old) for key, old in op.serialized))


def _shortest(value: float) -> float:
    """The float that people write for this float32: 1e-05, which its protobuf reads back as 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def op_of_proto(node: NodeProto, opset: int) -> Op:
    """The op that the node does, its bodies aside: a typed one if there is a class that means the same, else `OnnxOp`.

    opset : the version that the model imports of the node's domain
    """
    domain = "" if node.domain == "ai.onnx" else node.domain
    cls = Op.registry.get((domain, node.op_type))
    if cls is not None and since_version(domain, node.op_type, opset) >= cls.since:
        names = {f.name for f in fields(cls)}
        plain = [a for a in node.attribute if not a.ref_attr_name and a.type not in _GRAPHS]
        if len(plain) == len([a for a in node.attribute if a.type not in _GRAPHS]) and names >= {a.name for a in plain}:
            try:
                return cls(**{a.name: attribute_value(a) for a in plain})
            except (TypeError, ValueError, UnicodeDecodeError) as error:
                raise ModelError(f"{node.op_type} '{node.name}': bad attributes: {error}") from None
    kept = tuple((a.name, a.SerializeToString(deterministic=True)) for a in node.attribute if a.type not in _GRAPHS)
    return OnnxOp(domain, node.op_type, opset, kept)


@cache
def since_version(domain: str, name: str, opset: int) -> int:
    """The version of the operator that counts at `opset`; `opset` itself where onnx knows no such operator."""
    try:
        return int(onnx.defs.get_schema(name, opset, domain).since_version)
    except onnx.defs.SchemaError:
        return opset


@cache
def _float_fields(cls: type[Op]) -> frozenset[str]:
    """The fields of the class that hold floats, so that an int given there is written as the float it means."""
    hints = typing.get_type_hints(cls)

    def mentions_float(hint: Any) -> bool:
        if isinstance(hint, pytypes.UnionType) or typing.get_origin(hint) is tuple:
            return any(mentions_float(part) for part in typing.get_args(hint))
        return hint is float

    return frozenset(f.name for f in fields(cls) if mentions_float(hints[f.name]))


def attribute_protos(op: Op) -> list[AttributeProto]:
    """The op's attributes that are not at their default, as protos."""
    if isinstance(op, OnnxOp):
        return [AttributeProto.FromString(data) for _, data in op.serialized]
    protos = []
    for field in fields(op):
        value = getattr(op, field.name)
        required = field.default is MISSING
        if value is None or (value == field.default and not required):
            continue
        takes_floats = field.name in _float_fields(type(op))  # type: ignore[arg-type]  # mypy takes the class for an op
        if takes_floats:
            value = tuple(map(float, value)) if isinstance(value, tuple) else float(value)
        kind = None
        if value == ():
            kind = AttributeProto.FLOATS if takes_floats else AttributeProto.INTS
        protos.append(onnx.helper.make_attribute(field.name, value, attr_type=kind))
    return protos


def node_proto(op: Op, inputs: Sequence[str], outputs: Sequence[str], name: str = "") -> NodeProto:
    """The node that does `op`, without bodies."""
    proto = NodeProto(op_type=op.name, domain=op.domain, name=name, input=inputs, output=outputs)
    proto.attribute.extend(attribute_protos(op))
    return proto


# ---- type inference


def infer_by_schema(
    op: Op, inputs: Sequence[Type | None], constants: Sequence[Array | None], outputs: int
) -> list[Type | None]:
    """Output types by onnx's shape inference of the operator; None where it knows none.

    Raises
    ------
    GraphError : onnx says that the inputs do not fit a typed op.
    """
    opset = op.opset if isinstance(op, OnnxOp) else onnx.defs.onnx_opset_version()
    try:
        schema = onnx.defs.get_schema(op.name, opset, op.domain)
    except onnx.defs.SchemaError:
        return [None] * outputs
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    for k, type in enumerate(inputs):
        if type is None and schema.inputs[min(k, len(schema.inputs) - 1)].option != optional:
            return [None] * outputs  # there is an input, of unknown type: onnx would take it for a missing one
    names = [f"i{k}" if t is not None else "" for k, t in enumerate(inputs)]
    made = [f"o{k}" for k in range(outputs)]
    data = {
        n: onnx.numpy_helper.from_array(np.asarray(c, order="C"))
        for n, c in zip(names, constants, strict=True)
        if n and c is not None and c.size <= _INLINE_CONSTANT
    }
    known = {n: proto_of_type(t) for n, t in zip(names, inputs, strict=True) if n}
    try:
        found = onnx.shape_inference.infer_node_outputs(
            schema,
            node_proto(op, names, made),
            known,
            data,
            opset_imports=[onnx.helper.make_opsetid(op.domain, opset)],
        )
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        if isinstance(op, OnnxOp):
            return [None] * outputs
        shown = ", ".join(str(t) for t in inputs)
        raise GraphError(f"{op.title} does not take ({shown}): {str(error).strip().splitlines()[-1]}") from None
    return [type_of_proto(found[name]) if name in found else None for name in made]

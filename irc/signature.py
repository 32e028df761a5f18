"""What an op expects of a node, asked once for all nodes that are alike: numbers of inputs and outputs, and types."""

from __future__ import annotations

import inspect
from collections.abc import Hashable
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
import onnx

from irc.graph import Node
from irc.op import Op
from irc.ops.onnx_op import OnnxOp
from irc.types import AnyDType, Array, TensorType, Type

OWN_DOMAIN = "irc"  # irc's own ops are lowered before a model is written: no model imports them
# elements; a larger constant cannot matter to a type, so inference is not given it: it is no shape, nor Resize's scales
_SMALL, _SMALL_FLOAT = 256, 16
_ANY_NUMBER = 1 << 30


class Arity(NamedTuple):
    """How many inputs and outputs a node may have, and which of the inputs it may not leave out."""

    least: int
    most: int
    required: frozenset[int]
    least_outputs: int
    most_outputs: int


def arity(op: Op, opset: int) -> Arity | None:
    """What the op takes and gives, None if nobody knows; `opset` is what the model imports of its domain."""
    version = op.opset if isinstance(op, OnnxOp) else opset
    return _arity(type(op), op.domain, op.name, version)  # type: ignore[arg-type]  # mypy takes the class for an op


@cache
def _arity(cls: Hashable, domain: str, name: str, opset: int) -> Arity | None:
    """How many inputs and outputs the op takes: by onnx's schema, or for irc's own ops by the signature of `run`."""
    for version in (opset, onnx.defs.onnx_opset_version()):
        try:
            schema = onnx.defs.get_schema(name, version, domain)
        except onnx.defs.SchemaError:
            continue
        single = onnx.defs.OpSchema.FormalParameterOption.Single
        required = frozenset(i for i, parameter in enumerate(schema.inputs) if parameter.option == single)
        return Arity(schema.min_input, schema.max_input, required, schema.min_output, schema.max_output)
    if not (isinstance(cls, type) and issubclass(cls, Op)) or cls is OnnxOp or cls.domain != OWN_DOMAIN:
        return None
    parameters = list(inspect.signature(cls.run).parameters.values())[1:]
    plain = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    required = frozenset(i for i, p in enumerate(plain) if p.default is p.empty)
    most = _ANY_NUMBER if len(plain) != len(parameters) else len(plain)
    return Arity(len(required), most, required, 1, _ANY_NUMBER)


def span(low: int, high: int) -> str:
    """The range in words: `2`, `2 to 3`, `2 or more`."""
    if low == high:
        return str(low)
    return f"{low} or more" if high >= _ANY_NUMBER else f"{low} to {high}"


def compatible(left: Type | None, right: Type | None) -> bool:
    """Whether one value can be of both types: no dtype, rank or static dimension contradicts another."""
    if left is None or right is None:
        return True
    if not (isinstance(left, TensorType) and isinstance(right, TensorType)):
        return type(left) is type(right)
    if left.dtype is not right.dtype:
        return False
    if left.shape is None or right.shape is None:
        return True
    return len(left.shape) == len(right.shape) and all(
        a == b or not (isinstance(a, int) and isinstance(b, int)) for a, b in zip(left.shape, right.shape, strict=True)
    )


def inferred_types(node: Node) -> tuple[Type | None, ...]:
    """The types that the node's op makes of its inputs now; GraphError if they do not fit."""
    types = tuple(None if v is None else v._type for v in node._inputs)
    data = tuple(None if v is None or v._data is None else _frozen(v._data) for v in node._inputs)
    return _inferred(node.op, types, data, len(node.outputs))


_Frozen = tuple[AnyDType, tuple[int, ...], bytes]


def _frozen(array: Array) -> _Frozen | None:
    """A small constant by its content, so that equal calls of an op are inferred once."""
    if array.dtype.kind == "O" or array.size > (_SMALL if array.dtype.kind in "iub" else _SMALL_FLOAT):
        return None
    return array.dtype, array.shape, array.tobytes()


@lru_cache(maxsize=1 << 16)
def _inferred(
    op: Op, types: tuple[Type | None, ...], data: tuple[_Frozen | None, ...], outputs: int
) -> tuple[Type | None, ...]:
    constants = [None if d is None else np.frombuffer(d[2], d[0]).reshape(d[1]) for d in data]
    return tuple(op.infer(types, constants, outputs))

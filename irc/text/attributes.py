"""Ops and their attributes, between text and Python: attributes of typed ops as they are, those of `OnnxOp` as protos.

attribute ::= 1 | 0.5 | 1e-05f | "text" | true | none | [attribute, ...] | 0x...
`1e-05f` is the float32 nearest to 1e-05: what an ONNX file holds, in short.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import Any

import numpy as np
from onnx import AttributeProto

import irc.ops  # noqa: F401  # an op that is not imported is not in the registry
from irc.errors import IrcError, TextError
from irc.op import Op
from irc.ops.onnx_op import OnnxOp
from irc.text.names import quoted

AttributeValue = int | float | str | bytes | bool | tuple[Any, ...] | None


# ---- to text


def attribute_texts(op: Op) -> dict[str, str]:
    """The attributes that differ from their defaults, as text, by name."""
    if isinstance(op, OnnxOp):
        return {name: _proto_text(name, data) for name, data in op.serialized}
    return {name: _value_text(value) for name, value in op.attributes().items()}


def _value_text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value_text, value))}]"
    raise TextError(f"an attribute of type {type(value).__name__} has no text form")


def _float_text(value: float) -> str:
    exact = repr(float(value))
    with np.errstate(over="ignore"):
        single = np.float32(value)
    short = f"{single!s}f"
    return short if float(single) == value and len(short) < len(exact) else exact


def _proto_text(name: str, data: bytes) -> str:
    """The value, if the proto that `attribute_proto` makes of it is the same to the byte; else the proto's bytes."""
    proto = AttributeProto.FromString(data)
    match proto.type:
        case AttributeProto.INT:
            value: AttributeValue = proto.i
        case AttributeProto.FLOAT:
            value = proto.f
        case AttributeProto.INTS:
            value = tuple(proto.ints)
        case AttributeProto.FLOATS:
            value = tuple(proto.floats)
        case AttributeProto.STRING:
            value = _decoded(proto.s)
        case AttributeProto.STRINGS:
            value = tuple(_decoded(s) for s in proto.strings)
        case _:
            value = None
    if value == ():
        value = None  # the text of an empty list does not say of what
    parts = value if isinstance(value, tuple) else (value,)
    parts = tuple(math.nan if part != part else part for part in parts)  # the text does not say which NaN
    value = parts if isinstance(value, tuple) else parts[0]
    if None in parts or attribute_proto(name, value) != data:
        return f"0x{data.hex()}"
    texts = [str(np.float32(part)) if isinstance(part, float) else _value_text(part) for part in parts]
    return f"[{', '.join(texts)}]" if isinstance(value, tuple) else texts[0]


def _decoded(data: bytes) -> str | None:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


# ---- from text


def attribute_proto(name: str, value: AttributeValue) -> bytes:
    """The serialized proto of an attribute of an `OnnxOp`; ValueError if it is none."""
    if isinstance(value, bytes):
        try:
            AttributeProto.FromString(value)
        except Exception:  # protobuf's own class of error, which differs between its implementations
            raise ValueError("the bytes are no AttributeProto") from None
        return value
    proto = AttributeProto(name=name)
    parts = value if isinstance(value, tuple) else (value,)
    if not parts or any(isinstance(part, bool) or not isinstance(part, int | float | str) for part in parts):
        raise ValueError("an operator of ONNX takes numbers, strings and non-empty lists of one of them")
    if all(isinstance(part, int) for part in parts):
        kind, field, many = AttributeProto.INT, "i", "ints"
    elif all(isinstance(part, int | float) for part in parts):
        kind, field, many = AttributeProto.FLOAT, "f", "floats"
    elif all(isinstance(part, str) for part in parts):
        kind, field, many = AttributeProto.STRING, "s", "strings"
        parts = tuple(part.encode("utf-8") for part in parts)  # a lone surrogate is a ValueError too
    else:
        raise ValueError("a list holds numbers or strings, not both")
    if isinstance(value, tuple):
        proto.type = {"i": AttributeProto.INTS, "f": AttributeProto.FLOATS, "s": AttributeProto.STRINGS}[field]
        getattr(proto, many).extend(parts)
    else:
        proto.type = kind
        setattr(proto, field, parts[0])
    return bytes(proto.SerializeToString(deterministic=True))


def onnx_op(domain: str, name: str, opset: int, attributes: Mapping[str, AttributeValue]) -> OnnxOp:
    """The `OnnxOp` with those attributes; ValueError names the attribute that it cannot have."""
    kept = []
    for key, value in attributes.items():
        try:
            kept.append((key, attribute_proto(key, value)))
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"attribute '{key}': {error}") from None
    return OnnxOp(domain, name, opset, tuple(kept))


def typed_op(domain: str, name: str, attributes: Mapping[str, AttributeValue]) -> Op:
    """The op of irc with those attributes; ValueError says which it does not have, misses or cannot take."""
    cls = Op.registry.get((domain, name))
    title = f"{domain}.{name}" if domain else name
    if cls is None:
        raise ValueError(f"irc has no op '{title}'; with its opset, '{title}:21', it is kept as an operator of ONNX")
    hints = _hints(cls)  # type: ignore[arg-type]  # mypy takes the class for one of its instances
    for key, value in attributes.items():
        if key not in hints:
            raise ValueError(f"{title} has no attribute '{key}'; it has {', '.join(hints) or 'none'}")
        if not _fits(value, hints[key]):
            raise ValueError(f"attribute '{key}' of {title} cannot be {_value_text(value)}")
    missing = [f.name for f in fields(cls) if f.default is MISSING and f.name not in attributes]
    if missing:
        raise ValueError(f"{title} needs attribute '{missing[0]}'")
    try:
        return cls(**attributes)
    except (TypeError, ValueError, IrcError) as error:
        raise ValueError(f"{title}: {error}") from None


@cache
def _hints(cls: typing.Hashable) -> dict[str, Any]:
    assert isinstance(cls, type)
    hints = typing.get_type_hints(cls)
    return {f.name: hints[f.name] for f in fields(cls)}


def _fits(value: AttributeValue, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, part) for part in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if arguments[-1:] == (...,):
            return all(_fits(part, arguments[0]) for part in value)
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return value is None if hint is type(None) else isinstance(value, hint)

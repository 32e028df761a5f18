"""Types made better by what became known in front of them."""

from __future__ import annotations

from irc.errors import GraphError
from irc.graph import Node, Value
from irc.types import Dim, TensorType, Type


def refine(node: Node) -> list[Value]:
    """Infer the node's output types anew and keep the better of old and new a dimension; the values that gained."""
    inputs = [v.type if v is not None else None for v in node.inputs]
    constants = [v.data if v is not None else None for v in node.inputs]
    try:
        made = node.op.infer(inputs, constants, len(node.outputs))
    except GraphError:
        return []  # the verifier says it better
    gained = []
    for value, type in zip(node.outputs, made, strict=True):
        better = _better(value.type, type)
        if better != value.type:
            value.type = better
            gained.append(value)
    return gained


def _better(old: Type | None, new: Type | None) -> Type | None:
    if not isinstance(old, TensorType) or not isinstance(new, TensorType) or new.shape is None:
        return new if old is None else old
    if old.shape is None:
        return new
    if len(old.shape) != len(new.shape):
        return old
    return TensorType(old.dtype, tuple(map(_better_dim, old.shape, new.shape)))


def _better_dim(old: Dim, new: Dim) -> Dim:
    """A number over a symbol over nothing."""
    if isinstance(new, int) and not isinstance(old, int):
        return new
    return new if old is None else old

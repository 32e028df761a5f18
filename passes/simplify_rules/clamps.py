"""Clips and Relus behind each other.

    Relu(x)                        =  Clip(x, 0, inf)
    Clip(x, -inf, inf)             =  x
    Clip(Clip(x, a, b), c, d)      =  Clip(x, clip(a, c, d), clip(b, c, d))        (a <= b, c <= d)

Two become one only if nothing else reads what stands between them, so that no computation is added.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from irc.graph import Node, Value
from irc.ops.activation import Clip, Relu
from irc.passes.base import Outcome
from irc.passes.edit import read_instead, scalar_of, substitute
from irc.passes.simplify_rules.rule import Table
from irc.types import Array


class _Range(NamedTuple):
    low: float | int
    high: float | int


def _range_of(node: Node) -> _Range | None:
    """What the node clamps to; None if it does not, or to bounds that are not constant."""
    if isinstance(node.op, Relu):
        return _Range(0, math.inf)
    if not isinstance(node.op, Clip):
        return None
    low = -math.inf if node.input(1) is None else scalar_of(node.constant(1))
    high = math.inf if node.input(2) is None else scalar_of(node.constant(2))
    if low is None or high is None or not low <= high:  # a NaN bound too
        return None
    return _Range(low, high)


def _unbounded(node: Node) -> Outcome:
    if _range_of(node) != _Range(-math.inf, math.inf) or node.inputs[0] is None:
        return None
    substitute(node, node.inputs[0])
    return True


def _merge(node: Node) -> Outcome:
    """Clip(Clip(x)) = Clip(x)."""
    between = node.inputs[0]
    inner = between.producer if between is not None else None
    if between is None or inner is None or between.use_count != 1 or inner.graph is not node.graph:
        return None
    if node.output.tensor_type is None:
        return None
    outer, first = _range_of(node), _range_of(inner)
    if outer is None or first is None or inner.inputs[0] is None:
        return None
    low, high = (min(max(bound, outer.low), outer.high) for bound in first)
    read_instead(node, 0, inner.inputs[0])
    if (low, high) == (0, math.inf) and _is_float(node.output):
        _become_relu(node)
    else:
        _become_clip(node, _Range(low, high))
    return True


def _as_relu(node: Node) -> Outcome:
    """Clip(x, 0, inf) = Relu(x)."""
    if _range_of(node) != _Range(0, math.inf) or not _is_float(node.output):
        return None
    _become_relu(node)
    return True


def _is_float(value: Value) -> bool:
    return value.tensor_type is not None and value.tensor_type.dtype.is_float


def _become_relu(node: Node) -> None:
    node.set_input(2, None)
    node.set_input(1, None)
    node.set_op(Relu())


def _become_clip(node: Node, bounds: _Range) -> None:
    node.set_op(Clip())
    for index, bound, what in ((1, bounds.low, "min"), (2, bounds.high, "max")):
        if scalar_of(node.constant(index)) == bound:
            continue
        if math.isinf(bound):
            node.set_input(index, None)
        else:
            node.set_input(index, node.graph.add_constant(_scalar(bound, node.output), f"{node.name}.{what}"))


def _scalar(bound: float | int, value: Value) -> Array:
    type = value.tensor_type
    assert type is not None
    return np.asarray(bound).astype(type.dtype.numpy)


RULES: Table = {Relu: (_merge,), Clip: (_unbounded, _merge, _as_relu)}

"""A legalized graph, node by node, to the bits that its C gives: what whole models are held against.

Integer ops and plain float arithmetic are run by their own `run`, which IEEE leaves no choice; what the float kernels
compute in an order or by a polynomial of their own, by the functions of this package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from irc.backends.c.reference import functions, rows
from irc.execution.convert import to_numpy, to_torch
from irc.graph import Graph, Node, Value
from irc.op import Op
from irc.ops import activation, norm, softmax, unary
from irc.types import Array

_UNARY: dict[type[Op], Callable[[Array], Array]] = {
    unary.Exp: functions.exp, unary.Log: functions.log, unary.Erf: functions.erf, unary.Tanh: functions.tanh,
    activation.Sigmoid: functions.sigmoid, activation.HardSwish: functions.hard_swish, activation.Mish: functions.mish,
}  # fmt: skip


def run_reference(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs by name.

    graph : legalized, without bodies
    inputs : by input name
    """
    values: dict[Value, Array] = {value: np.asarray(inputs[value.name]) for value in graph.inputs}
    for node in graph:
        made = _run(node, [None if v is None else _value(v, values) for v in node.inputs])
        values.update(zip(node.outputs, made, strict=False))
    return {name: _value(v, values) for name, v in zip(graph.output_names, graph.outputs, strict=True)}


def _value(value: Value, values: Mapping[Value, Array]) -> Array:
    return values[value] if value.data is None else value.data


def _run(node: Node, inputs: list[Array | None]) -> list[Array]:
    first = inputs[0] if inputs else None
    if first is not None and first.dtype == np.float32:
        made = _float(node, first, inputs[1:])
        if made is not None:
            return [made]
    tensors = [None if a is None else to_torch(a) for a in inputs]
    several = {"outputs": len(node.outputs)} if len(node.outputs) > 1 else {}
    made_by_torch: Any = node.op.run(*tensors, **several)
    outputs = made_by_torch if isinstance(made_by_torch, tuple | list) else [made_by_torch]
    return [to_numpy(t) for t in outputs]


def _float(node: Node, x: Array, rest: list[Array | None]) -> Array | None:
    """What a float kernel gives; None for ops that IEEE arithmetic alone decides."""
    op = node.op
    if type(op) in _UNARY:
        return _UNARY[type(op)](x)
    match op:
        case activation.Gelu():
            return functions.gelu_tanh(x) if op.approximate == "tanh" else functions.gelu(x)
        case activation.Swish(alpha=1.0):
            return functions.silu(x)
        case softmax.Softmax():
            return _along(x, op.axis, rows.softmax)
        case softmax.LogSoftmax():
            return _along(x, op.axis, rows.log_softmax)
        case norm.LayerNormalization() if op.axis % x.ndim == x.ndim - 1:
            scale, bias = (*rest, None, None)[:2]
            return rows.layer_norm(x, scale, bias, op.epsilon)
        case norm.RMSNormalization() if op.axis % x.ndim == x.ndim - 1:
            return rows.rms_norm(x, rest[0], op.epsilon)
    return None


def _along(x: Array, axis: int, function: Callable[[Array], Array]) -> Array:
    """A function of rows along an axis."""
    return np.moveaxis(function(np.ascontiguousarray(np.moveaxis(x, axis, -1))), -1, axis)

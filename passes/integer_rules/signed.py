"""int8 activations to uint8 ones: the code s becomes s + 128, and so does its zero point. Exact.

    FakeQuant(x) of [-128, 127]   ->  FakeQuant(x) of [0, 255]
    DQ_s8(Q_s8(x))                ->  DQ_u8(Q_u8(x))
    DQ_s8(constant)               ->  DQ_u8(constant + 128)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from irc.graph import Graph, Node, Value
from irc.ops.fake_quant import FakeQuant
from irc.ops.quantize import DequantizeLinear, QuantizeLinear
from irc.passes.integer_rules.codes import grid_of, has_dtype
from irc.types import Array, DType

_SHIFT = 128


def unsigned_fake_quants(graph: Graph) -> None:
    """Shift the codes of every calibrated FakeQuant of an activation whose codes fit an int8, in place."""
    for node in graph.walk():
        op, zero_point = node.op, node.constant(2)
        if not isinstance(op, FakeQuant) or node.constant(0) is not None or zero_point is None or op.axis is not None:
            continue
        if -_SHIFT <= op.qmin < 0 and op.qmax < _SHIFT:
            node.set_op(replace(op, qmin=op.qmin + _SHIFT, qmax=op.qmax + _SHIFT))
            shifted = np.asarray(zero_point.astype(np.int32) + _SHIFT)
            value = node.graph.add_constant(shifted, f"{node.output.name}.zero_point")
            node.set_input(2, value)


def unsigned_quantizers(graph: Graph) -> None:
    """Shift every int8 value of one scale that nothing but DequantizeLinears read, in place."""
    shifted: dict[Value | None, Value] = {}
    for node in list(graph.walk()):
        op = node.op
        if not isinstance(op, QuantizeLinear) or not has_dtype(node.output, DType.I8) or grid_of(node) is None:
            continue
        if _only_dequantized(node.output):
            _shift_zero_point(node, shifted)
            node.set_op(replace(op, output_dtype=0))
            node.infer()
            for reader in node.output.users:
                _shift_zero_point(reader, shifted)
    for inner in graph.graphs():
        for value in inner.constants:
            if value.data is not None and value.data.dtype == np.int8 and value.uses and _only_dequantized(value):
                value.data = _shifted(value.data)
                for reader in value.users:
                    _shift_zero_point(reader, shifted)


def _only_dequantized(value: Value) -> bool:
    """Whether nothing but DequantizeLinears of one scale read the value as their codes."""
    return all(
        isinstance(user, Node) and index == 0 and isinstance(user.op, DequantizeLinear) and grid_of(user) is not None
        for user, index in value.uses
    )


def _shift_zero_point(node: Node, shifted: dict[Value | None, Value]) -> None:
    """Give the node the shifted zero point, one constant for all that had one before; a body may read it too."""
    old = node.input(2)
    if old not in shifted:
        data = np.asarray(_SHIFT, np.uint8) if old is None or old.data is None else _shifted(old.data)
        graph = node.graph.root if old is None else old.graph
        shifted[old] = graph.add_constant(data, "zero_point.uint8" if old is None else f"{old.name}.uint8")
    node.set_input(2, shifted[old])


def _shifted(array: Array) -> Array:
    return np.asarray(array.astype(np.int16) + _SHIFT).astype(np.uint8)

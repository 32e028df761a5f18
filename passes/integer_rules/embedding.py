"""Rows of a quantized table are dequantized after they were chosen, not before. Exact.

    Gather(DQ(codes, scale), i)  ->  Cast(Gather(codes, i)) * Gather(scale, i)          axis 0, one scale a row
"""

from __future__ import annotations

import numpy as np

from irc.graph import Node
from irc.ops.binary import Mul
from irc.ops.cast import Cast
from irc.ops.index import Gather
from irc.ops.quantize import DequantizeLinear
from irc.passes.base import Outcome
from irc.passes.integer_rules.codes import become
from irc.types import DType


def lower_embedding(node: Node) -> Outcome:
    """Take rows out of the codes of an embedding table, and make floats of these alone."""
    table, indices = node.input(0), node.input(1)
    maker = table.producer if table is not None else None
    if not isinstance(node.op, Gather) or maker is None or indices is None:
        return None
    if not isinstance(maker.op, DequantizeLinear) or maker.op.block_size or maker.op.output_dtype not in (0, 1):
        return None
    stored, codes, scale, zero_point = maker.input(0), *(maker.constant(index) for index in range(3))
    if stored is None or codes is None or scale is None or codes.dtype != np.int8 or scale.dtype != np.float32:
        return None
    if node.op.axis % codes.ndim or maker.op.axis % codes.ndim or scale.shape != codes.shape[:1]:
        return None
    if maker.input(2) is not None and (zero_point is None or zero_point.any()):
        return None
    graph, name = node.graph, node.name
    column = graph.add_constant(scale.reshape(-1, *(1,) * (codes.ndim - 1)), f"{name}.scale")
    rows = graph.insert(Gather(axis=0), [stored, indices], before=node, name=f"{name}.codes").output
    scales = graph.insert(Gather(axis=0), [column, indices], before=node, name=f"{name}.scales").output
    floats = graph.insert(Cast(to=DType.F32.onnx_type), [rows], before=node, name=f"{name}.cast").output
    become(node, Mul(), [floats, scales])
    return True

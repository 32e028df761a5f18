"""Weights stored in a smaller float type, for models that go on computing in float32.

    float16, bfloat16   W   ->   Cast(W16)                          Gather(W, i) -> Cast(Gather(W16, i))
    float8              W   ->   DequantizeLinear(W8, scale)        scale = largest |W| of a channel / largest float8
                        W   ->   Mul(Cast(W8), scale)               where the target prefers that

onnxruntime computes a Cast and a Mul of constants once, when it loads the model, and runs a DequantizeLinear each time,
which costs more than the layer. Other runtimes know a float8 weight by its DequantizeLinear.

A float8 weight has a scale for each output channel of its layer (for each row of a table), so that the largest number
of each channel is the largest of the type. Source: Micikevicius et al. 2022, "FP8 formats for deep learning", sec. 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np

from irc.graph import Graph, Node, Value
from irc.op import QuantKind
from irc.ops.binary import Mul
from irc.ops.cast import Cast
from irc.ops.linear import Gemm
from irc.ops.quantize import DequantizeLinear
from irc.passes.context import Context
from irc.passes.edit import first_reader
from irc.passes.float_rules.formats import clipped, largest, overflow, underflow
from irc.passes.float_rules.keep import is_f32, is_quantized, matching
from irc.passes.fold_constants import STORED_AS_CODES, WEIGHT
from irc.types import Array, DType, TensorType


def store_as(graph: Graph, dtype: DType, keep: Sequence[str], context: Context) -> int:
    """Store the weights of the nest in the type; how many there were. Those that stay are declined with the reason."""
    weights = []
    for inner in graph.graphs():
        for value in inner.constants:
            if not _is_weight(value):
                continue
            reason = _refusal(value, value.users, dtype, keep)
            if reason is None:
                weights.append(value)
            else:
                context.decline(value.users[0], reason)
    for value in weights:
        assert value.data is not None
        if dtype.bits == 8:
            _behind_scales(value, value.data, dtype, by_cast=context.target.float8_by_cast)
        else:
            _behind_casts(value, value.data, dtype)
    return len(weights)


def _is_weight(value: Value) -> bool:
    """Whether it is a constant of two axes or more that is worth a node, and only nodes read it."""
    data = value.data
    if data is None or not is_f32(value) or data.ndim < 2 or data.size < WEIGHT:
        return False
    return bool(value.users) and not value.is_output


def _refusal(value: Value, readers: Sequence[Node], dtype: DType, keep: Sequence[str]) -> str | None:
    """Why the weight stays as it is."""
    data = value.data
    assert data is not None
    pattern = next((p for p in keep if fnmatchcase(value.name, p)), None)
    for node in readers:
        pattern = pattern or matching(node, keep)
        if node.op.name in STORED_AS_CODES or is_quantized(node):
            return f"'{value.name}' is quantized, or its layer is"
    if pattern is not None:
        return f"'{pattern}' is in keep"
    if not np.isfinite(data).all():
        return f"'{value.name}' holds NaN or infinity"
    if dtype.bits == 8:
        return None
    if (most := overflow(data, dtype)) is not None or not np.isfinite(data.astype(dtype.numpy)).all():
        return f"'{value.name}' holds {most or float(np.abs(data).max()):.4g}, which {dtype.numpy.name} cannot"
    share = underflow(data, dtype)
    return None if share is None else f"{share:.0%} of '{value.name}' is below the normal numbers of {dtype.numpy.name}"


def _behind_casts(value: Value, data: Array, dtype: DType) -> None:
    """One Cast for all readers, but behind a Gather, which takes rows of the small table."""
    value.data = clipped(data, dtype)
    tables = [n for n in value.users if n.op.name == "Gather" and n.input(0) is value and n.input(1) is not value]
    for node in tables:
        type = node.output.tensor_type
        shape = type.shape if type is not None else None
        node.output.type = TensorType(dtype, shape)
        made = node.graph.insert(
            Cast(to=DType.F32.onnx_type),
            [node.output],
            after=node,
            name=f"{node.name}.float32",
            types=[TensorType(DType.F32, shape)],
        )
        node.output.replace_uses(made.output, keep=[made])
    if len(tables) < len(value.users):
        made = value.graph.insert(
            Cast(to=DType.F32.onnx_type), [value], before=first_reader(value), name=f"{value.name}.float32"
        )
        value.replace_uses(made.output, keep=[made, *tables])


def _behind_scales(value: Value, data: Array, dtype: DType, *, by_cast: bool) -> None:
    axis = channel_axis(value, data.ndim)
    others = tuple(k for k in range(data.ndim) if k != axis)
    scale = np.abs(data).max(axis=others, keepdims=True).astype(np.float64) / largest(dtype)
    scale = np.where(scale > np.finfo(np.float32).tiny, scale, 1.0).astype(np.float32)
    value.data = clipped(data / scale, dtype)
    graph, before, name = value.graph, first_reader(value), f"{value.name}.float32"
    stated = graph.add_constant(scale if by_cast else scale.reshape(-1), f"{value.name}.scale")
    if by_cast:
        wide = graph.insert(Cast(to=DType.F32.onnx_type), [value], before=before, name=f"{value.name}.codes")
        made = graph.insert(Mul(), [wide.output, stated], before=before, name=name)
        value.replace_uses(made.output, keep=[wide])
    else:
        made = graph.insert(DequantizeLinear(axis=axis), [value, stated], before=before, name=name)
        value.replace_uses(made.output, keep=[made])


def channel_axis(value: Value, rank: int) -> int:
    """The axis of the weight that its first reader makes output channels of; else the first that is longer than 1."""
    use = next(use for use in value.uses if isinstance(use.user, Node))
    node = use.user
    assert isinstance(node, Node)
    op, quant = node.op, node.op.quant
    assert value.data is not None
    axis = next((k for k, size in enumerate(value.data.shape) if size > 1), 0)
    if isinstance(op, Gemm):
        axis = (1 if op.transA else 0) if use.index == 0 else (0 if op.transB else 1)
    elif quant.kind is QuantKind.CONTRACTION and use.index == quant.weight:
        axis = quant.weight_axis
    elif op.name == "MatMul":
        axis = -2
    return axis % rank

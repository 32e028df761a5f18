"""Scaled dot-product attention, written out as products and a Softmax, which every runtime runs."""

from __future__ import annotations

import math

import numpy as np

from irc.frontends.torch.emitter import Emitter, dtype, rank, shape
from irc.frontends.torch.rules import Unsupported, rule
from irc.graph import Value
from irc.types import DType, TensorType


@rule("aten.scaled_dot_product_attention.default")
def attention(
    e: Emitter,
    query: Value,
    key: Value,
    value: Value,
    attn_mask: Value | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Value:
    """softmax(q k^T scale + mask) v. A row that the mask leaves nothing of gives zeros, as torch does."""
    if dropout_p:
        raise Unsupported("attention with dropout: the program was exported in training mode")
    if scale is None:
        width = shape(query)[-1]
        if not isinstance(width, int):
            raise Unsupported("attention over a head of symbolic size")
        scale = 1 / math.sqrt(width)
    if enable_gqa:
        key, value = _repeated_heads(e, query, key), _repeated_heads(e, query, value)
    last = rank(key) - 1
    turned = e.transpose(key, (*range(last - 1), last, last - 1), part="key.transpose")
    scores = e.emit("MatMul", query, turned, part="scores", type=_scores_type(query, key))
    scores = e.emit("Mul", scores, e.scalar(scale, dtype(scores), "scale"), part="scaled")
    mask = _causal_mask(e, query, key) if is_causal else attn_mask
    weights = _weights(e, scores, mask)
    return e.emit("MatMul", weights, value, part="", type=e.out)


def _scores_type(query: Value, key: Value) -> TensorType:
    return TensorType(dtype(query), (*shape(query)[:-1], shape(key)[-2]))


def _weights(e: Emitter, scores: Value, mask: Value | None) -> Value:
    if mask is None:
        return e.emit("Softmax", scores, axis=-1)
    if dtype(mask) is DType.BOOL:
        # The lowest finite score vanishes in any row that keeps something; the second Where empties the other rows.
        low = e.scalar(_lowest(dtype(scores)), dtype(scores), "lowest")
        zero = e.scalar(0, dtype(scores), "zero")
        weights = e.emit("Softmax", e.emit("Where", mask, scores, low, part="masked"), axis=-1)
        return e.emit("Where", mask, weights, zero, part="weights")
    weights = e.emit("Softmax", e.emit("Add", scores, mask, part="masked"), axis=-1)
    if mask.data is not None and not np.isneginf(mask.data.astype(np.float32)).all(-1).any():
        return weights
    best = e.emit("ReduceMax", mask, [-1], part="best", keepdims=1)
    empty = e.emit("Equal", best, e.scalar(-math.inf, dtype(mask), "infinity"), part="empty")
    return e.emit("Where", empty, e.scalar(0, dtype(scores), "zero"), weights, part="weights")


def _lowest(kind: DType) -> float:
    return {DType.F16: -65504.0, DType.BF16: -3.3895313892515355e38, DType.F64: -1.7976931348623157e308}.get(
        kind, float(np.finfo(np.float32).min)
    )


def _causal_mask(e: Emitter, query: Value, key: Value) -> Value:
    """True where key position <= query position."""
    rows, columns = shape(query)[-2], shape(key)[-2]
    if rows is None or columns is None:
        raise Unsupported("causal attention over a size that is not known")
    if isinstance(rows, int) and isinstance(columns, int):
        return e.constant(np.tri(rows, columns, dtype=np.bool_), "causal")
    ones = e.expand(e.scalar(True, DType.BOOL, "true"), [rows, columns], part="ones")
    return e.emit("Trilu", ones, part="causal", upper=0)


def _repeated_heads(e: Emitter, query: Value, x: Value) -> Value:
    """Each head of x as often as query has heads for it; heads stand at axis -3."""
    heads, have = e.static([shape(query)[-3], shape(x)[-3]], "the number of heads")
    if heads == have:
        return x
    *front, _, length, width = (d if d is not None else -1 for d in shape(x))
    if -1 in (*front, length, width):
        raise Unsupported("grouped-query attention over a size that is not known")
    spread = e.expand(e.unsqueeze(x, rank(x) - 2), [*front, have, heads // have, length, width], part="heads")
    return e.reshape(spread, [*front, heads, length, width], part="heads.reshape")

"""Attention and what goes with it, as matrix products and a softmax; see `composed`."""

from __future__ import annotations

import math

import numpy as np

from irc.backends.c.lowering.composed import Nodes, composes, dims, number, static_shape
from irc.graph import Node, Value
from irc.ops.activation import SwiGLU, Swish
from irc.ops.attention import Attention, RotaryEmbedding
from irc.ops.binary import Add, Div, Mul, Sub
from irc.ops.index import Concat, Gather, Slice
from irc.ops.linear import MatMul
from irc.ops.logic import Greater, Where
from irc.ops.reduce import ReduceMax
from irc.ops.shape import Reshape, Transpose, Unsqueeze
from irc.ops.softmax import Softmax
from irc.ops.unary import Tanh
from irc.types import Array, DType

_MASK, _PAST_KEY, _PAST_VALUE, _VALID = 3, 4, 5, 6  # inputs


@composes(Attention)
def attention(new: Nodes, node: Node) -> list[Value] | None:
    """softmax(scale * Q K' + bias) V; heads that share keys and values are an axis of their own."""
    op = node.op
    assert isinstance(op, Attention)
    if node.input(_VALID) is not None or any(static_shape(v) is None for v in node.inputs if v is not None):
        return None
    q = _heads(new, new.given(0), op.q_num_heads)
    k = _with_past(new, _heads(new, new.given(1), op.kv_num_heads), node.input(_PAST_KEY))
    v = _with_past(new, _heads(new, new.given(2), op.kv_num_heads), node.input(_PAST_VALUE))
    sizes = [static_shape(each) for each in (q, k, v)]
    if None in sizes:
        return None
    (batch, heads, queries, size), (_, shared, keys, _), (_, _, _, width) = (s or () for s in sizes)
    bias, may_be_blind = _bias(new, node, queries, keys)
    if bias is None and node.input(_MASK) is not None:
        return None
    scaled = new(Mul(), q, number(op.scale or 1 / math.sqrt(size), q))
    scores = _product(new, scaled, new(Transpose(perm=(0, 1, 3, 2)), k), heads // shared)
    stages = [scores]
    if op.softcap:
        cap = number(op.softcap, q)
        scores = new(Mul(), new(Tanh(), new(Div(), scores, cap)), cap)
    stages.append(scores)
    scores = scores if bias is None else new(Add(), scores, bias)
    stages.append(scores)
    weights = new(Softmax(axis=-1), scores)
    if may_be_blind and isinstance(bias, Value):
        seen = new(Greater(), new(ReduceMax(), bias, dims(-1)), number(-math.inf, q))
        weights = new(Where(), seen, weights, number(0, q))
    stages.append(weights)
    y = _product(new, weights, v, heads // shared)
    if len(static_shape(new.given(0)) or ()) == 3:
        y = new(Reshape(), new(Transpose(perm=(0, 2, 1, 3)), y), dims(batch, queries, heads * width))
    return [y, k, v, stages[op.qk_matmul_output_mode]]


def _heads(new: Nodes, x: Value, count: int | None) -> Value:
    """(batch, sequence, heads * size) as (batch, heads, sequence, size); rank 4 as it is."""
    shape = static_shape(x)
    if shape is None or len(shape) == 4 or not count:
        return x
    return new(Transpose(perm=(0, 2, 1, 3)), new(Reshape(), x, dims(*shape[:2], count, shape[2] // count)))


def _with_past(new: Nodes, x: Value, past: Value | None) -> Value:
    return x if past is None else new(Concat(axis=2), past, x)


def _product(new: Nodes, a: Value, b: Value, groups: int) -> Value:
    """The product for each head, `groups` heads of a sharing one of b."""
    if groups == 1:
        return new(MatMul(), a, b)
    shape, other = static_shape(a), static_shape(b)
    assert shape is not None
    assert other is not None
    apart = new(Reshape(), a, dims(shape[0], shape[1] // groups, groups, *shape[2:]))
    made = new(MatMul(), apart, new(Unsqueeze(), b, dims(2)))
    return new(Reshape(), made, dims(*shape[:3], other[3]))


def _bias(new: Nodes, node: Node, queries: int, keys: int) -> tuple[Value | None, bool]:
    """What is added to the scores, and whether a query may attend nothing; None for nothing, or if it is not known."""
    op, mask = node.op, node.input(_MASK)
    assert isinstance(op, Attention)
    barred = _barred(op, queries, keys, keys - (static_shape(new.given(1)) or (0, 0))[-2])
    if mask is None:
        return (None, False) if barred is None else (new.constant(barred), bool((barred == -np.inf).all(-1).any()))
    type = mask.tensor_type
    if type is None or (static_shape(mask) or (0,))[-1] != keys:
        return None, False
    if mask.data is not None:
        held = np.where(mask.data, np.float32(0), np.float32(-np.inf)) if mask.data.dtype == np.bool_ else mask.data
        held = held if barred is None else held + barred
        return new.constant(held.astype(np.float32)), bool((held == -np.inf).all(-1).any())
    bias = mask
    if type.dtype is DType.BOOL:
        bias = new(Where(), mask, np.array(0, np.float32), np.array(-np.inf, np.float32))
    return (bias if barred is None else new(Add(), bias, barred)), True


def _barred(op: Attention, queries: int, keys: int, past: int) -> Array | None:
    """-infinity where the op itself forbids to attend, float32, shape (queries, keys); None if nowhere."""
    place, query = np.arange(keys), np.arange(queries)[:, None] + past
    allowed = np.ones((queries, keys), bool)
    if op.is_causal:
        allowed &= place <= query
    if op.left_window_size >= 0:
        allowed &= place >= query - op.left_window_size
    if op.right_window_size >= 0:
        allowed &= place <= query + op.right_window_size
    return None if allowed.all() else np.where(allowed, np.float32(0), np.float32(-np.inf))


@composes(RotaryEmbedding)
def rotary_embedding(new: Nodes, node: Node) -> list[Value] | None:
    """(a, b) -> (cos a - sin b, sin a + cos b) for the pairs of each position."""
    op, x, shape = node.op, new.given(0), new.shape(0)
    assert isinstance(op, RotaryEmbedding)
    if shape is None:
        return None
    split = x
    if len(shape) == 3:
        split = new(Reshape(), x, dims(*shape[:2], op.num_heads or 1, shape[2] // (op.num_heads or 1)))
    size = (static_shape(split) or (0,))[-1]
    width = op.rotary_embedding_dim or size
    factors = [new.given(1), new.given(2)]
    if node.input(3) is not None:
        factors = [new(Gather(axis=0), each, new.given(3)) for each in factors]
    cos, sin = (new(Unsqueeze(), each, dims(2 if len(shape) == 3 else 1)) for each in factors)
    places = ((0, width, 2), (1, width, 2)) if op.interleaved else ((0, width // 2, 1), (width // 2, width, 1))
    first, second = (new(Slice(), split, dims(b), dims(e), dims(-1), dims(s)) for b, e, s in places)
    real = new(Sub(), new(Mul(), cos, first), new(Mul(), sin, second))
    imaginary = new(Add(), new(Mul(), sin, first), new(Mul(), cos, second))
    if op.interleaved:
        pair = new(Concat(axis=-1), *(new(Unsqueeze(), each, dims(-1)) for each in (real, imaginary)))
        turned = new(Reshape(), pair, dims(*(static_shape(first) or ())[:-1], width))
    else:
        turned = new(Concat(axis=-1), real, imaginary)
    if width < size:
        turned = new(Concat(axis=-1), turned, new(Slice(), split, dims(width), dims(size), dims(-1)))
    return [turned if len(shape) == 4 else new(Reshape(), turned, dims(*shape))]


@composes(SwiGLU)
def swiglu(new: Nodes, node: Node) -> list[Value] | None:
    """a * sigmoid(alpha * a) * b."""
    assert isinstance(node.op, SwiGLU)
    return [new(Mul(), new(Swish(alpha=node.op.alpha), new.given(0)), new.given(1))]

"""Labels through the fused Attention: heads go as a whole, or lose dimensions of queries and keys, or of values."""

from __future__ import annotations

import numpy as np

from irc.analysis.channels.arrays import spread, tighten, varying
from irc.analysis.channels.contractions import data_by_data
from irc.analysis.channels.trace import Trace
from irc.graph import Node, Use
from irc.ops.attention import Attention
from irc.types import Array


def attention(trace: Trace, node: Node) -> None:
    """Attention over (batch, heads, sequence, size) or (batch, sequence, heads * size)."""
    assert isinstance(node.op, Attention)
    if any(v is not None for v in node.inputs[4:]) or any(v.use_count for v in node.outputs[1:]):
        trace.barrier(node, "it has a cache, or gives out its keys, values or scores")
        return
    values = [node.input(k) for k in range(3)]
    if all(trace.read(v) is None for v in values):
        return
    q, k, v = (
        _heads(trace.read_or_zeros(value), count)
        for value, count in zip(values, (node.op.q_num_heads, node.op.kv_num_heads, node.op.kv_num_heads), strict=True)
        if value is not None
    )
    repeats = q.shape[1] // k.shape[1]
    scores = data_by_data(trace, node, q, _repeated(k, repeats).swapaxes(-1, -2))
    mask = node.input(3)
    held = trace.labels.canonical(scores)
    if mask is not None and varying(held):
        trace.combine(mask, Use(node, 3), held)
    made = data_by_data(trace, node, trace.labels.canonical(held), _repeated(v, repeats))
    made = trace.labels.canonical(made)
    if len(trace.shape(node.output)) == 3:
        flat = np.ascontiguousarray(made.transpose(0, 2, 1, 3)).reshape(trace.shape(node.output))
        made = tighten(flat)
    trace.give(node.output, made)


def _heads(labels: Array, count: int | None) -> Array:
    """The labels as (batch, heads, sequence, size)."""
    if labels.ndim == 4 or not count:
        return labels
    batch, sequence, width = labels.shape
    one = labels[:1, :1] if not {0, 1} & set(varying(labels)) else labels
    split = np.ascontiguousarray(one).reshape(one.shape[0], one.shape[1], count, width // count).transpose(0, 2, 1, 3)
    return tighten(spread(split, (batch, count, sequence, width // count)))


def _repeated(labels: Array, times: int) -> Array:
    return labels if times == 1 else tighten(np.repeat(labels, times, axis=1))

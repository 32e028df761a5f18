"""Labels through convolutions and matrix products: input channels are summed over, output channels are new."""

from __future__ import annotations

import numpy as np

from irc.analysis.channels.arrays import core, padded, spread, varying, zeros
from irc.analysis.channels.trace import Barrier, Trace
from irc.graph import Node, Use, Value
from irc.ops.conv import Conv, ConvTranspose
from irc.ops.linear import Gemm
from irc.types import Array


def conv(trace: Trace, node: Node) -> None:
    """Conv: weight (M, C/group, *kernel)."""
    assert isinstance(node.op, Conv)
    _convolution(trace, node, node.op.group, transposed=False)


def conv_transpose(trace: Trace, node: Node) -> None:
    """ConvTranspose: weight (C, M/group, *kernel)."""
    assert isinstance(node.op, ConvTranspose)
    _convolution(trace, node, node.op.group, transposed=True)


def _convolution(trace: Trace, node: Node, group: int, *, transposed: bool) -> None:
    data, weight = node.input(0), node.input(1)
    assert data is not None
    assert weight is not None
    x = trace.read_or_zeros(data)
    count = trace.shape(node.output)[1]
    if not trace.is_weight(weight):
        trace.barrier(node, "its weight is no constant")
        return
    space = tuple(k for k in range(x.ndim) if k != 1)
    taken = spread(trace.labels.uniform(x, space), (1, x.shape[1], *(1,) * (x.ndim - 2))).reshape(-1)
    made = trace.labels.fresh((count,), trace.number[node])
    if group > 1:
        _bind_groups(trace, taken.reshape(group, -1), made.reshape(group, -1))
    taken, made = trace.labels.roots[taken], trace.labels.roots[made]
    shape = trace.shape(weight)
    kernel = (1,) * (len(shape) - 2)
    if transposed:
        rows = np.repeat(made.reshape(group, -1), shape[0] // group, 0)
        own = taken
    else:
        rows = np.repeat(taken.reshape(group, -1), shape[0] // group, 0)
        own = made
    trace.role(weight, own.reshape(-1, 1, *kernel), Use(node, 1), tied=True)
    trace.role(weight, rows.reshape(*rows.shape, *kernel), Use(node, 1), tied=True)
    bias = node.input(2)
    _bias(trace, node, bias, made)
    trace.give(node.output, made.reshape(1, -1, *(1,) * (x.ndim - 2)))


def _bias(trace: Trace, node: Node, bias: Value | None, made: Array) -> None:
    if bias is None:
        return
    if trace.is_weight(bias):
        trace.role(bias, made, Use(node, 2))
    else:
        trace.give(node.output, made.reshape(1, -1, *(1,) * (len(trace.shape(node.output)) - 2)))
        trace.freeze(node.output, node, "its bias is computed")
        trace.freeze(bias, node, "it is a bias that is computed")


def _bind_groups(trace: Trace, taken: Array, made: Array) -> None:
    """A group's inputs go when its outputs do."""
    labels = trace.labels
    left = labels.collapse(_tight(trace, taken), (1,), force=True) if taken.shape[1] > 1 else taken
    right = labels.collapse(_tight(trace, made), (1,), force=True) if made.shape[1] > 1 else made
    labels.unify(left, right)


def _tight(trace: Trace, matrix: Array) -> Array:
    return trace.labels.canonical(np.ascontiguousarray(matrix))


def gemm(trace: Trace, node: Node) -> None:
    """Gemm: as MatMul of the operands, transposed as it says, and a bias that broadcasts."""
    assert isinstance(node.op, Gemm)
    a, b, c = node.input(0), node.input(1), node.input(2)
    assert a is not None
    assert b is not None
    labels = _product(trace, node, a, b, bool(node.op.transA), bool(node.op.transB))
    trace.give(node.output, labels)
    held = trace.read(node.output)
    if c is None:
        return
    if held is None:
        trace.freeze(c, node, "it is added to a product without channels")
        return
    trace.combine(c, Use(node, 2), held)
    trace.give(node.output, held)


def matmul(trace: Trace, node: Node) -> None:
    """MatMul over the last two axes."""
    a, b = node.input(0), node.input(1)
    assert a is not None
    assert b is not None
    if min(len(trace.shape(a)), len(trace.shape(b))) < 2:
        trace.barrier(node, "it multiplies a vector")
        return
    trace.give(node.output, _product(trace, node, a, b, False, False))


def _turned(array: Array, turn: bool) -> Array:
    return array.swapaxes(-1, -2) if turn else array


def _product(trace: Trace, node: Node, a: Value, b: Value, turn_a: bool, turn_b: bool) -> Array | None:
    if trace.is_weight(a) and trace.is_weight(b):
        return None
    if trace.is_weight(b) and len(trace.shape(b)) == 2:
        return data_by_weight(trace, node, _turned(trace.read_or_zeros(a), turn_a), b, Use(node, 1), turn_b)
    if trace.is_weight(a) and len(trace.shape(a)) == 2:
        x = _turned(trace.read_or_zeros(b), turn_b).swapaxes(-1, -2)
        return data_by_weight(trace, node, x, a, Use(node, 0), not turn_a).swapaxes(-1, -2)
    if trace.is_weight(a) or trace.is_weight(b):
        trace.barrier(node, "its weight is a stack of matrices")
        return None
    if trace.read(a) is None and trace.read(b) is None:
        return None
    x, y = trace.read_or_zeros(a), trace.read_or_zeros(b)
    made = data_by_data(trace, node, _turned(x, turn_a), _turned(y, turn_b))
    for held, other in ((core(x), b), (core(y), a)):
        if trace.read(other) is None and (held[trace.labels.roots[held] == 0] != 0).any():
            trace.barriers.append(Barrier(node, f"it multiplies them with '{other.name}', which is not pruned"))
    return made


def data_by_weight(trace: Trace, node: Node, x: Array, weight: Value, use: Use, turned: bool) -> Array:
    """Labels of x W: (*, K) by (K, P), or by (P, K) if `turned`.

    W takes those of x along K, and gives new ones along P.
    """
    x = trace.labels.canonical(x)
    last = x.ndim - 1
    count = trace.shape(weight)[0 if turned else 1]
    taken = trace.labels.collapse(x, tuple(range(last)), force=False) if last in varying(x) else zeros((1, x.shape[-1]))
    taken = spread(taken, (*(1,) * last, x.shape[-1])).reshape(-1)
    made = trace.labels.fresh((count,), trace.number[node])
    trace.role(weight, taken.reshape(1, -1) if turned else taken.reshape(-1, 1), use, tied=True)
    trace.role(weight, made.reshape(-1, 1) if turned else made.reshape(1, -1), use, tied=True)
    rows = trace.labels.collapse(x, (last,), force=True)
    columns = trace.labels.canonical(made.reshape((1,) * last + (count,)))
    if not varying(rows):
        return spread(columns, (*x.shape[:-1], count))
    made_rows = trace.labels.outer(rows, columns, trace.number[node])
    return spread(made_rows, (*x.shape[:-1], count))


def data_by_data(trace: Trace, node: Node, a: Array, b: Array) -> Array:
    """Labels of A B: (*, M, K) by (*, K, P), both computed: they unify along K and along the axes before (heads)."""
    labels = trace.labels
    rank = max(a.ndim, b.ndim)
    a, b = labels.canonical(padded(a, rank)), labels.canonical(padded(b, rank))
    m, k = rank - 2, rank - 1
    if k in varying(a) or m in varying(b):
        left = labels.collapse(a, (m,), force=False)
        right = labels.collapse(b, (k,), force=False).swapaxes(-1, -2)
        first, second = sorted((left, right), key=lambda each: len(varying(each)))
        trace.pair(first, second, node)
    left = labels.collapse(a, (k,), force=True)
    right = labels.collapse(b, (m,), force=True)
    if m in varying(left) and k in varying(right):
        labels.freeze(left)
        labels.freeze(right)
        left, right = labels.canonical(left), labels.canonical(right)
    first, second = sorted(
        (labels.collapse(left, (m,), force=True), labels.collapse(right, (k,), force=True)),
        key=lambda each: len(varying(each)),
    )
    trace.pair(first, second, node)
    heads = labels.canonical(second)
    base = labels.canonical(left if m in varying(left) else right if k in varying(right) else heads)
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[m], b.shape[k])
    lacking = [axis for axis in varying(heads) if base.shape[axis] == 1]
    if lacking and varying(base):
        base = labels.outer(heads, base, trace.number[node])
    return spread(base, shape)

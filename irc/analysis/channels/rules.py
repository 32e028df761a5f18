"""What each kind of op does to labels; products stand in `contractions`, recurrences in `recurrent`."""

from __future__ import annotations

import numpy as np

from irc.analysis.channels.arrays import along, core, padded, spread, tighten, varying, zeros
from irc.analysis.channels.attention import attention
from irc.analysis.channels.contractions import conv, conv_transpose, gemm, matmul
from irc.analysis.channels.recurrent import recurrent
from irc.analysis.channels.trace import Rule, Trace
from irc.graph import Node, Use, Value
from irc.op import ChannelKind
from irc.ops.fake_quant import FakeQuant
from irc.ops.index import Concat, Gather, Pad
from irc.ops.norm import BatchNormalization, GroupNormalization
from irc.ops.quantize import DequantizeLinear, QuantizeLinear
from irc.ops.resize import Resize
from irc.types import Array


def opaque(trace: Trace, node: Node) -> None:
    """A barrier: nothing is known of what the op does to channels."""
    trace.barrier(node)


def elementwise(trace: Trace, node: Node) -> None:
    """Operands broadcast against each other; their labels unify."""
    shape = trace.shape(node.output)
    trace.give(node.output, trace.elementwise(node, tuple(range(len(node.inputs))), shape))


def movement(trace: Trace, node: Node) -> None:
    """Elements are moved or selected: so are their labels, and the places of a constant's elements."""
    value = node.input(0)
    assert value is not None
    _freeze_indices(trace, node)
    held = trace.read(value)
    if held is None and not trace.is_weight(value):
        return
    if held is not None and not core(held).any():
        return  # frozen as a whole: nothing to follow
    if held is None:
        for output, each in zip(node.outputs, trace.move(node, places(trace, value)) or (), strict=False):
            trace.source(value, output, each, Use(node, 0))
        return
    made = trace.move(node, held)
    if made is None:
        made = _moved_by_data(trace, node, held)
    if made is None:
        trace.barrier(node, f"where {node.op.title} takes its elements from depends on data")
        return
    for output, each in zip(node.outputs, made, strict=False):
        trace.give(output, tighten(each))


def _freeze_indices(trace: Trace, node: Node) -> None:
    """Places, sizes and axes must not change with the channels of what says so."""
    for value in node.inputs[1:]:
        trace.freeze(value, node, "its places, sizes or axes are computed from them")


def _freeze_parameters(trace: Trace, node: Node) -> None:
    """What is scaled has no channels to lose, so what scales it must not lose any."""
    trace.barrier(node, "it scales something without channels")


def _moved_by_data(trace: Trace, node: Node, held: Array) -> list[Array] | None:
    """Labels of a Gather or Slice by data along axes that are uniform: those of any element."""
    if len(node.outputs) != 1:
        return None
    result = trace.shape(node.output)
    if isinstance(node.op, Gather):
        axis = node.op.axis % held.ndim
        indices = node.input(1)
        if axis in varying(held) or indices is None:
            return None
        return [spread(held.take(np.zeros(trace.shape(indices), np.int64), axis), result)]
    one = core(held)
    if one.ndim == len(result) and all(n in (1, m) for n, m in zip(one.shape, result, strict=True)):
        return [spread(one, result)]
    return None


def same(trace: Trace, node: Node) -> None:
    """Another dtype, the same elements."""
    value = node.input(0)
    assert value is not None
    if trace.is_weight(value):
        trace.source(value, node.output, places(trace, value), Use(node, 0))
    elif (held := trace.read(value)) is not None:
        trace.give(node.output, held)


def places(trace: Trace, value: Value) -> Array:
    """The flat index of every element of a weight in the constant that it is, or is moved out of."""
    _, index = trace.sources.get(value, (value, None))
    if index is not None:
        return index
    return np.arange(int(np.prod(trace.shape(value), dtype=np.int64))).reshape(trace.shape(value))


def gather(trace: Trace, node: Node) -> None:
    """A table of embeddings: rows are taken, the other axes get labels of their own; else a movement."""
    table, indices = node.input(0), node.input(1)
    assert isinstance(node.op, Gather)
    assert table is not None
    axis = node.op.axis % max(len(trace.shape(table)), 1)
    wide = [k for k, n in enumerate(trace.shape(table)) if k != axis and n > 1]
    if not trace.is_weight(table) or not wide:
        movement(trace, node)
        return
    _freeze_indices(trace, node)
    rank = len(trace.shape(indices)) if indices is not None else 0
    result = zeros(trace.shape(node.output))
    if len(wide) == 1:
        (k,) = wide
        labels = trace.labels.fresh((trace.shape(table)[k],), trace.number[node])
        trace.role(table, along(labels, k, trace.shape(table)), Use(node, 0), tied=True)
        result = along(labels, k if k < axis else k + rank - 1, result.shape)
    trace.give(node.output, result)


def expand(trace: Trace, node: Node) -> None:
    """A movement; a shape that depends on data is that of the run."""
    value = node.input(0)
    held = trace.read(value)
    if held is None or trace.static(node.input(1)) is not None:
        movement(trace, node)
        return
    _freeze_indices(trace, node)
    trace.give(node.output, spread(padded(held, len(trace.shape(node.output))), trace.shape(node.output)))


def concat(trace: Trace, node: Node) -> None:
    """Labels are joined; a constant takes those of its neighbours where it stands beside them (a class token)."""
    assert isinstance(node.op, Concat)
    shape = trace.shape(node.output)
    axis = node.op.axis % len(shape)
    given = [v for v in node.inputs if v is not None]
    held = [trace.read(v) for v in given]
    neighbour = next((h for h in held if h is not None and axis not in varying(h) and varying(h)), None)
    if all(h is None for h in held):
        return
    parts = []
    for k, (value, labels) in enumerate(zip(given, held, strict=True)):
        if labels is None and neighbour is not None and trace.is_weight(value):
            one = neighbour[tuple(slice(0, 1) if a == axis else slice(None) for a in range(neighbour.ndim))]
            labels = spread(one, trace.shape(value))
            trace.role(value, labels, Use(node, k))
        parts.append(zeros(trace.shape(value)) if labels is None else labels)
    cut = [a for a in range(len(shape)) if a != axis and all(a not in varying(p) for p in parts)]
    small = [p[tuple(slice(0, 1) if a in cut else slice(None) for a in range(p.ndim))] for p in parts]
    trace.give(node.output, tighten(spread(np.concatenate(small, axis), shape)))


def depth_to_space(trace: Trace, node: Node) -> None:
    """The channels that become the pixels of a block go together."""
    held = trace.read(node.input(0))
    made = None if held is None else trace.move(node, held)
    if made is not None:
        trace.give(node.output, trace.labels.uniform(tighten(made[0]), (2, 3)))


def pad(trace: Trace, node: Node) -> None:
    """Along a uniform axis the border is like the inside; new channels at a labelled one get labels of their own."""
    assert isinstance(node.op, Pad)
    _freeze_indices(trace, node)
    held = trace.read(node.input(0))
    pads = trace.static(node.input(1))
    if held is None:
        return
    chosen = trace.static(node.input(3))
    axes = list(range(held.ndim)) if chosen is None else [int(a) % held.ndim for a in chosen]
    around = {a: (int(pads[k]), int(pads[k + len(axes)])) for k, a in enumerate(axes)} if pads is not None else {}
    for axis in varying(held):
        begin, end = around.get(axis, (0, 0))
        if pads is None or begin < 0 or end < 0 or ((begin or end) and node.op.mode != "constant"):
            trace.barrier(node, f"Pad changes axis {axis}, which has channels, by more than zeros")
            return
        shape = [1 if k != axis else 0 for k in range(held.ndim)]
        sides = []
        for count in (begin, end):
            shape[axis] = count
            labels = trace.labels.fresh((count,), trace.number[node]) if count > 1 else np.zeros(count, np.int64)
            sides.append(spread(labels.reshape(shape), [count if k == axis else n for k, n in enumerate(held.shape)]))
        held = tighten(np.concatenate([sides[0], held, sides[1]], axis)) if begin or end else held
    one = held[tuple(slice(None) if k in varying(held) else slice(0, 1) for k in range(held.ndim))]
    trace.give(node.output, one)


def window(trace: Trace, node: Node) -> None:
    """Pools: along space everything has one label."""
    held = trace.read(node.input(0))
    if held is None:
        return
    if len(node.outputs) > 1 and any(v.use_count for v in node.outputs[1:]):
        trace.barrier(node, "its indices count the elements of all channels")
    trace.give(node.output, trace.labels.uniform(held, tuple(range(2, held.ndim))))


def resize(trace: Trace, node: Node) -> None:
    """Axes that change their size are uniform, the others keep their labels."""
    _freeze_indices(trace, node)
    value = node.input(0)
    held = trace.read(value)
    if held is None or value is None:
        return
    before, after = trace.shape(value), trace.shape(node.output)
    changed = tuple(k for k, (n, m) in enumerate(zip(before, after, strict=True)) if n != m)
    assert isinstance(node.op, Resize)
    if node.op.coordinate_transformation_mode == "tf_crop_and_resize":
        trace.barrier(node, "it crops")
        return
    trace.give(node.output, trace.labels.uniform(held, changed) if changed else held)


def softmax(trace: Trace, node: Node) -> None:
    """Along the axis that it normalizes nothing can go; along others everything can."""
    held = trace.read(node.input(0))
    if held is None:
        return
    axis = getattr(node.op, "axis", -1) % held.ndim
    if axis in varying(held):
        trace.freeze(node.input(0), node, f"{node.op.title} normalizes over its channels")
    trace.give(node.output, held)


def along_axis(trace: Trace, node: Node) -> None:
    """ArgMax, TopK, cumulative sums: what they go along stays whole."""
    _freeze_indices(trace, node)
    held = trace.read(node.input(0))
    if held is None:
        return
    axis = getattr(node.op, "axis", None)
    if axis is None:
        known = trace.static(node.input(1))
        axis = None if known is None else int(known.reshape(-1)[0])
    if axis is None or axis % held.ndim in varying(held):
        trace.barrier(node, f"{node.op.title} goes along its channels")
        return
    one = held[tuple(slice(0, 1) if k == axis % held.ndim else slice(None) for k in range(held.ndim))]
    if one.ndim != len(trace.shape(node.output)):
        one = one.squeeze(axis % held.ndim)
    for output in node.outputs:
        trace.give(output, one)


def reduction(trace: Trace, node: Node) -> None:
    """An axis disappears; statistics are taken over what survives of it."""
    _freeze_indices(trace, node)
    held = trace.read(node.input(0))
    if held is None:
        return
    known = trace.static(node.input(1))
    if node.input(1) is not None and known is None:
        trace.barrier(node, "the axes that it reduces depend on data")
        return
    axes = tuple(int(a) % held.ndim for a in known.reshape(-1)) if known is not None else ()
    if not axes and bool(getattr(node.op, "noop_with_empty_axes", False)):
        trace.give(node.output, held)
        return
    axes = axes or tuple(range(held.ndim))
    left = trace.labels.collapse(held, axes, force=True)
    if not bool(getattr(node.op, "keepdims", True)):
        left = left[tuple(0 if k in axes else slice(None) for k in range(held.ndim))]
    if varying(left):
        trace.give(node.output, left)


def normalization(trace: Trace, node: Node) -> None:
    """Layer and RMS norm, which broadcast scale and bias against x; statistics over what survives."""
    held = trace.read(node.input(0))
    if held is None:
        _freeze_parameters(trace, node)
        return
    if node.op.name == "LRN":
        trace.barrier(node, "LRN sums over neighbouring channels")
        return
    if len(node.outputs) > 1 and any(v.use_count for v in node.outputs[1:]):
        trace.barrier(node, "its statistics are outputs of their own")
    inputs = tuple(range(len(node.inputs)))
    trace.give(node.output, trace.elementwise(node, inputs, trace.shape(node.output)))


def channel_norm(trace: Trace, node: Node) -> None:
    """Batch, instance and group norm: parameters lie along axis 1."""
    held = trace.read(node.input(0))
    if held is None:
        _freeze_parameters(trace, node)
        return
    others = tuple(k for k in range(held.ndim) if k != 1)
    if isinstance(node.op, GroupNormalization):
        held = spread(trace.labels.uniform(held, others), held.shape)
        groups = node.op.num_groups
        matrix = np.ascontiguousarray(np.broadcast_to(core(held), (1, held.shape[1], *(1,) * (held.ndim - 2))))
        trace.labels.collapse(tighten(matrix.reshape(groups, -1)), (1,), force=True)
    elif isinstance(node.op, BatchNormalization):
        held = spread(trace.labels.uniform(held, others), held.shape)
    channel = trace.labels.collapse(held, others, force=True)
    for k, value in enumerate(node.inputs[1:], start=1):
        if value is None:
            continue
        if trace.is_weight(value):
            trace.role(value, spread(channel, (1, held.shape[1], *(1,) * (held.ndim - 2))).reshape(-1), Use(node, k))
        elif varying(channel):
            trace.barrier(node, f"its input {k} is no constant")
    trace.give(node.output, held)


def fake_quant(trace: Trace, node: Node) -> None:
    """Rounding, element by element; scale and zero point lie along an axis of their own."""
    value = node.input(0)
    assert value is not None
    held = trace.read(value)
    if held is None:
        _freeze_parameters(trace, node)
        if all(p is None or len(trace.shape(p)) < 2 for p in node.inputs[1:]):
            same(trace, node)
        return  # a weight with a scale for each block of it is none that could be sliced
    axis = getattr(node.op, "axis", None)
    for k, parameter in enumerate(node.inputs[1:], start=1):
        if parameter is None or trace.shape(parameter) in ((), (1,)) or axis is None:
            continue
        if len(trace.shape(parameter)) != 1 or not trace.is_weight(parameter):
            trace.barrier(node, "its scales are blocks, or no constants")
            return
        others = tuple(a for a in range(held.ndim) if a != axis % held.ndim)
        trace.role(parameter, trace.labels.collapse(held, others, force=False).reshape(-1), Use(node, k))
    trace.give(node.output, held)


_BY_NAME: dict[str, Rule] = {
    "Attention": attention,
    "Cast": same,
    "CastLike": same,
    "Concat": concat,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "DepthToSpace": depth_to_space,
    "Expand": expand,
    "Gather": gather,
    "Gemm": gemm,
    "GRU": recurrent,
    "LSTM": recurrent,
    "MatMul": matmul,
    "Pad": pad,
    "Resize": resize,
    "BatchNormalization": channel_norm,
    "GroupNormalization": channel_norm,
    "InstanceNormalization": channel_norm,
}
_BY_KIND: dict[ChannelKind, Rule] = {
    ChannelKind.OPAQUE: opaque,
    ChannelKind.MOVEMENT: movement,
    ChannelKind.ELEMENTWISE: elementwise,
    ChannelKind.REDUCTION: reduction,
    ChannelKind.NORMALIZATION: normalization,
    ChannelKind.SOFTMAX: softmax,
    ChannelKind.SCAN: along_axis,
    ChannelKind.WINDOW: window,
}


def rule_of(node: Node) -> Rule:
    """The rule for a node: of its op if that has one of its own, else of the kind that its class states."""
    if isinstance(node.op, FakeQuant | QuantizeLinear | DequantizeLinear):
        return fake_quant
    own = None if node.op.domain else _BY_NAME.get(node.op.name)
    return own or _BY_KIND[node.op.channels]



"""Remove channels from a graph: slice its weights, and mend every node that states a number of channels.

    keep    of every label whether it survives          (irc.analysis.channels)
    want    a tensor's label array without the others   (what the rewritten graph must produce, element by element)

Nothing is scaled: sizes, positions and counts are read off the surviving labels. Every movement is run on the surviving
labels and held against `want`, which finds a wrong order that no shape shows. All edits are planned before the first
is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from irc.analysis.channels import Channels
from irc.analysis.channels.arrays import Mask, compact, core, select, spread, survivors
from irc.analysis.channels.chains import Chain
from irc.analysis.channels.recurrent import STATES, is_zero
from irc.analysis.channels.trace import run_on_arrays
from irc.errors import PassError
from irc.graph import Graph, Node, Use, Value
from irc.op import ChannelKind
from irc.ops.attention import Attention
from irc.ops.conv import Conv, ConvTranspose
from irc.ops.fake_quant import FakeQuant
from irc.ops.index import Concat, Gather, Pad
from irc.ops.norm import GroupNormalization
from irc.ops.onnx_op import OnnxOp
from irc.ops.quantize import DequantizeLinear, QuantizeLinear
from irc.ops.schema import with_attribute
from irc.ops.shape import Shape, Size
from irc.passes.channels.movements import MovementError, mend_movement
from irc.passes.edit import remove_dead
from irc.types import Array, TensorType


class RemovalError(PassError):
    """What is left would be no rectangle, or in an order that no movement makes; `value` is where."""

    def __init__(self, value: Value, message: str) -> None:
        super().__init__(message)
        self.value = value


def remove_channels(graph: Graph, channels: Channels, keep: Mask) -> None:
    """Remove from the graph what `keep` says False of.

    graph : the graph that was traced, not edited since
    keep : of every label whether it survives, as `Channels.keep` gives it

    Raises
    ------
    RemovalError : what is left is not a model; nothing was changed.
    """
    plan = Plan(channels, keep)
    plan.make()
    plan.apply()


@dataclass
class Plan:
    """All edits that remove channels, in order.

    static : the settled values as they will be
    """

    channels: Channels
    keep: Mask
    edits: list[Callable[[], None]] = field(default_factory=list)
    static: dict[Value, Array] = field(default_factory=dict)
    masks: dict[tuple[Value, Use | None], Mask] = field(default_factory=dict)

    def make(self) -> None:
        """Fill `edits`."""
        flawed = self.channels.flaws(self.keep)
        if flawed:
            said = f"what would be left of '{flawed[0].name}' is no tensor: rows of different lengths, or nothing"
            raise RemovalError(flawed[0], said)
        self._weights()
        chains = {chain.nodes[-1]: chain for chain in self.channels.chains}  # by then what it reads is settled
        inside = {node for chain in self.channels.chains for node in chain.nodes[:-1]}
        for node in self.channels.graph:
            self._settle(node)
            if node in chains:
                self._chain(chains[node])
            elif node not in inside:
                self._node(node)
        self._types()

    def apply(self) -> None:
        """Make the edits."""
        for edit in self.edits:
            edit()

    # ---- what is left

    def places(self, value: Value) -> Array | None:
        """What tells the elements of a value apart: labels, or the places in the constant that they come from."""
        held = self.channels.labels.get(value)
        if held is not None or not self.channels.trace.is_weight(value):
            return held
        shape = self.channels.shapes[value]
        _, index = self.channels.trace.sources.get(value, (value, None))
        return np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape) if index is None else index

    def alive(self, value: Value) -> Mask | None:
        """Which elements of a value survive, with size 1 along axes where that is the same; None if all do."""
        held = self.channels.labels.get(value)
        return self.mask_of(value) if held is None else self.keep[core(held)]

    def alive_along(self, value: Value, axis: int) -> Mask:
        """Which places along an axis survive: of the first line along it on which something does."""
        size, held = self.channels.shapes[value][axis], self.alive(value)
        if held is None or held.shape[axis] == 1:
            return np.ones(size, bool)
        lines = np.moveaxis(held, axis, -1).reshape(-1, size)
        return np.asarray(lines[lines.any(1)][0])

    def left(self, value: Value, elements: Array) -> Array:
        """Of an array with an entry for each element of a value, those that survive, in the shape that is left."""
        alive = self.alive(value)
        where = None if alive is None else survivors(alive)
        if alive is not None and where is None:
            raise RemovalError(value, f"what would be left of '{value.name}' is no rectangle")
        return elements if alive is None or where is None else select(elements, where, alive.shape)

    def want(self, value: Value | None) -> Array | None:
        """What is left of the places of a value; None if nothing of it can go."""
        held = None if value is None else self.places(value)
        if held is None or value is None:
            return None
        alive = self.alive(value)
        if alive is None:
            return held
        where = survivors(alive)
        if where is None:
            raise RemovalError(value, f"what would be left of '{value.name}' is no rectangle")
        return select_places(held, alive, where)

    def shape(self, value: Value) -> tuple[int, ...]:
        """The concrete shape that a value will have."""
        if self.alive(value) is None:
            return self.channels.shapes[value]
        want = self.want(value)
        assert want is not None
        return want.shape

    def changed(self, value: Value | None) -> bool:
        """Whether the value loses anything."""
        alive = None if value is None or value not in self.channels.shapes else self.alive(value)
        return alive is not None and not alive.all()

    # ---- weights

    def _weights(self) -> None:
        self.masks = self.channels.weight_masks(self.keep)
        for value in dict.fromkeys(value for value, _ in self.masks):
            self._weight(value)

    def _weight(self, value: Value) -> None:
        for mask, uses in self.channels.variants(value, self.masks):
            where = survivors(mask)
            if where is None:
                raise RemovalError(value, f"what would be left of weight '{value.name}' is no rectangle")
            if not mask.all():
                self.edits.append(partial(_slice, value, where, mask.shape, uses))

    def mask_of(self, value: Value) -> Mask | None:
        """Of a constant, or of one that was moved, which elements survive at all uses; None if all do."""
        return self.channels.moved_mask(value, self.masks)

    # ---- nodes

    def _settle(self, node: Node) -> None:
        """Compute the node's settled outputs as they will be."""
        old = self.channels.trace.concrete.static
        if not all(v in old for v in node.outputs):
            return
        source = node.input(0)
        if isinstance(node.op, Shape | Size) and source is not None:
            shape = self.shape(source) if source in self.channels.shapes else ()
            made = [run_on_arrays(node, [np.broadcast_to(np.zeros(1, np.int64), shape)])[0]]
        elif any(v in self.static for v in node.inputs if v is not None):
            made = run_on_arrays(node, [self.settled(v) for v in node.inputs])
        else:
            return
        for value, array in zip(node.outputs, made, strict=True):
            if not np.array_equal(array, old[value]):
                self.static[value] = array

    def settled(self, value: Value | None) -> Array | None:
        """A settled value as it will be; None for others."""
        if value is None:
            return None
        return self.static.get(value, self.channels.trace.concrete.static.get(value))

    def _node(self, node: Node) -> None:
        op = node.op
        if isinstance(op, Conv | ConvTranspose) and op.group > 1:
            self._set(node, replace(op, group=self._rows_left(node.output, op.group)))
        elif isinstance(op, GroupNormalization):
            self._set(node, replace(op, num_groups=self._rows_left(node.output, op.num_groups)))
        elif isinstance(op, Attention):
            self._attention(node, op)
        elif isinstance(op, OnnxOp) and op.name in ("LSTM", "GRU"):
            self._recurrent(node, op)
        elif isinstance(op, FakeQuant | QuantizeLinear | DequantizeLinear):
            self._scales(node, op.axis)
        elif isinstance(op, Pad) or op.name == "Resize" or op.channels is ChannelKind.MOVEMENT:
            self._movement(node)

    def _set(self, node: Node, op: Any) -> None:
        if op != node.op:
            self.edits.append(lambda: node.set_op(op))

    def _rows_left(self, value: Value, count: int) -> int:
        """How many of `count` groups of the channels along axis 1 survive."""
        return int(self.alive_along(value, 1).reshape(count, -1).any(1).sum())

    def _attention(self, node: Node, op: Attention) -> None:
        q, k = node.input(0), node.input(1)
        assert q is not None
        assert k is not None
        if not any(map(self.changed, node.inputs)):
            return
        before, after = self.channels.shapes[q], self.shape(q)
        if len(before) == 4:
            width = before[3]
            if after[3] != width and op.scale is None:
                self._set(node, replace(op, scale=width**-0.5))
            return
        assert op.q_num_heads
        assert op.kv_num_heads
        counts = [self._heads_left(value, count) for value, count in ((q, op.q_num_heads), (k, op.kv_num_heads))]
        scale = (before[2] / op.q_num_heads) ** -0.5 if op.scale is None else op.scale
        self._set(node, replace(op, q_num_heads=counts[0], kv_num_heads=counts[1], scale=scale))

    def _heads_left(self, value: Value, count: int) -> int:
        return int(self.alive_along(value, 2).reshape(count, -1).any(1).sum())

    def _recurrent(self, node: Node, op: OnnxOp) -> None:
        """The number of hidden units is an attribute of its own."""
        made = next((v for v in node.outputs if self.changed(v)), None)
        if made is not None:
            for index in STATES[op.name]:
                if is_zero(self.channels.trace, node.input(index)):
                    self.edits.append(partial(node.set_input, index, None))
            self._set(node, with_attribute(op, "hidden_size", self.shape(made)[-1]))

    def _scales(self, node: Node, axis: int | None) -> None:
        """Slice the scales and zero points of a quantized weight as the weight."""
        weight = node.input(0)
        mask = None if weight is None else self.mask_of(weight)
        if mask is None or axis is None:
            return
        alive = np.flatnonzero(mask.any(tuple(k for k in range(mask.ndim) if k != axis % mask.ndim)))
        for index in (1, 2):
            data = node.constant(index)
            if data is not None and data.ndim == 1 and data.size == mask.shape[axis % mask.ndim] != alive.size:
                self.edits.append(partial(_read_constant, node, index, data[alive]))

    def _movement(self, node: Node) -> None:
        source = node.input(0)
        if isinstance(node.op, Concat) or source is None or self.places(node.output) is None:
            return  # nothing to mend, or rows of a table of embeddings
        if source not in self.channels.labels and node.output in self.channels.labels:
            return  # the same
        if not any(map(self.changed, (source, *node.outputs))):
            return
        try:
            self.edits += mend_movement(self, node)
        except MovementError as error:
            raise RemovalError(node.output, str(error)) from None

    def _chain(self, chain: Chain) -> None:
        """Movements that reorder channels: mended one by one if they can be, else one Gather instead."""
        if not self.changed(chain.start):
            return
        made: list[Callable[[], None]] = []
        try:
            for node in chain.nodes:
                made += mend_movement(self, node)
        except (MovementError, RemovalError):
            order, type = self._order(chain), self.type(chain.end)
            made = [lambda: _gather_instead(chain, order, type)]
        self.edits += made

    def _order(self, chain: Chain) -> Array:
        left = self.alive_along(chain.start, chain.axis)
        kept = chain.order[left[chain.order]]
        return (np.cumsum(left) - 1)[kept]

    def type(self, value: Value) -> TensorType | None:
        """The type that an activation will have; its symbols stay."""
        type = value.tensor_type
        if type is None or type.shape is None:
            return type
        before, after = self.channels.shapes[value], self.shape(value)
        dims = (
            dim if n == m else m if isinstance(dim, int) else None
            for dim, n, m in zip(type.shape, before, after, strict=True)
        )
        return TensorType(type.dtype, tuple(dims))

    def _types(self) -> None:
        inside = {value for chain in self.channels.chains for value in chain.inside}
        for value, held in self.channels.labels.items():
            if value in inside and compact(held, self.keep) is None:
                continue  # one Gather takes the chain's place
            if self.changed(value):
                self.edits.append(partial(setattr, value, "type", self.type(value)))
        for value in self.channels.trace.sources:
            if value not in self.channels.labels and self.changed(value):
                self.edits.append(partial(setattr, value, "type", self.type(value)))


def select_places(places: Array, alive: Mask, where: Array) -> Array:
    """The places at flat indices into `alive`; along axes where that has size 1, all of them."""
    if any(n == 1 < m for n, m in zip(alive.shape, places.shape, strict=True)) and core(places).shape == alive.shape:
        left = core(places).reshape(-1)[where]
        sizes = [m if n == 1 else k for n, m, k in zip(alive.shape, places.shape, left.shape, strict=True)]
        return spread(left, sizes)
    return select(places, where, alive.shape)


def _slice(value: Value, where: Array, shape: tuple[int, ...], uses: list[Use]) -> None:
    assert value.data is not None
    data = select(value.data, where, shape)
    if len(uses) == value.use_count:
        value.data = data
        return
    new = value.graph.add_constant(data, value.name)
    for user, index in uses:
        if isinstance(user, Node):
            user.set_input(index, new)


def _read_constant(node: Node, index: int, data: Array) -> None:
    old = node.input(index)
    name = old.name if old is not None else node.name
    node.set_input(index, node.graph.add_constant(np.ascontiguousarray(data), name))


def _gather_instead(chain: Chain, order: Array, type: TensorType | None) -> None:
    last, start = chain.nodes[-1], chain.nodes[0].input(0)  # which another Gather may give by now
    indices = last.graph.add_constant(order.astype(np.int64), f"{last.name}.order")
    made = last.graph.insert(
        Gather(axis=chain.axis), [start, indices], before=last, name=f"{last.name}.gather", types=(type,)
    )
    last.output.replace_uses(made.output)
    remove_dead(last)

"""What the readers of a value want of its memory, found before anything is placed.

channels_last : N, spatial axes, C: what convolutions and pools work on; passed up through elementwise ops
borders       : cells around the spatial axes that hold the zero point, so that a convolution need not look for edges
slots         : the part of a Concat's memory in which the value is written, so that the Concat costs nothing
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from irc.graph import Graph, Node, Value
from irc.ops.activation import PRelu
from irc.ops.conv import Conv, ConvTranspose
from irc.ops.index import Concat, Split
from irc.ops.int8 import QAveragePool, QConv
from irc.ops.norm import BatchNormalization, InstanceNormalization
from irc.ops.pool import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool
from irc.ops.resize import Resize
from irc.ops.shape import Reshape, Squeeze, Transpose, Unsqueeze

SPATIAL = (
    QConv, QAveragePool, Conv, ConvTranspose, MaxPool, AveragePool, GlobalAveragePool, GlobalMaxPool, Resize,
    BatchNormalization, InstanceNormalization, PRelu,
)  # fmt: skip
_ALIASES = (Reshape, Squeeze, Transpose, Unsqueeze, Split)  # what they make may be another view of what they read


@dataclass(frozen=True)
class Border:
    """Cells before and after each axis of a value, and what they hold."""

    widths: tuple[tuple[int, int], ...]
    value: int


@dataclass(frozen=True)
class Slot:
    """Where in a Concat's output a part begins, along its axis."""

    concat: Value
    axis: int
    start: int


def window_pads(pads: Sequence[int] | None, rank: int) -> tuple[tuple[int, int], ...]:
    """ONNX's pads (all begins, then all ends) as a pair for each of the `rank` axes, N and C among them."""
    spatial = rank - 2
    flat = tuple(pads) if pads else (0,) * (2 * spatial)
    return ((0, 0), (0, 0), *zip(flat[:spatial], flat[spatial:], strict=True))


def _padding(node: Node) -> tuple[tuple[int, int], ...] | None:
    """What a convolution puts around each axis of its input; None if that is not known."""
    value, weight = node.input(0), node.input(1)
    if isinstance(node.op, QConv) and value is not None:
        return window_pads(node.op.pads, _rank(value))
    types = [v.tensor_type if v is not None else None for v in (value, weight)]
    shapes = [t.static_shape for t in types if t is not None and t.is_static]
    if not isinstance(node.op, Conv) or len(shapes) < 2:
        return None
    return ((0, 0), (0, 0), *((a.begin, a.end) for a in node.op.windows(*shapes)))


class Demands:
    """The demands on every value of one graph."""

    def __init__(self, graph: Graph) -> None:
        self.channels_last: set[Value] = set()
        self.orders: dict[Value, tuple[int, ...]] = {}
        self.borders: dict[Value, Border] = {}
        self.slots: dict[Value, Slot] = {}
        for node in reversed(list(graph)):
            self._layout(node)
            if isinstance(node.op, QConv | Conv):
                self._border(node)
        for node in graph:
            if isinstance(node.op, Concat):
                self._claim(node)

    def _layout(self, node: Node) -> None:
        value = node.input(0)
        alone = value is not None and len(value.uses) == 1 and not any(v.is_output for v in node.outputs)
        if isinstance(node.op, Transpose) and node.op.perm and value is not None and alone:
            self.orders[value] = node.op.perm
        if isinstance(node.op, SPATIAL) and (value := node.input(0)) is not None and _rank(value) >= 3:
            self.channels_last.add(value)
            if isinstance(node.op, QConv) and (residual := node.input(4)) is not None:
                self.channels_last.add(residual)
        if isinstance(node.op, _ALIASES) or node.bodies or not node.outputs:
            return
        if node.outputs[0] in self.channels_last:
            rank = _rank(node.outputs[0])
            self.channels_last.update(v for v in node.inputs if v is not None and _rank(v) == rank >= 3)

    def _border(self, node: Node) -> None:
        """The widest border that the convolutions of a value want; all of them pad with its one zero point."""
        value = node.input(0)
        assert value is not None
        pads = _padding(node)
        if value.is_constant or pads is None:
            return
        widths = tuple((max(begin, 0), max(end, 0)) for begin, end in pads)
        zero_point = node.op.zero_point if isinstance(node.op, QConv) else 0
        have = self.borders.get(value)
        if have is not None:
            if have.value != zero_point:
                return
            widths = tuple((max(a, c), max(b, d)) for (a, b), (c, d) in zip(widths, have.widths, strict=True))
        if any(b or e for b, e in widths):
            self.borders[value] = Border(widths, zero_point)

    def _claim(self, node: Node) -> None:
        assert isinstance(node.op, Concat)
        axis = node.op.axis % max(_rank(node.output), 1)
        start = 0
        for value in node.inputs:
            type = value.tensor_type if value is not None else None
            if value is None or type is None or not type.is_static:
                return
            computed = value.producer is not None and not isinstance(value.producer.op, _ALIASES)
            once = node.inputs.count(value) == 1
            if computed and once and value not in self.slots and not value.is_output and value.graph is node.graph:
                self.slots[value] = Slot(node.output, axis, start)
            start += type.static_shape[axis]


def _rank(value: Value) -> int:
    type = value.tensor_type
    return (type.rank or 0) if type is not None else 0

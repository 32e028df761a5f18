"""What a lowering rule works with: views of the node's inputs, a home for its outputs, and the list of steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from irc.backends.c.lowering.demands import Border, Demands
from irc.backends.c.lowering.expressions import Expr, generate
from irc.backends.c.program import Argument, Call, Port, Program, Step
from irc.backends.c.views import Buffer, Place, View, channels_last, constant, dense_strides
from irc.errors import GraphError
from irc.graph import Graph, Node, Value
from irc.types import DType


class Builder:
    """A program in the making.

    A value is a View of memory, or an Expr that its one reader may still take up into its own loop.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.demands = Demands(graph)
        self.steps: list[Step] = []
        self.borders: dict[View, Border] = {}  # of the views that were made with one, what lies around them
        self._values: dict[Value, View | Expr] = {}
        self._copies: dict[tuple[View, tuple[int, ...]], View] = {}
        self._inputs: list[Port] = []
        for index, value in enumerate(graph.inputs):
            view = self._port(value, Place.INPUT, index)
            self._inputs.append(Port(value.name, view))
            self._values[value] = view

    # ---- reading

    def view(self, value: Value, node: Node) -> View:
        """Where the value lies; an expression is computed now."""
        made = self._values.get(value)
        if made is None:
            if value.data is None:
                raise GraphError(f"{node!r}: nothing has made '{value.name}'")
            made = self._values[value] = constant(value.data, value.name)
        if isinstance(made, Expr):
            made = self.compute(value, made)
        return made

    def input(self, node: Node, index: int) -> View:
        """Where an input that must be there lies."""
        value = node.input(index)
        assert value is not None, f"{node!r} has no input {index}"
        return self.view(value, node)

    def is_made(self, value: Value) -> bool:
        """Whether an earlier rule has taken care of the value."""
        return value in self._values

    def optional(self, node: Node, index: int) -> View | None:
        """Where an input lies, None if it is omitted."""
        return None if node.input(index) is None else self.input(node, index)

    def operand(self, node: Node, index: int) -> View | Expr:
        """The input as an operand of an elementwise expression of the node."""
        value = node.input(index)
        assert value is not None
        made = self._values.get(value)
        if isinstance(made, Expr) and made.shape == self.shape(node.output):
            return made
        return self.view(value, node)

    def operand_of(self, value: Value) -> View | Expr | None:
        """What is known of a value: where it lies, or how it is to be computed."""
        return self._values.get(value)

    def materialize(self, expr: Expr, node: Node) -> View:
        """An expression that no value stands for, computed into memory of its own."""
        like = expr.largest()
        view = self.scratch(expr.dtype, expr.shape, None if like is None else like.order)
        self.loop(expr, view, node)
        return view

    def bounded(self, expr: Expr, node: Node) -> View | Expr:
        """The expression, computed now if it is deep."""
        return self.materialize(expr, node) if expr.is_deep else expr

    def dense(self, node: Node, index: int, order: Sequence[int] | None = None) -> View:
        """An input as a dense tensor with its axes in `order`, copied if it is not one."""
        view = self.input(node, index)
        return view if view.is_dense(order) else self.copied(view, node, order)

    def copied(self, view: View, node: Node, order: Sequence[int] | None = None) -> View:
        """A dense copy with its axes in `order`; the same copy each time."""
        key = (view, tuple(order if order is not None else range(view.rank)))
        if key not in self._copies:
            made = self.scratch(view.dtype, view.shape, order, name=view.buffer.name)
            self.copy(view, made, node)
            self._copies[key] = made
        return self._copies[key]

    # ---- writing

    @staticmethod
    def shape(value: Value) -> tuple[int, ...]:
        """The static shape of a value."""
        type = value.tensor_type
        if type is None or not type.is_static:
            raise GraphError(f"'{value.name}' is {type or 'of unknown type'}; the C backend needs static shapes")
        return type.static_shape

    @staticmethod
    def dtype(value: Value) -> DType:
        type = value.tensor_type
        assert type is not None
        return type.dtype

    def scratch(self, dtype: DType, shape: Sequence[int], order: Sequence[int] | None = None, name: str = "") -> View:
        """Memory of its own in the arena, dense."""
        buffer = Buffer(dtype, math.prod(shape), name=name)
        return View(buffer, tuple(shape), dense_strides(shape, order))

    def order(self, value: Value, like: Sequence[int] | None = None) -> tuple[int, ...]:
        """The order of axes that the readers of a value want, else `like`, else ONNX's."""
        rank = len(self.shape(value))
        if value in self.demands.channels_last:
            return channels_last(rank)
        if value in self.demands.orders:
            return self.demands.orders[value]
        return tuple(range(rank)) if like is None else tuple(like)

    def output(self, value: Value, order: Sequence[int] | None = None, node: Node | None = None) -> View:
        """A home for a value that a step is about to write, its axes in memory in `order`.

        In the caller's output, in its slot of a Concat, or in the arena with the border that convolutions want.
        """
        shape, dtype = self.shape(value), self.dtype(value)
        axes = tuple(range(len(shape))) if order is None else tuple(order)
        view = self._slot(value, axes)
        of_model = (
            self.graph.parent is None and value.graph is self.graph
        )  # what a body gives out is copied by its node
        if view is None and of_model and value.is_output and not value.users and axes == tuple(range(len(shape))):
            view = self._port(value, Place.OUTPUT, self.graph.outputs.index(value))
        if view is None:
            view = self._bordered(value, shape, dtype, axes)
        self._values[value] = view
        return view

    def private(self, value: Value, order: Sequence[int] | None = None) -> View:
        """Dense memory for a value whose home a kernel cannot write; it is copied by whatever wants it there."""
        made = self.scratch(self.dtype(value), self.shape(value), order, value.name)
        self._values[value] = made
        return made

    def concatenation(self, value: Value, like: Sequence[int]) -> View:
        """The memory of a Concat's output, in which parts may lie already."""
        made = self._values.get(value)
        if made is None:
            return self.output(value, self.order(value, like))
        assert isinstance(made, View)
        return made

    def alias(self, value: Value, view: View) -> None:
        """The value is another view of memory that holds it already."""
        self._values[value] = view

    def express(self, value: Value, expr: Expr) -> None:
        """The value is an elementwise expression; computed now if it is deep or not for its only reader alone."""
        if len(value.uses) == 1 and not value.is_output and not expr.is_deep:
            self._values[value] = expr
        else:
            self.compute(value, expr)

    def compute(self, value: Value, expr: Expr) -> View:
        """Write out an elementwise expression."""
        like = expr.largest()
        order = self.order(value, None if like is None else like.order)
        view = self.output(value, order)
        node = value.producer
        assert node is not None
        self.loop(expr, view, node)
        return view

    # ---- steps

    def call(
        self,
        node: Node,
        function: str,
        header: str,
        arguments: Sequence[Argument],
        *,
        reads: Sequence[View | None],
        writes: Sequence[View | None],
        in_place: View | None = None,
        special: dict[str, Call] | None = None,
        others: dict[str, tuple[Call, ...]] | None = None,
        macs: int = 0,
    ) -> Step:
        """A step that calls a kernel."""
        step = Step(
            Call(function, tuple(arguments), header),
            node,
            tuple(v.buffer for v in reads if v is not None),
            tuple(v.buffer for v in writes if v is not None),
            in_place.buffer
            if in_place is not None and writes[0] is not None and _same_place(in_place, writes[0])
            else None,
            special or {},
            others or {},
            macs,
        )
        self.steps.append(step)
        return step

    def loop(self, expr: Expr, view: View, node: Node) -> None:
        """A step that computes an expression elementwise into a view."""
        if not view.elements:
            return
        function, operands = generate(expr, view)
        self.steps.append(
            Step(
                Call(function, (*operands, view), "elementwise.h"),
                node,
                tuple(o.buffer for o in operands),
                (view.buffer,),
                next((o.buffer for o in operands if _same_place(o, view)), None),
            )
        )

    def copy(self, source: View, target: View, node: Node) -> None:
        """A step that copies elements from one view to another of the same shape."""
        self.loop(Expr.of(source), target, node)

    def fill(self, view: View, value: float, node: Node) -> None:
        """A step that sets every element of a view."""
        self.loop(Expr.literal(value, view.dtype, view.shape), view, node)

    def border(self, whole: View, widths: Sequence[tuple[int, int]], value: float, node: Node) -> None:
        """Steps that set the border of these widths within a view."""
        for side in border_views(whole, widths):
            self.fill(side, value, node)

    @contextmanager
    def within(self, body: Graph) -> Iterator[None]:
        """While open, the nodes of a branch are lowered; copies that are made there do not count outside."""
        outer = self.graph, self.demands, self._copies
        self.graph, self.demands, self._copies = body, Demands(body), dict(self._copies)
        try:
            yield
        finally:
            self.graph, self.demands, self._copies = outer

    def finish(self) -> Program:
        """The program, with a copy of each output that does not lie in the caller's memory yet."""
        outputs = []
        for index, (value, name) in enumerate(zip(self.graph.outputs, self.graph.output_names, strict=True)):
            node = value.producer if value.producer is not None else next(iter(self.graph))
            view = self.view(value, node)
            if view.buffer.place is not Place.OUTPUT or view.buffer.index != index:
                home = self._port(value, Place.OUTPUT, index)
                self.copy(view, home, node)
                view = home
            outputs.append(Port(name, view))
        return Program(self._inputs, outputs, self.steps)

    # ---- homes

    def _port(self, value: Value, place: Place, index: int) -> View:
        shape, dtype = self.shape(value), self.dtype(value)
        buffer = Buffer(dtype, math.prod(shape), place, index, name=value.name)
        return View(buffer, shape, dense_strides(shape))

    def _slot(self, value: Value, axes: tuple[int, ...]) -> View | None:
        """The value's part of the Concat that reads it, if it may be written there directly."""
        slot = self.demands.slots.get(value)
        if slot is None:
            return None
        whole = self._values.get(slot.concat)
        if whole is None:
            whole = self.output(slot.concat, self.order(slot.concat, axes))
        assert isinstance(whole, View)
        part = whole.sliced(slot.axis, slot.start, self.shape(value)[slot.axis])
        wanted = [a for a in axes if part.shape[a] != 1]
        adjacent = not wanted or part.strides[wanted[-1]] == 1
        return part if adjacent and [a for a in part.order if part.shape[a] != 1] == wanted else None

    def _bordered(self, value: Value, shape: tuple[int, ...], dtype: DType, axes: tuple[int, ...]) -> View:
        """Memory in the arena, with a border of the zero point around the spatial axes if a convolution wants one."""
        border = self.demands.borders.get(value)
        if border is None or axes != channels_last(len(shape)):
            return self.scratch(dtype, shape, axes, value.name)
        outer = [n + b + e for n, (b, e) in zip(shape, border.widths, strict=True)]
        whole = self.scratch(dtype, outer, axes, value.name)
        node = value.producer if value.producer is not None else next(iter(self.graph))
        self.border(whole, border.widths, border.value, node)
        inner = whole
        for axis, (begin, _) in enumerate(border.widths):
            inner = inner.sliced(axis, begin, shape[axis])
        self.borders[inner] = border
        return inner


def _same_place(a: View, b: View) -> bool:
    """Whether each element of one would lie where that of the other lies, if their buffers were one."""
    return (
        a.strides == b.strides
        and a.offset == b.offset
        and a.shape == b.shape
        and a.buffer.bytes == b.buffer.bytes
        and a.dtype.bits == b.dtype.bits
    )


def border_views(whole: View, widths: Sequence[tuple[int, int]]) -> list[View]:
    """The slabs around the inner part of a view that together are its border, without overlap."""
    sides = []
    rest = whole
    for axis, (begin, end) in enumerate(widths):
        size = rest.shape[axis]
        if begin:
            sides.append(rest.sliced(axis, 0, begin))
        if end:
            sides.append(rest.sliced(axis, size - end, end))
        rest = rest.sliced(axis, begin, size - begin - end)
    return sides

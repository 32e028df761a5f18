"""Nodes in a smaller float type, with as few Casts as there can be.

    x: f32 --Cast--> f16 --op--> f16 --op--> f16 --Cast--> f32 --op that stays--> f32

A value is cast once each way, where it is made, for all its readers; in each branch of an If that reads it, so that
only the one taken does. What bodies are given and give out stays in float32, and so do the graph's own inputs and
outputs, unless they are asked for.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from irc.graph import Graph, Node, Value
from irc.ops.cast import Cast
from irc.passes.float_rules.formats import clipped
from irc.passes.float_rules.keep import becomes, is_f32, reads_any_type, small_inputs
from irc.types import DType, TensorType


def compute_in(graph: Graph, dtype: DType, small: Collection[Node], *, io: bool) -> int:
    """Let the nodes in `small` compute in the type; the number of Casts that it took.

    io : the graph's inputs and outputs of float32 take the type too
    """
    work = _Retyping(graph, dtype, set(small))
    if io:
        work.retype_inputs()
    work.convert_constants()
    for node in list(graph.walk()):
        work.retype(node)
    work.retype_outputs(io)
    work.drop_casts()
    return len(work.casts)


class _Retyping:
    """One run: which values have the small type by now, and the Casts between the two types."""

    def __init__(self, graph: Graph, dtype: DType, small: set[Node]) -> None:
        self.graph = graph
        self.dtype = dtype
        self.small = small
        self.lowered: set[Value] = set()
        self.casts: dict[tuple[Value, DType, Graph], Value] = {}
        opset = graph.info.opsets.get("", 1)
        self.inputs = {node: small_inputs(node, dtype, opset) or frozenset() for node in small}

    def retype_inputs(self) -> None:
        for value in filter(is_f32, self.graph.inputs):
            self._lower(value)
            if value in self.graph.defaults:
                self.graph.defaults[value] = clipped(self.graph.defaults[value], self.dtype)

    def convert_constants(self) -> None:
        """Store the constants that only small nodes read in the type."""
        for inner in self.graph.graphs():
            for value in filter(is_f32, inner.constants):
                uses = value.uses
                if uses and all(u.user in self.small and u.index in self._taken(u.user) for u in uses):
                    assert value.data is not None
                    value.data = clipped(value.data, self.dtype)
                    self.lowered.add(value)

    def _taken(self, user: Node | Graph) -> frozenset[int]:
        return self.inputs[user] if isinstance(user, Node) else frozenset()

    def retype(self, node: Node) -> None:
        """Give the node what it reads in its type, and its outputs theirs."""
        taken = self.inputs.get(node, frozenset())
        if not reads_any_type(node):
            for index, value in enumerate(node.inputs):
                if value is not None and (is_f32(value) or value in self.lowered):
                    node.set_input(index, self._as(value, self.dtype if index in taken else DType.F32, node.graph))
        if node not in self.small:
            return
        if becomes(node):
            assert isinstance(node.op, Cast)
            node.set_op(replace(node.op, to=self.dtype.onnx_type))
        types = [v.type if v is not None else None for v in node.inputs]
        data = [v.data if v is not None else None for v in node.inputs]
        for value, made in zip(node.outputs, node.op.infer(types, data, len(node.outputs)), strict=True):
            if is_f32(value) and not (isinstance(made, TensorType) and made.dtype is DType.F32):
                self._lower(value)

    def retype_outputs(self, io: bool) -> None:
        for inner in self.graph.graphs():
            wanted = self.dtype if io and inner is self.graph else DType.F32
            for index, value in enumerate(inner.outputs):
                if is_f32(value) or value in self.lowered:
                    inner.set_output(index, self._as(value, wanted, inner))

    def drop_casts(self) -> None:
        """Remove what has become a Cast from the type to itself."""
        for node in [n for n in self.graph.walk() if n in self.small]:
            source = node.input(0)
            if isinstance(node.op, Cast) and source is not None and source.type == node.output.type:
                node.graph.replace(node, [source])

    def _lower(self, value: Value) -> None:
        assert isinstance(value.type, TensorType)
        value.type = TensorType(self.dtype, value.type.shape)
        self.lowered.add(value)

    def _as(self, value: Value, dtype: DType, reader: Graph) -> Value:
        """The value in one of the two types for a reader in this graph: itself, or its one Cast."""
        assert isinstance(value.type, TensorType)
        if value.type.dtype is dtype:
            return value
        home = _home(value, reader)
        if (value, dtype, home) not in self.casts:
            made = value.producer if home is value.graph else None
            cast = home.insert(
                Cast(to=dtype.onnx_type),
                [value],
                after=made,
                before=next(iter(home), None) if made is None else None,
                name=f"{value.name}.{dtype.numpy.name}",
                types=[TensorType(dtype, value.type.shape)],
            )
            self.casts[value, dtype, home] = cast.output
        return self.casts[value, dtype, home]


def _home(value: Value, reader: Graph) -> Graph:
    """The graph for a Cast: the reader's, or the one around it where that runs many times, as a Loop's body does."""
    home = graph = reader
    while graph is not value.graph:
        assert graph.parent is not None
        owner, graph = graph.parent, graph.parent.graph
        if owner.op.name != "If":
            home = graph
    return home

"""The graph: values, nodes and the def-use links between them. Only this module writes those links.

    Graph ::= inputs, constants, nodes in topological order, outputs        (bodies of If, Loop and Scan too)
    Node  ::= op(inputs) -> outputs, bodies, name, origin
    Value ::= name, type, data?  with  producer? and ordered uses

A node may use values of its own graph and of the graphs around it. An edit costs what it touches, however large the
graph is. Names of values are unique in the whole nest, names of nodes in their graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from irc.errors import GraphError
from irc.model_info import ModelInfo, Origin
from irc.op import Op
from irc.order import Linked, Order
from irc.types import Array, TensorType, Type, type_of_array

__all__ = ["Graph", "ModelInfo", "Node", "Origin", "Use", "Value"]


class Use(NamedTuple):
    """One place that reads a value: input `index` of a node, or output `index` of a graph."""

    user: Node | Graph
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody looks for here


class Value:
    """A tensor in the graph: an input, a constant (`data` is not None) or the output of `producer`."""

    __slots__ = ("_data", "_name", "_type", "_unwanted", "_uses", "graph", "index", "producer")

    def __init__(
        self, graph: Graph, name: str, type: Type | None, producer: Node | None = None, index: int = 0
    ) -> None:
        self.graph = graph
        self.producer = producer
        self.index = index
        self._name = name
        self._type = type
        self._data: Array | None = None
        self._unwanted = False
        self._uses: dict[Use, None] = {}

    @property
    def name(self) -> str:
        return self._name

    @property
    def type(self) -> Type | None:
        return self._type

    @type.setter
    def type(self, type: Type | None) -> None:
        self._type = type
        self.graph.root.touch()

    @property
    def data(self) -> Array | None:
        """The constant's array, read-only, as copies of the graph and the user's model share it: assign a new one."""
        return self._data

    @data.setter
    def data(self, array: Array) -> None:
        if self._data is None:
            raise GraphError(f"value '{self.name}' is not a constant; it cannot be given data")
        self._data, self._type = _read_only(array), type_of_array(array)
        self.graph.root.touch()

    @property
    def is_constant(self) -> bool:
        return self._data is not None

    @property
    def tensor_type(self) -> TensorType | None:
        """The type if it is a tensor's, else None."""
        return self._type if isinstance(self._type, TensorType) else None

    @property
    def uses(self) -> tuple[Use, ...]:
        """Every place that reads the value, in the order in which they were added; bodies' places too."""
        return tuple(self._uses)

    @property
    def use_count(self) -> int:
        """How many places read the value; O(1), unlike `len(uses)`."""
        return len(self._uses)

    @property
    def users(self) -> list[Node]:
        """The nodes that read the value, each once, in order of use."""
        return list(dict.fromkeys(u.user for u in self._uses if isinstance(u.user, Node)))

    @property
    def is_omitted(self) -> bool:
        """Whether it is an optional output that its node does not give (and so nothing reads)."""
        return self._unwanted and not self._uses

    @property
    def is_output(self) -> bool:
        """Whether a graph (its own or a body) gives the value out."""
        return any(isinstance(u.user, Graph) for u in self._uses)

    def replace_uses(self, new: Value, *, keep: Iterable[Node] = ()) -> None:
        """Make every user of this value read `new` instead, except the nodes in `keep`."""
        kept = set(keep)
        for use in list(self._uses):
            if use.user in kept:
                continue
            if isinstance(use.user, Node):
                use.user.set_input(use.index, new)
            else:
                use.user.set_output(use.index, new)

    def __repr__(self) -> str:
        return f"%{self.name}: {self.type}"


class Node(Linked):
    """One op at one place in one graph. Made by `Graph.insert`; changed by `set_input` and `set_op`."""

    __slots__ = ("_inputs", "_op", "bodies", "graph", "name", "origin", "outputs")

    def __init__(self, graph: Graph, op: Op, name: str, origin: Origin) -> None:
        super().__init__()
        self.graph = graph
        self.name = name
        self.origin = origin
        self.bodies: dict[str, Graph] = {}
        self.outputs: tuple[Value, ...] = ()
        self._op = op
        self._inputs: list[Value | None] = []

    @property
    def op(self) -> Op:
        return self._op

    @property
    def inputs(self) -> tuple[Value | None, ...]:
        """The values read, None for an omitted optional input."""
        return tuple(self._inputs)

    @property
    def output(self) -> Value:
        """The first output."""
        return self.outputs[0]

    def input(self, index: int) -> Value | None:
        """Input `index`, None when it is omitted or past the end."""
        return self._inputs[index] if index < len(self._inputs) else None

    def constant(self, index: int) -> Array | None:
        """Data of input `index` if that is a constant, else None."""
        value = self.input(index)
        return None if value is None else value.data

    def set_input(self, index: int, value: Value | None) -> None:
        """Read `value` as input `index`; past the end, the inputs between are omitted ones."""
        old = self.input(index)
        if old is value:
            return
        while len(self._inputs) <= index:
            self._inputs.append(None)
        if old is not None:
            del old._uses[Use(self, index)]
        self._inputs[index] = value
        if value is not None:
            value._uses[Use(self, index)] = None
        while self._inputs and self._inputs[-1] is None:
            self._inputs.pop()
        self.graph.root.touch()

    def set_op(self, op: Op) -> None:
        """Do `op` instead, on the same inputs, giving the same outputs."""
        self._op = op
        self.graph.root._mark(self)

    def before(self, other: Node) -> bool:
        """Whether this node stands before `other` in their common graph."""
        return self.position < other.position

    def infer(self) -> None:
        """Set the outputs' types to what the op says of the inputs' types; GraphError if those do not fit."""
        try:
            types = self.op.infer(
                [v.type if v is not None else None for v in self._inputs],
                [v.data if v is not None else None for v in self._inputs],
                len(self.outputs),
            )
        except GraphError as error:
            raise GraphError(f"'{self.name}': {error}") from None
        for value, type in zip(self.outputs, types, strict=True):
            if type is not None:
                value.type = type

    def captures(self) -> list[Value]:
        """The values of surrounding graphs that the node's bodies read, each once."""
        return list(dict.fromkeys(value for body in self.bodies.values() for value in body.captures()))

    def __repr__(self) -> str:
        return f"{self.op.title} '{self.name}'"


class Graph:
    """A graph of nodes, or the body of one (`parent` is then the node)."""

    def __init__(self, name: str = "main", parent: Node | None = None) -> None:
        self.name = name
        self.parent = parent
        self.info: ModelInfo = ModelInfo() if parent is None else parent.graph.root.info
        self.defaults: dict[Value, Array] = {}  # inputs that may be left out, and what they are then
        self._version = 0
        self._editor = ""
        self._inputs: list[Value] = []
        self._outputs: list[Value] = []
        self._output_names: list[str] = []
        self._values: dict[str, Value] = {}
        self._constants: dict[Value, None] = {}
        self._nodes: dict[str, Node] = {}
        self._order: Order[Node] = Order()
        self._taken: set[str] = set() if parent is None else parent.graph.root._taken
        self._counters: dict[str, int] = {}
        self._node_counters: dict[str, int] = {}

    # ---- reading

    @property
    def root(self) -> Graph:
        """The outermost graph."""
        graph = self
        while graph.parent is not None:
            graph = graph.parent.graph
        return graph

    @property
    def version(self) -> int:
        """Grows with every edit of the nest; equal versions mean an unchanged graph."""
        return self.root._version

    @property
    def inputs(self) -> tuple[Value, ...]:
        return tuple(self._inputs)

    @property
    def outputs(self) -> tuple[Value, ...]:
        return tuple(self._outputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """What the outputs are called outside; an output keeps its name when another value takes its place."""
        return tuple(self._output_names)

    @property
    def constants(self) -> tuple[Value, ...]:
        """The constants, in the order in which they were added."""
        return tuple(self._constants)

    @property
    def values(self) -> Iterator[Value]:
        """Inputs, constants, then node outputs in topological order; this graph's only."""
        yield from self._inputs
        yield from self._constants
        for node in self:
            yield from node.outputs

    def __iter__(self) -> Iterator[Node]:
        """The nodes in topological order. The node at hand may be removed, and nodes inserted, while iterating."""
        return iter(self._order)

    def __reversed__(self) -> Iterator[Node]:
        return reversed(self._order)

    def __len__(self) -> int:
        return len(self._nodes)

    def walk(self) -> Iterator[Node]:
        """The nodes of this graph and, after each, those of its bodies."""
        for node in self:
            yield node
            for body in node.bodies.values():
                yield from body.walk()

    def graphs(self) -> Iterator[Graph]:
        """This graph and all bodies within it."""
        yield self
        for node in self:
            for body in node.bodies.values():
                yield from body.graphs()

    def value(self, name: str) -> Value:
        """The value of that name in this graph."""
        try:
            return self._values[name]
        except KeyError:
            raise GraphError(f"graph '{self.name}' has no value '{name}'") from None

    def node(self, name: str) -> Node:
        """The node of that name in this graph."""
        try:
            return self._nodes[name]
        except KeyError:
            raise GraphError(f"graph '{self.name}' has no node '{name}'") from None

    def find(self, name: str) -> Value | None:
        """The value that `name` means here: of this graph, or of one around it."""
        graph: Graph | None = self
        while graph is not None:
            if name in graph._values:
                return graph._values[name]
            graph = graph.parent.graph if graph.parent is not None else None
        return None

    def encloses(self, other: Graph) -> bool:
        """Whether `other` is a body somewhere within this graph."""
        while other.parent is not None:
            other = other.parent.graph
            if other is self:
                return True
        return False

    def captures(self) -> list[Value]:
        """The values of surrounding graphs that this body reads, each once."""
        found: dict[Value, None] = {}
        for graph in self.graphs():
            read = [v for node in graph for v in node._inputs] + graph._outputs
            found.update((v, None) for v in read if v is not None and v.graph.encloses(self))
        return list(found)

    # ---- editing

    @contextmanager
    def edited_by(self, name: str) -> Iterator[None]:
        """While open, the nodes that are inserted or given another op note `name` in their origin."""
        root = self.root
        outer, root._editor = root._editor, name
        try:
            yield
        finally:
            root._editor = outer

    def _mark(self, node: Node) -> None:
        if self._editor:
            node.origin = node.origin.touched_by(self._editor)
        self.touch()

    def touch(self) -> None:
        """Note that the graph changed, so that what was computed from it is stale."""
        self._version += 1

    def unique_name(self, hint: str) -> str:
        """`hint`, or `hint_1`, `hint_2` … if the nest has it already; the name is then taken."""
        name, root = hint or "value", self.root
        while name in self._taken:
            count = root._counters.get(hint, 0) + 1
            root._counters[hint] = count
            name = f"{hint or 'value'}_{count}"
        self._taken.add(name)
        return name

    def add_input(self, name: str, type: Type | None, default: Array | None = None) -> Value:
        """Add a graph input."""
        value = self._define(name, type)
        self._inputs.append(value)
        if default is not None:
            self.defaults[value] = default
        return value

    def remove_input(self, value: Value) -> None:
        """Remove an input that nothing reads."""
        if value._uses:
            raise GraphError(f"input '{value.name}' is still read by {value.uses[0].user!r}")
        self._inputs.remove(value)
        self.defaults.pop(value, None)
        self._forget(value)

    def add_constant(self, data: Array, name: str = "constant") -> Value:
        """Add a constant; `data` is kept as a read-only view, not copied."""
        value = self._define(self.unique_name(name), type_of_array(data))
        value._data = _read_only(data)
        self._constants[value] = None
        return value

    def remove_constant(self, value: Value) -> None:
        """Remove a constant that nothing reads."""
        if value._uses:
            raise GraphError(f"constant '{value.name}' is still read by {value.uses[0].user!r}")
        del self._constants[value]
        self._forget(value)

    def add_output(self, value: Value, name: str = "") -> None:
        """Give `value` out as the next output, under `name` (the value's own name if empty)."""
        self._outputs.append(value)
        self._output_names.append(name or value.name)
        self._taken.add(self._output_names[-1])
        value._uses[Use(self, len(self._outputs) - 1)] = None
        self.root.touch()

    def set_output(self, index: int, value: Value) -> None:
        """Give `value` out as output `index`; the output keeps its name."""
        del self._outputs[index]._uses[Use(self, index)]
        self._outputs[index] = value
        value._uses[Use(self, index)] = None
        self.root.touch()

    def remove_output(self, index: int) -> None:
        """Give output `index` out no longer; those after it move up."""
        for i, value in enumerate(self._outputs[index:], index):
            del value._uses[Use(self, i)]
        del self._outputs[index], self._output_names[index]
        for i, value in enumerate(self._outputs[index:], index):
            value._uses[Use(self, i)] = None
        self.root.touch()

    def insert(
        self,
        op: Op,
        inputs: Sequence[Value | None],
        *,
        before: Node | None = None,
        after: Node | None = None,
        name: str = "",
        outputs: int | Sequence[str | None] = 1,
        types: Sequence[Type | None] | None = None,
        origin: Origin | None = None,
    ) -> Node:
        """Add a node: before or after another, or at the end.

        Parameters
        ----------
        op, inputs : what it does, and to what; None omits an optional input
        before, after : its neighbour; give at most one
        name : the node's name, made unique; from the op if empty
        outputs : how many outputs, or their names (made unique; an empty one is made from the node's name; None omits
            an optional output)
        types : the outputs' types; inferred if not given
        origin : where it comes from; that of the neighbour if not given

        Raises
        ------
        GraphError : the neighbour is not in this graph, or both are given, or the inputs do not fit the op.
        """
        anchor = before or after
        if before is not None and after is not None:
            raise GraphError(f"cannot insert {op.title}: give one neighbour, not two")
        if anchor is not None:
            self._check_own(anchor)
        if origin is None:
            origin = anchor.origin if anchor is not None else Origin()
        node = Node(self, op, self._unique_node_name(name or op.name), origin)
        self._nodes[node.name] = node
        self._order.link(node, before.preceding if before is not None else after or self._order.last)
        for index, value in enumerate(inputs):
            if value is not None:
                node.set_input(index, value)
        names: list[str | None] = [""] * outputs if isinstance(outputs, int) else list(outputs)
        made = []
        for index, wanted in enumerate(names):
            hint = wanted or (node.name if len(names) == 1 else f"{node.name}.{index}")
            made.append(self._define(self.unique_name(hint), types[index] if types else None, node, index))
            made[-1]._unwanted = wanted is None
        node.outputs = tuple(made)
        if types is None:
            try:
                node.infer()
            except GraphError:
                self._drop(node)
                raise
        self.root._mark(node)
        return node

    def add_body(self, node: Node, key: str, name: str = "body") -> Graph:
        """Give `node` an empty body under attribute name `key`."""
        node.bodies[key] = Graph(name, node)
        return node.bodies[key]

    def remove(self, node: Node) -> None:
        """Remove a node whose outputs nothing reads."""
        self._check_own(node)
        for value in node.outputs:
            if value._uses:
                raise GraphError(f"{node!r} cannot be removed: '{value.name}' is read by {value.uses[0].user!r}")
        for body in node.bodies.values():
            body._release()
        self._drop(node)

    def replace(self, node: Node, values: Sequence[Value]) -> None:
        """Make `values` take the place of the node's outputs everywhere, and remove the node."""
        self._check_own(node)
        if len(values) != len(node.outputs):
            raise GraphError(f"{node!r} has {len(node.outputs)} outputs and cannot be replaced by {len(values)} values")
        for old, new in zip(node.outputs, values, strict=True):
            old.replace_uses(new)
        self.remove(node)

    def inline(self, body: Graph) -> None:
        """Move a body's constants and nodes to just behind the node that owns it; the body still gives its values out.

        Raises
        ------
        GraphError : the body has inputs, or its node is not in this graph.
        """
        owner = body.parent
        if body._inputs or owner is None or owner.graph is not self:
            raise GraphError(f"body '{body.name}' cannot be inlined: it has inputs, or its node stands elsewhere")
        for value in body.values:
            value.graph = self
            self._values[value.name] = value
        self._constants.update(body._constants)
        last = owner
        for node in list(body):
            node.graph, node.name = self, self._unique_node_name(node.name)
            self._nodes[node.name] = node
            self._order.link(node, last)
            last = node
        body._values, body._constants, body._nodes, body._order = {}, {}, {}, Order()
        self.root.touch()

    def move(self, node: Node, *, before: Node) -> None:
        """Move a node to just before another of this graph; the caller keeps the order topological."""
        self._check_own(node)
        self._check_own(before)
        if node is not before:
            self._order.unlink(node)
            self._order.link(node, before.preceding)
            self.root.touch()

    def copy(self) -> Graph:
        """A copy of the whole nest that shares the constants' arrays with this one; of a root graph only."""
        if self.parent is not None:
            raise GraphError(f"body '{self.name}' cannot be copied alone: copy the graph around it")
        new = Graph(self.name)
        new.info = replace(self.info, opsets=dict(self.info.opsets), metadata=dict(self.info.metadata))
        self._copy_into(new, {})
        return new

    # ---- inside

    def _copy_into(self, new: Graph, map: dict[Value, Value]) -> None:
        for value in self._inputs:
            map[value] = new.add_input(value.name, value.type, self.defaults.get(value))
        for value in self._constants:
            assert value._data is not None
            map[value] = copied = new._define(value.name, value.type)
            copied._data = value._data
            new._constants[copied] = None
        for node in self:
            made = new.insert(
                node.op,
                [map[v] if v is not None else None for v in node._inputs],
                name=node.name,
                outputs=0,
                types=(),
                origin=node.origin,
            )
            for key, body in node.bodies.items():
                body._copy_into(new.add_body(made, key, body.name), map)
            made.outputs = tuple(new._define(v.name, v.type, made, v.index) for v in node.outputs)
            for value, copied in zip(node.outputs, made.outputs, strict=True):
                copied._unwanted = value._unwanted
            map.update(zip(node.outputs, made.outputs, strict=True))
        for value, name in zip(self._outputs, self._output_names, strict=True):
            new.add_output(map[value], name)

    def _define(self, name: str, type: Type | None, producer: Node | None = None, index: int = 0) -> Value:
        if name in self._values:
            raise GraphError(f"graph '{self.name}' has a value '{name}' already")
        self._taken.add(name)
        value = Value(self, name, type, producer, index)
        self._values[name] = value
        self.root.touch()
        return value

    def _forget(self, value: Value) -> None:
        del self._values[value.name]
        self.root.touch()

    def _release(self) -> None:
        """Undo every use that this body makes of values around it."""
        for index, value in enumerate(self._outputs):
            value._uses.pop(Use(self, index), None)
        for node in self:
            for index in reversed(range(len(node._inputs))):
                node.set_input(index, None)
            for body in node.bodies.values():
                body._release()

    def _check_own(self, node: Node) -> None:
        if node.graph is not self or node.removed:
            raise GraphError(f"{node!r} is not a node of graph '{self.name}'" + ": it was removed" * node.removed)

    def _drop(self, node: Node) -> None:
        for index in reversed(range(len(node._inputs))):
            node.set_input(index, None)
        for value in node.outputs:
            self._forget(value)
        del self._nodes[node.name]
        self._order.unlink(node)
        node.removed = True
        self.root.touch()

    def _unique_node_name(self, hint: str) -> str:
        name = hint
        while name in self._nodes:
            count = self._node_counters.get(hint, 0) + 1
            self._node_counters[hint] = count
            name = f"{hint}_{count}"
        return name

    def __repr__(self) -> str:
        return f"<Graph '{self.name}': {len(self)} nodes>"


def _read_only(array: Array) -> Array:
    """A view of the array that cannot be written through."""
    if not array.flags.writeable:
        return array
    view = array.view()
    view.flags.writeable = False
    return view

"""What was read into a graph: every name defined once in the nest, and before it is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from irc.graph import Graph, Value
from irc.text.syntax import Definition, GraphSyntax, InputSyntax, NodeSyntax, Reference, WeightSyntax
from irc.types import Type

Fail = Callable[[int, str], NoReturn]
_Scope = dict[str, Value]


def build(syntax: GraphSyntax, fail: Fail) -> Graph:
    """The graph; `fail(offset, message)` raises for the place in the text."""
    builder = _Builder(fail)
    graph = Graph(syntax.name)
    graph.info = syntax.info
    builder.fill(graph, syntax, {})
    # outputs come last: their names, which may be those of other values, must not push a value's name aside
    for inner, value, name in builder.outputs:
        inner.add_output(value, name)
    return graph


class _Builder:
    def __init__(self, fail: Fail) -> None:
        self.fail = fail
        self.defined: set[str] = set()
        self.outputs: list[tuple[Graph, Value, str]] = []

    def fill(self, graph: Graph, syntax: GraphSyntax, outer: _Scope) -> None:
        scope = dict(outer)
        for statement in syntax.statements:
            match statement:
                case InputSyntax(value, default):
                    self.define(value)
                    scope[value.name] = graph.add_input(value.name, value.type, default)
                case WeightSyntax(value, data):
                    self.define(value)
                    scope[value.name] = graph.add_constant(data, value.name)
                case NodeSyntax():
                    self.node(graph, statement, scope)
        for reference, name in syntax.outputs:
            self.outputs.append((graph, self.resolve(reference, scope), name))

    def node(self, graph: Graph, syntax: NodeSyntax, scope: _Scope) -> None:
        inputs = [None if reference is None else self.resolve(reference, scope) for reference in syntax.inputs]
        if syntax.name in graph._nodes:
            self.fail(syntax.offset, f"graph '{graph.name}' has a node '{syntax.name}' already")
        types: list[Type | None] = []
        for output in syntax.outputs:
            self.define(output)
            types.append(output.type)
        names = [output.name for output in syntax.outputs]
        node = graph.insert(syntax.op, inputs, name=syntax.name, outputs=names, types=types, origin=syntax.origin)
        for key, body in syntax.bodies.items():
            self.fill(graph.add_body(node, key, body.name), body, scope)
        scope.update((value.name, value) for value in node.outputs)

    def define(self, value: Definition) -> None:
        if value.name in self.defined:
            self.fail(value.offset, f"value '%{value.name}' is defined twice")
        self.defined.add(value.name)

    def resolve(self, reference: Reference, scope: _Scope) -> Value:
        value = scope.get(reference.name)
        if value is None:
            where = "before it is defined" if reference.name in self.defined else "but not defined here"
            self.fail(reference.offset, f"value '%{reference.name}' is read {where}")
        return value

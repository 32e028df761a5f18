"""If: both branches are in the program, and the condition is read when it runs."""

from __future__ import annotations

from irc.backends.c.lowering.builder import Builder
from irc.backends.c.lowering.rules import lower_nodes, lowers
from irc.backends.c.program import Call, Flow, Step
from irc.backends.c.views import View
from irc.errors import BackendError
from irc.graph import Graph, Node


@lowers(("", "If"), outputs=1 << 30)
def lower_if(b: Builder, node: Node) -> None:
    """What the branches read is computed before; each copies what it gives to where the node's outputs lie."""
    for value in node.captures():
        b.view(value, node)
    condition = b.input(node, 0)
    if condition.elements != 1:
        raise BackendError(f"{node!r}: its condition has {condition.elements} elements; it must have one")
    homes = [b.output(value) if value.use_count else None for value in node.outputs]
    _mark(b, node, Flow.IF, condition)
    _branch(b, node, node.bodies["then_branch"], homes)
    _mark(b, node, Flow.ELSE, condition)
    _branch(b, node, node.bodies["else_branch"], homes)
    _mark(b, node, Flow.END, condition)


def _mark(b: Builder, node: Node, flow: Flow, condition: View) -> None:
    """The condition counts as read until the END, so that no branch writes over it before all threads have seen it."""
    b.steps.append(Step(Call("", (condition,)), node, (condition.buffer,), flow=flow))


def _branch(b: Builder, node: Node, body: Graph, homes: list[View | None]) -> None:
    with b.within(body):
        lower_nodes(b, body)
        for value, home in zip(body.outputs, homes, strict=True):
            if home is None:
                continue
            view = b.view(value, node)
            if view.shape != home.shape:
                raise BackendError(f"{node!r}: its branches give shapes {list(view.shape)} and {list(home.shape)}")
            b.copy(view, home, node)

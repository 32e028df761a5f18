"""Ops that are compositions of others, written out as those before anything is lowered.

    @composes(SwiGLU)
    def swiglu(new: Nodes, node: Node) -> list[Value] | None: ...

A composition inserts nodes before the one that it takes the place of, and returns what stands for its outputs; None
where it cannot, because a shape is not known or an input is no constant. It computes in float32 what the op defines,
in another order of operations: the last bits may differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from irc.backends.c.lowering.rules import Key, key_of
from irc.graph import Node, Value
from irc.op import Op
from irc.types import Array

Given = Value | Array | None


class Nodes:
    """Inserts nodes before another, named after it; arrays become constants."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.made: list[Node] = []

    def __call__(self, op: Op, *inputs: Given) -> Value:
        """The first output of a new node."""
        return self.several(op, 1, *inputs)[0]

    def several(self, op: Op, outputs: int, *inputs: Given) -> Sequence[Value]:
        """The outputs of a new node."""
        name = f"{self.node.name}.{op.name.lower()}"
        values = [self.constant(v) if isinstance(v, np.ndarray) else v for v in inputs]
        self.made.append(self.node.graph.insert(op, values, before=self.node, name=name, outputs=outputs))
        return self.made[-1].outputs

    def constant(self, data: Array) -> Value:
        """A new constant."""
        return self.node.graph.add_constant(data, f"{self.node.name}.constant")

    def given(self, index: int) -> Value:
        """An input of the node that must be there."""
        value = self.node.input(index)
        assert value is not None, f"{self.node!r} has no input {index}"
        return value

    def shape(self, index: int) -> tuple[int, ...] | None:
        """The shape of an input, None if not all of it is known."""
        return static_shape(self.node.input(index))


def static_shape(value: Value | None) -> tuple[int, ...] | None:
    """The shape of a value, None if not all of it is known."""
    type = value.tensor_type if value is not None else None
    return type.static_shape if type is not None and type.is_static else None


def dims(*numbers: int) -> Array:
    """A shape, or axes."""
    return np.array(numbers, np.int64)


def number(value: float, like: Value) -> Array:
    """A scalar of the dtype of a value."""
    assert like.tensor_type is not None
    return np.array(value, like.tensor_type.dtype.numpy)


Composition = Callable[[Nodes, Node], "list[Value] | None"]

COMPOSITIONS: dict[Key, Composition] = {}


def composes(*keys: Key) -> Callable[[Composition], Composition]:
    """Enter a composition in the table."""

    def enter(made: Composition) -> Composition:
        COMPOSITIONS.update(dict.fromkeys(keys, made))
        return made

    return enter


def is_composed(op: Op) -> bool:
    """Whether there is a composition for the op."""
    return key_of(op) in COMPOSITIONS


def compose(node: Node) -> bool:
    """Put a composition in the node's place, and compositions in the places of the nodes that it is made of.

    Returns
    -------
    Whether there was one for the node.
    """
    rule, new = COMPOSITIONS.get(key_of(node.op)), Nodes(node)
    values = None if rule is None else rule(new, node)
    if values is None:
        return False
    count = len(node.outputs)
    node.graph.replace(node, [*values[:count], *values[:1] * (count - len(values))])
    for each in new.made:
        compose(each)
    return True

"""Small edits and questions that the exact passes share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from irc.graph import Graph, Node, Value
from irc.types import Array, TensorType


def substitute(node: Node, value: Value) -> None:
    """Make `value` take the place of the node's first output, and remove the node; its other outputs must be unread.

    A value of unknown type takes over the type that the output had. What only the node read goes with it.
    """
    if value.type is None:
        value.type = node.output.type
    node.output.replace_uses(value)
    remove_dead(node)


def read_instead(node: Node, index: int, value: Value | None) -> None:
    """Make `value` input `index` of the node; what only that input needed is removed."""
    old = node.input(index)
    node.set_input(index, value)
    if old is not None and old.producer is not None:
        remove_dead(old.producer)


def remove_dead(node: Node) -> None:
    """Remove the node if nothing reads it, and then what only it read; nodes with bodies stay for `eliminate-dead`."""
    pending = [node]
    while pending:
        dead = pending.pop()
        if dead.removed or dead.bodies or any(value.use_count for value in dead.outputs):
            continue
        pending.extend(v.producer for v in dead.inputs if v is not None and v.producer is not None)
        dead.graph.remove(dead)


def only_first_output_read(node: Node) -> bool:
    """Whether nothing reads the node's outputs past the first."""
    return all(value.use_count == 0 for value in node.outputs[1:])


def set_constant(node: Node, index: int, data: Array, name: str) -> None:
    """Make input `index` of the node the constant `data`.

    A constant that only this node reads gets the data and keeps its name; any other is left alone, and a new constant
    takes its place, called after it, or `name` if there was none.
    """
    old = node.input(index)
    if old is not None and old.is_constant and old.use_count == 1:
        old.data = data
    else:
        node.set_input(index, node.graph.add_constant(data, old.name if old is not None else name))


def other_reader(value: Value, node: Node) -> str:
    """Who reads `value` besides `node`, for a reason."""
    for user, _ in value.uses:
        if user is not node:
            return f"graph output of '{user.name}'" if isinstance(user, Graph) else repr(user)
    return f"{node!r} again"


def first_reader(value: Value) -> Node | None:
    """The first node of the value's graph that reads it, itself or in its bodies; None if it is only given out."""
    first: Node | None = None
    for user, _ in value.uses:
        node = user.parent if isinstance(user, Graph) else user
        while node is not None and node.graph is not value.graph:
            node = node.graph.parent
        if node is not None and (first is None or node.before(first)):
            first = node
    return first


def around(graphs: Sequence[Graph]) -> Graph:
    """The innermost graph that is or encloses all of them."""
    home = graphs[0]
    for graph in graphs[1:]:
        while home is not graph and not home.encloses(graph):
            assert home.parent is not None
            home = home.parent.graph
    return home


def moved(constant: Value, home: Graph) -> Value:
    """The constant in `home`, which is its graph or one around it; all readers read it there."""
    if constant.graph is home:
        return constant
    assert constant.data is not None
    made = home.add_constant(constant.data, constant.name)
    constant.replace_uses(made)
    constant.graph.remove_constant(constant)
    return made


def same_known_shape(a: Value, b: Value) -> bool:
    """Whether both values surely have the same dtype and shape: every dimension a number or a symbol, and equal."""
    known = isinstance(a.type, TensorType) and a.type.shape is not None and None not in a.type.shape
    return known and a.type == b.type


def scalar_of(array: Array | None) -> Any:
    """The one number that all elements of the array are, None if they differ, there are none, or it has no numbers."""
    if array is None or array.size == 0 or array.dtype == object:
        return None
    first = array.reshape(-1)[0] if array.flags.c_contiguous else array.flat[0]
    if array.size > 1 and not np.all(array == first):
        return None
    return first.item() if isinstance(first, np.generic) else first


def broadcasts_into(data: Array, value: Value) -> bool:
    """Whether an elementwise op of `data` and `value` surely has the shape of `value`."""
    type = value.tensor_type
    if data.ndim == 0:
        return True
    if type is None or type.shape is None or data.ndim > len(type.shape):
        return False
    dims = type.shape[len(type.shape) - data.ndim :]
    return all(d == 1 or (isinstance(n, int) and n == d) for d, n in zip(data.shape, dims, strict=True))


def per_channel(data: Array, value: Value) -> Array | None:
    """`data`, broadcast against `value`, as a vector over axis 1 of that; None if it is not one number a channel."""
    type = value.tensor_type
    if type is None or type.shape is None or not data.ndim <= len(type.shape) >= 2:
        return None
    shape = (*(1,) * (len(type.shape) - data.ndim), *data.shape)
    if shape[1] != type.shape[1] or any(d != 1 for k, d in enumerate(shape) if k != 1):
        return None
    return data.reshape(-1)

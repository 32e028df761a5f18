"""Label tracing: which elements of a graph's tensors and weights can only be removed together.

Every element of every activation carries a label, the unit that it belongs to. One walk over the graph:

    movement        is run on the label arrays
    elementwise     operands unify
    contraction     the weight's input slice takes the input's labels, its output channels get fresh ones
    reduction       an axis disappears; what is left are rows (heads) or columns
    anything else   a barrier: what it reads is frozen

A weight's element goes if any of its roles says so: roles are label arrays over the weight, one for each axis or pair
of axes by which it is tied to activations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from irc.analysis.channels.arrays import core, padded, spread, varying, zeros
from irc.analysis.channels.concrete import Concrete, concretize
from irc.analysis.channels.labels import Labels
from irc.graph import Graph, Node, Use, Value
from irc.op import Op
from irc.ops.shape import Shape, Size
from irc.ops.tensors import TORCH_DTYPES
from irc.types import Array


@dataclass(frozen=True)
class Role:
    """How a constant is tied to labels: `labels` over its shape, at one use of it, or at all of them (`use` None)."""

    value: Value
    use: Use | None
    labels: Array


@dataclass(frozen=True)
class Barrier:
    """A place that keeps channels whole: the node (None for the graph itself) and why."""

    node: Node | None
    reason: str


Rule = Callable[["Trace", Node], None]
_UNREAD = -1  # the label of elements of a constant that a movement leaves out


class Trace:
    """The walk and what it finds.

    labels : the classes and blocks
    of : the label array of every labelled activation
    sources : for a value that is moved out of a constant, that constant and the flat index of each element in it
    roles : of constants
    tied : of every constant its tied uses, each with the labels of its roles that vary
    followed : the uses of constants, and of what is moved out of them, that tied roles account for
    barriers : what keeps channels whole
    """

    def __init__(self, graph: Graph, concrete: Concrete, rules: Callable[[Node], Rule]) -> None:
        self.graph = graph
        self.concrete = concrete
        self.labels = Labels()
        self.of: dict[Value, Array] = {}
        self.sources: dict[Value, tuple[Value, Array]] = {}
        self.roles: dict[tuple[Value, Use | None], list[Array]] = {}
        self.tied: dict[Value, dict[Use, list[Array]]] = {}
        self.followed: set[Use] = set()
        self.barriers: list[Barrier] = []
        self.number: dict[Node, int] = {}
        for index, node in enumerate(graph):
            self.number[node] = index
            if not self._is_arithmetic_of_shapes(node):
                rules(node)(self, node)
        for value in graph.outputs:
            self.freeze(value, None, f"it is the graph's output '{value.name}'")
        self._freeze_unfollowed()
        self._freeze_untied()

    def _is_arithmetic_of_shapes(self, node: Node) -> bool:
        """Whether the node computes whole numbers from shapes and constants, which are no channels."""
        if isinstance(node.op, Shape | Size):
            return True
        known = all(v in self.concrete.static and not _is_float(v) for v in node.outputs)
        return known and not any(v in self.of for v in node.inputs if v is not None)

    # ---- reading

    def shape(self, value: Value) -> tuple[int, ...]:
        """The concrete shape of a value."""
        return self.concrete.shapes[value]

    def read(self, value: Value | None) -> Array | None:
        """The labels of an activation as their classes; None if it has none."""
        held = None if value is None else self.of.get(value)
        return None if held is None else self.labels.canonical(held)

    def read_or_zeros(self, value: Value) -> Array:
        """As `read`, with the label 0 everywhere for an activation without labels."""
        held = self.read(value)
        return zeros(self.shape(value)) if held is None else held

    def static(self, value: Value | None) -> Array | None:
        """The numbers of a value that depends on constants and shapes only."""
        return None if value is None else self.concrete.static.get(value)

    def is_weight(self, value: Value | None) -> bool:
        """Whether the value is a constant, or one that was only moved."""
        return value is not None and (value.is_constant or value in self.sources)

    # ---- writing

    def give(self, value: Value, labels: Array | None) -> None:
        """Set the labels of a node's output."""
        if labels is not None and value in self.concrete.shapes:
            self.of[value] = self.labels.canonical(spread(labels, self.shape(value)))

    def freeze(self, value: Value | None, node: Node | None, reason: str) -> None:
        """Keep all channels of an activation, and note why."""
        held = self.read(value)
        if held is not None and core(held).any():
            self.labels.freeze(held)
            self.barriers.append(Barrier(node, reason))

    def barrier(self, node: Node, reason: str = "") -> None:
        """Keep whole whatever the node reads."""
        said = reason or f"irc does not know what {node.op.title} does to channels"
        for value in dict.fromkeys([*node.inputs, *node.captures()]):
            self.freeze(value, node, said)

    def role(self, value: Value, labels: Array, use: Use, *, tied: bool = False) -> None:
        """Tie a weight to labels that broadcast to its shape, at one use of it.

        tied : it is one weight at all such uses, and stays one; roles that vary along the same axes unify
        """
        labels = self.labels.canonical(spread(labels, self.shape(value)))
        constant, index = self.sources.get(value, (value, None))
        tied = tied or index is not None
        if tied:
            self.followed.add(use)
            self.tied.setdefault(constant, {}).setdefault(use, [])
        if not varying(labels):
            return
        if index is not None:
            labels = self._at_source(constant, index, labels)
        if tied:
            self.tied[constant][use].append(labels)
        held = self.roles.setdefault((constant, None if tied else use), [])
        for other in held:
            if varying(self.labels.canonical(other)) == varying(labels):
                self.labels.unify(other, labels)
                return
        held.append(labels)

    def source(self, value: Value, output: Value, index: Array, use: Use) -> None:
        """Note that an output is moved out of a weight, and where its elements come from."""
        self.followed.add(use)
        self.sources[output] = self.sources.get(value, (value, None))[0], index

    def _freeze_unfollowed(self) -> None:
        """Keep whole what is moved out of a weight and then read in a way that no role accounts for."""
        for value, (constant, _) in self.sources.items():
            unknown = [use for use in value.uses if use not in self.followed]
            for labels in self.roles.get((constant, None), []) if unknown else []:
                self.labels.freeze(self.labels.canonical(labels))
                user = unknown[0].user
                self.barriers.append(Barrier(user if isinstance(user, Node) else None, f"it reads '{value.name}'"))

    def _freeze_untied(self) -> None:
        """Keep whole the axes of a weight that another of its tied uses reads whole: the input, or words, say."""
        for constant, uses in self.tied.items():
            for labels in self.roles.get((constant, None), []):
                axes = varying(self.labels.canonical(labels))
                for use, mine in uses.items():
                    if axes and all(varying(self.labels.canonical(each)) != axes for each in mine):
                        self.labels.freeze(labels)
                        user = use.user if isinstance(use.user, Node) else None
                        self.barriers.append(Barrier(user, f"it reads '{constant.name}' along an axis that stays"))
                        break

    def _at_source(self, constant: Value, index: Array, labels: Array) -> Array:
        """Labels of a moved constant where its elements come from; those that were not taken follow them."""
        if core(index).size != core(labels).size or core(index).shape != core(labels).shape:
            index, labels = np.broadcast_arrays(index, labels)
        else:
            index, labels = core(index), core(labels)
        place, given = index.reshape(-1), labels.reshape(-1)
        flat = np.full(int(np.prod(self.shape(constant), dtype=np.int64)), _UNREAD)
        flat[place] = given
        twice = flat[place] != given  # an element that is read at several places
        if twice.any():
            self.labels.unify(flat[place][twice], given[twice])
        held = flat.reshape(self.shape(constant))
        for axis in range(held.ndim):
            one = held.max(axis, keepdims=True)
            if ((held == one) | (held == _UNREAD)).all():
                held = np.broadcast_to(one, held.shape)
        return self.labels.canonical(np.where(held == _UNREAD, 0, held))

    # ---- operands

    def elementwise(
        self, node: Node, indices: tuple[int, ...], shape: tuple[int, ...], *, force: bool = False
    ) -> Array | None:
        """The labels of a result made element by element: those of activations unify, constants take theirs.

        shape : of the result, to which they broadcast
        """
        given = [(k, v) for k in indices if (v := node.input(k)) is not None]
        labelled = [(k, padded(held, len(shape))) for k, v in given if (held := self.read(v)) is not None]
        if not labelled:
            return None
        place, reference = max(labelled, key=lambda each: len(varying(each[1])))
        for k, value in given:
            if k == place:
                continue
            reference = self.labels.canonical(reference)
            self.combine(value, Use(node, k), reference, force=force)
        return spread(self.labels.canonical(reference), shape)

    def combine(self, value: Value, use: Use, reference: Array, *, force: bool = False) -> None:
        """Unify an operand, a weight or an activation, with labels that it broadcasts against."""
        if self.is_weight(value):
            self.tie(value, use, reference, force=force)
        else:
            assert isinstance(use.user, Node)
            self.pair(padded(self.read_or_zeros(value), reference.ndim), reference, use.user)
            if self.read(value) is None and not np.array_equal(self.labels.canonical(reference), reference):
                self.barriers.append(Barrier(use.user, f"it combines them with '{value.name}', which is not pruned"))

    def tie(self, value: Value, use: Use, reference: Array, *, force: bool = False) -> None:
        """Give a constant that broadcasts against labels its role: theirs, along the axes that it has."""
        shape = (1,) * (reference.ndim - len(self.shape(value))) + self.shape(value)
        single = tuple(k for k in varying(reference) if shape[k] == 1)
        if len(single) == len(varying(reference)):
            return
        held = self.labels.collapse(reference, single, force=force) if single else reference
        held = held[tuple(slice(0, 1) if n == 1 else slice(None) for n in shape)]
        self.role(value, held[(0,) * (held.ndim - len(self.shape(value)))], use)

    def pair(self, other: Array, reference: Array, node: Node) -> None:
        """Unify the labels of two operands of the same rank; `reference` varies along most axes."""
        single = tuple(k for k in varying(reference) if other.shape[k] == 1)
        if len(single) == len(varying(reference)):
            if varying(other) and varying(reference):
                self._tangle(other, reference, node)
            elif varying(other):
                self.labels.unify(other, reference)
            return
        held = self.labels.collapse(reference, single, force=False) if single else reference
        if any(held.shape[k] == 1 for k in varying(other)):
            self._tangle(other, held, node)
        else:
            self.labels.unify(other, held)

    def _tangle(self, a: Array, b: Array, node: Node) -> None:
        for each in (a, b):
            self.labels.freeze(each)
        self.barriers.append(Barrier(node, "its operands have channels along different axes"))

    # ---- running a movement

    def move(self, node: Node, array: Array, index: int = 0) -> list[Array] | None:
        """Run the node's op on labels in place of input `index`; None if its other inputs depend on data."""
        others: list[Any] = []
        for k, value in enumerate(node.inputs):
            known = self.static(value)
            if value is not None and k != index and known is None:
                return None
            others.append(array if k == index else known)
        return run_on_arrays(node, others)


def run_on_arrays(node: Node, inputs: list[Array | None], op: Op | None = None) -> list[Array]:
    """The outputs of a node's op (or of `op` instead) on arrays, whose axes of stride 0 stay so."""
    asked = {"outputs": len(node.outputs)} if len(node.outputs) > 1 else {}
    made = (op or node.op).run(*[None if a is None else _tensor(a) for a in inputs], **asked)
    return [each.numpy() for each in (made if isinstance(made, tuple | list) else (made,))]


def _tensor(array: Array) -> torch.Tensor:
    held = core(array)
    return torch.from_numpy(np.array(held)).expand(array.shape) if array.ndim else torch.from_numpy(np.array(array))


def _is_float(value: Value) -> bool:
    type = value.tensor_type
    return type is None or (type.dtype.is_float and type.dtype in TORCH_DTYPES)


def trace(graph: Graph, rules: Callable[[Node], Rule], dims: Mapping[str, int] | None = None) -> Trace:
    """Trace a graph.

    Raises
    ------
    DataError : it cannot be run on made-up inputs, see `concretize`.
    """
    return Trace(graph, concretize(graph, dims), rules)

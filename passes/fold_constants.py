"""Evaluation of what does not depend on the input."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from irc.errors import ExecutionError
from irc.execution import evaluate_node
from irc.graph import Graph, Node, Value
from irc.ops.binary import Mul
from irc.ops.cast import Cast
from irc.ops.shape import Shape, Size, Transpose
from irc.passes.base import Declined, Outcome, Pass, option
from irc.passes.edit import remove_dead
from irc.types import Array, TensorType, type_of_array

if TYPE_CHECKING:
    from irc.passes.context import Context

STORED_AS_CODES = frozenset({"QuantizeLinear", "DequantizeLinear", "FakeQuant", "DynamicQuantizeLinear"})
WEIGHT = 256  # elements from which on a constant is a weight, worth a node that reads it in another form
_MIB = 1 << 20


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Replace nodes that read constants only by their results, and an If of a constant condition by its branch.

        op(c1 ... cn)           =>   the constant op(c1 ... cn)
        Shape(x), Size(x)       =>   a constant, where the type of x says all of it
        If(true) {A} {B}        =>   A

    Valid because a deterministic op gives the same outputs whenever it runs; it is run here by the execution that also
    runs the model. Exact. One walk in topological order folds whole chains, in bodies too. Left alone: random ops and
    ops of unknown domains, sequences, and Q/DQ and FakeQuant of weights, which say how a weight is to be stored.
    Declined: results that would make the model grow by more than `max_bytes`, where the result counts against the
    constants that nothing else reads; a Transpose or a multiple of a constant that others read as it is
    (`dedup-weights` puts it there, so that the two share one copy); and, without `widen`, the Cast of a weight that is
    stored in a smaller float, as `cast-float` leaves it.

    Source: Aho, Lam, Sethi, Ullman, "Compilers" (2006), section 9.4; ONNX Shape-25, Size-25, If-25.
    """

    max_bytes: int = option(_MIB, help="largest growth of the model, in bytes, that folding one node may cause")
    widen: bool = option(False, help="weights stored in a smaller float take the one that they are computed in")

    def run(self, graph: Graph, context: Context) -> None:
        for node in graph:
            outcome = self._fold(node)
            if isinstance(outcome, Declined):
                context.decline(node, outcome.reason)
            if not node.removed:
                for body in node.bodies.values():
                    self.run(body, context)

    def _fold(self, node: Node) -> Outcome:
        if node.op.name == "If" and not node.op.domain:
            return _inline_branch(node)
        if isinstance(node.op, Shape | Size):
            data = _shape_data(node)
            if data is not None:
                return _replace(node, [data])
        if not _is_foldable(node):
            return None
        if _is_of_shared(node):
            return Declined("its constant is read as it is too; two copies would be stored")
        if not self.widen and (small := _smaller_float(node)) is not None:
            return Declined(f"its weight is stored as {small}; widen=true makes it a constant of the larger type")
        stated = [_stated_bytes(v) for v in node.outputs]
        if None not in stated:
            declined = self._grows(node, sum(b for b in stated if b is not None))
            if declined:  # before a result of any size is made
                return declined
        try:
            made = evaluate_node(node)
        except ExecutionError as error:
            return Declined(f"it cannot be evaluated: {error}")
        return self._grows(node, sum(a.nbytes for a in made)) or _replace(node, made)

    def _grows(self, node: Node, made: int) -> Declined | None:
        growth = made - sum(_freed_bytes(v, node) for v in dict.fromkeys(node.inputs))
        if growth <= self.max_bytes:
            return None
        return Declined(f"its result of {made:,} bytes would make the model {growth:,} bytes larger (max_bytes)")


def _is_foldable(node: Node) -> bool:
    return (
        node.op.deterministic
        and not node.bodies
        and node.op.name not in STORED_AS_CODES
        and all(v is None or v.is_constant for v in node.inputs)
        and all(v.type is None or isinstance(v.type, TensorType) for v in node.outputs)
    )


def _freed_bytes(value: Value | None, node: Node) -> int:
    """Bytes of the constant if nothing reads it once the node is gone, else 0."""
    if value is None or value.data is None or value.use_count > len(node.inputs):
        return 0
    return 0 if any(user is not node for user, _ in value.uses) else value.data.nbytes


def _is_of_shared(node: Node) -> bool:
    """Whether it makes a transposed copy, or a multiple, of a constant that others read as it is."""
    value = node.input(0)
    if value is None or value.data is None or value.use_count == 1:
        return False
    if isinstance(node.op, Transpose):
        return any(isinstance(u, Graph) or u.op != node.op for u, _ in value.uses)
    factor = node.constant(1) if isinstance(node.op, Mul) else None
    return factor is not None and not factor.ndim and value.data.size >= WEIGHT


def _smaller_float(node: Node) -> str | None:
    """The float type of the weight that the node casts to a larger one; None if it does not."""
    stored, made = node.constant(0), node.output.tensor_type
    if not isinstance(node.op, Cast) or stored is None or stored.size < WEIGHT or made is None:
        return None
    small = type_of_array(stored).dtype
    return small.numpy.name if small.is_float and made.dtype.is_float and small.bits < made.dtype.bits else None


def _stated_bytes(value: Value) -> int | None:
    type = value.tensor_type
    return type.bytes() if type is not None and type.is_static else None


def _shape_data(node: Node) -> Array | None:
    """What a Shape or Size gives, where the type of its input says so."""
    source = node.input(0)
    type = source.tensor_type if source is not None else None
    if type is None or type.shape is None:
        return None
    dims = type.shape
    if isinstance(node.op, Shape):
        dims = dims[node.op.start : node.op.end]
    numbers = [d for d in dims if isinstance(d, int)]
    if len(numbers) < len(dims):
        return None
    return np.array(numbers if isinstance(node.op, Shape) else math.prod(numbers), np.int64)


def _replace(node: Node, arrays: list[Array]) -> bool:
    for value, data in zip(node.outputs, arrays, strict=True):
        if value.use_count:
            value.replace_uses(node.graph.add_constant(data, value.name))
    remove_dead(node)
    return True


def _inline_branch(node: Node) -> Outcome:
    condition = node.constant(0)
    if condition is None or condition.size != 1:
        return None
    body = node.bodies["then_branch" if condition.item() else "else_branch"]
    node.graph.inline(body)  # behind the node, so the walk goes on with what was in the branch
    node.graph.replace(node, body.outputs)
    return True

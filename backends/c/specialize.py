"""A graph for one size of everything: symbols bound, shapes folded, compositions written out.

One walk in topological order, so that a shape that becomes known makes types and shapes behind it known.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto, numpy_helper

from irc.backends.c.dimensions import mentioned, size_of, symbols_of
from irc.backends.c.interface import explained
from irc.backends.c.lowering.attributes import onnx_attributes
from irc.backends.c.lowering.composed import compose, static_shape
from irc.errors import BackendError, ExecutionError, OptionError
from irc.execution import evaluate_node
from irc.graph import Graph, Node, Value
from irc.ops.conv import Conv
from irc.ops.onnx_op import OnnxOp
from irc.ops.pool import AveragePool, MaxPool
from irc.ops.shape import Shape, Size
from irc.passes.fold_constants import STORED_AS_CODES
from irc.passes.simplify_rules.refine import refine
from irc.types import Array, Dim, TensorType

_LARGEST = 1 << 16  # elements of constants that the walk computes with: shapes, places, masks; the rest is a pass's


def symbols(graph: Graph) -> list[str]:
    """The symbols among the dimensions of the graph's inputs, in order; an unknown dimension has none."""
    types = [value.tensor_type for value in graph.inputs]
    dims = [d for type in types if type is not None for d in type.shape or ()]
    return symbols_of(d for d in dims if isinstance(d, str))


def specialize(graph: Graph, dims: Mapping[str, int]) -> dict[str, int]:
    """Bind the symbols of the inputs, to 1 unless `dims` says more, and make every shape that follows from it known.

    Returns
    -------
    Every symbol with what it is bound to.

    Raises
    ------
    OptionError : `dims` has a symbol that the graph does not, or a size below 1.
    BackendError : not even the rank of an input is known, or a dimension of it cannot be computed.
    """
    bound = _bound(graph, dims)
    for value in graph.inputs:
        type = value.tensor_type
        if type is None or type.shape is None:
            raise BackendError(
                f"input '{value.name}' is of unknown rank; the C backend needs its shape: give the model typed inputs"
            )
        value.type = TensorType(type.dtype, tuple(_input_size(value, d, bound, dims) for d in type.shape))
    try:
        _walk(graph, bound)
    except BackendError as error:
        raise BackendError(explained(str(error), bound)) from None
    return bound


def _bound(graph: Graph, dims: Mapping[str, int]) -> dict[str, int]:
    known = symbols(graph)
    for name, size in dims.items():
        if name not in known:
            have = f"it has {', '.join(known)}" if known else "all its dimensions are numbers"
            raise OptionError(f"the model's inputs have no dimension '{name}'; {have}")
        if size < 1:
            raise OptionError(f"dimension '{name}' cannot be {size}; it must be 1 or more")
    return {name: dims.get(name, 1) for name in known}


def _input_size(value: Value, dim: Dim, bound: Mapping[str, int], dims: Mapping[str, int]) -> int:
    """A dimension of an input as a number, 1 if nothing is known of it."""
    if not isinstance(dim, str):
        return 1 if dim is None else dim
    size = size_of(dim, bound)
    others = [] if dim in dims else mentioned(dim, bound)
    if others:
        raise BackendError(
            f"input '{value.name}': its dimension '{dim}' depends on '{others[0]}' in a way that is no sum or product; "
            f"give its size: dims={{{dim!r}: ...}}"
        )
    if size is None or size < 1:
        sizes = ", ".join(f"{name!r}: {bound[name]}" for name in symbols_of([dim]) if name in bound)
        raise BackendError(
            f"input '{value.name}': its dimension '{dim}' is {'no number' if size is None else size} with "
            f"dims={{{sizes}}}; give other sizes"
        )
    return size


def _walk(graph: Graph, bound: Mapping[str, int]) -> None:
    for node in graph:
        for value in node.outputs:
            _substitute(value, bound)
        if _inline(node):
            continue  # what was in the branch stands behind the node
        refine(node)
        _check_windows(node)
        for body in node.bodies.values():
            _walk(body, bound)
        _take_branches(node)
        if not _fold(node):
            compose(node)


def _substitute(value: Value, bound: Mapping[str, int]) -> None:
    """Numbers for what is bound in the value's type; what is not known is left to inference."""
    type = value.tensor_type
    if type is not None and type.shape is not None:
        value.type = TensorType(type.dtype, tuple(_inner_size(d, bound) for d in type.shape))


def _inner_size(dim: Dim, bound: Mapping[str, int]) -> Dim:
    size = size_of(dim, bound) if isinstance(dim, str) else dim
    return None if isinstance(size, int) and size < 0 else size


def _check_windows(node: Node) -> None:
    """Refuse a convolution or pool whose window is larger than its padded input, and which so gives nothing."""
    op, known = node.op, [static_shape(v) for v in node.inputs[:2]]
    x = known[0] if known else None
    if x is None or not all(x) or not isinstance(op, Conv | MaxPool | AveragePool):
        return
    kernel = known[1] if isinstance(op, Conv) else ()
    if kernel is None:
        return
    axes = op.windows(x, kernel) if isinstance(op, Conv) else op.windows(x)
    if any(axis.size < 1 for axis in axes):
        raise BackendError(f"{node!r}: its window is larger than its input of shape {list(x)}")


def _inline(node: Node) -> bool:
    """Put the branch that a constant condition chooses in the place of an If."""
    condition = node.constant(0)
    if node.op.name != "If" or node.op.domain or condition is None or condition.size != 1:
        return False
    body = node.bodies["then_branch" if condition.item() else "else_branch"]
    node.graph.inline(body)
    node.graph.replace(node, body.outputs)
    return True


def _take_branches(node: Node) -> None:
    """An If gives what both of its branches give."""
    if node.op.name != "If" or node.op.domain:
        return
    for value, *given in zip(node.outputs, *(body.outputs for body in node.bodies.values()), strict=True):
        types = {each.type for each in given}
        if len(types) == 1:
            value.type = types.pop()


def _repeated(node: Node) -> Array | None:
    """What a ConstantOfShape of known shape gives: one number seen everywhere, which takes no memory at any size."""
    shape = node.constant(0)
    if not isinstance(node.op, OnnxOp) or node.op.type != "ConstantOfShape" or node.op.domain or shape is None:
        return None
    value = onnx_attributes(node.op).get("value")
    if value is not None and value.data_location == TensorProto.EXTERNAL:
        return None  # it would be read from whatever folder the process is in
    number = np.zeros((), np.float32) if value is None else numpy_helper.to_array(value).reshape(())
    return np.broadcast_to(number, tuple(shape.tolist()))


def _fold(node: Node) -> bool:
    """Compute a node of small constants, as shapes are, now."""
    source = node.input(0)
    type = source.tensor_type if source is not None else None
    data: list[Array]
    if isinstance(node.op, Shape | Size) and type is not None and type.is_static:
        shape = type.static_shape
        part = shape[node.op.start : node.op.end] if isinstance(node.op, Shape) else shape
        data = [np.array(part if isinstance(node.op, Shape) else int(np.prod(part, dtype=np.int64)), np.int64)]
    elif (repeated := _repeated(node)) is not None:
        data = [repeated]
    else:
        if node.bodies or not node.op.deterministic or not node.inputs or node.op.name in STORED_AS_CODES:
            return False
        if not all(v is None or (v.data is not None and v.data.size <= _LARGEST) for v in node.inputs):
            return False
        if any(v.tensor_type is None or not v.tensor_type.elements() <= _LARGEST for v in node.outputs):
            return False
        try:
            data = evaluate_node(node)
        except ExecutionError:
            return False
    for value, array in zip(node.outputs, data, strict=True):
        if value.use_count:
            value.replace_uses(node.graph.add_constant(array, value.name))
    node.graph.remove(node)
    return True

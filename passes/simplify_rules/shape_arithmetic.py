"""Shapes computed from shapes, as far as the types say what comes out.

    Shape(x : [N, 3, 8])                       =  (N, 3, 8)
    Gather, Slice, Concat, Unsqueeze, Squeeze, Cast, Add, Sub, Mul, Div, ReduceProd of such   =  the same of the numbers
    all of it numbers                          =>  a constant
    Reshape(x : [N, 3, 8], (N, 24))            =>  Reshape(x, [0, 24])
    Expand(x : [N, 1], (N, 7))                 =>  Expand(x, [1, 7])
    Slice(x : [N, 8], ends=(N,), axes=(0,))    =>  Slice(x, ends=[2^63 - 1], axes=[0])
    Resize(x : [N, C, 8, 8], (N, C, 16, 16))   =>  Resize(x, [16, 16], axes=[2, 3])

Valid because a symbol stands for one number wherever it occurs in the graph; which one, nobody asks, so a symbolic
batch stays symbolic. A symbol is taken to be at least 1. One walk in topological order, in which a better shape of a
reshape makes better types behind it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from irc.graph import Graph, Node, Value
from irc.op import Op
from irc.ops.binary import Add, Div, Mul, Sub
from irc.ops.cast import Cast
from irc.ops.index import Concat, Gather, Slice
from irc.ops.reduce import ReduceProd
from irc.ops.resize import Resize
from irc.ops.shape import Expand, Identity, Reshape, Shape, Size, Squeeze, Unsqueeze
from irc.passes.edit import read_instead, substitute
from irc.passes.simplify_rules.refine import refine
from irc.types import Dim, DType, product

_LARGEST = 64  # elements; no shape is longer
_END = (1 << 63) - 1
_MULTIPLE = re.compile(r"(\d+)((?:\*[A-Za-z_]\w*)+)")


@dataclass(frozen=True)
class Numbers:
    """An integer vector or scalar, each element a number, a symbol, or None where it is not known."""

    dims: tuple[Dim, ...]
    is_scalar: bool = False


Known = dict[Value, Numbers]


def simplify_shapes(graph: Graph) -> None:
    """Do the shape arithmetic of the whole nest."""
    _walk(graph, {}, set())


def _walk(graph: Graph, known: Known, retyped: set[Value]) -> None:
    for node in graph:
        for body in node.bodies.values():
            _walk(body, known, retyped)
        if not retyped.isdisjoint(v for v in node.inputs if v is not None):
            retyped.update(refine(node))
        if not node.bodies and len(node.outputs) == 1 and _is_shape_like(node.output):
            numbers = _computed(node, known)
            if numbers is not None:
                known[node.output] = numbers
                _materialize(node, numbers)
        if not node.removed and _use_numbers(node, known):
            retyped.update(refine(node))


def _is_shape_like(value: Value) -> bool:
    type = value.tensor_type
    if type is None or type.dtype not in (DType.I64, DType.I32) or type.shape is None or len(type.shape) > 1:
        return False
    return all(not isinstance(d, int) or d <= _LARGEST for d in type.shape)


def _materialize(node: Node, numbers: Numbers) -> None:
    """Replace the node by a constant if all its elements are numbers."""
    if not all(isinstance(d, int) for d in numbers.dims):
        return
    type = node.output.tensor_type
    assert type is not None
    limits = np.iinfo(type.dtype.numpy)
    if any(isinstance(d, int) and not limits.min <= d <= limits.max for d in numbers.dims):
        return  # it wraps around at run time, which is nothing that a shape does
    data = np.array(numbers.dims, type.dtype.numpy)
    constant = node.graph.add_constant(data.reshape(()) if numbers.is_scalar else data, node.output.name)
    substitute(node, constant)


# ---- what comes out of a node


def _numbers(value: Value | None, known: Known) -> Numbers | None:
    if value is None:
        return None
    data = value.data
    if data is None:
        return known.get(value)
    if data.ndim > 1 or data.size > _LARGEST or data.dtype.kind not in "iu":
        return None
    return Numbers(tuple(int(n) for n in data.reshape(-1)), data.ndim == 0)


def _computed(node: Node, known: Known) -> Numbers | None:
    if isinstance(node.op, Shape | Size):
        return _of_type(node.op, node.inputs[0])
    inputs = [_numbers(v, known) for v in node.inputs]
    given = [n for n in inputs if n is not None]
    if len(given) < len(inputs):
        return None
    match node.op:
        case Identity() | Cast():
            return given[0]
        case Concat():
            return Numbers(tuple(d for n in given for d in n.dims))
        case Gather():
            return _gather(given[0], given[1])
        case Slice():
            return _slice(given[0], given[1:])
        case Unsqueeze() if given[0].is_scalar and len(given[1].dims) == 1:
            return Numbers(given[0].dims)
        case Squeeze() if len(given[0].dims) == 1:
            return Numbers(given[0].dims, is_scalar=True)
        case Reshape():
            scalar = len(given[1].dims) == 0
            return Numbers(given[0].dims, scalar) if len(given[1].dims) < 2 else None
        case Add() | Sub() | Mul() | Div():
            return _elementwise(node.op, given[0], given[1])
        case ReduceProd():
            return _reduce_prod(node.op, given[0])
    return None


def _reduce_prod(op: ReduceProd, data: Numbers) -> Numbers | None:
    if op.noop_with_empty_axes:
        return None
    return Numbers((product(data.dims),), data.is_scalar or not op.keepdims)


def _of_type(op: Shape | Size, value: Value | None) -> Numbers | None:
    type = value.tensor_type if value is not None else None
    if type is None or type.shape is None:
        return None
    if isinstance(op, Size):
        return Numbers((product(type.shape),), is_scalar=True)
    return Numbers(type.shape[op.start : op.end])


def _gather(data: Numbers, indices: Numbers) -> Numbers | None:
    at = [i for i in indices.dims if isinstance(i, int) and -len(data.dims) <= i < len(data.dims)]
    if len(at) < len(indices.dims):
        return None
    return Numbers(tuple(data.dims[i] for i in at), indices.is_scalar)


def _slice(data: Numbers, bounds: Sequence[Numbers]) -> Numbers | None:
    """bounds : starts, ends, then axes and steps where given."""
    steps = bounds[3].dims if len(bounds) > 3 else (1,)
    cut = [b[0] for b in (bounds[0].dims, bounds[1].dims, steps) if len(b) == 1]
    numbers = [n for n in cut if isinstance(n, int)]
    return Numbers(data.dims[slice(*numbers)]) if len(numbers) == 3 else None


def _elementwise(op: Op, a: Numbers, b: Numbers) -> Numbers | None:
    length = max(len(a.dims), len(b.dims))
    if not {len(a.dims), len(b.dims)} <= {1, length}:
        return None
    left, right = (n.dims * length if len(n.dims) == 1 else n.dims for n in (a, b))
    return Numbers(tuple(_apply(op, x, y) for x, y in zip(left, right, strict=True)), a.is_scalar and b.is_scalar)


def _apply(op: Op, a: Dim, b: Dim) -> Dim:
    match op:
        case Mul():
            return product((a, b))
        case Add() if a == 0 or b == 0:
            return b if a == 0 else a
        case Sub() if b == 0:
            return a
        case Div() if b == 1:
            return a
        case Div() if isinstance(a, str):
            return _quotient(a, b)
    if not isinstance(a, int) or not isinstance(b, int):
        return None
    match op:
        case Add():
            return a + b
        case Sub():
            return a - b
        case Div() if b != 0:
            return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)  # ONNX divides integers towards zero
    return None


def _quotient(a: str, b: Dim) -> Dim:
    """`49*N` / 49 = N, `N` / N = 1."""
    if a == b:
        return 1
    parts = _MULTIPLE.fullmatch(a)
    if parts is None or not isinstance(b, int) or b == 0 or int(parts[1]) % b:
        return None
    return product((int(parts[1]) // b, *parts[2][1:].split("*")))


# ---- what a node does with them


def _use_numbers(node: Node, known: Known) -> bool:
    """Make the node's shape input a constant, where what is known says the same; whether anything changed."""
    match node.op:
        case Reshape():
            return _fix(node, 1, _reshape_to(node, node.op, known))
        case Expand():
            return _fix(node, 1, _expand_to(node, known))
        case Slice():
            return _fix(node, 2, _slice_to(node, known))
        case Resize():
            return _resize_to(node, node.op, known)
    return False


def _fix(node: Node, index: int, dims: Sequence[int] | None) -> bool:
    value = node.input(index)
    if dims is None or value is None:
        return False
    type = value.tensor_type
    dtype = type.dtype.numpy if type is not None else np.dtype(np.int64)
    data = np.minimum(np.array(dims, np.int64), np.iinfo(dtype).max).astype(dtype)
    read_instead(node, index, node.graph.add_constant(data, value.name))
    node.set_op(node.op)
    return True


def _wanted(node: Node, index: int, known: Known) -> tuple[tuple[Dim, ...], tuple[Dim, ...]] | None:
    """The shape of the node's data, and what is known of input `index` if that is not a constant already."""
    value, source = node.input(index), node.inputs[0]
    type = source.tensor_type if source is not None else None
    if value is None or value.is_constant or value not in known or type is None or type.shape is None:
        return None
    return type.shape, known[value].dims


def _reshape_to(node: Node, op: Reshape, known: Known) -> list[int] | None:
    found = _wanted(node, 1, known)
    if found is None or op.allowzero:
        return None
    source, dims = found
    made: list[int] = []
    for axis, dim in enumerate(dims):
        if isinstance(dim, int):
            made.append(dim)
        elif dim is not None and axis < len(source) and source[axis] == dim:
            made.append(0)  # copies the dimension
        else:
            made.append(-1)
    return made if made.count(-1) <= 1 else None


def _expand_to(node: Node, known: Known) -> list[int] | None:
    found = _wanted(node, 1, known)
    if found is None:
        return None
    source, dims = found
    made: list[int] = []
    for axis, dim in enumerate(dims, start=len(source) - len(dims)):
        if isinstance(dim, int):
            made.append(dim)
        elif dim is not None and axis >= 0 and source[axis] == dim:
            made.append(1)  # broadcasts to the dimension
        else:
            return None
    return made


def _slice_to(node: Node, known: Known) -> list[int] | None:
    found, axes, steps = _wanted(node, 2, known), node.constant(3), node.constant(4)
    if found is None or (node.input(3) is not None and axes is None):
        return None
    if node.input(4) is not None and (steps is None or np.any(steps < 0)):
        return None
    source, dims = found
    made: list[int] = []
    for axis, dim in zip(range(len(dims)) if axes is None else axes.tolist(), dims, strict=True):
        if isinstance(dim, int):
            made.append(dim)
        elif dim is not None and source[axis] == dim:
            made.append(_END)
        else:
            return None
    return made


def _resize_to(node: Node, op: Resize, known: Known) -> bool:
    """Resize only the axes whose size changes; the others are not named any more."""
    found = _wanted(node, 3, known)
    if found is None or op.axes is not None or op.keep_aspect_ratio_policy != "stretch":
        return False
    if op.coordinate_transformation_mode == "tf_crop_and_resize":
        return False
    moved = {axis: dim for axis, (old, dim) in enumerate(zip(*found, strict=True)) if dim is None or dim != old}
    sizes = [dim for dim in moved.values() if isinstance(dim, int)]
    if len(sizes) < len(moved) or not sizes:
        return False
    node.set_op(replace(op, axes=tuple(moved)))
    return _fix(node, 3, sizes)

"""Ops that move elements, and here do not.

Identity(x), Concat(x), Split(x) in one part                    =  x
Transpose[0, 1, ...](x)                                         =  x
Transpose[q](Transpose[p](x))                                   =  Transpose[p[q]](x)
Reshape, Flatten, Squeeze, Unsqueeze, Expand to x's own shape   =  x
Reshape(view(x), s)                                             =  Reshape(x, s)    (s copies no dimension of view)
view(view(x)), back in x's shape                                =  x
Tile by ones, Pad by zeros, Slice of all, Resize by ones        =  x
Dropout(x) outside of training                                  =  x
Concat(Split(x)), all parts in order                            =  x
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from irc.graph import Node, Value
from irc.ops.index import Concat, Pad, Slice, Split
from irc.ops.misc import Dropout
from irc.ops.resize import Resize
from irc.ops.shape import Expand, Flatten, Identity, Reshape, Squeeze, Tile, Transpose, Unsqueeze
from irc.passes.base import Outcome
from irc.passes.edit import only_first_output_read, read_instead, same_known_shape, scalar_of, substitute
from irc.passes.simplify_rules.rule import Table
from irc.types import Dim

_VIEWS = (Reshape, Flatten, Squeeze, Unsqueeze)
_TO_THE_END = (1 << 31) - 1  # exporters write this or more for "all there is"


def _drop(node: Node) -> bool:
    source = node.inputs[0]
    assert source is not None
    substitute(node, source)
    return True


def _identity(node: Node) -> Outcome:
    return _drop(node)


def _of_one(node: Node) -> Outcome:
    return _drop(node) if len(node.inputs) == 1 else None


def _in_one_part(node: Node) -> Outcome:
    return _drop(node) if len(node.outputs) == 1 else None


def _own_shape(node: Node) -> Outcome:
    """The op gives its input the shape that it has."""
    source = node.inputs[0]
    if source is None or not (same_known_shape(source, node.output) or _reshapes_to_itself(node)):
        return None
    return _drop(node)


def _reshapes_to_itself(node: Node) -> bool:
    """Whether all dimensions but one surely stay, so that the last one must stay too."""
    source, shape = node.inputs[0], node.constant(1)
    type = source.tensor_type if source is not None else None
    if not isinstance(node.op, Reshape) or shape is None or type is None or type.shape is None:
        return False
    if len(shape) != len(type.shape) or 0 in type.shape:
        return False
    copies = not node.op.allowzero
    moved = [n for n, d in zip(shape.tolist(), type.shape, strict=True) if not (n == d or (n == 0 and copies))]
    return not moved or moved == [-1]


def _dropout(node: Node) -> Outcome:
    """Dropout of inference whose mask nobody reads."""
    if not only_first_output_read(node):
        return None
    trains = node.input(2) is not None and scalar_of(node.constant(2)) != 0  # not 0: True, or not known
    return None if trains else _drop(node)


# ---- transposes


def _identity_permutation(node: Node) -> Outcome:
    op = node.op
    assert isinstance(op, Transpose)
    type = node.inputs[0].tensor_type if node.inputs[0] is not None else None
    if op.perm is None:
        return _drop(node) if type is not None and type.rank is not None and type.rank < 2 else None
    return _drop(node) if op.perm == tuple(range(len(op.perm))) else None


def _composed(node: Node) -> Outcome:
    inner = _inner(node)
    if inner is None or not isinstance(inner.op, Transpose):
        return None
    assert isinstance(node.op, Transpose)
    first, second = inner.op.perm, node.op.perm
    if first is None and second is None:  # reversed twice
        assert inner.inputs[0] is not None
        substitute(node, inner.inputs[0])
        return True
    rank = len(first or second or ())
    first, second = first or _reversed(rank), second or _reversed(rank)
    node.set_op(Transpose(perm=tuple(first[axis] for axis in second)))
    read_instead(node, 0, inner.inputs[0])
    return True


def _reversed(rank: int) -> tuple[int, ...]:
    return tuple(reversed(range(rank)))


def _inner(node: Node) -> Node | None:
    """What computes the node's first input."""
    return node.inputs[0].producer if node.inputs and node.inputs[0] is not None else None


# ---- views


def _reshape_of_view(node: Node) -> Outcome:
    inner, shape = _inner(node), node.constant(1)
    if inner is None or not isinstance(inner.op, _VIEWS) or inner.inputs[0] is None or shape is None:
        return None
    assert isinstance(node.op, Reshape)
    if 0 in shape and not node.op.allowzero and not _copies_the_same(shape.tolist(), inner.inputs[0], inner.output):
        return None
    if inner.output.use_count != 1:
        return None  # the view stays anyway, and its input would get another reader
    read_instead(node, 0, inner.inputs[0])
    return True


def _copies_the_same(shape: Sequence[int], a: Value, b: Value) -> bool:
    """Whether the dimensions that zeros in `shape` copy are surely the same in both values."""
    dims: list[Sequence[Dim]] = [v.tensor_type.shape or () if v.tensor_type is not None else () for v in (a, b)]
    at = [k for k, n in enumerate(shape) if n == 0]
    return all(k < min(map(len, dims)) and dims[0][k] is not None and dims[0][k] == dims[1][k] for k in at)


def _view_back(node: Node) -> Outcome:
    inner = _inner(node)
    if inner is None or not isinstance(inner.op, _VIEWS) or inner.inputs[0] is None:
        return None
    if not same_known_shape(inner.inputs[0], node.output):
        return None
    substitute(node, inner.inputs[0])
    return True


# ---- tiles, pads, slices


def _tile(node: Node) -> Outcome:
    return _drop(node) if scalar_of(node.constant(1)) == 1 else None


def _pad(node: Node) -> Outcome:
    return _drop(node) if scalar_of(node.constant(1)) == 0 else None


def _slice(node: Node) -> Outcome:
    starts, ends, steps = (node.constant(k) for k in (1, 2, 4))
    if (node.input(4) is not None and (steps is None or np.any(steps <= 0))) or starts is None or ends is None:
        return None
    source = node.inputs[0]
    if source is not None and same_known_shape(source, node.output) and _is_static(source):
        return _drop(node)
    if np.any(starts != 0) or (steps is not None and np.any(steps != 1)):
        return None
    if not np.all(ends >= _TO_THE_END):
        return None
    return _drop(node)


def _resize(node: Node) -> Outcome:
    assert isinstance(node.op, Resize)
    source = node.inputs[0]
    if source is None or node.op.coordinate_transformation_mode == "tf_crop_and_resize":
        return None
    by_size = node.input(3) is not None and same_known_shape(source, node.output)
    return _drop(node) if by_size or scalar_of(node.constant(2)) == 1 else None


def _is_static(value: Value) -> bool:
    return value.tensor_type is not None and value.tensor_type.is_static


# ---- concat and split


def _concat_of_split(node: Node) -> Outcome:
    split = _inner(node)
    if split is None or not isinstance(split.op, Split) or node.inputs != split.outputs or split.inputs[0] is None:
        return None
    assert isinstance(node.op, Concat)
    type = split.inputs[0].tensor_type
    if type is None or not type.rank or node.op.axis % type.rank != split.op.axis % type.rank:
        return None
    substitute(node, split.inputs[0])
    return True


RULES: Table = {
    Identity: (_identity,),
    Concat: (_of_one, _concat_of_split),
    Split: (_in_one_part,),
    Transpose: (_identity_permutation, _composed),
    Reshape: (_own_shape, _view_back, _reshape_of_view),
    Flatten: (_own_shape, _view_back),
    Squeeze: (_own_shape, _view_back),
    Unsqueeze: (_own_shape, _view_back),
    Expand: (_own_shape,),
    Tile: (_tile,),
    Pad: (_pad,),
    Slice: (_slice,),
    Resize: (_resize,),
    Dropout: (_dropout,),
}

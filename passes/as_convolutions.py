"""Layers that have no integer kernel, as convolutions, which have one.

    BN(x) = a x + b          =   Conv(x, a, b)                                weight (C, 1, 1, 1), a group a channel
    ConvTranspose(x, w, b)   =   DepthToSpace(Conv(x, w', b'))                of windows that do not overlap

A batch norm is one that could not be folded, as behind DenseNet's Concat. With a scale for each channel its weight has
no codes but -127, 0 and 127: it loses nothing in 8 bits. Of a transposed convolution whose stride k is its kernel each
pixel makes a square of its own, k * k outputs in place of one. A Relu or Clip behind is kept next to the convolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from irc.analysis.integer_plan import matches, opaque_owner
from irc.graph import Graph, Node
from irc.op import QuantKind
from irc.ops.conv import Conv, ConvTranspose
from irc.ops.norm import BatchNormalization
from irc.ops.shape import DepthToSpace
from irc.passes.base import Declined
from irc.passes.fold_batch_norm import affine_of
from irc.target import QuantPolicy
from irc.types import Array, DType


def as_convolutions(graph: Graph, policy: QuantPolicy, skip: Sequence[str] = ()) -> list[Node]:
    """Make convolutions of what the target then runs as integer; those nodes.

    skip : patterns (as in file names) of node names and layers that stay as they are
    """
    made = []
    for node in list(graph.walk()):
        type = node.output.tensor_type
        if type is None or type.dtype is not DType.F32 or opaque_owner(node) is not None:
            continue
        if any(matches(node, pattern) for pattern in skip):
            continue
        batch_norm = isinstance(node.op, BatchNormalization) and _is_between(node, policy) and _of_batch_norm(node)
        if batch_norm or (isinstance(node.op, ConvTranspose) and _of_transposed(node)):
            made.append(node)
    return made


def _is_between(node: Node, policy: QuantPolicy) -> bool:
    """Whether its input is made, and its result read, perhaps through an activation, by what may be integer."""
    source, activation = node.input(0), _activation(node)
    readers = node.output.users if activation is None else activation.output.users
    maker = source.producer if source is not None else None
    return maker is not None and policy.runs_integer(maker.op) and any(policy.runs_integer(r.op) for r in readers)


def _activation(node: Node) -> Node | None:
    """The Relu or Clip that alone reads what the node gives out."""
    readers = node.output.users
    alone = node.output.use_count == 1 and len(readers) == 1 and readers[0].graph is node.graph
    return readers[0] if alone and readers[0].op.quant.kind is QuantKind.ACTIVATION else None


def _of_batch_norm(node: Node) -> bool:
    """Make a batch norm of constants and of one or two spatial axes a convolution."""
    assert isinstance(node.op, BatchNormalization)
    affine, type = affine_of(node, node.op), node.output.tensor_type
    if isinstance(affine, Declined) or type is None or type.rank not in (3, 4):
        return False
    a, b = affine.a.astype(np.float32), affine.b.astype(np.float32)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return False
    _become(node, Conv(group=len(a)), a.reshape(-1, *(1,) * (type.rank - 1)), b)
    return True


def _of_transposed(node: Node) -> bool:
    """Make a transposed convolution whose windows are squares side by side a convolution of one tap."""
    op, w, type = node.op, node.constant(1), node.output.tensor_type
    assert isinstance(op, ConvTranspose)
    if w is None or w.ndim != 4 or w.shape[2] != w.shape[3] or op.group != 1 or type is None or type.rank != 4:
        return False
    side, bias = w.shape[2], node.constant(2)
    whole = op.auto_pad in ("NOTSET", "VALID") and not any(op.pads or ()) and not any(op.output_padding or ())
    if not whole or op.output_shape or op.strides != (side, side) or (bias is None and node.input(2) is not None):
        return False
    weight = np.ascontiguousarray(w.transpose(1, 2, 3, 0)).reshape(-1, len(w), 1, 1)
    _become(node, Conv(), weight, None if bias is None else np.repeat(bias, side * side))
    last = _activation(node) or node
    last.infer()
    square = node.graph.insert(
        DepthToSpace(side, "CRD"), [last.output], after=last, name=f"{node.name}.squares", types=[type]
    )
    last.output.replace_uses(square.output, keep=[square])
    return True


def _become(node: Node, op: Conv, weight: Array, bias: Array | None) -> None:
    for index in range(len(node.inputs) - 1, 0, -1):
        node.set_input(index, None)
    for index, (data, name) in enumerate(((weight, "weight"), (bias, "bias")), start=1):
        if data is not None:
            node.set_input(index, node.graph.add_constant(data, f"{node.name}.{name}"))
    node.set_op(op)
    node.infer()

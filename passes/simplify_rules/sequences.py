"""Sequences of tensors that are taken apart at once, as torch's exporter writes a split.

SequenceAt(SplitToSequence(x, sizes), k)   =   Split(x, sizes)[k]
"""

from __future__ import annotations

import numpy as np

from irc.graph import Node
from irc.ops.index import Split
from irc.ops.onnx_op import OnnxOp
from irc.ops.schema import attribute_of
from irc.passes.base import Outcome
from irc.passes.edit import remove_dead
from irc.passes.simplify_rules.rule import Table
from irc.types import TensorType


def _taken_apart(node: Node) -> Outcome:
    """All that is done with the sequence is to take its elements, by numbers that are known."""
    if node.op.name != "SplitToSequence" or node.op.domain or not node.output.use_count or node.output.is_output:
        return None
    readers = node.output.users
    indices = [each.constant(1) if each.op.name == "SequenceAt" and not each.op.domain else None for each in readers]
    sizes = _sizes(node)
    if sizes is None or any(i is None or not -len(sizes) <= int(i) < len(sizes) for i in indices):
        return None
    assert isinstance(node.op, OnnxOp)
    graph, axis = node.graph, attribute_of(node.op, "axis") or 0
    split = graph.add_constant(np.array(sizes, np.int64), f"{node.name}.sizes")
    inputs = [node.input(0), split]
    made = graph.insert(Split(axis=int(str(axis))), inputs, before=node, name=node.name, outputs=len(sizes))
    for reader, index in zip(readers, indices, strict=True):
        assert index is not None
        reader.output.replace_uses(made.outputs[int(index)])
        remove_dead(reader)
    return True


def _sizes(node: Node) -> list[int] | None:
    """The sizes of the parts along the axis; None if they are not known, or the parts lose the axis."""
    source, split = node.input(0), node.constant(1)
    type = None if source is None else source.type
    assert isinstance(node.op, OnnxOp)
    if split is None or not isinstance(type, TensorType) or type.shape is None:
        return None  # without sizes each part is one element, and `keepdims` may take its axis
    size = type.shape[int(str(attribute_of(node.op, "axis") or 0))]
    if split.ndim:
        return [int(n) for n in split]
    if attribute_of(node.op, "keepdims") == 0:
        return None  # which ONNX says is ignored, and onnxruntime heeds
    part = int(split)
    if not isinstance(size, int) or part < 1 or size < 1:
        return None
    return [min(part, size - start) for start in range(0, size, part)]


RULES: Table = {OnnxOp: (_taken_apart,)}

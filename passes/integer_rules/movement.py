"""Ops that only move or select elements work on codes: op(DQ(c)) -> DQ(op(c)). Exact.

MaxPool and its like select: a positive scale keeps the order of codes. Pad puts the code of its value, which must be
on the grid. Concat moves where all its inputs have one grid.
"""

from __future__ import annotations

import numpy as np

from irc.execution.convert import to_numpy, to_torch
from irc.graph import Node, Value
from irc.op import QuantKind
from irc.ops.index import Concat, Pad
from irc.ops.pool import GlobalMaxPool, MaxPool
from irc.ops.reduce import ReduceMax
from irc.ops.resize import Resize
from irc.passes.base import Declined, Outcome
from irc.passes.edit import remove_dead
from irc.passes.integer_rules.codes import Coded, Grid, coded


def sink_dequantize(node: Node) -> Outcome:
    """Move the DequantizeLinear in front of a movement behind it."""
    if isinstance(node.op, Concat):
        found = [coded(v) for v in node.inputs]
        held = [each for each in found if each is not None]
        if len(held) != len(found) or len({each.grid for each in held}) != 1:
            return None  # other rules know what to do once the result is quantized
        _move(node, held)
        return True
    if node.op.quant.kind is not QuantKind.MOVEMENT or node.op.name == "Dropout":
        return None
    source = coded(node.input(0))
    if source is None:
        return None
    if (refusal := _refusal(node, source.grid)) is not None:
        return Declined(refusal)
    _prepare(node, source.grid)
    _move(node, [source])
    return True


def _refusal(node: Node, grid: Grid) -> str | None:
    op = node.op
    if isinstance(op, Resize) and op.mode != "nearest":
        return "only nearest Resize moves elements without computing"
    if isinstance(op, Resize) and op.coordinate_transformation_mode == "tf_crop_and_resize":
        return "outside of its input it puts a float, which is no code"
    if isinstance(op, GlobalMaxPool) and _rank(node) is None:
        return "the rank of its input is not known"
    if not isinstance(op, Pad) or op.mode != "constant":
        return None
    value = node.input(2)
    number = np.zeros((), np.float32) if value is None else value.data
    if number is None or number.size != 1:
        return "what it pads with is not a constant"
    if grid.number(grid.code(float(number.reshape(())))) != number.reshape(()):
        return f"what it pads with, {float(number.reshape(())):g}, is not on the grid of its input"
    return None


def _rank(node: Node) -> int | None:
    type = node.output.tensor_type
    return None if type is None else type.rank


def _prepare(node: Node, grid: Grid) -> None:
    """Make the op one that takes codes."""
    if isinstance(node.op, Pad) and node.op.mode == "constant":
        number = node.constant(2)
        code = np.asarray(grid.code(0.0 if number is None else float(number.reshape(()))), np.uint8)
        node.set_input(2, node.graph.add_constant(code, f"{node.name}.code"))
    if isinstance(node.op, GlobalMaxPool):  # of which ONNX has none for integers
        axes = np.arange(2, _rank(node), dtype=np.int64)
        node.set_input(1, node.graph.add_constant(axes, f"{node.name}.axes"))
        node.set_op(ReduceMax())


def _move(node: Node, held: list[Coded]) -> None:
    """Let the node read codes as its first inputs, and dequantize what of its outputs held floats."""
    floats = [v for v in node.outputs if not (isinstance(node.op, MaxPool) and v.index)]  # else it is indices
    for index, each in enumerate(held):
        node.set_input(index, each.value)
    node.infer()
    after = node
    for value in floats:
        codes = _folded(node, value)
        if value.use_count:
            inputs = [codes, held[0].source.input(1), held[0].source.input(2)]
            name = f"{value.name}.dequantize"
            made = node.graph.insert(
                held[0].source.op, inputs, after=after, name=name, outputs=[f"{value.name}.dequantized"]
            )
            value.replace_uses(made.output, keep=[made])
            after = made
    for each in held:
        remove_dead(each.source)
    remove_dead(node)


def _folded(node: Node, value: Value) -> Value:
    """What a node makes of constants alone, as a constant; the value itself if not all are."""
    inputs = [v.data for v in node.inputs if v is not None]
    if len(node.outputs) > 1 or len(inputs) < len(node.inputs) or any(data is None for data in inputs):
        return value
    made = node.op.run(*(to_torch(data) for data in inputs if data is not None))
    return node.graph.add_constant(to_numpy(made.contiguous()), value.name)

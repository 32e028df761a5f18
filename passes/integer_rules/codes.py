"""Values held as uint8 codes: reading them behind a DequantizeLinear, and finding where they are quantized again.

    coded(value)        value = DequantizeLinear(codes)            ->  codes and their grid
    destination(value)  QuantizeLinear(Relu, Clip ... (value))     ->  grid, clamp and quantizers
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from irc.errors import GraphError
from irc.execution.convert import to_numpy, to_torch
from irc.graph import Node, Value
from irc.op import Op
from irc.ops.int8.contract import HIGHEST, LOWEST
from irc.ops.quantize import DequantizeLinear, QuantizeLinear
from irc.passes.edit import remove_dead
from irc.passes.qdq import activation_bounds
from irc.types import Array, DType, TensorType


@dataclass(frozen=True)
class Grid:
    """What a uint8 code means: (code - zero_point) * scale, scale being a float32."""

    scale: float
    zero_point: int

    def code(self, number: float) -> int:
        """The code of a float, as QuantizeLinear rounds and clamps it; of an infinity too."""
        if math.isinf(number):
            return HIGHEST if number > 0 else LOWEST
        code = float(np.rint(np.float32(number) / np.float32(self.scale))) + self.zero_point
        return int(min(max(code, LOWEST), HIGHEST))

    def number(self, code: int) -> float:
        """What the code means, as DequantizeLinear computes it."""
        return float(np.float32(code - self.zero_point) * np.float32(self.scale))


@dataclass(frozen=True)
class Coded:
    """A float value by its codes.

    value : uint8;  grid : what they mean;  source : the DequantizeLinear
    """

    value: Value
    grid: Grid
    source: Node


@dataclass(frozen=True)
class Destination:
    """Where a value goes, if it goes into one quantization and nowhere else.

    grid : of the quantizers;  lo, hi : the codes that the activations on the way let through
    """

    grid: Grid
    lo: int
    hi: int
    quantizers: tuple[Node, ...]


def coded(value: Value | None) -> Coded | None:
    """The codes behind a float value, None if it is not made of uint8 codes of one scale."""
    node = value.producer if value is not None else None
    if node is None or not isinstance(node.op, DequantizeLinear) or node.op.output_dtype not in (0, 1):
        return None
    codes, grid = node.input(0), grid_of(node)
    if codes is None or grid is None or not has_dtype(codes, DType.U8):
        return None
    return Coded(codes, grid, node)


def quantizer_grid(node: Node) -> Grid | None:
    """The grid of a QuantizeLinear to uint8 with one scale; None for any other node."""
    if not isinstance(node.op, QuantizeLinear) or node.op.precision not in (0, 1):
        return None
    return grid_of(node) if has_dtype(node.output, DType.U8) else None


def grid_of(node: Node) -> Grid | None:
    """The grid of a QuantizeLinear or DequantizeLinear with constants of one float32 scale; None for others."""
    scale, zero_point = node.constant(1), node.constant(2)
    if scale is None or scale.size != 1 or scale.dtype != np.float32 or getattr(node.op, "block_size", 0) != 0:
        return None
    if node.input(2) is not None and (zero_point is None or zero_point.size != 1):
        return None
    return Grid(float(scale.reshape(())), 0 if zero_point is None else int(zero_point.reshape(())))


def has_dtype(value: Value, dtype: DType) -> bool:
    """Whether the value is known to be a tensor of the dtype."""
    return isinstance(value.type, TensorType) and value.type.dtype is dtype


def only_reader(value: Value) -> Node | None:
    """The one node of the same graph that reads the value once, None if anything else reads it too."""
    if value.use_count != 1:
        return None
    user = value.uses[0].user
    return user if isinstance(user, Node) and user.graph is value.graph else None


def destination(value: Value) -> Destination | None:
    """Where the value is quantized, through the Relus and Clips before that; None if it is read as float."""
    low, high = -math.inf, math.inf
    while (found := _quantizers(value)) is None:
        reader = only_reader(value)
        bounds = activation_bounds(reader) if reader is not None else None
        if reader is None or bounds is None or reader.input(0) is not value:
            return None
        low, high = (min(max(end, bounds[0]), bounds[1]) for end in (low, high))
        value = reader.output
    grid, nodes = found
    return Destination(grid, grid.code(low), grid.code(high), nodes)


def _quantizers(value: Value) -> tuple[Grid, tuple[Node, ...]] | None:
    """The QuantizeLinears that read a value, if nothing else does and all have one grid."""
    nodes = []
    for user, index in value.uses:
        if not isinstance(user, Node) or user.graph is not value.graph or index != 0:
            return None
        nodes.append(user)
    grids = {quantizer_grid(node) for node in nodes}
    grid = grids.pop() if len(grids) == 1 else None
    return None if grid is None else (grid, tuple(nodes))


def constant_of(value: Value | None) -> Array | None:
    """The numbers of a constant, also of one behind QuantizeLinear and DequantizeLinear; None if it is none."""
    behind: list[Node] = []  # from the last to the first
    while value is not None and value.data is None:
        node = value.producer
        if node is None or not isinstance(node.op, QuantizeLinear | DequantizeLinear):
            return None
        behind.append(node)
        value = node.input(0)
    made = None if value is None else value.data
    for node in reversed(behind):
        inputs = [made, *(constant_of(v) for v in node.inputs[1:])]
        if any(array is None and v is not None for array, v in zip(inputs, node.inputs, strict=True)):
            return None
        run: Callable[..., Any] = node.op.run
        made = to_numpy(run(*(None if array is None else to_torch(_in_torch(array)) for array in inputs)))
    return made


def _in_torch(array: Array) -> Array:
    """Codes of 2 and 4 bits as int8, which torch knows."""
    return array.astype(np.int8) if array.dtype.name in ("int2", "int4", "uint2", "uint4") else array


def become(node: Node, op: Op, inputs: Sequence[Value], quantizers: Sequence[Node] = ()) -> None:
    """Make the node do `op` on `inputs`, and its output take the place of what the quantizers give.

    What only they needed is removed.
    """
    old = [v.producer for v in node.inputs if v is not None and v.producer is not None]
    for index in reversed(range(len(inputs), len(node.inputs))):
        node.set_input(index, None)
    for index, value in enumerate(inputs):
        node.set_input(index, value)
    node.set_op(op)
    node.infer()
    for quantizer in quantizers:
        quantizer.output.replace_uses(node.output)
        remove_dead(quantizer)
    for maker in old:
        remove_dead(maker)


def as_float32(number: Any, what: str, node: Node) -> Any:
    """A float64 number or array as float32, rounded once.

    Raises
    ------
    GraphError : it is not finite there: a scale of the model is zero, not finite, or out of all proportion.
    """
    with np.errstate(over="ignore"):
        made = np.asarray(number).astype(np.float32)
    if not np.isfinite(made).all():
        raise GraphError(
            f"{node!r}: the {what} of its requantization is not finite; a scale at its inputs or output is zero or "
            "extreme: calibrate again, or leave the layer float (quantize{skip=[…]})"
        )
    return made if made.ndim else float(made)

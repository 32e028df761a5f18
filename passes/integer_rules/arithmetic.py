"""Sums, products and means of codes: Q(op(DQ(a), DQ(b))) -> QAdd, QMul, QReduceMean, QAveragePool.

With T the scale and z_y the zero point of the result:

    a + b      a_scale = s_a / T, b_scale = s_b / T (negative for a - b), bias = z_y - a_scale z_a - b_scale z_b
    a * b      scale = s_a s_b / T, bias = z_y
    mean(x)    scale = s_x / T / count, bias = z_y         of a window: s_x / T, the op divides by the window's count
"""

from __future__ import annotations

import math

import numpy as np

from irc.graph import Node
from irc.op import Op
from irc.ops.binary import Add, Mul, Sub
from irc.ops.int8.arithmetic import QAdd, QMul
from irc.ops.int8.contract import ACCUMULATOR_MAX, HIGHEST
from irc.ops.int8.pool import QAveragePool, QReduceMean
from irc.ops.pool import AveragePool, GlobalAveragePool
from irc.ops.reduce import ReduceMean
from irc.passes.base import Declined, Outcome
from irc.passes.integer_rules.codes import Coded, Destination, as_float32, become, coded, destination
from irc.passes.integer_rules.lookup import is_function
from irc.types import TensorType


def lower_arithmetic(node: Node) -> Outcome:
    """Compute a sum, product or mean of quantized values whose result is quantized too in integers."""
    if not isinstance(node.op, Add | Sub | Mul | GlobalAveragePool | ReduceMean | AveragePool):
        return None
    count = 2 if isinstance(node.op, Add | Sub | Mul) else 1
    held = [each for v in node.inputs[:count] if (each := coded(v)) is not None]
    if not held or is_function(node.output):
        return None  # a function of one code is a table
    if len(held) < count:
        return Declined("one of its inputs is not quantized")
    goal = destination(node.output)
    if goal is None:
        return Declined("its result is read as float")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        made = _pair(node, held, goal) if count == 2 else _mean(node, held[0], goal)
    if isinstance(made, Declined):
        return made
    become(node, made, [each.value for each in held], goal.quantizers)
    return True


def _pair(node: Node, held: list[Coded], goal: Destination) -> Op:
    (a, b), step, offset = (each.grid for each in held), np.float64(goal.grid.scale), goal.grid.zero_point
    if isinstance(node.op, Mul):
        scale = as_float32(a.scale * b.scale / step, "scale", node)
        return QMul(a.zero_point, b.zero_point, scale, float(offset), goal.lo, goal.hi)
    a_scale = as_float32(a.scale / step, "scale", node)
    b_scale = as_float32((-b.scale if isinstance(node.op, Sub) else b.scale) / step, "scale", node)
    bias = as_float32(offset - a_scale * a.zero_point - b_scale * b.zero_point, "bias", node)
    return QAdd(a_scale, b_scale, bias, goal.lo, goal.hi)


def _mean(node: Node, x: Coded, goal: Destination) -> Op | Declined:
    op, type = node.op, x.value.tensor_type
    if type is None or type.shape is None:
        return Declined("the rank of its input is not known")
    if isinstance(op, AveragePool):
        return _window(node, op, x, goal, type)
    axes: list[int] = list(range(2, len(type.shape)))
    if isinstance(op, ReduceMean):
        if node.input(1) is not None and node.constant(1) is None:
            return Declined("the axes that it sums over are not constant")
        given = [] if (constant := node.constant(1)) is None else [int(a) % len(type.shape) for a in constant]
        if not given and op.noop_with_empty_axes:
            return Declined("it sums over nothing")
        axes = sorted(given) or list(range(len(type.shape)))
    sizes = [d for a in axes if isinstance(d := type.shape[a], int)]
    if len(sizes) < len(axes):
        return Declined("how many elements it takes the mean of is not known")
    count = math.prod(sizes)
    if not 0 < count <= ACCUMULATOR_MAX // HIGHEST:
        return Declined(f"the sum of {count} codes may exceed 32 bits")
    scale = as_float32(np.float64(x.grid.scale) / goal.grid.scale / count, "scale", node)
    bias, keep = float(goal.grid.zero_point), getattr(op, "keepdims", 1)
    return QReduceMean(tuple(axes), keep, x.grid.zero_point, scale, bias, goal.lo, goal.hi)


def _window(node: Node, op: AveragePool, x: Coded, goal: Destination, type: TensorType) -> Op | Declined:
    pads = op.pads if op.auto_pad == "NOTSET" else None
    if op.auto_pad.startswith("SAME"):
        if not type.is_static:
            return Declined(f"its padding ({op.auto_pad}) follows from the size of its input, which is not known")
        axes = op.windows(type.static_shape)
        pads = (*(a.begin for a in axes), *(a.end for a in axes))
    scale = as_float32(np.float64(x.grid.scale) / goal.grid.scale, "scale", node)
    return QAveragePool(
        op.kernel_shape,
        op.strides,
        pads,
        op.dilations,
        op.count_include_pad,
        op.ceil_mode,
        x.grid.zero_point,
        scale,
        float(goal.grid.zero_point),
        goal.lo,
        goal.hi,
    )

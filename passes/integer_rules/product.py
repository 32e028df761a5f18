"""MatMul of two quantized data: Q(epilogue(MatMul(DQ(a), DQ(b)))) -> QBatchMatMul.

    scale = float32(g s_a s_b / s_y),   bias = float32(b / s_y + z_y),   gain g and bias b scalars of the epilogue
"""

from __future__ import annotations

import numpy as np

from irc.graph import Node
from irc.ops.int8.contract import ACCUMULATOR_MAX, HIGHEST
from irc.ops.int8.contraction import QBatchMatMul
from irc.ops.linear import MatMul
from irc.passes.base import Declined, Outcome
from irc.passes.integer_rules.codes import as_float32, coded
from irc.passes.integer_rules.contraction import place
from irc.passes.integer_rules.epilogue import Epilogue, epilogue

_DEEPEST = ACCUMULATOR_MAX // HIGHEST**2  # products that a sum in 32 bits surely holds


def lower_product(node: Node) -> Outcome:
    """Compute a MatMul of two quantized values in integers."""
    a, b = coded(node.input(0)), coded(node.input(1))
    if not isinstance(node.op, MatMul) or a is None or b is None:
        return None
    type = a.value.tensor_type
    depth = type.shape[-1] if type is not None and type.shape else None
    if isinstance(depth, int) and depth > _DEEPEST:
        return Declined(f"it sums {depth} products, which may exceed 32 bits; {_DEEPEST} would not")
    after = epilogue(Epilogue(node.output), -1, None, residual=False)
    goal = after.destination
    step, offset = (goal.grid.scale, goal.grid.zero_point) if goal is not None else (1.0, 0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scale = as_float32(after.gain * a.grid.scale * b.grid.scale / step, "scale", node)
        bias = as_float32(after.bias / step + offset, "bias", node)
    lo, hi = (goal.lo, goal.hi) if goal is not None else (0, HIGHEST)
    op = QBatchMatMul(a.grid.zero_point, b.grid.zero_point, scale, bias, lo, hi, int(goal is None))
    place(node, op, [a.value, b.value], after)
    return True

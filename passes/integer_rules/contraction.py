"""Conv, Gemm and MatMul of codes with a constant weight: Q(epilogue(op(DQ(x), DQ(w), b))) -> QConv, QMatMul.

With T the scale of the output (1 where it stays float, whose zero point is then 0 too), gain g and bias b of the
epilogue, weight codes w and their scales s_w:

    scale[m] = float32(g s_x s_w[m] / T)
    bias[m]  = float32(b / T + z_y - residual_scale z_r - z_x scale[m] sum(w[m]))

The last term takes the rounded `scale`, so that what the zero point of x adds to the accumulator cancels exactly up to
the rounding of `bias`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from irc.graph import Node, Value
from irc.op import Op
from irc.ops.conv import Conv
from irc.ops.int8.contract import ACCUMULATOR_MAX, HIGHEST
from irc.ops.int8.contraction import QConv, QMatMul
from irc.ops.linear import Gemm, MatMul
from irc.ops.quantize import DequantizeLinear
from irc.ops.shape import Transpose
from irc.passes.base import Declined, Outcome
from irc.passes.edit import remove_dead
from irc.passes.integer_rules.codes import Coded, as_float32, become, coded, constant_of
from irc.passes.integer_rules.epilogue import Epilogue, channel_vector, epilogue
from irc.types import Array, TensorType


@dataclass(frozen=True)
class _Weight:
    """Codes of a weight, zero point taken off.

    codes : int8, as the integer op takes it: (M, C/group, *kernel), or (K, M) of a matrix
    scales : float64, shape (M,)
    axis : that of the output channels in `codes`
    value : a constant that holds just these codes, None if there is none
    """

    codes: Array
    scales: Array
    axis: int
    value: Value | None

    def sums(self, codes: Array) -> Array:
        """int64, shape (M,): the sum of each output channel's codes."""
        return np.asarray(codes.sum(axis=tuple(a for a in range(codes.ndim) if a != self.axis), dtype=np.int64))

    @property
    def overflows(self) -> bool:
        """Whether data can be such that a sum of code * code needs more than 32 bits."""
        worst = max(int(self.sums(np.maximum(sign * self.codes.astype(np.int16), 0)).max()) for sign in (1, -1))
        return worst * HIGHEST > ACCUMULATOR_MAX


def lower_contraction(node: Node) -> Outcome:
    """Compute a Conv, Gemm or MatMul whose data and constant weight are quantized in integers."""
    op, weight_type = node.op, _type(node.input(1))
    if not isinstance(op, Conv | Gemm | MatMul) or coded(node.input(0)) is None:
        return None
    weight = weight_of(node)
    if weight is None and isinstance(op, MatMul) and coded(node.input(1)) is not None:
        return None  # a product of two data
    if isinstance(op, Gemm) and op.transA:
        return Declined("an integer Gemm cannot transpose its data")
    if weight is None or weight_type is None:
        return Declined("its weight is no constant of symmetric 8-bit codes with one scale or one a channel")
    if weight.overflows:
        return Declined("its sums may exceed 32 bits")
    return _lower(node, weight)


def _type(value: Value | None) -> TensorType | None:
    return None if value is None else value.tensor_type


def _lower(node: Node, weight: _Weight) -> Outcome:
    x, type, channels = coded(node.input(0)), node.output.tensor_type, len(weight.scales)
    assert x is not None
    if type is None or type.shape is None:
        return Declined("the rank of its output is not known")
    axis = 1 if isinstance(node.op, Conv) else len(type.shape) - 1
    start = _start(node, axis, channels)
    if start is None:
        return Declined("its bias is not a constant with a number for each output channel")
    pads = _pads(node)
    if isinstance(pads, Declined):
        return pads
    after = epilogue(start, axis, channels, residual=True)
    op, scale, bias = _requantization(node, pads, x, weight, after)
    held = weight.value or node.graph.add_constant(weight.codes, f"{node.name}.weight")
    vectors = [node.graph.add_constant(v, f"{node.name}.{k}") for v, k in ((scale, "scale"), (bias, "bias"))]
    place(node, op, [x.value, held, *vectors], after)
    return True


def place(node: Node, op: Op, inputs: list[Value], after: Epilogue) -> None:
    """Make the contraction an integer op whose output takes the place of all that its epilogue computes."""
    goal, last = after.destination, after.value
    if after.residual is not None:
        assert goal is not None
        inputs = [*inputs, after.residual.value]
        node.graph.move(node, before=min(goal.quantizers, key=lambda q: q.position))
    become(node, op, inputs, goal.quantizers if goal is not None else ())
    if goal is None and last is not node.output:
        maker = last.producer
        last.replace_uses(node.output)
        assert maker is not None
        remove_dead(maker)


def _start(node: Node, axis: int, channels: int) -> Epilogue | None:
    """The epilogue before anything behind the node is looked at: the node's own bias; None if that is no vector."""
    start, op = Epilogue(node.output), node.op
    bias = node.input(2) if isinstance(op, Conv | Gemm) else None
    if isinstance(op, Gemm):
        start = replace(start, gain=np.asarray(op.alpha))
    if bias is None:
        return start
    constant = constant_of(bias)
    if isinstance(op, Conv):
        vector = None if constant is None else np.asarray(constant, np.float64)
    else:
        vector = None if constant is None else channel_vector(constant, node.output, axis, channels)
    if vector is None:
        return None
    return replace(start, bias=vector * op.beta if isinstance(op, Gemm) else vector)


def _pads(node: Node) -> tuple[int, ...] | Declined | None:
    """What a convolution puts around its input, as `pads`."""
    op, x, w = node.op, _type(node.input(0)), _type(node.input(1))
    if not isinstance(op, Conv):
        return None
    if not op.auto_pad.startswith("SAME"):
        return op.pads if op.auto_pad == "NOTSET" else None
    spatial = x.shape[2:] if x is not None and x.shape is not None else (None,)
    if w is None or not all(isinstance(d, int) for d in spatial):
        return Declined(f"its padding ({op.auto_pad}) follows from the size of its input, which is not known")
    axes = op.windows([1, 1, *(d for d in spatial if isinstance(d, int))], w.static_shape)
    return (*(a.begin for a in axes), *(a.end for a in axes))


def _requantization(
    node: Node, pads: tuple[int, ...] | None, x: Coded, weight: _Weight, after: Epilogue
) -> tuple[QConv | QMatMul, Array, Array]:
    """The integer op, and its scale and bias: float32, shape (M,)."""
    op, goal, other = node.op, after.destination, after.residual
    step, offset = (goal.grid.scale, goal.grid.zero_point) if goal is not None else (1.0, 0)
    made: QConv | QMatMul = QMatMul()
    if isinstance(op, Conv):
        made = QConv(op.strides, pads, op.dilations, op.group, x.grid.zero_point)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scale = as_float32(after.gain * x.grid.scale * weight.scales / step, "scale", node)
        if other is not None:
            made = replace(made, residual_scale=as_float32(np.float64(other.grid.scale) / step, "residual scale", node))
        shift = offset - (made.residual_scale * other.grid.zero_point if other is not None else 0.0)
        zeros = x.grid.zero_point * scale.astype(np.float64) * weight.sums(weight.codes)
        bias = as_float32(after.bias / step + shift - zeros, "bias", node)
    if goal is None:
        return replace(made, float_output=1), scale, bias
    return replace(made, lo=goal.lo, hi=goal.hi), scale, bias


def weight_of(node: Node) -> _Weight | None:
    """The weight of a contraction, None if it is not a constant in symmetric codes of 8 bits at most."""
    op, value = node.op, node.input(1)
    maker = value.producer if value is not None else None
    transpose = None
    if maker is not None and isinstance(maker.op, Transpose):
        source = maker.input(0)
        transpose, maker = maker.op, source.producer if source is not None else None
    if maker is None or not isinstance(maker.op, DequantizeLinear) or maker.op.block_size:
        return None
    stored, scale, zero_point = (constant_of(maker.input(index)) for index in range(3))
    if stored is None or scale is None or not is_integer(stored) or scale.dtype != np.float32 or scale.ndim > 1:
        return None
    along = None if scale.size == 1 else maker.op.axis % stored.ndim
    turned = None if transpose is None else transpose.perm or tuple(reversed(range(stored.ndim)))
    return _arranged(op, stored, scale, zero_point, along, turned, maker.input(0))


def is_integer(array: Array) -> bool:
    """Whether the array holds whole numbers, those of 4 bits among them."""
    return array.dtype.kind in "iu" or array.dtype.name in ("int4", "uint4", "int2", "uint2")


def _arranged(
    op: Op,
    stored: Array,
    scale: Array,
    zero_point: Array | None,
    along: int | None,
    turned: tuple[int, ...] | None,
    value: Value | None,
) -> _Weight | None:
    """The weight as the integer op takes it.

    along : the axis of `stored` with a scale for each element, None if there is one scale
    turned : the axes of a Transpose behind it, None if there is none
    """
    centred = stored.astype(np.int32)
    if zero_point is not None:
        shape = [1] * stored.ndim
        if along is not None and zero_point.size > 1:
            shape[along] = -1
        centred = centred - zero_point.astype(np.int32).reshape(shape if zero_point.size > 1 else ())
    if turned is not None:
        centred, along = centred.transpose(turned), None if along is None else turned.index(along)
    if isinstance(op, Gemm) and op.transB:
        centred, along = centred.T, None if along is None else 1 - along
    axis = 0 if isinstance(op, Conv) else 1
    if centred.ndim < 2 or (axis == 1 and centred.ndim != 2) or along not in (None, axis) or not centred.size:
        return None
    if centred.min() < -128 or centred.max() > 127:
        return None
    codes = np.ascontiguousarray(centred.astype(np.int8))
    same = value is not None and value.data is not None and value.data.dtype == np.int8
    same = same and value is not None and value.data is not None and np.array_equal(value.data, codes)
    scales = np.broadcast_to(scale.reshape(-1).astype(np.float64), (codes.shape[axis],))
    return _Weight(codes, scales, axis, value if same else None)

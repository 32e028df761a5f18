"""Elementwise ops as right-hand sides in C.

The functions named irc_…f stand in kernels/irc_math.h; they give the same bits on every ISA.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np

from irc.backends.c.lowering.builder import Builder
from irc.backends.c.lowering.expressions import Expr, c_literal, c_type
from irc.backends.c.lowering.rules import lowers
from irc.backends.c.views import View
from irc.errors import BackendError
from irc.graph import Node
from irc.op import Op
from irc.ops import activation, binary, cast, logic, unary
from irc.ops.int8 import QAdd, QMul
from irc.types import DType

# float32: {0}, {1} … are the inputs
_FLOAT: dict[type[Op], str] = {
    unary.Abs: "fabsf({0})", unary.Neg: "-{0}", unary.Sqrt: "sqrtf({0})", unary.Reciprocal: "1.0f / {0}",
    unary.Floor: "floorf({0})", unary.Ceil: "ceilf({0})", unary.Round: "rintf({0})", unary.Exp: "irc_exp({0})",
    unary.Log: "irc_log({0})", unary.Erf: "irc_erf({0})", unary.Tanh: "irc_tanh({0})", unary.Sin: "irc_sin({0})",
    unary.Cos: "irc_cos({0})", unary.Tan: "irc_tan({0})", unary.Sinh: "irc_sinh({0})", unary.Cosh: "irc_cosh({0})",
    unary.Asin: "irc_asin({0})", unary.Acos: "irc_acos({0})", unary.Atan: "irc_atan({0})",
    unary.Asinh: "irc_asinh({0})",
    unary.Acosh: "irc_acosh({0})", unary.Atanh: "irc_atanh({0})", unary.Sign: "(float)(({0} > 0.0f) - ({0} < 0.0f))",
    activation.Sigmoid: "irc_sigmoid({0})", activation.Relu: "irc_relu({0})",
    activation.HardSwish: "irc_hard_swish({0})", activation.Mish: "irc_mish({0})",
    activation.Softplus: "irc_softplus({0})", activation.Softsign: "irc_softsign({0})",
    activation.PRelu: "{0} < 0.0f ? {0} * {1} : {0}",
    binary.Add: "{0} + {1}", binary.Sub: "{0} - {1}", binary.Mul: "{0} * {1}", binary.Div: "{0} / {1}",
    binary.Pow: "irc_pow({0}, {1})", binary.Max: "irc_max({0}, {1})", binary.Min: "irc_min({0}, {1})",
}  # fmt: skip
# float64: what needs no function of its own
_DOUBLE: dict[type[Op], str] = {
    unary.Abs: "fabs({0})", unary.Neg: "-{0}", unary.Sqrt: "sqrt({0})", unary.Reciprocal: "1.0 / {0}",
    unary.Floor: "floor({0})", unary.Ceil: "ceil({0})", unary.Round: "rint({0})", unary.Exp: "irc_exp_f64({0})",
    unary.Log: "irc_log_f64({0})", unary.Tanh: "irc_tanh_f64({0})", unary.Atan: "irc_atan_f64({0})",
    unary.Sign: "(double)(({0} > 0.0) - ({0} < 0.0))", activation.Relu: "{0} < 0.0 ? 0.0 : {0}",
    activation.PRelu: "{0} < 0.0 ? {0} * {1} : {0}", activation.Softplus: "irc_softplus_f64({0})",
    binary.Add: "{0} + {1}", binary.Sub: "{0} - {1}", binary.Mul: "{0} * {1}",
    binary.Max: "{0} > {1} ? {0} : {1}", binary.Min: "{0} < {1} ? {0} : {1}",
}  # fmt: skip
_INTEGER: dict[type[Op], str] = {
    unary.Abs: "{0} < 0 ? -{0} : {0}", unary.Neg: "-{0}", unary.Sign: "({0} > 0) - ({0} < 0)", unary.BitwiseNot: "~{0}",
    activation.Relu: "{0} > 0 ? {0} : 0", binary.Add: "{0} + {1}", binary.Sub: "{0} - {1}", binary.Mul: "{0} * {1}",
    binary.Max: "{0} > {1} ? {0} : {1}", binary.Min: "{0} < {1} ? {0} : {1}", binary.BitwiseAnd: "{0} & {1}",
    binary.BitwiseOr: "{0} | {1}", binary.BitwiseXor: "{0} ^ {1}", activation.PRelu: "{0} < 0 ? {0} * {1} : {0}",
}  # fmt: skip
_COMPARE: dict[type[Op], str] = {
    logic.Equal: "{0} == {1}", logic.Greater: "{0} > {1}", logic.GreaterOrEqual: "{0} >= {1}", logic.Less: "{0} < {1}",
    logic.LessOrEqual: "{0} <= {1}", logic.And: "{0} && {1}", logic.Or: "{0} || {1}", logic.Xor: "{0} != {1}",
    unary.Not: "!{0}", unary.IsNaN: "{0} != {0}",
}  # fmt: skip


def operands(b: Builder, node: Node) -> list[Expr | View]:
    """The inputs as operands; constants of one element as literals."""
    found: list[Expr | View] = []
    for index, value in enumerate(node.inputs):
        if value is None:
            continue
        data = value.data
        found.append(
            Expr.literal(data.reshape(()).item(), b.dtype(value))
            if data is not None and data.size == 1
            else b.operand(node, index)
        )
    return found


def right_hand_side(node: Node, op: type[Op], dtype: DType) -> str:
    """What stands in the tables for the op on numbers of that type.

    Raises
    ------
    BackendError : nothing does.
    """
    table = _FLOAT if dtype is DType.F32 else _DOUBLE if dtype.is_float else _INTEGER
    if op not in table:
        raise BackendError(f"{node!r}: the C backend has no {op.__name__} of {dtype}; cast its input to f32")
    return table[op]


def express(b: Builder, node: Node, rhs: str, arguments: list[Expr | View]) -> None:
    """The node's output as one right-hand side of its operands."""
    value = node.output
    b.express(value, Expr(b.dtype(value), b.shape(value), rhs, tuple(arguments)))


def lower_simple(b: Builder, node: Node) -> None:
    """An op whose right-hand side stands in the tables."""
    dtype = b.dtype(node.inputs[0]) if node.inputs[0] is not None else DType.F32
    op = type(node.op)
    if op in _COMPARE:
        express(b, node, _COMPARE[op], operands(b, node))
        return
    express(b, node, right_hand_side(node, op, dtype), operands(b, node))


lowers(*_FLOAT, *_INTEGER, *_COMPARE)(lower_simple)


@lowers(binary.Max, binary.Min, binary.Sum, binary.Mean)
def lower_variadic(b: Builder, node: Node) -> None:
    """Two at a time, from the first."""
    dtype, shape = b.dtype(node.output), b.shape(node.output)
    op = binary.Add if isinstance(node.op, binary.Sum | binary.Mean) else type(node.op)
    rhs = right_hand_side(node, op, dtype)
    total = reduce(lambda x, y: b.bounded(Expr(dtype, shape, rhs, (x, y)), node), operands(b, node))
    count = len(node.inputs)
    if isinstance(node.op, binary.Mean):
        total = Expr(dtype, shape, f"{{0}} / {c_literal(count, dtype)}", (total,))
    b.express(node.output, total if isinstance(total, Expr) else Expr.of(total))


@lowers(logic.Where)
def lower_where(b: Builder, node: Node) -> None:
    """y = condition ? a : b."""
    express(b, node, "{0} ? {1} : {2}", operands(b, node))


@lowers(cast.Cast, cast.CastLike)
def lower_cast(b: Builder, node: Node) -> None:
    """As C converts; to bool by comparing with zero."""
    x = operands(b, node)[0]
    dtype = b.dtype(node.output)
    if x.dtype.is_float and dtype.is_integer:
        express(b, node, f"irc_to_integer_{dtype}({{0}})", [x])
    else:
        express(b, node, "{0} != 0" if dtype is DType.BOOL else f"({c_type(dtype)}){{0}}", [x])


@lowers(activation.Clip)
def lower_clip(b: Builder, node: Node) -> None:
    """min(max(x, low), high), either bound optional."""
    x = b.operand(node, 0)
    dtype, shape = b.dtype(node.output), b.shape(node.output)
    made = x if isinstance(x, Expr) else Expr.of(x)
    for index, op in ((1, binary.Max), (2, binary.Min)):
        if node.input(index) is not None:
            bound = node.constant(index)
            limit = b.input(node, index) if bound is None else Expr.literal(bound.reshape(()).item(), dtype)
            made = Expr(dtype, shape, right_hand_side(node, op, dtype), (made, limit))
    b.express(node.output, made)


def _with(formula: Callable[[Op], str]) -> Callable[[Builder, Node], None]:
    """A rule for a float32 function with attributes."""

    def rule(b: Builder, node: Node) -> None:
        if b.dtype(node.output) is not DType.F32:
            raise BackendError(f"{node!r}: the C backend has it of f32 only; cast its input to that")
        express(b, node, formula(node.op), operands(b, node))

    return rule


def float_literal(value: float) -> str:
    """A float32 constant in C."""
    return c_literal(np.float32(value), DType.F32)


def _parametric(op: Op) -> str:
    match op:
        case activation.LeakyRelu(alpha=alpha):
            return f"irc_leaky_relu({{0}}, {float_literal(alpha)})"
        case activation.Elu(alpha=alpha):
            return f"irc_elu({{0}}, {float_literal(alpha)})"
        case activation.Celu(alpha=alpha):
            return f"irc_celu({{0}}, {float_literal(alpha)})"
        case activation.Selu(alpha=alpha, gamma=gamma):
            return f"irc_selu({{0}}, {float_literal(alpha)}, {float_literal(gamma)})"
        case activation.ThresholdedRelu(alpha=alpha):
            return f"irc_thresholded_relu({{0}}, {float_literal(alpha)})"
        case activation.HardSigmoid(alpha=alpha, beta=beta):
            return f"irc_hard_sigmoid({{0}}, {float_literal(alpha)}, {float_literal(beta)})"
        case activation.Shrink(bias=bias, lambd=lambd):
            low, high = (
                f"{{0}} < {float_literal(-lambd)} ? {{0}} + {float_literal(bias)}",
                f"{{0}} > {float_literal(lambd)} ? {{0}} - {float_literal(bias)}",
            )
            return f"{low} : {high} : 0.0f"
        case activation.Swish(alpha=alpha):
            return "irc_silu({0})" if alpha == 1 else f"irc_swish({{0}}, {float_literal(alpha)})"
        case activation.Gelu(approximate=approximate):
            return "irc_gelu_tanh({0})" if approximate == "tanh" else "irc_gelu({0})"
    raise AssertionError(op)


lowers(
    activation.LeakyRelu, activation.Elu, activation.Celu, activation.Selu, activation.ThresholdedRelu,
    activation.HardSigmoid, activation.Shrink, activation.Swish, activation.Gelu,
)(_with(_parametric))  # fmt: skip


@lowers(QAdd)
def lower_quantized_add(b: Builder, node: Node) -> None:
    """clamp(round(fma(a, a_scale, fma(b, b_scale, bias))))."""
    op = node.op
    assert isinstance(op, QAdd)
    inner = f"IRC_FMAF((float){{1}}, {float_literal(op.b_scale)}, {float_literal(op.bias)})"
    total = f"IRC_FMAF((float){{0}}, {float_literal(op.a_scale)}, {inner})"
    express(
        b,
        node,
        f"(uint8_t)irc_clamped_code({total}, {float_literal(op.lo)}, {float_literal(op.hi)})",
        operands(b, node),
    )


@lowers(QMul)
def lower_quantized_mul(b: Builder, node: Node) -> None:
    """clamp(round(fma((a - a_zero_point) * (b - b_zero_point), scale, bias)))."""
    op = node.op
    assert isinstance(op, QMul)
    product = f"(float)(((int32_t){{0}} - {op.a_zero_point}) * ((int32_t){{1}} - {op.b_zero_point}))"
    total = f"IRC_FMAF({product}, {float_literal(op.scale)}, {float_literal(op.bias)})"
    express(
        b,
        node,
        f"(uint8_t)irc_clamped_code({total}, {float_literal(op.lo)}, {float_literal(op.hi)})",
        operands(b, node),
    )

"""Products: linear layers, matrix products, einsum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from irc.frontends.torch.emitter import Emitter, Number, dtype, rank
from irc.frontends.torch.rules import rule
from irc.graph import Value
from irc.types import DType


@rule("aten.linear.default")
def linear(e: Emitter, x: Value, weight: Value, bias: Value | None = None) -> Value:
    """x w^T + b: a Gemm if x is a matrix, else MatMul and Add, the weight then stored transposed as `name.T`."""
    if rank(x) == 2 and rank(weight) == 2:
        return e.emit("Gemm", x, weight, bias, part="", transB=1)
    if rank(weight) != 2:
        y = e.emit("MatMul", x, weight, part="", type=e.out)
    elif weight.data is not None:
        y = e.emit("MatMul", x, e.derived(weight, weight.data.T, "T"), part="", type=e.out)
    else:
        y = e.emit("MatMul", x, e.transpose(weight, (1, 0)), part="", type=e.out)
    return y if bias is None else e.emit("Add", y, bias, part="bias")


@rule("aten.matmul.default", "aten.mm.default", "aten.bmm.default", "aten.mv.default", "aten.dot.default")
@rule("aten.__matmul__.default")
def matmul(e: Emitter, a: Value, b: Value) -> Value:
    return e.emit("MatMul", a, b, part="")


@rule("aten.addmm.default")
def addmm(e: Emitter, c: Value, a: Value, b: Value, *, beta: Number = 1, alpha: Number = 1) -> Value:
    if not dtype(a).is_float:
        return _scaled_sum(e, c, e.emit("MatMul", a, b, part=""), beta, alpha)
    return e.emit("Gemm", a, b, c, part="", alpha=float(alpha), beta=float(beta))


@rule("aten.baddbmm.default", "aten.addmv.default", "aten.addbmm.default")
def baddbmm(e: Emitter, c: Value, a: Value, b: Value, *, beta: Number = 1, alpha: Number = 1) -> Value:
    y = e.emit("MatMul", a, b, part="")
    if rank(c) < rank(y) and rank(a) == 3 and len(e.out_shape) == 2:
        y = e.emit("ReduceSum", y, [0], keepdims=0)
    return _scaled_sum(e, c, y, beta, alpha)


def _scaled_sum(e: Emitter, c: Value, y: Value, beta: Number, alpha: Number) -> Value:
    if beta == 0:
        return scaled(e, y, alpha)
    return e.emit("Add", scaled(e, c, beta), scaled(e, y, alpha), part="sum")


def scaled(e: Emitter, x: Value, factor: Number) -> Value:
    """x * factor."""
    return x if factor == 1 else e.emit("Mul", x, e.scalar(factor, dtype(x)), part="scale")


@rule("aten.outer.default")
def outer(e: Emitter, a: Value, b: Value) -> Value:
    a, b = e.promoted(a, b)
    return e.emit("Mul", e.unsqueeze(a, 1), e.unsqueeze(b, 0), part="")


@rule("aten.einsum.default")
def einsum(e: Emitter, equation: str, operands: Sequence[Value], *, path: Sequence[int] | None = None) -> Value:
    return e.emit("Einsum", *operands, part="", type=e.out, equation=equation.replace(" ", ""))


@rule("aten.bilinear.default")
def bilinear(e: Emitter, a: Value, b: Value, weight: Value, bias: Value | None = None) -> Value:
    """y[..., o] = sum over i, j of a[..., i] w[o, i, j] b[..., j] + bias[o]."""
    y = e.emit("Einsum", a, weight, b, part="", type=e.out, equation="...i,oij,...j->...o")
    return y if bias is None else e.emit("Add", y, bias, part="bias")


@rule("aten.cdist.default")
def cdist(e: Emitter, a: Value, b: Value, p: float = 2.0, compute_mode: int | None = None) -> Value:
    """The p-norm of every difference of a row of a and a row of b."""
    difference = e.emit("Sub", e.unsqueeze(a, rank(a) - 1), e.unsqueeze(b, rank(b) - 2))
    if p in (1.0, 2.0):
        return e.emit("ReduceL1" if p == 1.0 else "ReduceL2", difference, [-1], part="", keepdims=0)
    powers = e.emit("Pow", e.emit("Abs", difference), e.scalar(p, DType.F32), part="powers")
    total = e.emit("ReduceSum", powers, [-1], keepdims=0)
    return e.emit("Pow", total, e.constant(np.array(1 / p, np.float32), "root"), part="")

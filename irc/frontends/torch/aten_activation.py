"""Activations."""

from __future__ import annotations

import math

from irc.errors import ModelError
from irc.frontends.torch.emitter import Emitter, Number, axis_of, dtype, rank, shape
from irc.frontends.torch.rules import Result, Rule, Unsupported, rule
from irc.graph import Value
from irc.types import DType

_SAME = {
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "hardswish": "HardSwish",
    "mish": "Mish",
    "selu": "Selu",
    "erf": "Erf",
    "softsign": "Softsign",
}


def _elementwise(onnx: str) -> Rule:
    def function(e: Emitter, x: Value) -> Result:
        return e.emit(onnx, e.cast(x, e.out.dtype), part="")

    return function


for _aten, _onnx in _SAME.items():
    rule(f"aten.{_aten}.default")(_elementwise(_onnx))


@rule("aten.relu6.default")
def relu6(e: Emitter, x: Value) -> Value:
    return hardtanh(e, x, 0, 6)


@rule("aten.hardtanh.default")
def hardtanh(e: Emitter, x: Value, min_val: Number = -1, max_val: Number = 1) -> Value:
    return e.emit("Clip", x, e.scalar(min_val, dtype(x), "min"), e.scalar(max_val, dtype(x), "max"), part="")


@rule("aten.hardsigmoid.default")
def hardsigmoid(e: Emitter, x: Value) -> Value:
    return e.emit("HardSigmoid", x, part="", alpha=1 / 6, beta=0.5)


@rule("aten.leaky_relu.default")
def leaky_relu(e: Emitter, x: Value, negative_slope: Number = 0.01) -> Value:
    return e.emit("LeakyRelu", x, part="", alpha=float(negative_slope))


@rule("aten.elu.default")
def elu(e: Emitter, x: Value, alpha: Number = 1, scale: Number = 1, input_scale: Number = 1) -> Value:
    if input_scale != 1:
        raise Unsupported("elu with a scaled input")
    y = e.emit("Elu", x, part="", alpha=float(alpha))
    return y if scale == 1 else e.emit("Mul", y, e.scalar(scale, dtype(y), "scale"), part="scaled")


@rule("aten.celu.default")
def celu(e: Emitter, x: Value, alpha: Number = 1.0) -> Value:
    return e.emit("Celu", x, part="", alpha=float(alpha))


@rule("aten.gelu.default")
def gelu(e: Emitter, x: Value, *, approximate: str = "none") -> Value:
    return e.emit("Gelu", x, part="", approximate=None if approximate == "none" else approximate)


@rule("aten.silu.default")
def silu(e: Emitter, x: Value) -> Value:
    return e.emit("Mul", x, e.emit("Sigmoid", x), part="")


@rule("aten.softplus.default")
def softplus(e: Emitter, x: Value, beta: Number = 1, threshold: Number = 20) -> Value:
    """log(1 + exp(beta x)) / beta; torch's threshold only guards against overflow, which ONNX's does itself."""
    if beta * threshold < 15:
        raise Unsupported("softplus with a threshold low enough to change its values")
    if beta == 1:
        return e.emit("Softplus", x, part="")
    factor = e.scalar(beta, dtype(x), "beta")
    return e.emit("Div", e.emit("Softplus", e.emit("Mul", x, factor)), factor, part="")


@rule("aten.log_sigmoid.default")
def log_sigmoid(e: Emitter, x: Value) -> Value:
    return e.emit("Neg", e.emit("Softplus", e.emit("Neg", x, part="negated")), part="")


@rule("aten.tanhshrink.default")
def tanhshrink(e: Emitter, x: Value) -> Value:
    return e.emit("Sub", x, e.emit("Tanh", x), part="")


@rule("aten.softshrink.default")
def softshrink(e: Emitter, x: Value, lambd: Number = 0.5) -> Value:
    return e.emit("Shrink", x, part="", lambd=float(lambd), bias=float(lambd))


@rule("aten.hardshrink.default")
def hardshrink(e: Emitter, x: Value, lambd: Number = 0.5) -> Value:
    return e.emit("Shrink", x, part="", lambd=float(lambd), bias=0.0)


@rule("aten.threshold.default")
def threshold(e: Emitter, x: Value, threshold: Number, value: Number) -> Value:
    above = e.emit("Greater", x, e.scalar(threshold, dtype(x), "threshold"))
    return e.emit("Where", above, x, e.scalar(value, dtype(x), "value"), part="")


@rule("aten.prelu.default", "aten._prelu_kernel.default")
def prelu(e: Emitter, x: Value, weight: Value) -> Value:
    """PRelu; torch's slopes run along axis 1, ONNX's broadcast from the right."""
    if shape(weight) == (1,) or rank(weight) > 1 or rank(x) <= 2:
        return e.emit("PRelu", x, weight, part="")
    size = (-1,) + (1,) * (rank(x) - 2)
    if weight.data is not None:
        return e.emit("PRelu", x, e.derived(weight, weight.data.reshape(size), "slope"), part="")
    return e.emit("PRelu", x, e.reshape(weight, size), part="")


@rule("aten.glu.default")
def glu(e: Emitter, x: Value, dim: int = -1) -> Value:
    axis = axis_of(dim, rank(x))
    size = e.static([shape(x)[axis]], "the width of a glu")[0]
    left, right = e.emit_many("Split", [x, [size // 2, size // 2]], 2, axis=axis)
    return e.emit("Mul", left, e.emit("Sigmoid", right), part="")


def _soft(e: Emitter, op: str, x: Value, dim: int, to: DType) -> Value:
    x = e.cast(x, to)
    if rank(x) == 0:
        return e.squeeze(e.emit(op, e.unsqueeze(x, 0), part="", axis=0), 0)
    return e.emit(op, x, part="", axis=dim)


@rule("aten.softmax.int", "aten._softmax.default")
def softmax(e: Emitter, x: Value, dim: int, dtype: object = None) -> Value:
    return _soft(e, "Softmax", x, dim, e.out.dtype)


@rule("aten.log_softmax.int", "aten._log_softmax.default")
def log_softmax(e: Emitter, x: Value, dim: int, dtype: object = None) -> Value:
    return _soft(e, "LogSoftmax", x, dim, e.out.dtype)


@rule("aten._safe_softmax.default")
def safe_softmax(e: Emitter, x: Value, dim: int, dtype: object = None) -> Value:
    """Softmax that gives zeros where all of a row is -inf."""
    y = _soft(e, "Softmax", x, dim, e.out.dtype)
    best = e.emit("ReduceMax", x, [dim], part="best", keepdims=1)
    empty = e.emit("Equal", best, e.scalar(-math.inf, e.out.dtype, "infinity"), part="empty")
    return e.emit("Where", empty, e.scalar(0, e.out.dtype, "zero"), y, part="safe")


@rule("aten.dropout.default", "aten.feature_dropout.default", "aten.alpha_dropout.default")
@rule("aten.feature_alpha_dropout.default")
def dropout(e: Emitter, x: Value, p: float, train: bool) -> Result:
    if train and p:
        raise ModelError(f"'{e.name}' is a dropout in training mode; export the model after model.eval()")
    return x

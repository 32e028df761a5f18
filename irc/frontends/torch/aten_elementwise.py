"""Arithmetic of each element, with torch's type promotion written out as casts."""

from __future__ import annotations

import math

import numpy as np

from irc.frontends.torch.aten_linear import scaled
from irc.frontends.torch.emitter import Emitter, Number, dtype
from irc.frontends.torch.rules import Rule, Unsupported, rule
from irc.graph import Value
from irc.types import DType

Operand = Value | Number | str

_UNARY = {
    "neg": "Neg",
    "abs": "Abs",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "reciprocal": "Reciprocal",
    "sin": "Sin",
    "cos": "Cos",
    "tan": "Tan",
    "asin": "Asin",
    "acos": "Acos",
    "atan": "Atan",
    "sinh": "Sinh",
    "cosh": "Cosh",
    "asinh": "Asinh",
    "acosh": "Acosh",
    "atanh": "Atanh",
    "sign": "Sign",
    "sgn": "Sign",
}
_ROUNDING = {"floor": "Floor", "ceil": "Ceil", "round": "Round"}  # nothing to do for integers


def _unary(onnx: str) -> Rule:
    def function(e: Emitter, x: Value) -> Value:
        return e.emit(onnx, e.cast(x, e.out.dtype), part="")

    return function


def _rounding(onnx: str) -> Rule:
    def function(e: Emitter, x: Value) -> Value:
        return e.emit(onnx, x, part="") if dtype(x).is_float else x

    return function


for _aten, _onnx in _UNARY.items():
    rule(f"aten.{_aten}.default")(_unary(_onnx))
for _aten, _onnx in _ROUNDING.items():
    rule(f"aten.{_aten}.default")(_rounding(_onnx))


@rule("aten.trunc.default", "aten.fix.default")
def trunc(e: Emitter, x: Value) -> Value:
    if not dtype(x).is_float:
        return x
    return e.emit("Mul", e.emit("Sign", x), e.emit("Floor", e.emit("Abs", x)), part="")


@rule("aten.rsqrt.default")
def rsqrt(e: Emitter, x: Value) -> Value:
    return e.emit("Reciprocal", e.emit("Sqrt", e.cast(x, e.out.dtype)), part="")


@rule("aten.square.default")
def square(e: Emitter, x: Value) -> Value:
    return e.emit("Mul", x, x, part="")


def _log_to(base: float) -> Rule:
    def function(e: Emitter, x: Value) -> Value:
        natural = e.emit("Log", e.cast(x, e.out.dtype))
        return e.emit("Mul", natural, e.scalar(1 / math.log(base), e.out.dtype, "factor"), part="")

    return function


rule("aten.log2.default")(_log_to(2))
rule("aten.log10.default")(_log_to(10))


@rule("aten.log1p.default")
def log1p(e: Emitter, x: Value) -> Value:
    return e.emit("Log", e.emit("Add", e.cast(x, e.out.dtype), e.scalar(1, e.out.dtype, "one")), part="")


@rule("aten.expm1.default")
def expm1(e: Emitter, x: Value) -> Value:
    return e.emit("Sub", e.emit("Exp", e.cast(x, e.out.dtype)), e.scalar(1, e.out.dtype, "one"), part="")


@rule("aten.add.Tensor", "aten.add.Scalar")
def add(e: Emitter, a: Operand, b: Operand, alpha: Number = 1) -> Value:
    a, b = e.promoted(a, b)
    if e.out.dtype is DType.BOOL:
        return e.emit("Or", a, b, part="")
    return e.emit("Add", a, scaled(e, b, alpha), part="")


@rule("aten.sub.Tensor", "aten.sub.Scalar")
def sub(e: Emitter, a: Operand, b: Operand, alpha: Number = 1) -> Value:
    a, b = e.promoted(a, b)
    return e.emit("Sub", a, scaled(e, b, alpha), part="")


@rule("aten.rsub.Tensor", "aten.rsub.Scalar")
def rsub(e: Emitter, a: Operand, b: Operand, alpha: Number = 1) -> Value:
    return sub(e, b, a, alpha)


@rule("aten.mul.Tensor", "aten.mul.Scalar")
def mul(e: Emitter, a: Operand, b: Operand) -> Value:
    a, b = e.promoted(a, b)
    return e.emit("And" if e.out.dtype is DType.BOOL else "Mul", a, b, part="")


@rule("aten.div.Tensor", "aten.div.Scalar", "aten.true_divide.Tensor")
def div(e: Emitter, a: Operand, b: Operand) -> Value:
    to = e.out.dtype  # torch divides integers as floats
    return e.emit("Div", e.tensor(a, to), e.tensor(b, to, "divisor"), part="")


@rule("aten.div.Tensor_mode", "aten.div.Scalar_mode")
def div_mode(e: Emitter, a: Operand, b: Operand, *, rounding_mode: str | None) -> Value:
    if rounding_mode is None:
        return div(e, a, b)
    if rounding_mode == "floor":
        return floor_divide(e, a, b)
    a, b = e.promoted(a, b)
    quotient = e.emit("Div", a, b, part="quotient")
    return trunc(e, quotient)


@rule("aten.floor_divide.default", "aten.floor_divide.Scalar")
def floor_divide(e: Emitter, a: Operand, b: Operand) -> Value:
    a, b = e.promoted(a, b)
    if e.out.dtype.is_float:
        return e.emit("Floor", e.emit("Div", a, b, part="quotient"), part="")
    rest = e.emit("Mod", a, b, part="rest")  # has the sign of the divisor, so that the division is exact
    return e.emit("Div", e.emit("Sub", a, rest), b, part="")


@rule("aten.remainder.Tensor", "aten.remainder.Scalar")
def remainder(e: Emitter, a: Operand, b: Operand) -> Value:
    """a - b * floor(a / b): the sign of the divisor, which ONNX's Mod gives for integers alone."""
    a, b = e.promoted(a, b)
    if not e.out.dtype.is_float:
        return e.emit("Mod", a, b, part="")
    whole = e.emit("Floor", e.emit("Div", a, b, part="quotient"))
    return e.emit("Sub", a, e.emit("Mul", b, whole, part="whole"), part="")


@rule("aten.fmod.Tensor", "aten.fmod.Scalar")
def fmod(e: Emitter, a: Operand, b: Operand) -> Value:
    a, b = e.promoted(a, b)
    return e.emit("Mod", a, b, part="", fmod=1)


@rule("aten.pow.Tensor_Scalar", "aten.pow.Tensor_Tensor", "aten.pow.Scalar")
def pow(e: Emitter, a: Operand, b: Operand) -> Value:
    if isinstance(a, Value) and b == 2 and dtype(a) is e.out.dtype:
        return e.emit("Mul", a, a, part="")
    if isinstance(a, Value) and b == 0.5 and dtype(a) is e.out.dtype:
        return e.emit("Sqrt", a, part="")
    a, b = e.promoted(a, b)
    return e.emit("Pow", a, b, part="")


@rule("aten.maximum.default", "aten.max.other")
def maximum(e: Emitter, a: Operand, b: Operand) -> Value:
    return e.emit("Max", *e.promoted(a, b), part="")


@rule("aten.minimum.default", "aten.min.other")
def minimum(e: Emitter, a: Operand, b: Operand) -> Value:
    return e.emit("Min", *e.promoted(a, b), part="")


@rule("aten.clamp.default", "aten.clip.default")
def clamp(e: Emitter, x: Value, min: Number | None = None, max: Number | None = None) -> Value:
    to = e.out.dtype
    bounds = [None if v is None else e.scalar(v, to, role) for v, role in ((min, "min"), (max, "max"))]
    return e.emit("Clip", e.cast(x, to), *bounds, part="")


@rule("aten.clamp_min.default")
def clamp_min(e: Emitter, x: Value, min: Number) -> Value:
    return clamp(e, x, min=min)


@rule("aten.clamp_max.default")
def clamp_max(e: Emitter, x: Value, max: Number) -> Value:
    return clamp(e, x, max=max)


@rule("aten.clamp.Tensor", "aten.clip.Tensor")
def clamp_tensor(e: Emitter, x: Value, min: Value | None = None, max: Value | None = None) -> Value:
    x = e.cast(x, e.out.dtype)
    if min is not None:
        x = e.emit("Max", x, e.cast(min, e.out.dtype), part="lower" if max is not None else "")
    return x if max is None else e.emit("Min", x, e.cast(max, e.out.dtype), part="")


@rule("aten.clamp_min.Tensor")
def clamp_min_tensor(e: Emitter, x: Value, min: Value) -> Value:
    return clamp_tensor(e, x, min=min)


@rule("aten.clamp_max.Tensor")
def clamp_max_tensor(e: Emitter, x: Value, max: Value) -> Value:
    return clamp_tensor(e, x, max=max)


@rule("aten.lerp.Scalar", "aten.lerp.Tensor")
def lerp(e: Emitter, start: Value, end: Value, weight: Operand) -> Value:
    step = e.emit("Mul", e.emit("Sub", end, start), e.tensor(weight, dtype(start), "weight"), part="step")
    return e.emit("Add", start, step, part="")


@rule("aten.addcmul.default")
def addcmul(e: Emitter, x: Value, a: Value, b: Value, *, value: Number = 1) -> Value:
    return e.emit("Add", x, scaled(e, e.emit("Mul", a, b), value), part="")


@rule("aten.addcdiv.default")
def addcdiv(e: Emitter, x: Value, a: Value, b: Value, *, value: Number = 1) -> Value:
    return e.emit("Add", x, scaled(e, e.emit("Div", a, b), value), part="")


@rule("aten.nan_to_num.default")
def nan_to_num(
    e: Emitter, x: Value, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Value:
    if not dtype(x).is_float:
        return x
    limits = np.finfo(dtype(x).numpy) if dtype(x) is not DType.BF16 else None
    if limits is None:
        raise Unsupported("nan_to_num of bfloat16")
    x = e.emit("Where", e.emit("IsNaN", x), e.scalar(nan or 0.0, dtype(x), "nan"), x, part="number")
    top, bottom = (limits.max if posinf is None else posinf), (limits.min if neginf is None else neginf)
    up = e.emit("IsInf", x, part="up", detect_negative=0)
    down = e.emit("IsInf", x, part="down", detect_positive=0)
    x = e.emit("Where", up, e.scalar(float(top), dtype(x), "top"), x, part="bounded")
    return e.emit("Where", down, e.scalar(float(bottom), dtype(x), "bottom"), x, part="")

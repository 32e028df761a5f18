"""Comparisons, logic and choice of each element."""

from __future__ import annotations

from irc.frontends.torch.aten_elementwise import Operand
from irc.frontends.torch.emitter import Emitter, common_dtype, dtype
from irc.frontends.torch.rules import Rule, Unsupported, rule
from irc.graph import Value
from irc.types import DType

_COMPARE = {"eq": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual"}


def _compare(onnx: str) -> Rule:
    def function(e: Emitter, a: Operand, b: Operand) -> Value:
        if common_dtype(a, b) is DType.BOOL and onnx != "Equal":  # ONNX orders numbers alone
            a, b = e.tensor(a, DType.U8), e.tensor(b, DType.U8)
        return e.emit(onnx, *e.promoted(a, b), part="")

    return function


for _aten, _onnx in _COMPARE.items():
    rule(f"aten.{_aten}.Tensor", f"aten.{_aten}.Scalar")(_compare(_onnx))


@rule("aten.ne.Tensor", "aten.ne.Scalar")
def ne(e: Emitter, a: Operand, b: Operand) -> Value:
    return e.emit("Not", e.emit("Equal", *e.promoted(a, b)), part="")


_LOGIC = {"and": "And", "or": "Or", "xor": "Xor"}


def _logical(onnx: str) -> Rule:
    def function(e: Emitter, a: Value, b: Value) -> Value:
        return e.emit(onnx, e.cast(a, DType.BOOL), e.cast(b, DType.BOOL), part="")

    return function


def _bitwise(onnx: str) -> Rule:
    def function(e: Emitter, a: Operand, b: Operand) -> Value:
        a, b = e.promoted(a, b)
        return e.emit(onnx if e.out.dtype is DType.BOOL else f"Bitwise{onnx}", a, b, part="")

    return function


for _aten, _onnx in _LOGIC.items():
    rule(f"aten.logical_{_aten}.default")(_logical(_onnx))
    _overloads = [f"aten.{n}.{o}" for n in (f"bitwise_{_aten}", f"__{_aten}__") for o in ("Tensor", "Scalar")]
    rule(*_overloads)(_bitwise(_onnx))


@rule("aten.logical_not.default")
def logical_not(e: Emitter, x: Value) -> Value:
    return e.emit("Not", e.cast(x, DType.BOOL), part="")


@rule("aten.bitwise_not.default")
def bitwise_not(e: Emitter, x: Value) -> Value:
    return e.emit("Not" if dtype(x) is DType.BOOL else "BitwiseNot", x, part="")


@rule("aten.isnan.default")
def isnan(e: Emitter, x: Value) -> Value:
    if not dtype(x).is_float:
        raise Unsupported("isnan of integers")
    return e.emit("IsNaN", x, part="")


@rule("aten.isinf.default")
def isinf(e: Emitter, x: Value) -> Value:
    if not dtype(x).is_float:
        raise Unsupported("isinf of integers")
    return e.emit("IsInf", x, part="")


# ---- choice


@rule("aten.where.self", "aten.where.ScalarOther", "aten.where.ScalarSelf", "aten.where.Scalar")
def where(e: Emitter, condition: Value, a: Operand, b: Operand) -> Value:
    a, b = e.tensor(a, e.out.dtype), e.tensor(b, e.out.dtype)
    return e.emit("Where", e.cast(condition, DType.BOOL), a, b, part="")


@rule("aten.masked_fill.Scalar", "aten.masked_fill.Tensor")
def masked_fill(e: Emitter, x: Value, mask: Value, value: Operand) -> Value:
    return e.emit("Where", mask, e.tensor(value, dtype(x), "value"), x, part="")

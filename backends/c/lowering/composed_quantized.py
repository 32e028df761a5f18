"""Ops on codes that carry their scales along, as dequantization, the float op and quantization; see `composed`.

`lower-to-integer` then makes integer ops of them, as of any quantized model. onnxruntime's own, of domain
com.microsoft, are taken as its QOperator format has them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np

from irc.backends.c.lowering.attributes import onnx_attributes
from irc.backends.c.lowering.composed import Nodes, composes, number
from irc.graph import Node, Value
from irc.op import Op
from irc.ops.activation import Gelu, LeakyRelu, Sigmoid
from irc.ops.binary import Add, Div, Max, Min, Mul, Sub
from irc.ops.cast import Cast
from irc.ops.conv import Conv
from irc.ops.index import Concat
from irc.ops.integer import QLinearConv, QLinearMatMul
from irc.ops.linear import Gemm, MatMul
from irc.ops.logic import Equal, Where
from irc.ops.onnx_op import OnnxOp
from irc.ops.pool import AveragePool, GlobalAveragePool
from irc.ops.quantize import DequantizeLinear, DynamicQuantizeLinear, QuantizeLinear
from irc.ops.reduce import ReduceMax, ReduceMin
from irc.ops.softmax import Softmax
from irc.ops.unary import Neg, Round
from irc.types import DType

_MICROSOFT = "com.microsoft"


def _float(new: Nodes, node: Node, first: int, axis: int = 1) -> Value:
    """What the codes of input `first` mean, by the scale and zero point behind it."""
    return new(DequantizeLinear(axis=axis), *(node.input(i) for i in range(first, first + 3)))


def _codes(new: Nodes, node: Node, y: Value, scale: int) -> list[Value]:
    return [new(QuantizeLinear(), y, node.input(scale), node.input(scale + 1))]


def _bias(new: Nodes, node: Node, index: int, scales: tuple[int, int]) -> Value | None:
    """An int32 bias in float32; its unit is the product of two scales."""
    if node.input(index) is None:
        return None
    data, units = node.constant(index), [node.constant(i) for i in scales]
    if data is not None and units[0] is not None and units[1] is not None:
        return new.constant((data.astype(np.float64) * units[0] * units[1]).astype(np.float32))
    unit = new(Mul(), new.given(scales[0]), new.given(scales[1]))
    return new(Mul(), new(Cast(to=DType.F32.onnx_type), new.given(index)), unit)


@composes(QLinearConv)
def quantized_conv(new: Nodes, node: Node) -> list[Value] | None:
    """x, its scale and zero point, w and its, y's scale and zero point, bias."""
    attributes = {f.name: getattr(node.op, f.name) for f in fields(node.op)}
    y = new(Conv(**attributes), _float(new, node, 0), _float(new, node, 3, 0), _bias(new, node, 8, (1, 4)))
    return _codes(new, node, y, 6)


@composes(QLinearMatMul)
def quantized_matmul(new: Nodes, node: Node) -> list[Value] | None:
    """a, its scale and zero point, b and its, y's scale and zero point."""
    return _codes(new, node, new(MatMul(), _float(new, node, 0, -2), _float(new, node, 3, -1)), 6)


@composes((_MICROSOFT, "QGemm"))
def quantized_gemm(new: Nodes, node: Node) -> list[Value] | None:
    """a and b, each with scale and zero point, an int32 bias, y's scale and zero point; without these y is float."""
    given = _attributes(node)
    op = Gemm(alpha=given.get("alpha", 1.0), transA=given.get("transA", 0), transB=given.get("transB", 0))
    y = new(op, _float(new, node, 0), _float(new, node, 3, 0 if op.transB else 1), _bias(new, node, 6, (1, 4)))
    return [y] if node.input(7) is None else _codes(new, node, y, 7)


def _attributes(node: Node) -> dict[str, Any]:
    assert isinstance(node.op, OnnxOp)
    return onnx_attributes(node.op)


def _pair(op: Op) -> Callable[[Nodes, Node], list[Value] | None]:
    """A composition of two inputs, each with scale and zero point."""
    return lambda new, node: _codes(new, node, new(op, _float(new, node, 0), _float(new, node, 3)), 6)


composes((_MICROSOFT, "QLinearAdd"))(_pair(Add()))
composes((_MICROSOFT, "QLinearMul"))(_pair(Mul()))


def _single(make: Callable[[dict[str, Any]], Op | None]) -> Callable[[Nodes, Node], list[Value] | None]:
    """A composition of one input; none where the attributes ask for something that ONNX's op does not do."""

    def made(new: Nodes, node: Node) -> list[Value] | None:
        op = make(_attributes(node))
        return None if op is None else _codes(new, node, new(op, _float(new, node, 0)), 3)

    return made


def _average(given: dict[str, Any]) -> Op | None:
    if given.pop("channels_last", 0):
        return None
    attributes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    return AveragePool(**attributes)


composes((_MICROSOFT, "QLinearSigmoid"))(_single(lambda given: Sigmoid()))
composes((_MICROSOFT, "QLinearLeakyRelu"))(_single(lambda given: LeakyRelu(alpha=given.get("alpha", 0.01))))
composes((_MICROSOFT, "QLinearSoftmax"))(_single(lambda given: Softmax(axis=given.get("axis", -1))))
composes((_MICROSOFT, "QLinearAveragePool"))(_single(_average))
composes((_MICROSOFT, "QLinearGlobalAveragePool"))(
    _single(lambda given: None if given.get("channels_last", 0) else GlobalAveragePool())
)


@composes((_MICROSOFT, "QLinearConcat"))
def quantized_concat(new: Nodes, node: Node) -> list[Value] | None:
    """y's scale and zero point, then each input with its own."""
    parts = [_float(new, node, first) for first in range(2, len(node.inputs), 3)]
    return _codes(new, node, new(Concat(axis=_attributes(node)["axis"]), *parts), 0)


@composes((_MICROSOFT, "Gelu"))
def gelu(new: Nodes, node: Node) -> list[Value] | None:
    """ONNX has it since opset 20."""
    return [new(Gelu(), new.given(0))]


@composes(DynamicQuantizeLinear)
def dynamic_quantize(new: Nodes, node: Node) -> list[Value] | None:
    """Scale and zero point from the least and the largest element, each held to include 0."""
    x = new.given(0)
    zero, top = number(0, x), number(255, x)
    low = new(Min(), new(ReduceMin(keepdims=0), x), zero)
    high = new(Max(), new(ReduceMax(keepdims=0), x), zero)
    scale = new(Div(), new(Sub(), high, low), top)
    step = new(Where(), new(Equal(), scale, zero), number(1, x), scale)
    point = new(Round(), _held(new, new(Div(), new(Neg(), low), step), zero, top))
    code = _held(new, new(Add(), new(Round(), new(Div(), x, step)), point), zero, top)
    codes, offset = (new(Cast(to=DType.U8.onnx_type), v) for v in (code, point))
    return [codes, scale, offset]


def _held(new: Nodes, value: Value, low: Any, high: Any) -> Value:
    return new(Min(), new(Max(), value, low), high)

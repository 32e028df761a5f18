"""What follows a contraction and is computed in its requantization.

    epilogue(v) ::= destination(v)                        Relu, Clip, QuantizeLinear
                  | epilogue(v + b), epilogue(v * g)      constants for each output channel, or one for all
                  | epilogue(v + DQ(residual))            once, of v's shape, and only on the way to a QuantizeLinear
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from irc.graph import Node, Value
from irc.passes.edit import same_known_shape
from irc.passes.integer_rules.codes import Coded, Destination, coded, constant_of, destination, only_reader
from irc.types import Array


@dataclass(frozen=True)
class Epilogue:
    """The value `gain * v + bias (+ residual)` of a contraction's result v, and where it goes.

    value : the last value that is computed with the contraction
    gain, bias : float64, scalar or shape (channels,)
    destination : None if the value is read as float; there is no residual then
    """

    value: Value
    gain: Array = field(default_factory=lambda: np.ones(()))
    bias: Array = field(default_factory=lambda: np.zeros(()))
    residual: Coded | None = None
    destination: Destination | None = None


def epilogue(start: Epilogue, axis: int, channels: int | None, *, residual: bool) -> Epilogue:
    """As much as can be computed with the contraction that gives `start.value`.

    axis, channels : axis of the output channels and their number; constants must be scalars if that is None
    residual : whether the contraction can add a residual
    """
    at = best = start
    while True:
        found = destination(at.value)
        if found is not None:
            return replace(at, destination=found)
        reader = only_reader(at.value)
        if reader is None:
            return best
        step = _affine(reader, at, axis, channels)
        if step is None and residual and at.residual is None:
            step = _residual(reader, at)
        if step is None:
            return best
        at = step
        if at.residual is None:
            best = at


def _affine(reader: Node, at: Epilogue, axis: int, channels: int | None) -> Epilogue | None:
    """The step over an Add, Sub, Mul or Div of a constant."""
    name, first = reader.op.name, reader.input(0) is at.value
    other = reader.input(1 if first else 0)
    if name not in ("Add", "Sub", "Mul", "Div") or reader.op.domain or (name == "Div" and not first):
        return None
    if at.residual is not None and name in ("Mul", "Div"):
        return None
    constant = constant_of(other)
    vector = None if constant is None else channel_vector(constant, at.value, axis, channels)
    if vector is None or not np.isfinite(vector).all():
        return None
    if name == "Add":
        return replace(at, value=reader.output, bias=at.bias + vector)
    if name == "Sub":
        if not first and at.residual is not None:
            return None
        sign = 1.0 if first else -1.0
        return replace(at, value=reader.output, gain=sign * at.gain, bias=sign * (at.bias - vector))
    if name == "Div":
        if not vector.all():
            return None
        return replace(at, value=reader.output, gain=at.gain / vector, bias=at.bias / vector)
    return replace(at, value=reader.output, gain=at.gain * vector, bias=at.bias * vector)


def _residual(reader: Node, at: Epilogue) -> Epilogue | None:
    """The step over an Add of a quantized value of the same shape."""
    if reader.op.name != "Add" or reader.op.domain:
        return None
    other = reader.input(1 if reader.input(0) is at.value else 0)
    found = coded(other)
    if other is None or found is None or not same_known_shape(other, at.value):
        return None
    return replace(at, value=reader.output, residual=found)


def channel_vector(constant: Array, value: Value, axis: int, channels: int | None) -> Array | None:
    """A constant that is broadcast against a value, as float64: a scalar, or a number for each channel; else None."""
    type = value.tensor_type
    if type is None or type.shape is None or constant.ndim > len(type.shape):
        return None
    if constant.size == 1:
        return np.asarray(constant.reshape(()), np.float64)
    axis %= len(type.shape)
    shape = (*(1,) * (len(type.shape) - constant.ndim), *constant.shape)
    if channels is None or shape[axis] != channels or constant.size != channels:
        return None
    return np.asarray(constant.reshape(-1), np.float64)

"""Tensors made of nothing, and casts between element types."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from irc.frontends.torch.emitter import Emitter, Number, dtype
from irc.frontends.torch.rules import Unsupported, rule
from irc.frontends.torch.symbols import Size
from irc.graph import Value
from irc.types import DType

_INLINE = 256  # elements; a larger tensor of one number is written as an Expand


def filled(e: Emitter, number: Value | Number | str) -> Value:
    """A tensor of the node's output type that holds one number everywhere."""
    dims = e.out_shape
    known = [d for d in dims if d is not None]
    if len(known) < len(dims):
        raise Unsupported("a tensor of a size that is not known")
    if not isinstance(number, (Value, str)) and e.out.is_static and e.out.elements() <= _INLINE:
        return e.constant(np.full(e.out.static_shape, number).astype(e.out.dtype.numpy), "filled")
    value = e.tensor(number, e.out.dtype, "value")
    return e.emit("Expand", value, e.sizes(known), part="", type=e.out) if dims else value


@rule("aten.full.default", "aten.new_full.default", "aten.full_like.default")
def full(e: Emitter, *arguments: object, fill_value: Number | None = None, **_: object) -> Value:
    number = arguments[-1] if fill_value is None else fill_value
    assert isinstance(number, (Value, int, float, str))
    return filled(e, number)


@rule("aten.zeros.default", "aten.zeros_like.default", "aten.new_zeros.default", "aten.empty.memory_format")
@rule("aten.empty_like.default", "aten.new_empty.default", "aten.zero.default")
def zeros(e: Emitter, *arguments: object, **_: object) -> Value:
    return filled(e, 0)


@rule("aten.ones.default", "aten.ones_like.default", "aten.new_ones.default")
def ones(e: Emitter, *arguments: object, **_: object) -> Value:
    return filled(e, 1)


@rule("aten.fill.Scalar", "aten.fill.Tensor")
def fill(e: Emitter, x: Value, value: Value | Number | str) -> Value:
    return filled(e, value)


@rule("aten.scalar_tensor.default")
def scalar_tensor(e: Emitter, number: Number | str, **_: object) -> Value:
    return filled(e, number)


@rule("aten.copy.default")
def copy(e: Emitter, x: Value, source: Value, non_blocking: bool = False) -> Value:
    known = [d for d in e.out_shape if d is not None]
    return e.expand(e.cast(source, e.out.dtype), known, part="")


@rule("aten.arange.default")
def arange(e: Emitter, end: Number | str, **_: object) -> Value:
    return arange_step(e, 0, end)


@rule("aten.arange.start", "aten.arange.start_step")
def arange_step(e: Emitter, start: Number | str, end: Number | str, step: Number | str = 1, **_: object) -> Value:
    to = e.out.dtype
    if not isinstance(start, str) and not isinstance(end, str) and not isinstance(step, str):
        (count,) = e.static(e.out_shape, "the length of an arange")
        numbers = np.arange(count) * step + start
        return e.constant(numbers.astype(to.numpy), "range")
    bounds = [e.tensor(n, to, role) for n, role in ((start, "start"), (end, "limit"), (step, "delta"))]
    return e.emit("Range", *bounds, part="", type=e.out)


@rule("aten.linspace.default")
def linspace(e: Emitter, start: Number, end: Number, steps: int, **_: object) -> Value:
    return e.constant(np.linspace(start, end, steps).astype(e.out.dtype.numpy), "range")


@rule("aten.eye.default", "aten.eye.m")
def eye(e: Emitter, *sizes: Size, **_: object) -> Value:
    n, m = e.static(e.out_shape, "an identity matrix")
    return e.constant(np.eye(n, m).astype(e.out.dtype.numpy), "eye")


@rule("aten.meshgrid.default", "aten.meshgrid.indexing")
def meshgrid(e: Emitter, tensors: Sequence[Value], *, indexing: str = "ij") -> list[Value]:
    n = len(tensors)
    made = []
    for k, x in enumerate(tensors):
        place = 1 - k if indexing == "xy" and k < 2 else k
        dims = [d for d in (e.outputs[k].shape or ()) if d is not None]
        made.append(e.expand(e.unsqueeze(x, *(a for a in range(n) if a != place)), dims, part="grid"))
    return made


# ---- casts


@rule("aten.to.dtype", "aten.to.device", "aten.to.dtype_layout", "aten.to.other", "aten._to_copy.default")
@rule("aten.type_as.default", "aten.to.prim_dtype", "aten.to.prim_device")
def to(e: Emitter, x: Value, *arguments: object, **_: object) -> Value:
    """A Cast, if the element type changes. Float to bool and to integer mean the same in both."""
    if dtype(x) is e.out.dtype:
        return x
    return e.emit("Cast", x, part="", to=e.out.dtype.onnx_type)


@rule("aten.bool.default")
def to_bool(e: Emitter, x: Value) -> Value:
    return e.cast(x, DType.BOOL)

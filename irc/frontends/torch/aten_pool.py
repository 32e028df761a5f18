"""Pooling, with windows and to a given size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from irc.frontends.torch.aten_conv import per_axis
from irc.frontends.torch.emitter import Emitter, dtype, rank, shape
from irc.frontends.torch.rules import Result, Rule, Unsupported, rule
from irc.graph import Value
from irc.types import DType

Setting = Sequence[int] | int


def _with_batch(axes: int, pool: Rule) -> Rule:
    """The rule for inputs that may lack the batch axis."""

    def function(e: Emitter, x: Value, *arguments: object, **named: object) -> Result:
        if rank(x) == axes + 2:
            return pool(e, x, *arguments, **named)
        result = pool(e, e.unsqueeze(x, 0), *arguments, **named)
        if isinstance(result, Value):
            return e.squeeze(result, 0)
        assert result is not None
        return tuple(None if v is None else e.squeeze(v, 0) for v in result)

    return function


def _window(axes: int, kernel: Setting, stride: Setting, padding: Setting) -> dict[str, Any]:
    sizes = per_axis(kernel, axes)
    steps = sizes if not isinstance(stride, int) and not stride else per_axis(stride, axes)
    return {"kernel_shape": sizes, "strides": steps, "pads": per_axis(padding, axes) * 2}


def _max_pool(axes: int, indices: bool) -> Rule:
    def function(
        e: Emitter,
        x: Value,
        kernel_size: Setting,
        stride: Setting = (),
        padding: Setting = 0,
        dilation: Setting = 1,
        ceil_mode: bool = False,
    ) -> Result:
        settings = _window(axes, kernel_size, stride, padding)
        dilations = per_axis(dilation, axes)
        more: dict[str, Any] = {
            "dilations": dilations if set(dilations) != {1} else None,
            "ceil_mode": int(ceil_mode) or None,
        }
        if not indices:
            return e.emit("MaxPool", x, part="", **settings, **more)
        y, place = e.emit_many("MaxPool", [x], 2, part="", **settings, **more)
        return y, _in_plane(e, x, place)

    return _with_batch(axes, function)


def _in_plane(e: Emitter, x: Value, place: Value) -> Value:
    """The place in its plane, as torch counts, of ONNX's place in the whole tensor."""
    size = e.static(shape(x)[2:], "the place of a maximum")
    return e.emit("Mod", place, e.scalar(int(np.prod(size)), DType.I64, "plane"), part="indices")


def _average_pool(axes: int) -> Rule:
    def function(
        e: Emitter,
        x: Value,
        kernel_size: Setting,
        stride: Setting = (),
        padding: Setting = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Result:
        settings = _window(axes, kernel_size, stride, padding)
        if divisor_override is not None:
            raise Unsupported("average pooling with a divisor of its own")
        include = int(count_include_pad and any(settings["pads"])) or None
        mode = int(ceil_mode) or None
        return e.emit("AveragePool", x, part="", **settings, count_include_pad=include, ceil_mode=mode)

    return _with_batch(axes, function)


def _targets(x: Value, axes: int, output_size: Setting | Sequence[int | None]) -> list[int | str | None]:
    """The wanted spatial sizes; None asks for the size as it is."""
    given = [output_size] if isinstance(output_size, int) else list(output_size)
    given = given * axes if len(given) == 1 else given
    return [have if want is None else want for have, want in zip(shape(x)[-axes:], given, strict=True)]


def _adaptive_average_pool(axes: int) -> Rule:
    def function(e: Emitter, x: Value, output_size: Setting) -> Result:
        wanted, have = _targets(x, axes, output_size), list(shape(x)[-axes:])
        if wanted == have:
            return x
        if set(wanted) == {1}:
            return e.emit("GlobalAveragePool", x, part="")
        to, size = e.static(wanted, "adaptive pooling"), e.static(have, "adaptive pooling to more than one place")
        if all(h % w == 0 for h, w in zip(size, to, strict=True)):
            step = tuple(h // w for h, w in zip(size, to, strict=True))
            return e.emit("AveragePool", x, part="", kernel_shape=step, strides=step)
        return _averaged(e, x, size, to)

    return _with_batch(axes, function)


def _averaged(e: Emitter, x: Value, size: Sequence[int], to: Sequence[int]) -> Value:
    """Averages over windows of unequal width: a product with a constant matrix, axis by axis."""
    last = rank(x) - 1
    for k, (have, want) in enumerate(zip(size, to, strict=True)):
        matrix = np.zeros((have, want), np.float64)
        for j in range(want):
            begin, end = j * have // want, -(-(j + 1) * have // want)
            matrix[begin:end, j] = 1 / (end - begin)
        axis = last - len(size) + 1 + k
        order = [*range(axis), *range(axis + 1, last + 1), axis]
        turned = e.transpose(x, order, part="turned")
        y = e.emit("MatMul", turned, matrix.astype(dtype(x).numpy), part="average")
        x = e.transpose(y, list(np.argsort(order)), part="back")
    return x


def _adaptive_max_pool(axes: int) -> Rule:
    def function(e: Emitter, x: Value, output_size: Setting) -> Result:
        wanted, have = _targets(x, axes, output_size), list(shape(x)[-axes:])
        size, to = e.static(have, "adaptive maximum pooling"), e.static(wanted, "adaptive maximum pooling")
        if any(h % w for h, w in zip(size, to, strict=True)):
            raise Unsupported("adaptive maximum pooling over windows of unequal width")
        step = tuple(h // w for h, w in zip(size, to, strict=True))
        y, place = e.emit_many("MaxPool", [x], 2, part="", kernel_shape=step, strides=step)
        return y, _in_plane(e, x, place)

    return _with_batch(axes, function)


for _axes in (1, 2, 3):
    rule(f"aten.max_pool{_axes}d.default")(_max_pool(_axes, indices=False))
    rule(f"aten.max_pool{_axes}d_with_indices.default")(_max_pool(_axes, indices=True))
    rule(f"aten.avg_pool{_axes}d.default")(_average_pool(_axes))
    rule(f"aten.adaptive_avg_pool{_axes}d.default")(_adaptive_average_pool(_axes))
    rule(f"aten.adaptive_max_pool{_axes}d.default")(_adaptive_max_pool(_axes))
for _axes in (2, 3):
    rule(f"aten._adaptive_avg_pool{_axes}d.default")(_adaptive_average_pool(_axes))

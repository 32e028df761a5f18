"""Convolutions, plain and transposed, over one to three spatial axes."""

from __future__ import annotations

from collections.abc import Sequence

from irc.frontends.torch.emitter import Emitter, rank, shape
from irc.frontends.torch.rules import Unsupported, rule
from irc.graph import Value


def per_axis(values: Sequence[int] | int, axes: int) -> tuple[int, ...]:
    """A setting of each spatial axis; torch lets one number stand for all."""
    given = [values] if isinstance(values, int) else list(values)
    return tuple(given * axes if len(given) == 1 else given)


def _batched(e: Emitter, x: Value, weight: Value) -> tuple[Value, bool]:
    """`x` with a batch axis, and whether it lacked one."""
    alone = rank(x) < rank(weight)
    return (e.unsqueeze(x, 0) if alone else x), alone


def _finished(e: Emitter, y: Value, alone: bool) -> Value:
    return e.squeeze(y, 0) if alone else y


def _pads(padding: Sequence[int] | int | str, weight: Value, dilation: tuple[int, ...]) -> tuple[int, ...]:
    """ONNX's pads: all begins, then all ends. `same` puts the odd one at the end, as torch does."""
    axes = rank(weight) - 2
    if padding == "valid":
        return (0,) * 2 * axes
    if isinstance(padding, str):
        kernel = [k for k in shape(weight)[2:] if isinstance(k, int)]
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple(t // 2 for t in total) + tuple(t - t // 2 for t in total)
    return per_axis(padding, axes) * 2


@rule(
    "aten.conv1d.default",
    "aten.conv2d.default",
    "aten.conv3d.default",
    "aten.conv1d.padding",
    "aten.conv2d.padding",
    "aten.conv3d.padding",
)
def conv(
    e: Emitter,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Sequence[int] | int = 1,
    padding: Sequence[int] | int | str = 0,
    dilation: Sequence[int] | int = 1,
    groups: int = 1,
) -> Value:
    axes = rank(weight) - 2
    dilations = per_axis(dilation, axes)
    x, alone = _batched(e, x, weight)
    y = e.emit(
        "Conv",
        x,
        weight,
        bias,
        part="",
        strides=per_axis(stride, axes),
        pads=_pads(padding, weight, dilations),
        dilations=dilations,
        group=groups,
    )
    return _finished(e, y, alone)


@rule("aten.conv_transpose1d.default", "aten.conv_transpose2d.input", "aten.conv_transpose3d.input")
def conv_transpose(
    e: Emitter,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Sequence[int] | int = 1,
    padding: Sequence[int] | int = 0,
    output_padding: Sequence[int] | int = 0,
    groups: int = 1,
    dilation: Sequence[int] | int = 1,
) -> Value:
    axes = rank(weight) - 2
    x, alone = _batched(e, x, weight)
    extra = per_axis(output_padding, axes)
    y = e.emit(
        "ConvTranspose",
        x,
        weight,
        bias,
        part="",
        strides=per_axis(stride, axes),
        pads=per_axis(padding, axes) * 2,
        dilations=per_axis(dilation, axes),
        group=groups,
        output_padding=extra if any(extra) else None,
    )
    return _finished(e, y, alone)


@rule("aten.convolution.default")
def convolution(
    e: Emitter,
    x: Value,
    weight: Value,
    bias: Value | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Value:
    if transposed:
        return conv_transpose(e, x, weight, bias, stride, padding, output_padding, groups, dilation)
    return conv(e, x, weight, bias, stride, padding, dilation, groups)


@rule("aten._weight_norm.default")
def weight_norm(e: Emitter, v: Value, g: Value, dim: int = 0) -> Value:
    """v * (g / |v|), the norm over all axes but `dim`."""
    if dim == -1:
        raise Unsupported("weight_norm over all axes")
    axes = [a for a in range(rank(v)) if a != dim]
    norm = e.emit("ReduceL2", v, axes, part="norm", keepdims=1)
    return e.emit("Mul", v, e.emit("Div", g, norm), part="")

"""Normalization layers, kept whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from irc.errors import ModelError
from irc.frontends.torch.emitter import Emitter, dtype, rank, shape
from irc.frontends.torch.rules import Unsupported, rule
from irc.graph import Value


def _filled(e: Emitter, x: Value, given: Value | None, number: float, size: int, role: str) -> Value:
    """`given`, or a constant vector of `number`."""
    return given if given is not None else e.constant(np.full(size, number, dtype(x).numpy), role)


def _channels(e: Emitter, x: Value) -> int:
    return e.static([shape(x)[1]], "the number of channels")[0]


@rule("aten.batch_norm.default", "aten.cudnn_batch_norm.default")
def batch_norm(
    e: Emitter,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    mean: Value | None,
    variance: Value | None,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Value:
    if training and mean is not None:
        raise ModelError(f"'{e.name}' is a batch norm in training mode; export the model after model.eval()")
    if mean is None or variance is None:
        raise Unsupported("batch normalization with the statistics of the batch")
    c = _channels(e, x)
    scale, shift = _filled(e, x, weight, 1, c, "scale"), _filled(e, x, bias, 0, c, "bias")
    kept = round(1 - momentum, 9) if momentum else 0.9  # ONNX counts what stays; torch has none for a plain average
    return e.emit("BatchNormalization", x, scale, shift, mean, variance, part="", epsilon=eps, momentum=kept)


@rule("aten._native_batch_norm_legit_no_training.default")
def native_batch_norm(
    e: Emitter,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    mean: Value,
    variance: Value,
    momentum: float,
    eps: float,
) -> tuple[Value | None, ...]:
    return batch_norm(e, x, weight, bias, mean, variance, False, momentum, eps), None, None


@rule("aten.layer_norm.default")
def layer_norm(
    e: Emitter,
    x: Value,
    normalized_shape: Sequence[int],
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Value:
    size = e.static(normalized_shape, "the shape of a layer norm")
    scale = weight if weight is not None else e.constant(np.ones(size, dtype(x).numpy), "scale")
    return e.emit("LayerNormalization", x, scale, bias, part="", type=e.out, axis=-len(size), epsilon=eps)


@rule("aten.native_layer_norm.default")
def native_layer_norm(
    e: Emitter, x: Value, normalized_shape: Sequence[int], weight: Value | None, bias: Value | None, eps: float
) -> tuple[Value | None, ...]:
    return layer_norm(e, x, normalized_shape, weight, bias, eps), None, None


@rule("aten.rms_norm.default", "aten._fused_rms_norm.default")
def rms_norm(
    e: Emitter, x: Value, normalized_shape: Sequence[int], weight: Value | None = None, eps: float | None = None
) -> Value:
    """x / sqrt(mean(x^2) + eps) * weight."""
    if eps is None:
        eps = float(np.finfo(dtype(x).numpy).eps)
    axes = range(-len(normalized_shape), 0)
    mean = e.emit("ReduceMean", e.emit("Mul", x, x, part="square"), list(axes), part="mean", keepdims=1)
    root = e.emit("Sqrt", e.emit("Add", mean, e.scalar(eps, dtype(x), "epsilon"), part="shifted"))
    y = e.emit("Div", x, root, part="normalized" if weight is not None else "")
    return y if weight is None else e.emit("Mul", y, weight, part="")


@rule("aten.group_norm.default")
def group_norm(
    e: Emitter,
    x: Value,
    num_groups: int,
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Value:
    c = _channels(e, x)
    scale, shift = _filled(e, x, weight, 1, c, "scale"), _filled(e, x, bias, 0, c, "bias")
    flat = rank(x) == 2
    x = e.unsqueeze(x, 2) if flat else x
    y = e.emit("GroupNormalization", x, scale, shift, part="", num_groups=num_groups, epsilon=eps)
    return e.squeeze(y, 2) if flat else y


@rule("aten.native_group_norm.default")
def native_group_norm(
    e: Emitter,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    n: int,
    c: int,
    hxw: int,
    group: int,
    eps: float,
) -> tuple[Value | None, ...]:
    return group_norm(e, x, group, weight, bias, eps), None, None


@rule("aten.instance_norm.default")
def instance_norm(
    e: Emitter,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    mean: Value | None,
    variance: Value | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Value:
    if not use_input_stats:
        return batch_norm(e, x, weight, bias, mean, variance, False, momentum, eps)
    c = _channels(e, x)
    scale, shift = _filled(e, x, weight, 1, c, "scale"), _filled(e, x, bias, 0, c, "bias")
    return e.emit("InstanceNormalization", x, scale, shift, part="", epsilon=eps)

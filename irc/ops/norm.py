"""Normalizations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from irc.op import ChannelKind, Example, Op
from irc.ops.spatial import Window, sum_along
from irc.ops.tensors import outputs_of, sample, torch_dtype_of_onnx, unsupported
from irc.types import Array, Type


def _per_channel(parameter: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """A vector over axis 1, in the shape that broadcasts against x."""
    return parameter.reshape(-1, *(1,) * (x.ndim - 2))


def _stash(x: torch.Tensor, stash_type: int) -> torch.Tensor:
    """x in the dtype that statistics are taken in; float64 is not narrowed, as onnxruntime does not either."""
    return x.to(torch.promote_types(x.dtype, torch_dtype_of_onnx(stash_type)))


@dataclass(frozen=True)
class BatchNormalization(Op):
    """y = scale * (x - mean) / sqrt(var + epsilon) + b, per channel. ONNX BatchNormalization-15.

    Inputs: x (N, C, *spatial); scale, b and the statistics mean, var (C). Output: as x. Training mode is onnxruntime's.
    """

    channels = ChannelKind.NORMALIZATION
    since = 14

    epsilon: float = 1e-5
    momentum: float = 0.9
    training_mode: int = 0

    def run(
        self,
        x: torch.Tensor,
        scale: torch.Tensor,
        b: torch.Tensor,
        mean: torch.Tensor,
        var: torch.Tensor,
        *,
        outputs: int = 1,
    ) -> torch.Tensor:
        if self.training_mode or outputs > 1:
            raise unsupported(self, "training mode")
        trained = mean.requires_grad or var.requires_grad  # F.batch_norm has no gradient for these
        if x.ndim > 1 and not trained and x.dtype == scale.dtype == mean.dtype:
            return F.batch_norm(x, mean, var, scale, b, False, 0.0, self.epsilon)
        gain = scale.to(var.dtype) * torch.rsqrt(var + self.epsilon)
        shift = b.to(var.dtype) - mean * gain
        return (x.to(var.dtype) * _per_channel(gain, x) + _per_channel(shift, x)).to(x.dtype)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        channel = (sample(3), sample(3, low=-1, high=1), sample(3, high=1), sample(3, low=0.5))
        yield Example(cls(), (sample(2, 3, 4, 5), *channel))
        yield Example(cls(epsilon=0.01), (sample(2, 3), *channel))
        yield Example(cls(epsilon=0.01, momentum=0.5), (sample(2, 3, 4), *channel))


@dataclass(frozen=True)
class LayerNormalization(Op):
    """y = scale * (x - mean) / sqrt(variance + epsilon) + b over the axes from `axis` on. ONNX LayerNormalization-17.

    Inputs: x; scale and b (optional), which broadcast against x. Outputs: y as x; mean and 1 / standard deviation,
    with size 1 along the normalized axes, in the dtype of `stash_type`.
    """

    channels = ChannelKind.NORMALIZATION
    since = 17

    axis: int = -1
    epsilon: float = 1e-5
    stash_type: int = 1

    def run(self, x: torch.Tensor, scale: torch.Tensor, b: torch.Tensor | None = None, *, outputs: int = 1) -> Any:
        first = self.axis % x.ndim
        inner = x.shape[first:]
        if outputs == 1 and x.dtype is torch.float32 and scale.shape == inner and (b is None or b.shape == inner):
            return F.layer_norm(x, inner, scale, b, self.epsilon)
        over = tuple(range(first, x.ndim))
        held = _stash(x, self.stash_type)
        mean = held.mean(over, keepdim=True)
        centred = held - mean
        inverse = torch.rsqrt((centred * centred).mean(over, keepdim=True) + self.epsilon)
        y = (centred * inverse).to(x.dtype) * scale
        stash = torch_dtype_of_onnx(self.stash_type)
        return outputs_of((y if b is None else y + b, mean.to(stash), inverse.to(stash)), outputs)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = sample(2, 3, 4)
        yield Example(cls(), (x, sample(4), sample(4)))
        yield Example(cls(axis=1, epsilon=0.1), (x, sample(3, 4)), 3)
        yield Example(cls(axis=-2), (x, sample(4), sample(4)))


@dataclass(frozen=True)
class RMSNormalization(Op):
    """y = scale * x / sqrt(mean(x^2) + epsilon) over the axes from `axis` on. ONNX RMSNormalization-23.

    Inputs: x; scale, which broadcasts against x. Output: as x.
    """

    channels = ChannelKind.NORMALIZATION
    since = 23

    axis: int = -1
    epsilon: float = 1e-5
    stash_type: int = 1

    def run(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        over = tuple(range(self.axis % x.ndim, x.ndim))
        held = _stash(x, self.stash_type)
        return (held * torch.rsqrt((held * held).mean(over, keepdim=True) + self.epsilon)).to(x.dtype) * scale

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = sample(2, 3, 4)
        yield Example(cls(), (x, sample(4)))
        yield Example(cls(axis=1, epsilon=0.1), (x, sample(3, 4)))
        yield Example(cls(stash_type=1), (sample(2, 8, dtype=np.float16), sample(8, dtype=np.float16)))


@dataclass(frozen=True)
class GroupNormalization(Op):
    """Each group of channels normalized, then scaled and shifted per channel. ONNX GroupNormalization-21.

    Inputs: x (N, C, *spatial); scale, bias (C). Output: as x.
    """

    channels = ChannelKind.NORMALIZATION
    since = 21

    num_groups: int
    epsilon: float = 1e-5
    stash_type: int = 1

    def infer(
        self, inputs: Sequence[Type | None], constants: Sequence[Array | None], outputs: int
    ) -> list[Type | None]:
        return [inputs[0]]  # onnx states no inference for it

    def run(self, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        held = _stash(x, self.stash_type)
        if held.dtype == x.dtype:
            return torch.group_norm(x, self.num_groups, scale, bias, self.epsilon)
        y = torch.group_norm(held, self.num_groups, eps=self.epsilon).to(x.dtype)
        return y * _per_channel(scale, x) + _per_channel(bias, x)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(num_groups=2), (sample(2, 4, 3, 5), sample(4), sample(4)))
        yield Example(cls(num_groups=4, epsilon=0.1), (sample(2, 4, 3), sample(4), sample(4)))


@dataclass(frozen=True)
class InstanceNormalization(Op):
    """Each channel of each sample normalized, then scaled and shifted. ONNX InstanceNormalization-22.

    Inputs: x (N, C, *spatial); scale, b (C). Output: as x.
    """

    channels = ChannelKind.NORMALIZATION
    since = 6

    epsilon: float = 1e-5

    def run(self, x: torch.Tensor, scale: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.group_norm(x, x.shape[1], scale, b, self.epsilon)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(2, 3, 4, 5), sample(3), sample(3)))
        yield Example(cls(epsilon=0.1), (sample(2, 3, 4), sample(3), sample(3)))


@dataclass(frozen=True)
class LRN(Op):
    """y = x / (bias + alpha / size * sum of x^2 over `size` neighbouring channels)^beta. ONNX LRN-13."""

    channels = ChannelKind.NORMALIZATION
    since = 1

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    bias: float = 1.0

    def run(self, x: torch.Tensor) -> torch.Tensor:
        before = (self.size - 1) // 2
        around = [0, 0] * (x.ndim - 2) + [before, self.size - 1 - before]
        total = sum_along(F.pad(x * x, around), 1, Window(self.size, 1, 1, 0, 0, x.shape[1], 0))
        return x / (self.bias + self.alpha / self.size * total) ** self.beta

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(size=3), (sample(2, 5, 3, 4),))
        yield Example(cls(size=3, alpha=0.5, beta=0.6, bias=2.0), (sample(2, 5, 3, 4),))


@dataclass(frozen=True)
class LpNormalization(Op):
    """y = x / (sum of |x|^p along the axis)^(1/p); zeros stay zeros. ONNX LpNormalization-22."""

    channels = ChannelKind.NORMALIZATION
    since = 1

    axis: int = -1
    p: int = 2

    def run(self, x: torch.Tensor) -> torch.Tensor:
        norm = torch.linalg.vector_norm(x, self.p, dim=self.axis, keepdim=True)
        return x / torch.where(norm == 0, 1, norm)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(2, 3, 4),))
        yield Example(cls(axis=1, p=1), (sample(2, 3, 4),))


@dataclass(frozen=True)
class MeanVarianceNormalization(Op):
    """y = (x - mean) / standard deviation over the axes. ONNX MeanVarianceNormalization-13."""

    channels = ChannelKind.NORMALIZATION
    since = 9

    axes: tuple[int, ...] = (0, 2, 3)

    def infer(
        self, inputs: Sequence[Type | None], constants: Sequence[Array | None], outputs: int
    ) -> list[Type | None]:
        return [inputs[0]]  # onnx states no inference for it

    def run(self, x: torch.Tensor) -> torch.Tensor:
        centred = x - x.mean(self.axes, keepdim=True)
        # ONNX's function body adds 1e-9 to the deviation
        return centred / ((centred * centred).mean(self.axes, keepdim=True).sqrt() + 1e-9)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(2, 3, 4, 5),))
        yield Example(cls(axes=(2, 3)), (sample(2, 3, 4, 5),))

"""Moving the difficulty of quantization from a linear layer's input to its weight, channel by channel.

    y = W x = (W diag(s)) (diag(1/s) x)         s_k = max|x_k|^alpha / max_n|W_nk|^(1 - alpha)

One scale has to serve all channels of x, while W is rounded with one scale a row. What x loses to a few large channels
is least where both sides share the load; alpha says how. Xiao et al. 2022, "SmoothQuant: Accurate and Efficient
Post-Training Quantization for Large Language Models", section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from irc.target import IntegerFormat

_BOUND = 1e4  # of the factors, their geometric mean being 1: a channel that is never seen must not get all of it


@dataclass
class ChannelRange:
    """Smallest and largest element of each channel seen so far: float32, shape (K,)."""

    low: torch.Tensor
    high: torch.Tensor

    @property
    def largest(self) -> torch.Tensor:
        """Largest magnitude of each channel, shape (K,)."""
        return torch.maximum(self.low.abs(), self.high.abs())

    @property
    def is_finite(self) -> bool:
        return bool(torch.isfinite(self.low).all() and torch.isfinite(self.high).all())


def range_of(x: torch.Tensor, seen: ChannelRange | None = None) -> ChannelRange:
    """The range of x, shape (*, K), along with what was seen before."""
    low, high = torch.aminmax(x.reshape(-1, x.shape[-1]).float(), dim=0)
    if seen is None:
        return ChannelRange(low, high)
    return ChannelRange(torch.minimum(seen.low, low), torch.maximum(seen.high, high))


def smoothing_factors(largest: torch.Tensor, rows: torch.Tensor, alpha: float) -> torch.Tensor:
    """The factors s by which the input is divided and the weight multiplied.

    Parameters
    ----------
    largest : shape (K,), largest magnitude of each input channel
    rows : shape (N, K), the weights of all layers that read the input
    alpha : 0 makes the channels of the weight alike, 1 those of the input

    Returns
    -------
    float64, shape (K,), of geometric mean 1; 1 for a channel in which nothing ever stands.
    """
    weights, inputs = rows.abs().amax(0).double(), largest.double()
    live = (weights > 0) & (inputs > 0)
    factors = torch.ones_like(inputs)
    if not bool(live.any()):
        return factors
    logs = alpha * inputs[live].log() - (1 - alpha) * weights[live].log()
    factors[live] = (logs - logs.mean()).exp().clamp(1 / _BOUND, _BOUND)
    return factors


def quantized_error(
    x: torch.Tensor, rows: torch.Tensor, factors: torch.Tensor, seen: ChannelRange, data: IntegerFormat, weight: IntegerFormat
) -> float:
    """Mean square of what quantization changes of W x, with x / s of one scale and W s of one a row.

    x : shape (L, K);  rows : shape (N, K);  seen : the range of x over all samples
    """
    s = factors.float()
    step = (rows * s).abs().amax(1, keepdim=True).clamp_min(1e-12) / weight.qmax
    rounded = torch.round(rows * s / step).clamp(weight.narrow_qmin, weight.qmax) * step
    low, high = float((seen.low / s).min().clamp(max=0)), float((seen.high / s).max().clamp(min=0))
    if data.symmetric:
        scale, zero = max(-low, high) / data.qmax, 0.0
    else:
        scale = (high - low) / (data.qmax - data.qmin)
        zero = round(data.qmin - low / scale) if scale else 0.0
    scale = max(scale, 1e-12)
    codes = (torch.round(x / s / scale) + zero).clamp(data.qmin, data.qmax)
    lost = (codes - zero) * scale @ rounded.T - x @ rows.T
    return float(lost.square().mean())


def least(errors: Sequence[float], alphas: Sequence[float]) -> float:
    """The alpha of the least error; the first of equals, and never one whose error is NaN."""
    return min(zip(errors, alphas, strict=True), key=lambda pair: (pair[0] != pair[0], pair[0]))[1]

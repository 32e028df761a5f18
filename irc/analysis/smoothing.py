"""Moving the difficulty of quantization from the input of a linear layer to its weight, channel by channel.

    y = W x = (W diag(s)) (diag(1/s) x)         s[k] = max|x[k]|^alpha / max|W[:, k]|^(1 - alpha)

One scale has to serve all channels of x, while W has one for each row. What x loses to a few large channels is least
where both sides share the load; alpha says how. Xiao et al. 2022, "SmoothQuant: Accurate and Efficient Post-Training
Quantization for Large Language Models", section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from irc.target import IntegerFormat, QuantPolicy

ALPHAS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))  # 0.5 to 0.95; the optimum is sharp
_BOUND = 1e4  # of the factors, whose geometric mean is 1: a channel that is hardly ever seen must not get all of it
_TINY = 1e-12  # smallest scale


@dataclass(frozen=True)
class ChannelRange:
    """Smallest and largest element of each channel: float32, shape (K,)."""

    low: torch.Tensor
    high: torch.Tensor

    @classmethod
    def of(cls, x: torch.Tensor) -> ChannelRange:
        """The range of x, shape (*, K), which is not empty."""
        return cls(*torch.aminmax(x.reshape(-1, x.shape[-1]), dim=0))

    def __or__(self, other: ChannelRange) -> ChannelRange:
        return ChannelRange(torch.minimum(self.low, other.low), torch.maximum(self.high, other.high))

    @property
    def largest(self) -> torch.Tensor:
        """Largest magnitude of each channel, shape (K,)."""
        return torch.maximum(self.low.abs(), self.high.abs())


def smoothing_factors(inputs: torch.Tensor, weights: torch.Tensor, alpha: float) -> torch.Tensor:
    """The factors by which the channels of the input are divided, and those of the weight multiplied.

    Parameters
    ----------
    inputs, weights : shape (K,), the largest magnitude of each channel in the input, and in the weights that read it
    alpha : 0 makes the channels of the weights equally large, 1 those of the input

    Returns
    -------
    float64, shape (K,), of geometric mean 1; 1 for a channel in which nothing but zeros was seen.
    """
    inputs, weights = inputs.double(), weights.double()
    live = (inputs > 0) & (weights > 0)
    factors = torch.ones_like(inputs)
    if bool(live.any()):
        logs = alpha * inputs[live].log() - (1 - alpha) * weights[live].log()
        factors[live] = (logs - logs.mean()).exp().clamp(1 / _BOUND, _BOUND)
    return factors


def quantized_product(
    x: torch.Tensor, rows: torch.Tensor, factors: torch.Tensor, seen: ChannelRange, policy: QuantPolicy
) -> torch.Tensor:
    """`W x` with `x / s` rounded to one scale and `W s` to one a row, in the target's formats.

    x : float32, shape (L, K);  rows : float32, shape (N, K);  seen : the range that the scale of x is chosen by
    """
    s, data, weight = factors.to(x.dtype), policy.activation, policy.weight
    smoothed = rows * s
    step = smoothed.abs().amax(1, keepdim=True).clamp_min(_TINY) / weight.qmax
    scale, zero_point = _grid((seen.low / s).min().item(), (seen.high / s).max().item(), data)
    codes = (torch.round(x / s / scale) + zero_point).clamp(data.qmin, data.qmax)
    return ((codes - zero_point) * scale) @ (torch.round(smoothed / step) * step).T


def _grid(low: float, high: float, format: IntegerFormat) -> tuple[float, int]:
    """Scale and zero point that spread [low, high], widened to hold 0, over the codes."""
    low, high = min(low, 0.0), max(high, 0.0)
    if format.symmetric:
        return max(max(-low, high) / format.qmax, _TINY), 0
    scale = max((high - low) / (format.qmax - format.qmin), _TINY)
    return scale, round(format.qmin - low / scale)


def relative_errors(
    folds: Sequence[tuple[ChannelRange, torch.Tensor]], rows: torch.Tensor, weights: torch.Tensor, policy: QuantPolicy
) -> torch.Tensor:
    """What quantization takes from `W x`, as a share of its energy: float64, for each of `ALPHAS`.

    The factors and the range of each fold are those of the other folds. An alpha that makes all channels just as large
    as they happened to be in the calibration data is thereby charged with what it clips in other data.

    Parameters
    ----------
    folds : of each its range, and some of its inputs x, float32, shape (L, K)
    rows : float32, shape (N, K), some rows of the weights that read x;  weights : shape (K,), largest magnitudes of all
    """
    noise, signal = torch.zeros(len(ALPHAS), dtype=torch.double), 0.0
    for index, (own, x) in enumerate(folds):
        seen: ChannelRange | None = None
        for other, (found, _) in enumerate(folds):
            if other != index:
                seen = found if seen is None else seen | found
        seen = own if seen is None else seen
        exact = x @ rows.T
        signal += float(exact.square().sum())
        for place, alpha in enumerate(ALPHAS):
            factors = smoothing_factors(seen.largest, weights, alpha)
            noise[place] += (quantized_product(x, rows, factors, seen, policy) - exact).square().sum().double()
    return noise / max(signal, _TINY)

"""Windows over spatial axes: padding and output sizes of convolutions and pools, by ONNX's formulas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from irc.ops.tensors import pairs, torch_pads


@dataclass(frozen=True)
class Window:
    """One spatial axis of a convolution or pool.

    size : outputs along the axis
    begin, end : zeros put before and after; `slack` more come after `end` where `ceil_mode` rounds the size up
    """

    kernel: int
    stride: int
    dilation: int
    begin: int
    end: int
    size: int
    slack: int

    @property
    def extent(self) -> int:
        """Elements from the first to the last that one window sees."""
        return (self.kernel - 1) * self.dilation + 1


def windows(
    shape: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
) -> list[Window]:
    """The windows over the spatial axes of `shape`. ONNX Conv-22 and MaxPool-22."""
    rank = len(kernel)
    per_axis = pairs(pads) if pads and auto_pad == "NOTSET" else [(0, 0)] * rank
    return [
        _window(n, k, s, d, pad, auto_pad, bool(ceil_mode))
        for n, k, s, d, pad in zip(
            shape, kernel, strides or (1,) * rank, dilations or (1,) * rank, per_axis, strict=True
        )
    ]


def _window(n: int, k: int, s: int, d: int, pad: tuple[int, int], auto_pad: str, ceil: bool) -> Window:
    begin, end = pad
    extent = (k - 1) * d + 1
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        size = -(-n // s)
        total = max((size - 1) * s + extent - n, 0)
        less, more = total // 2, total - total // 2
        begin, end = (less, more) if auto_pad == "SAME_UPPER" else (more, less)
        return Window(k, s, d, begin, end, size, 0)
    span = n + begin + end - extent
    size = (-(-span // s) if ceil else span // s) + 1
    if ceil and (size - 1) * s >= n + begin:  # a window that would start in the padding after the data
        size -= 1
    return Window(k, s, d, begin, end, size, max((size - 1) * s + extent - (n + begin + end), 0))


def symmetric(axes: Sequence[Window]) -> bool:
    """Whether torch's own padding argument says it all."""
    return all(w.begin == w.end and not w.slack for w in axes)


def padded(x: torch.Tensor, axes: Sequence[Window], value: float = 0.0) -> torch.Tensor:
    """`x` with what the windows put around it."""
    if not any(w.begin or w.end or w.slack for w in axes):
        return x
    return F.pad(x, torch_pads([(w.begin, w.end + w.slack) for w in axes]), value=value)


def window_sum(x: torch.Tensor, axes: Sequence[Window]) -> torch.Tensor:
    """Sum over each window of the padded `x`, shape (N, C, *sizes); any rank, dilation and dtype."""
    x = padded(x, axes)
    for axis, w in enumerate(axes, start=x.ndim - len(axes)):
        x = sum_along(x, axis, w)
    return x


def sum_along(x: torch.Tensor, axis: int, w: Window) -> torch.Tensor:
    """Sum over the windows of one axis, which already has its padding."""
    span = (w.size - 1) * w.stride + 1
    parts = []
    for k in range(w.kernel):
        index = [slice(None)] * x.ndim
        index[axis] = slice(k * w.dilation, k * w.dilation + span, w.stride)
        parts.append(x[tuple(index)])
    return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]

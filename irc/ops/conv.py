"""Convolutions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from irc.errors import GraphError
from irc.op import ChannelKind, Example, Op, Quant, QuantKind
from irc.ops.spatial import Window, padded, symmetric, windows
from irc.ops.tensors import pairs, sample, torch_pads, unsupported
from irc.types import Array, TensorType, Type

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def convolve(
    op: Op, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None, axes: Sequence[Window], group: int
) -> torch.Tensor:
    """Cross-correlation of `x` (N, C, *spatial) with `w` (M, C/group, *kernel) over `axes`."""
    if len(axes) not in _CONV:
        raise unsupported(op, f"a convolution over {len(axes)} spatial axes")
    padding = [a.begin for a in axes]
    if not symmetric(axes):
        x, padding = padded(x, axes), [0] * len(axes)
    strides, dilations = [a.stride for a in axes], [a.dilation for a in axes]
    made: torch.Tensor = _CONV[len(axes)](x, w, b, strides, padding, dilations, group)
    return made


def contraction_macs(weight: Type | None, output: Type | None) -> int:
    """Multiply-accumulates of a convolution: what one output element sums, times the output elements."""
    if not isinstance(weight, TensorType) or not isinstance(output, TensorType) or not weight.shape:
        return 0
    return output.elements() * math.prod(d if isinstance(d, int) else 1 for d in weight.shape[1:])


def check_channels(group: int, inputs: Sequence[Type | None], taken: int, made: int) -> None:
    """Hold the channels of x, weight and bias against each other, which onnx's inference of convolutions does not.

    taken, made : the weight's axes of the input channels and of the output channels; the second has 1/group of them
    """
    x, w, b = ([t.shape if isinstance(t, TensorType) and t.shape else None for t in inputs] + [None] * 3)[:3]
    if group < 1:
        raise GraphError(f"group must be at least 1, not {group}")
    if w is None or len(w) < 3:
        return
    sizes = [d * group if isinstance(d, int) and axis == 1 else d for axis, d in enumerate(w[:2])]
    given, wanted, outs = x[1] if x is not None and len(x) > 2 else None, sizes[taken], sizes[made]
    if isinstance(given, int) and isinstance(wanted, int) and given != wanted:
        channels = f"{wanted} input channels" + (f" in {group} groups" if group > 1 else "")
        raise GraphError(f"weight has {channels}, input has {given}; was the producer pruned without its group?")
    if isinstance(outs, int) and outs % group:
        raise GraphError(f"{outs} output channels do not split into {group} groups")
    if b is not None and isinstance(b[0], int) and isinstance(outs, int) and b[0] != outs:
        raise GraphError(f"bias has {b[0]} channels, weight has {outs} output channels")


@dataclass(frozen=True)
class Conv(Op):
    """y[n, m] = b[m] + sum over c of w[m, c] * x[n, c], a cross-correlation over 1 to 3 spatial axes. ONNX Conv-22.

    Inputs: x (N, C, *spatial); w (M, C/group, *kernel); b (M), optional. Output: (N, M, *spatial).
    """

    channels = ChannelKind.CONTRACTION
    since = 1

    auto_pad: str = "NOTSET"
    dilations: tuple[int, ...] | None = None
    group: int = 1
    kernel_shape: tuple[int, ...] | None = None
    pads: tuple[int, ...] | None = None
    strides: tuple[int, ...] | None = None

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.CONTRACTION, weight=1, bias=2)

    def windows(self, x: Sequence[int], w: Sequence[int]) -> list[Window]:
        """The windows over the spatial axes, of the shapes of x and w."""
        return windows(x[2:], w[2:], self.strides, self.dilations, self.pads, self.auto_pad)

    def infer(
        self, inputs: Sequence[Type | None], constants: Sequence[Array | None], outputs: int
    ) -> list[Type | None]:
        check_channels(self.group, inputs, 1, 0)
        return super().infer(inputs, constants, outputs)

    def run(self, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
        return convolve(self, x, w, b, self.windows(x.shape, w.shape), self.group)

    def macs(self, inputs: Sequence[Type | None], outputs: Sequence[Type | None]) -> int:
        return contraction_macs(inputs[1], outputs[0])

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x, w, b = sample(2, 4, 7, 8), sample(6, 4, 3, 2), sample(6)
        yield Example(cls(), (x, w))
        yield Example(cls(pads=(1, 1, 1, 1), strides=(2, 1), kernel_shape=(3, 2)), (x, w, b))
        yield Example(cls(pads=(0, 1, 2, 0), dilations=(2, 1)), (x, w, b))
        yield Example(cls(auto_pad="SAME_UPPER", strides=(2, 2)), (x, w, b))
        yield Example(cls(auto_pad="SAME_LOWER", strides=(2, 2)), (x, w, b))
        yield Example(cls(auto_pad="VALID"), (x, w, b))
        yield Example(cls(group=2), (x, sample(6, 2, 3, 3), b))
        yield Example(cls(group=4, pads=(1, 1, 1, 1)), (x, sample(4, 1, 3, 3), None))
        yield Example(cls(strides=(2,)), (sample(1, 3, 9), sample(2, 3, 3), None))
        yield Example(cls(pads=(1, 0, 1, 1, 0, 1)), (sample(1, 2, 4, 5, 6), sample(3, 2, 3, 2, 3)))


@dataclass(frozen=True)
class ConvTranspose(Op):
    """The transpose of a convolution: its gradient with respect to x. ONNX ConvTranspose-22.

    Inputs: x (N, C, *spatial); w (C, M/group, *kernel); b (M), optional. Output: (N, M, *spatial).
    """

    channels = ChannelKind.CONTRACTION
    since = 1

    auto_pad: str = "NOTSET"
    dilations: tuple[int, ...] | None = None
    group: int = 1
    kernel_shape: tuple[int, ...] | None = None
    output_padding: tuple[int, ...] | None = None
    output_shape: tuple[int, ...] | None = None
    pads: tuple[int, ...] | None = None
    strides: tuple[int, ...] | None = None

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.CONTRACTION, weight=1, bias=2, weight_axis=1)

    def infer(
        self, inputs: Sequence[Type | None], constants: Sequence[Array | None], outputs: int
    ) -> list[Type | None]:
        check_channels(self.group, inputs, 0, 1)
        return super().infer(inputs, constants, outputs)

    def run(self, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
        rank = x.ndim - 2
        if rank not in _CONV_TRANSPOSE:
            raise unsupported(self, f"a convolution over {rank} spatial axes")
        strides, dilations = self.strides or (1,) * rank, self.dilations or (1,) * rank
        extra = self.output_padding or (0,) * rank
        crops = self._crops(x.shape[2:], w.shape[2:], strides, dilations, extra)
        made: torch.Tensor
        steps = map(max, strides, dilations)
        if all(0 <= begin == end for begin, end in crops) and all(e < s for e, s in zip(extra, steps, strict=True)):
            padding = [begin for begin, _ in crops]
            made = _CONV_TRANSPOSE[rank](x, w, b, strides, padding, extra, self.group, dilations)
            return made
        made = _CONV_TRANSPOSE[rank](x, w, None, strides, 0, 0, self.group, dilations)
        made = F.pad(made, torch_pads([(-begin, e - end) for (begin, end), e in zip(crops, extra, strict=True)]))
        return made if b is None else made + b.reshape(-1, *(1,) * rank)

    def _crops(
        self,
        shape: Sequence[int],
        kernel: Sequence[int],
        strides: Sequence[int],
        dilations: Sequence[int],
        extra: Sequence[int],
    ) -> list[tuple[int, int]]:
        """What is cut off the full output at both ends of each axis; negative adds zeros."""
        sizes = self.output_shape and self.output_shape[-len(kernel) :]
        if not sizes and self.auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            sizes = tuple(n * s for n, s in zip(shape, strides, strict=True))
        if not sizes:
            return pairs(self.pads) if self.pads and self.auto_pad == "NOTSET" else [(0, 0)] * len(kernel)
        crops = []
        for n, k, s, d, e, size in zip(shape, kernel, strides, dilations, extra, sizes, strict=True):
            total = (n - 1) * s + e + (k - 1) * d + 1 - size
            half, rest = (total // 2, total - total // 2) if total > 0 else (0, total)
            crops.append((half, rest) if self.auto_pad == "SAME_UPPER" or total <= 0 else (rest, half))
        return crops

    def macs(self, inputs: Sequence[Type | None], outputs: Sequence[Type | None]) -> int:
        return contraction_macs(inputs[1], inputs[0])

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x, w, b = sample(2, 4, 5, 4), sample(4, 3, 3, 2), sample(3)
        yield Example(cls(), (x, w))
        yield Example(cls(strides=(2, 2), pads=(1, 0, 1, 0), output_padding=(1, 1)), (x, w, b))
        yield Example(cls(strides=(2, 3), pads=(0, 1, 2, 0), dilations=(2, 1)), (x, w, b))
        yield Example(cls(strides=(2, 2), auto_pad="SAME_UPPER"), (x, w, b))
        yield Example(cls(strides=(2, 2), auto_pad="SAME_LOWER"), (x, w, b))
        yield Example(cls(strides=(2, 2), output_shape=(10, 9)), (x, w, b))
        yield Example(cls(group=2, kernel_shape=(3, 2)), (x, w, sample(6)))
        yield Example(cls(strides=(2,)), (sample(1, 3, 5), sample(3, 2, 3)))
        yield Example(cls(strides=(2, 1, 1)), (sample(1, 2, 3, 4, 3), sample(2, 2, 2, 3, 2)))

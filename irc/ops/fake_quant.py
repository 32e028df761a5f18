"""`irc.FakeQuant`: rounding to an integer grid in float, trainable; what quantization is in the graph."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from irc.errors import GraphError
from irc.op import ChannelKind, Example, Op
from irc.ops.tensors import sample
from irc.types import Array, Type


class _FakeQuantize(torch.autograd.Function):
    """Quantize and dequantize; straight-through for x, learned step size for the scale."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, qmin: int, qmax: int
    ) -> torch.Tensor:
        ratio = x / scale
        code = torch.round(ratio) + zero_point
        ctx.save_for_backward(ratio, scale, zero_point)
        ctx.range = qmin, qmax
        return (code.clamp(qmin, qmax) - zero_point) * scale

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = gradients
        ratio, scale, zero_point = ctx.saved_tensors
        qmin, qmax = ctx.range
        rounded = torch.round(ratio)
        code = rounded + zero_point
        inside = (code >= qmin) & (code <= qmax)
        to_x = gradient * inside if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return to_x, None, None, None, None
        slope = torch.where(inside, rounded - ratio, code.clamp(qmin, qmax) - zero_point)
        to_scale = (gradient * slope).sum_to_size(scale.shape)
        # LSQ section 2.2: keeps the steps of scale and of weights in proportion
        balance = 1 / math.sqrt(max(ratio.numel() // max(scale.numel(), 1), 1) * max(qmax, 1))
        return to_x, to_scale * balance, None, None, None


@dataclass(frozen=True)
class FakeQuant(Op):
    """y = (clamp(round(x / scale) + zero_point, qmin, qmax) - zero_point) * scale, rounding half to even.

    The same numbers as ONNX QuantizeLinear and DequantizeLinear one after the other. Without scale and zero point it
    is not calibrated yet, and the identity. The gradient goes straight through to x inside the range and is zero
    outside; the one to scale is LSQ's (Esser 2020, "Learned Step Size Quantization", equation 3 and section 2.2).

    Inputs: x, any float dtype; scale and zero_point, shape () or (x.shape[axis],), optional. Output: as x.
    axis : the axis with a scale per element; None for one scale
    qmin, qmax : smallest and largest code
    """

    channels = ChannelKind.ELEMENTWISE
    domain: ClassVar[str] = "irc"

    axis: int | None = None
    qmin: int = -128
    qmax: int = 127

    def infer(
        self, inputs: Sequence[Type | None], constants: Sequence[Array | None], outputs: int
    ) -> list[Type | None]:
        if not inputs or len(inputs) > 3:
            raise GraphError(f"irc.FakeQuant takes x, scale and zero_point, not {len(inputs)} inputs")
        return [inputs[0]]

    def run(
        self, x: torch.Tensor, scale: torch.Tensor | None = None, zero_point: torch.Tensor | None = None
    ) -> torch.Tensor:
        if scale is None:
            return x
        # float32 at least: float16 cannot count to the 32,767 codes of 16 bits
        work = torch.promote_types(x.dtype, torch.float32)
        scale = self._aligned(scale.to(work), x.ndim)
        if zero_point is None:
            zero_point = torch.zeros((), dtype=work, device=x.device)
        zero_point = self._aligned(zero_point.to(work), x.ndim)
        made: torch.Tensor = _FakeQuantize.apply(x.to(work), scale, zero_point, self.qmin, self.qmax)  # type: ignore[no-untyped-call]  # torch
        return made.to(x.dtype)

    def _aligned(self, parameter: torch.Tensor, rank: int) -> torch.Tensor:
        """A scale or zero point in the shape that broadcasts against x."""
        if self.axis is None:
            return parameter.reshape(())
        shape = [1] * rank
        shape[self.axis] = -1
        return parameter.reshape(shape)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        x = sample(3, 4)
        yield Example(cls(), (x,))
        yield Example(cls(), (x, np.array(0.01, np.float32), np.array(0, np.int8)))
        yield Example(cls(qmin=0, qmax=255), (x, np.array(0.01, np.float32), np.array(128, np.uint8)))
        yield Example(cls(axis=0, qmin=-127), (x, sample(3, low=0.01, high=0.02), np.zeros(3, np.int8)))
        yield Example(cls(axis=-1, qmin=-7, qmax=7), (x, sample(4, low=0.2, high=0.4), np.zeros(4, np.int8)))

"""Take the mean error that quantized weights make out of the biases."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from irc.execution.convert import to_torch
from irc.graph import Graph, Node
from irc.op import Op
from irc.passes.base import LOSSY, Pass
from irc.passes.context import Context
from irc.passes.quantized_contractions import (
    bias_refusal,
    data_source,
    quantized_weight,
    shift_bias,
    stream_inputs,
    without_fake_quant,
)
from irc.types import Array


@dataclass
class _Site:
    """A contraction with a quantized constant weight, and what its output channels are off by on average.

    data : the value that the contraction reads, before its FakeQuant, in the graph without any
    error : float32, the weight's quantization error, in the weight's shape
    """

    node: Node
    data: str
    error: torch.Tensor
    total: Array = field(default_factory=lambda: np.zeros(0))
    count: int = 0

    def add(self, x: torch.Tensor) -> None:
        """Count the sample whose input to the contraction is `x`."""
        shift = self.node.op.run(x, self.error)
        axis = channel_axis(self.node.op) % shift.ndim
        shift = shift.movedim(axis, 0).reshape(shift.shape[axis], -1).double()
        total = shift.sum(dim=1).numpy()
        self.total = total if self.count == 0 else self.total + total
        self.count += shift.shape[1]


@dataclass(frozen=True)
class CorrectBias(Pass):
    """Subtract from each bias the mean of what the weight's rounding adds to that channel.

    `bias[c] -= mean over samples and positions of contraction(x, w_quantized - w)[c]`, with `x` as it is in the float
    model. Valid for Conv, ConvTranspose, Gemm and MatMul with constant weights, which are linear in the weight; a
    contraction without a bias gets one where the operator takes one. Lossy, for the better: it moves the mean of each
    channel back to where it was (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
    Correction", section 4.2, with measured instead of assumed means). One stream over the calibration samples; memory
    does not grow with their number.
    """

    numerics = LOSSY
    after = ("insert-fake-quant", "calibrate")

    def run(self, graph: Graph, context: Context) -> None:
        sites = [s for node in graph.walk() if (s := _site(node, context)) is not None]
        if not sites:
            return
        stream_inputs(sites, without_fake_quant(graph), context, "correct-bias")
        for site in sites:
            if not site.count:
                context.decline(site.node, "no calibration sample reached it")
            elif site.total.any():
                shift_bias(site.node, -(site.total / site.count))


def channel_axis(op: Op) -> int:
    """The axis of a contraction's output that its bias runs along."""
    return 1 if op.name in ("Conv", "ConvTranspose", "Gemm") else -1


def _site(node: Node, context: Context) -> _Site | None:
    fake = quantized_weight(node)
    if fake is None:
        return None
    if (reason := bias_refusal(node)) is not None:
        context.decline(node, reason)
        return None
    weight, *parameters = (to_torch(array) for i in range(3) if (array := fake.constant(i)) is not None)
    error = fake.op.run(weight, *parameters) - weight
    if not bool(error.any()):
        return None  # the weight lies on its grid already, as optimize-rounding leaves it
    return _Site(node, data_source(node).name, error)

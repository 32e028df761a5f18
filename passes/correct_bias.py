"""Take the mean error that quantized weights make out of the biases."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from irc.execution import Executable
from irc.execution.convert import to_torch
from irc.graph import Graph, Node, Value
from irc.op import Op, QuantKind
from irc.ops.fake_quant import FakeQuant
from irc.passes.base import LOSSY, Pass
from irc.passes.calibrate import scale_of_range, set_scale
from irc.passes.context import Context
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
        plain = without_fake_quant(graph)
        readers: dict[str, list[_Site]] = {}
        for site in sites:
            readers.setdefault(site.data, []).append(site)
        watched = {v: readers[v.name] for g in plain.graphs() for v in g.values if v.name in readers}

        def note(value: Value, x: torch.Tensor) -> None:
            for site in watched[value]:
                site.add(x)

        run = Executable(plain)
        for sample in context.samples("correct-bias"):
            run.observe(sample, watched.keys(), note)
        for site in sites:
            if not site.count:
                context.decline(site.node, "no calibration sample reached it")
            elif site.total.any():
                shift_bias(site.node, -(site.total / site.count))


def channel_axis(op: Op) -> int:
    """The axis of a contraction's output that its bias runs along."""
    return 1 if op.name in ("Conv", "ConvTranspose", "Gemm") else -1


def without_fake_quant(graph: Graph) -> Graph:
    """A copy of the graph in which every FakeQuant is gone; values keep their names."""
    plain = graph.copy()
    for node in list(plain.walk()):
        if isinstance(node.op, FakeQuant):
            source = node.input(0)
            assert source is not None
            node.graph.replace(node, [source])
    return plain


def _site(node: Node, context: Context) -> _Site | None:
    quant = node.op.quant
    if quant.kind is not QuantKind.CONTRACTION or quant.weight is None:
        return None
    weight, data = node.input(quant.weight), node.input(quant.data[0])
    fake = weight.producer if weight is not None else None
    if fake is None or not isinstance(fake.op, FakeQuant) or data is None:
        return None
    original, scale = fake.constant(0), fake.constant(1)
    if original is None or scale is None:
        return None
    bias = node.input(quant.bias) if quant.bias is not None else None
    if bias is not None and bias.data is None:
        context.decline(node, "its bias is not a constant")
        return None
    if quant.bias is None and _added_constant(node) is None:
        context.decline(node, "the operator has no bias, and no constant is added behind it")
        return None
    w = to_torch(original, copy=True)
    zero_point = fake.constant(2)
    error = fake.op.run(w, to_torch(scale), None if zero_point is None else to_torch(zero_point)) - w
    if not bool(error.any()):
        return None  # the weight lies on its grid already, as optimize-rounding leaves it
    return _Site(node, data_source(data).name, error)


def data_source(value: Value) -> Value:
    """The value before the FakeQuants that stand in front of it."""
    while value.producer is not None and isinstance(value.producer.op, FakeQuant):
        source = value.producer.input(0)
        assert source is not None
        value = source
    return value


def can_shift_bias(node: Node) -> bool:
    """Whether `shift_bias` has a constant to change, or the operator a place for one."""
    index = node.op.quant.bias
    if index is None:
        return _added_constant(node) is not None
    bias = node.input(index)
    return bias is None or bias.data is not None


def _added_constant(node: Node) -> tuple[Node, int] | None:
    """The Add behind a contraction that has no bias input, and which of its inputs is the constant added."""
    readers = node.output.users
    if len(readers) == 1 and isinstance(readers[0].op, FakeQuant):
        readers = readers[0].output.users
    if len(readers) != 1 or readers[0].op.name != "Add":
        return None
    for index in (0, 1):
        value = readers[0].input(index)
        if value is not None and value.producer is not None and isinstance(value.producer.op, FakeQuant):
            value = value.producer.input(0)
        if value is not None and value.data is not None and value.data.shape[-1:] in ((), (value.data.size,)):
            return readers[0], index
    return None


def shift_bias(node: Node, shift: Array) -> None:
    """Add `shift`, one number per output channel, to the node's bias."""
    index = node.op.quant.bias
    if index is None:
        found = _added_constant(node)
        assert found is not None
        adder, place = found
        value = adder.input(place)
        assert value is not None
        fake = value.producer
        if fake is None:
            _replace_constant(adder, place, value, shift)
            return
        source = fake.input(0)
        assert source is not None
        _replace_constant(fake, 0, source, shift)
        _recalibrate(fake)
        return
    bias = node.input(index)
    if bias is None:
        made = node.graph.add_constant(shift.astype(np.float32), f"{node.name}.bias")
        node.set_input(index, made)
    else:
        _replace_constant(node, index, bias, shift)


def _recalibrate(fake: Node) -> None:
    """Fit the scale of a quantized constant to its new numbers."""
    data, old, op = fake.constant(0), fake.constant(2), fake.op
    assert isinstance(op, FakeQuant)
    assert data is not None
    fake.infer()
    if fake.constant(1) is not None:
        symmetric = op.qmin < 0 and (old is None or not old.any())
        scale, zero_point = scale_of_range(float(data.min()), float(data.max()), op, symmetric=symmetric)
        set_scale(fake, np.float32(scale), np.int32(zero_point))


def _replace_constant(node: Node, index: int, value: Value, shift: Array) -> None:
    """Give input `index` the constant moved by `shift`; others who read the constant keep it as it was."""
    assert value.data is not None
    moved = (value.data + shift).astype(value.data.dtype)
    if len(value.uses) == 1:
        value.data = moved
        return
    node.set_input(index, node.graph.add_constant(moved, value.name))

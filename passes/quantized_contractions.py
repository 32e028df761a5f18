"""Contractions with a quantized constant weight: find them, stream what they read, move their biases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from irc.execution import Executable
from irc.graph import Graph, Node, Value
from irc.op import QuantKind
from irc.ops.fake_quant import FakeQuant
from irc.passes.calibrate import scale_of_range, set_scale
from irc.passes.context import Context
from irc.passes.edit import set_constant
from irc.types import Array


class Watching(Protocol):
    """Something that wants to see what a contraction reads.

    data : name of the value that it reads, in the graph without FakeQuants
    """

    data: str

    def add(self, x: torch.Tensor) -> None:
        """Take note of one sample's value."""


def quantized_weight(node: Node) -> Node | None:
    """The calibrated FakeQuant of the constant weight that the node contracts with; None if there is none."""
    quant = node.op.quant
    weight = node.input(quant.weight) if quant.kind is QuantKind.CONTRACTION and quant.weight is not None else None
    fake = weight.producer if weight is not None else None
    if fake is None or not isinstance(fake.op, FakeQuant):
        return None
    return fake if fake.constant(0) is not None and fake.constant(1) is not None else None


def stream_inputs(sites: Sequence[Watching], plain: Graph, context: Context, title: str) -> None:
    """Run the calibration samples through the graph without FakeQuants; show each site what its contraction reads."""
    readers: dict[str, list[Watching]] = {}
    for site in sites:
        readers.setdefault(site.data, []).append(site)
    watched = {v: readers[v.name] for g in plain.graphs() for v in g.values if v.name in readers}

    def note(value: Value, x: torch.Tensor) -> None:
        for site in watched[value]:
            site.add(x)

    run = Executable(plain)
    for sample in context.samples(title):
        run.observe(sample, watched.keys(), note)


def without_fake_quant(graph: Graph) -> Graph:
    """A copy of the graph in which every FakeQuant is gone; values keep their names."""
    plain = graph.copy()
    for node in list(plain.walk()):
        if isinstance(node.op, FakeQuant):
            source = node.input(0)
            assert source is not None
            node.graph.replace(node, [source])
    return plain


def data_source(node: Node) -> Value:
    """The data that the contraction reads, before the FakeQuants that stand in front of it."""
    value = node.input(node.op.quant.data[0])
    assert value is not None
    while value.producer is not None and isinstance(value.producer.op, FakeQuant):
        source = value.producer.input(0)
        assert source is not None
        value = source
    return value


def bias_refusal(node: Node) -> str | None:
    """Why `shift_bias` cannot move the node's bias; None if it can."""
    index = node.op.quant.bias
    if index is None:
        found = _added_constant(node) is not None
        return None if found else "the operator has no bias, and no constant is added behind it"
    bias = node.input(index)
    return None if bias is None or bias.data is not None else "its bias is not a constant"


def _added_constant(node: Node) -> tuple[Node, int] | None:
    """The Add behind a contraction that has no bias input, and which of its inputs is the constant added."""
    if node.output.is_output:  # which gives out what has no bias yet
        return None
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
            _move(adder, place, value, shift)
            return
        source = fake.input(0)
        assert source is not None
        _move(fake, 0, source, shift)
        _recalibrate(fake)
        return
    bias = node.input(index)
    if bias is None:
        made = node.graph.add_constant(shift.astype(np.float32), f"{node.name}.bias")
        node.set_input(index, made)
    else:
        _move(node, index, bias, shift)


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


def _move(node: Node, index: int, value: Value, shift: Array) -> None:
    """Give input `index` the constant moved by `shift`; others who read the constant keep it as it was."""
    assert value.data is not None
    set_constant(node, index, (value.data + shift).astype(value.data.dtype), value.name)

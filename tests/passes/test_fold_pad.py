"""A Pad becomes part of every reader that pads in the same way, and of no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from irc.graph import Graph
from irc.op import Op
from irc.ops.activation import Relu
from irc.ops.conv import Conv
from irc.ops.index import Pad
from irc.ops.pool import AveragePool, MaxPool
from irc.passes.context import plain_context
from irc.passes.fold_pad import FoldPad
from irc.types import tensor

Transform = Callable[..., Any]  # the fixture of conftest.py

RNG = np.random.default_rng(1)
WEIGHT = RNG.normal(size=(4, 3, 3, 3)).astype(np.float32)


def _graph(
    *readers: Op,
    pads: tuple[int, ...] = (0, 0, 1, 0, 0, 0, 2, 1),
    value: float | None = None,
    mode: str = "constant",
    axes: tuple[int, ...] | None = None,
    relu: bool = False,
) -> Graph:
    graph = Graph()
    x = graph.add_input("x", tensor("f32", 2, 3, 8, 9))
    if relu:
        x = graph.insert(Relu(), [x], name="relu").output
    inputs = [x, graph.add_constant(np.array(pads, np.int64), "pads"), None, None]
    if value is not None:
        inputs[2] = graph.add_constant(np.array(value, np.float32), "value")
    if axes is not None:
        inputs[3] = graph.add_constant(np.array(axes, np.int64), "axes")
    pad = graph.insert(Pad(mode=mode), inputs, name="pad")
    for k, op in enumerate(readers):
        more = [graph.add_constant(WEIGHT, f"w{k}")] if isinstance(op, Conv) else []
        graph.add_output(graph.insert(op, [pad.output, *more], name=f"reader{k}").output, f"y{k}")
    return graph


POOL: dict[str, Any] = {"kernel_shape": (3, 3), "strides": (2, 2)}
FOLDED = {
    "conv": (_graph(Conv(strides=(2, 2))), (1, 0, 2, 1)),
    "conv with padding of its own": (_graph(Conv(pads=(1, 1, 0, 0))), (2, 1, 2, 1)),
    "conv, valid": (_graph(Conv(auto_pad="VALID")), (1, 0, 2, 1)),
    "conv, dilated": (_graph(Conv(dilations=(2, 1))), (1, 0, 2, 1)),
    "axis given": (_graph(Conv(), pads=(1, 2), axes=(-1,)), (0, 1, 0, 2)),
    "axes given": (_graph(Conv(), pads=(1, 0, 2, 1), axes=(2, 3)), (1, 0, 2, 1)),
    "batch axis given, unpadded": (_graph(Conv(), pads=(0, 1, 0, 2), axes=(0, 3)), (0, 1, 0, 2)),
    "average": (_graph(AveragePool(**POOL)), (1, 0, 2, 1)),
    "average that counts": (_graph(AveragePool(count_include_pad=1, pads=(1, 1, 0, 0), **POOL)), (2, 1, 2, 1)),
    "maximum": (_graph(MaxPool(**POOL), value=-np.inf), (1, 0, 2, 1)),
    "maximum behind relu": (_graph(MaxPool(**POOL), relu=True), (1, 0, 2, 1)),
}


@pytest.mark.parametrize("case", FOLDED)
def test_folded(transform: Transform, case: str) -> None:
    graph, pads = FOLDED[case]
    made = transform(FoldPad(), graph)
    assert "Pad" not in made.ops()
    assert getattr(graph.node("reader0").op, "pads", None) == pads


def test_every_reader_by_itself(transform: Transform) -> None:
    made = transform(FoldPad(), _graph(Conv(), Relu(), AveragePool(**POOL)))
    assert made.ops() == ["Pad", "Conv", "Relu", "AveragePool"]
    assert made.graph.node("reader0").inputs[0] is made.graph.inputs[0]
    assert made.graph.node("reader1").inputs[0] is made.graph.node("pad").output
    assert made.declined == {"pad": "Relu 'reader1' reads it, which does not pad by itself"}


DECLINED = {
    "in mode 'reflect'": _graph(Conv(), mode="reflect"),
    "pads with 0, not with 1": _graph(Conv(), value=1.0),
    "pads the batch or the channels": _graph(Conv(), pads=(0, 0, 1, 0, 1, 0, 0, 0)),
    "it crops": _graph(Conv(), pads=(0, 0, 1, 0, 0, 0, -1, 0)),
    "SAME_UPPER": _graph(Conv(auto_pad="SAME_UPPER")),
    "pads with -inf, not with 0": _graph(MaxPool(**POOL)),
    "does not count its own padding": _graph(AveragePool(pads=(1, 1, 0, 1), **POOL)),
    "pad by as much as its window": _graph(AveragePool(**POOL), pads=(0, 0, 3, 0, 0, 0, 0, 0)),
    "rounds its size up": _graph(MaxPool(ceil_mode=1, **POOL), value=-np.inf),
    "is dilated": _graph(MaxPool(dilations=(2, 2), **POOL), value=-np.inf),
}


@pytest.mark.parametrize("reason", DECLINED)
def test_declined(transform: Transform, reason: str) -> None:
    made = transform(FoldPad(), DECLINED[reason])
    assert "Pad" in made.ops()
    assert reason in made.declined["pad"]


def test_given_out(transform: Transform) -> None:
    graph = _graph(Conv())
    graph.add_output(graph.node("pad").output, "padded")
    made = transform(FoldPad(), graph)
    assert made.ops() == ["Pad", "Conv"]
    assert made.declined == {"pad": "it is given out"}


def test_amount_that_is_not_constant() -> None:
    graph = Graph()
    x, pads = graph.add_input("x", tensor("f32", 1, 3, 8, 9)), graph.add_input("pads", tensor("i64", 8))
    pad = graph.insert(Pad(), [x, pads], name="pad", types=[tensor("f32", 1, 3, None, None)])
    w = graph.add_constant(WEIGHT, "w")
    conv = graph.insert(Conv(), [pad.output, w], name="conv")
    graph.add_output(conv.output, "y")
    context = plain_context(graph)
    FoldPad().run(graph, context)
    assert conv.inputs[0] is pad.output
    assert [site.reason for site in context.row.declined] == ["how much it pads is not a constant"]

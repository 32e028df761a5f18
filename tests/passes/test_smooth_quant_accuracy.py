"""Smoothed networks lose less when quantized, with an alpha that is chosen on data it was not fitted to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import irc.passes.smooth_quant as module
from irc.analysis.error import sqnr_db
from irc.analysis.smoothing import ALPHAS, ChannelRange, relative_errors, smoothing_factors
from irc.ops import Add, MatMul, Mul, Relu, Softmax, Transpose
from irc.ops.fake_quant import FakeQuant
from irc.passes import Quantize, SmoothQuant
from irc.passes.context import plain_context
from irc.passes.integer_rules import INTEGER_POLICY
from irc.target import Target
from irc.verify import verify
from tests.passes.smooth_nets import INTEGER, LENGTH, TARGET, K, Net, encoder, feed_forward, outputs, samples


def quantized_db(each: SmoothQuant | None, target: Target, seed: int) -> float:
    """SQNR of the quantized blocks on inputs that they were not calibrated with."""
    graph = feed_forward(seed)
    context = plain_context(graph, calibration=samples(16), target=target)
    if each is not None:
        each.run(graph, context)
    Quantize(rounding="nearest").run(graph, context)
    verify(graph)
    pairs = [(outputs(feed_forward(seed), x)[0], outputs(graph, x)[0]) for x in samples(16, seed=9)]
    return sqnr_db(*(np.stack(side) for side in zip(*pairs, strict=True)))


@pytest.mark.parametrize("target", [TARGET, INTEGER], ids=lambda target: target.kind)
def test_less_error_when_quantized(target: Target) -> None:
    plain, smoothed = (
        np.mean([quantized_db(each, target, seed) for seed in range(4)]) for each in (None, SmoothQuant())
    )
    assert smoothed > plain + 3


def test_the_alpha_that_is_chosen_is_no_worse_than_the_ends() -> None:
    chosen, low, high = (
        np.mean([quantized_db(each, INTEGER, seed) for seed in range(4)])
        for each in (SmoothQuant(), SmoothQuant(alpha=0.1), SmoothQuant(alpha=1.0))
    )
    assert chosen > max(low, high)


def test_large_alphas_are_charged_with_what_they_clip() -> None:
    """Judged by their own range, inputs with many channels of heavy tails favour a larger alpha than others do."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(4, 128, 64, generator=random) ** 3
    rows = torch.randn(16, 64, generator=random)
    weights = rows.abs().amax(0)
    whole = x.reshape(-1, 64)
    own = relative_errors([(ChannelRange.of(whole), whole)], rows, weights, INTEGER_POLICY)
    others = relative_errors([(ChannelRange.of(part), part) for part in x], rows, weights, INTEGER_POLICY)
    assert own.argmin() > others.argmin()
    assert others[-1] > 1.5 * own[-1]


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_factors(alpha: float) -> None:
    inputs, weights = torch.tensor([1.0, 100.0, 0.0, 3.0, 2.0]), torch.tensor([2.0, 1.0, 5.0, 0.0, 0.5])
    factors = smoothing_factors(inputs, weights, alpha)
    assert factors[[2, 3]].tolist() == [1, 1]
    live = factors[[0, 1, 4]]
    assert float(live.log().sum()) == pytest.approx(0)
    if alpha == 1:
        assert torch.allclose(inputs[[0, 1, 4]] / live, (inputs[[0, 1, 4]] / live)[:1].double().expand(3))
    if alpha == 0:
        assert torch.allclose(weights[[0, 1, 4]] * live, (weights[[0, 1, 4]] * live)[:1].double().expand(3))


def test_little_memory_at_a_time_chooses_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    streams: list[str] = []
    chosen = []
    for budget in (1 << 30, 1):
        graph = encoder()
        context = plain_context(graph, calibration=samples(), target=INTEGER)
        draw = context.samples

        def counted(title: str, draw: Any = draw) -> Any:
            streams.append(title)
            return draw(title)

        monkeypatch.setattr(context, "samples", counted)
        monkeypatch.setattr(module, "_BUDGET", budget)
        SmoothQuant().run(graph, context)
        chosen.append(context.row.notes)
    assert chosen[0] == chosen[1]
    assert chosen[0][0].startswith("alpha=0.")
    assert streams.count("smooth-quant (inputs)") == 1 + 3  # all at once, then q k v; up; down
    assert float(chosen[0][0][6:].split()[0]) in ALPHAS


# ---- quantizing what was smoothed


def test_the_mul_stays_float() -> None:
    """What is smoothed is quantized behind the Mul and nowhere in front of it, by C targets too, which know Mul."""
    graph = encoder()
    context = plain_context(graph, calibration=samples(), target=INTEGER)
    SmoothQuant().run(graph, context)
    Quantize().run(graph, context)
    for name in ("gelu", "before", "middle"):
        mul = graph.node(f"{name}.smoothed")
        assert [user.op.name for user in mul.output.users] == ["FakeQuant"]
        assert not any(v and v.producer and isinstance(v.producer.op, FakeQuant) for v in mul.inputs)
    up = graph.node("up.add").output
    assert [user.op.name for user in up.users] == ["Gelu"]  # so that Gelu reads floats


def test_a_vector_that_something_else_reads_is_no_smoothing() -> None:
    net = Net()
    x = net.add(Mul(), net.linear(net.x, name="up"), net.constant(K, name="gain"), name="scaled")
    graph = net.done(net.linear(x, name="down"), net.add(Relu(), x))
    Quantize().run(graph, plain_context(graph, calibration=samples(), target=INTEGER))
    assert isinstance(graph.node("scaled").inputs[0].producer.op, FakeQuant)  # type: ignore[union-attr]


@pytest.mark.parametrize("minus", [-1e4, float(np.finfo(np.float32).min), -np.inf])
def test_a_mask_gets_no_scale(minus: float) -> None:
    net = Net()
    key = net.add(Transpose(perm=(0, 2, 1)), net.linear(net.x, name="k"), name="turned")
    mask = np.where(np.arange(LENGTH) < 6, 0, minus).astype(np.float32)
    scores = net.add(MatMul(), net.linear(net.x, name="q"), key, name="scores")
    scores = net.add(Mul(), scores, net.graph.add_constant(np.asarray(0.3, np.float32), "size"), name="scaled")
    masked = net.add(Add(), scores, net.graph.add_constant(mask, "mask"), name="masked")
    mixed = net.add(MatMul(), net.add(Softmax(), masked), net.linear(net.x, name="v"), name="mixed")
    graph = net.done(net.linear(mixed, name="out"))
    wanted = outputs(graph, samples(1, seed=9)[0])[0]
    context = plain_context(graph, calibration=samples(), target=INTEGER)
    SmoothQuant().run(graph, context)
    Quantize().run(graph, context)
    scales = [float(s.max()) for n in graph.walk() if isinstance(n.op, FakeQuant) and (s := n.constant(1)) is not None]
    assert len(scales) > 8
    assert max(scales) < 1
    assert sqnr_db(wanted, outputs(graph, samples(1, seed=9)[0])[0]) > 20

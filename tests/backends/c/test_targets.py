"""What a C target adds in 16 bits follows from the processors that its code is for, and its weights then fit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import irc
from irc.backends.c import isa, targets
from irc.backends.c.isa import MACHINES, Isa
from irc.backends.c.packing import PAIRS_SAFE, QUADS_SAFE, fit_flags, pack_dense
from irc.graph import Graph
from irc.op import Op
from irc.ops.conv import Conv
from irc.target import Target, adds_in_32_bits
from irc.types import tensor

X86 = MACHINES["x86-64"]
Adds = Callable[[Op, tuple[int, ...]], int]


@pytest.mark.parametrize(
    ("machine", "isas", "wanted"),
    [
        ("host", X86, adds_in_32_bits),
        ("host", X86[:3], adds_in_32_bits),
        ("host", X86[:2], targets.adds_four),
        ("host", X86[:1], adds_in_32_bits),
        ("host", MACHINES["aarch64"], adds_in_32_bits),
        ("x86-64", X86, targets.adds_two),
        ("aarch64", MACHINES["aarch64"], adds_in_32_bits),
        ("portable", MACHINES["portable"], adds_in_32_bits),
    ],
)
def test_16_bit_sums(machine: str, isas: tuple[Isa, ...], wanted: Adds) -> None:
    assert targets._target(machine, "", isas).policy.adds_in_16_bits is wanted


def test_a_host_that_does_not_say_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isa, "_cpu_features", frozenset)
    monkeypatch.setattr(isa, "host_machine", lambda: "x86-64")
    made: Target = targets._target("host", "", isa.host_isas())
    assert made.policy.adds_in_16_bits is adds_in_32_bits


@pytest.mark.parametrize("rounding", ["nearest", "gptq"])
@pytest.mark.parametrize(("isas", "flag"), [(X86, PAIRS_SAFE), (X86[:2], QUADS_SAFE)])
@pytest.mark.parametrize(("channels", "kernel", "dilation"), [(3, 3, 1), (5, 1, 1), (3, 3, 2), (1, 7, 1)])
def test_packed_weights_fit(
    rounding: str, isas: tuple[Isa, ...], flag: int, channels: int, kernel: int, dilation: int
) -> None:
    """Rows of 9 codes among them, so that pairs of packed weights and pairs of all weights differ."""
    random, graph = np.random.default_rng(0), Graph()
    shape = (8, channels, kernel, kernel)
    weight = random.standard_normal(shape).astype(np.float32)
    inputs = [graph.add_input("x", tensor("f32", 1, channels, 16, 16)), graph.add_constant(weight, "w")]
    graph.add_output(graph.insert(Conv(dilations=(dilation, dilation)), inputs, name="stem").output, "y")
    target = targets._target("x86-64" if isas == X86 else "host", "", isas)
    images = [random.standard_normal((1, channels, 16, 16)).astype(np.float32) for _ in range(2)]
    artifact = irc.compile(graph, f"quantize{{rounding={rounding}}}", calibration=images, target=target)
    codes = artifact.lowered.node("stem").constant(1)  # type: ignore[attr-defined]  # of a CArtifact
    assert codes is not None
    assert np.abs(codes).max() > 30
    rows = np.moveaxis(codes, 1, -1).reshape(8, -1, channels * (kernel if dilation == 1 else 1))
    flags = fit_flags(pack_dense(rows)) if flag == PAIRS_SAFE else fit_flags(pack_dense(rows[:, :1]))
    if flag == QUADS_SAFE and -(-rows.shape[2] // 4) % 2:
        flag = PAIRS_SAFE  # an odd step has no partner
    assert flags & flag

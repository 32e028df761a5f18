"""`evaluate` is asked after every built-in pass that changes the graph, of the graph as that pass left it."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from irc.backends.registry import find_target
from irc.execution import Executable
from irc.execution.samples import Samples
from irc.graph import Graph
from irc.passes.context import Context
from irc.passes.options import parse_pipeline
from irc.passes.pipeline import Pipeline
from irc.passes.registry import all_passes
from irc.types import Array
from tests.conftest import NETS, draw_weights, graph_of_text

SHAPE = (1, 4, 16, 16)
TEXT = """
    input %x: f32[1, 4, 16, 16]
    weight %pads: i64[8] = [0, 0, 1, 1, 0, 0, 1, 1]
    weight %w1: f32[8, 4, 3, 3] = splat(0.5)
    weight %scale: f32[8] = splat(1.5)
    weight %shift: f32[8] = splat(0.5)
    weight %mean: f32[8] = splat(0.25)
    weight %var: f32[8] = splat(2.0)
    weight %w2: f32[64, 8, 3, 3] = splat(0.5)
    weight %half: f32[1] = splat(0.5)
    weight %w3: f32[64, 64] = splat(0.5)
    weight %w4: f32[64, 64] = splat(0.5)
    weight %b3: f32[64] = splat(0.5)
    weight %w5: f32[64, 10] = splat(0.5)
    %p: f32[1, 4, 18, 18] = Pad(%x, %pads)
    %a: f32[1, 8, 16, 16] = Conv(%p, %w1)
    %b: f32[1, 8, 16, 16] = BatchNormalization(%a, %scale, %shift, %mean, %var)
    %c: f32[1, 8, 16, 16] = Relu(%b)
    %d: f32[1, 8, 16, 16] = Relu(%b)
    %e: f32[1, 8, 16, 16] = Add(%c, %d)
    %dead: f32[1, 8, 16, 16] = Neg(%e)
    %half2: f32[1] = Add(%half, %half)
    %f: f32[1, 64, 14, 14] = Conv(%e, %w2)
    %g: f32[1, 64, 14, 14] = Relu(%f)
    %h: f32[1, 64, 1, 1] = GlobalAveragePool(%g)
    %i: f32[1, 64] = Flatten(%h)
    %j: f32[1, 64] = Gemm(%i, %w3, %b3)
    %k: f32[1, 64] = Gemm(%i, %w4, %b3)
    %l: f32[1, 64] = Mul(%j, %half2)
    %same: f32[1, 64] = Identity(%l)
    %m: f32[1, 64] = Add(%same, %k)
    %n: f32[1, 64] = Relu(%m)
    %y: f32[1, 10] = MatMul(%n, %w5)
    return %y
"""
QUANTIZED = "simplify, fold-batch-norm, insert-fake-quant, calibrate"
# how a pass is asked for, and what must stand before it; just its name for the others
HOW = {
    "calibrate": "simplify, fold-batch-norm, insert-fake-quant, calibrate",
    "cast-float": "cast-float{to=float16, compute=false}",
    "cluster-weights": "cluster-weights{bits=2}",
    "correct-bias": f"{QUANTIZED}, correct-bias",
    "distill": 'prune-channels{ratio=0.5}, distill{data="rows:samples", steps=2, batch=2}',
    "fine-tune": 'fine-tune{data="rows:pairs", steps=2, batch=2}',
    "low-rank": "low-rank{energy=0.5}",
    "lower-to-integer": f"{QUANTIZED}, lower-to-integer",
    "optimize-rounding": f"{QUANTIZED}, optimize-rounding",
    "prune-channels": "prune-channels{ratio=0.5}",
    "prune-weights": "prune-weights{sparsity=0.5}",
}


def samples(*shape: int) -> list[Array]:
    return [np.random.default_rng(k).normal(size=shape or SHAPE).astype(np.float32) for k in range(4)]


def graph(name: str) -> Graph:
    """A network that the pass can change."""
    if name == "smooth-quant":
        return draw_weights(graph_of_text(NETS["attention"].replace("N,", "1,")))
    made = draw_weights(graph_of_text(TEXT))
    same = made.value("w3").data
    assert same is not None
    made.value("w4").data = same.copy()
    made.value("var").data = np.full(8, 2, np.float32)
    return made


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data of what trains."""
    module = ModuleType("rows")
    module.samples = samples  # type: ignore[attr-defined]
    module.pairs = lambda: [(x, np.array([3])) for x in samples()]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rows", module)


@pytest.mark.parametrize("name", [n for n, cls in all_passes().items() if cls.__module__.startswith("irc.passes.")])
def test_the_metric_of_every_pass(name: str) -> None:
    made = graph(name)
    type = made.inputs[0].tensor_type
    assert type is not None
    inputs = samples(*type.static_shape)
    seen: list[tuple[int, float]] = []

    def show(name: str, graph: Graph) -> None:
        seen.append((graph.version, of(graph)))

    def of(graph: Graph) -> float:
        return float(np.sum([Executable(graph).run_numpy({"x": x})["y"] for x in inputs]))

    def evaluate(run: Any) -> float:
        return float(np.sum([run(x) for x in inputs]))

    target = find_target("c:x86-64" if name == "lower-to-integer" else "onnx")
    context = Context(target, made.copy(), calibration=Samples(inputs, made), evaluate=evaluate, seed=3)
    before = made.version, of(made)
    steps = parse_pipeline(HOW.get(name, name))
    ledger = Pipeline(steps, print_after=frozenset({"all"}), show=show).run(made, context)
    assert ledger.rows[0].metric == pytest.approx(before[1], rel=1e-6)
    assert ledger.rows[-1].metric is not None, "it changed nothing, or was not measured"
    versions = [before[0], *(version for version, _ in seen)]
    for index, (row, (version, metric)) in enumerate(zip(ledger.rows[1:], seen, strict=True)):
        if version == versions[index]:
            assert row.metric is None
        else:
            assert row.metric == pytest.approx(metric, rel=1e-6)

"""`cast-float` on real models: half and a quarter of the bytes, in onnxruntime, with the score that they had."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch

import irc
import openset
from irc.graph import Graph

pytestmark = pytest.mark.slow

CLEAN = "fold-constants, simplify, fold-batch-norm"
SCORES = {"effnet_lite0": ("top5", 0.05), "minilm": ("pearson", 0.01)}  # one of twenty photographs; the third digit


@cache
def _loaded(name: str) -> tuple[openset.OpenModel, Graph, list[Any]]:
    model = openset.load(name)
    assert isinstance(model.model, torch.nn.Module)
    inputs = tuple(torch.from_numpy(v) for v in model.example_inputs.values())
    graph = irc.load(model.model, inputs)
    names = [v.name for v in graph.inputs]
    return model, graph, [dict(zip(names, s.values(), strict=True)) for s in model.calibration(2)]


@cache
def _score(name: str) -> float:
    model, _, _ = _loaded(name)
    return model.evaluate(model.run())[SCORES[name][0]]


@pytest.mark.parametrize(
    ("step", "part", "decibels"),
    [
        ("cast-float{to=float16}", 0.5, 40.0),
        ("cast-float{to=bfloat16}", 0.5, 25.0),
        ("cast-float{to=float8}", 0.25, 5.0),  # three bits in each of fifty layers
    ],
)
@pytest.mark.parametrize("name", SCORES)
def test_models(name: str, step: str, part: float, decibels: float, tmp_path: Path) -> None:
    model, graph, calibration = _loaded(name)
    whole = irc.compile(graph, CLEAN)
    whole.save(tmp_path / "whole.onnx")
    small = irc.compile(graph, f"{CLEAN}, {step}", calibration=calibration)
    small.save(tmp_path / "small.onnx")
    sizes = [(tmp_path / f"{kind}.onnx").stat().st_size for kind in ("small", "whole")]
    assert sizes[0] < (part + 0.03) * sizes[1]
    assert small.report.rows[-1].sqnr is not None
    assert small.report.rows[-1].sqnr > decibels
    session = onnxruntime.InferenceSession(tmp_path / "small.onnx", providers=["CPUExecutionProvider"])
    names = [v.name for v in session.get_inputs()]
    key, slack = SCORES[name]
    score = model.evaluate(lambda x: list(session.run(None, dict(zip(names, x.values(), strict=True)))))[key]
    assert score > _score(name) - slack - 1e-6

"""`quantize` is its parts in their order, and the whole of it keeps a model near the float one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import irc
from irc.backends.registry import find_target
from irc.errors import ModelError
from irc.graph import Graph
from irc.passes.calibrate import Calibrate
from irc.passes.context import plain_context
from irc.passes.correct_bias import CorrectBias
from irc.passes.insert_fake_quant import InsertFakeQuant
from irc.passes.optimize_rounding import OptimizeRounding
from irc.passes.quantize import Quantize
from irc.text import print_graph

GraphMaker = Callable[..., Graph]


@pytest.mark.parametrize(
    ("whole", "parts"),
    [
        (Quantize(), [InsertFakeQuant(), Calibrate(), OptimizeRounding(), CorrectBias()]),
        (Quantize(rounding="nearest"), [InsertFakeQuant(), Calibrate(), CorrectBias()]),
        (Quantize(rounding="nearest", correct=False), [InsertFakeQuant(), Calibrate()]),
        (
            Quantize(
                method="percentile", percentile=99.0, skip=("conv1",), weight_bits=5, layer_bits=("conv2=3",), vnni=True
            ),
            [
                InsertFakeQuant(skip=("conv1",), weight_bits=5, layer_bits=("conv2=3",)),
                Calibrate(method="percentile", percentile=99.0, vnni=True),
                OptimizeRounding(vnni=True),
                CorrectBias(),
            ],
        ),
    ],
)
def test_the_whole_is_its_parts(whole: Quantize, parts: list[Any], net: GraphMaker, typical: Any) -> None:
    one, other = net("residual"), net("residual")
    samples = typical(one)
    whole.run(one, plain_context(one, calibration=samples, target=find_target("onnx")))
    context = plain_context(other, calibration=samples, target=find_target("onnx"))
    for part in parts:
        part.run(other, context)
    assert print_graph(one) == print_graph(other)


@pytest.mark.parametrize("target", ["onnx", "onnx:arm", "onnx:tensorrt", "onnx:openvino", "onnx:qnn"])
@pytest.mark.parametrize("name", ["residual", "concat", "attention", "depthwise", "transposed", "branches"])
def test_every_target_stays_near_the_float_model(name: str, target: str, net: GraphMaker, typical: Any) -> None:
    graph = net(name)
    row = irc.compile(graph, "quantize", calibration=typical(graph, 16), target=target).report.rows[-1]
    assert row.sqnr is not None
    # 8 bits are some 40 dB a tensor; some layers, and a mean over a softmax, leave 25
    assert row.sqnr > 25


def test_skipped_layers_stay_float_and_the_report_says_so(net: GraphMaker, typical: Any) -> None:
    graph = net("residual")
    artifact = irc.compile(graph, "quantize{skip=[conv1]}", calibration=typical(graph))
    assert "left Conv 'conv1': it is on the list of layers to leave float" in str(artifact.report)
    assert artifact.fusion.counts()["Conv"] == (1, 2)


def test_a_model_without_anything_to_quantize_is_left_alone(text_graph: Any) -> None:
    graph = text_graph(
        """
        input %x: f32[2, 3]
        %y: f32[2, 3] = Softmax(%x)
        return %y
        """
    )
    artifact = irc.compile(graph, "quantize", calibration=[np.ones((2, 3), np.float32)])
    assert [n.op.name for n in artifact.graph] == ["Softmax"]
    assert "there is no FakeQuant to calibrate" in str(artifact.report)


def test_nan_in_a_weight_is_the_users_to_mend(net: GraphMaker, typical: Any, tmp_path: Any) -> None:
    graph = net("residual")
    graph.value("w1").data = np.full((4, 4, 3, 3), np.nan, np.float32)
    with pytest.raises(ModelError, match="'w1' of Conv 'conv1' holds NaN"):
        irc.compile(graph, "quantize", calibration=typical(graph), reproducer=tmp_path)
    assert list(tmp_path.iterdir()) == []

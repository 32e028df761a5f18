"""Whole models become integer from end to end and compute what they did before, whoever quantized them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

import irc
import openset
from irc.analysis.error import relative_error
from irc.execution import Executable
from irc.graph import Graph
from irc.op import QuantKind
from irc.passes import LowerToInteger, Quantize
from irc.passes.context import Context, plain_context
from irc.passes.integer_rules import INTEGER_POLICY
from irc.target import Target
from irc.types import Array, DType, TensorType
from irc.verify import verify

TARGET = Target("integer", "c", "", INTEGER_POLICY)
NetMaker = Callable[..., Graph]


def lower(graph: Graph) -> Context:
    context = plain_context(graph, target=TARGET)
    LowerToInteger().run(graph, context)
    verify(graph)
    return context


def counts(graph: Graph) -> Counter[str]:
    return Counter(n.op.name for n in graph.walk())


def close(before: Graph, after: Graph, samples: list[dict[str, Array]]) -> None:
    """Outputs differ by a few codes at most: each layer may turn a few codes into their neighbours."""
    for sample in samples:
        wanted, got = Executable(before).run_numpy(sample), Executable(after).run_numpy(sample)
        for name in wanted:
            assert relative_error(wanted[name], got[name]) <= 3 / 255


WHOLE = {
    "residual": {"QConv": 2, "QuantizeLinear": 1, "DequantizeLinear": 1},
    "concat": {"QConv": 2, "QMatMul": 1, "QLookup": 1, "Concat": 1, "MaxPool": 1, "Reshape": 1, "QuantizeLinear": 1},
    "depthwise": {"QConv": 2, "QReduceMean": 1, "Flatten": 1, "QMatMul": 1, "QuantizeLinear": 1},
    "transposed": {"ConvTranspose": 1, "QConv": 1, "QuantizeLinear": 1, "DequantizeLinear": 1},
    "branches": {"QConv": 3, "If": 1, "QuantizeLinear": 2, "DequantizeLinear": 2},
    "attention": {
        "QMatMul": 3,
        "QBatchMatMul": 2,
        "QLookup": 1,
        "Transpose": 1,
        "QuantizeLinear": 3,
        "DequantizeLinear": 1,
        "Softmax": 1,
        "LayerNormalization": 1,
        "Add": 1,
    },
}


@pytest.mark.parametrize("name", WHOLE)
def test_networks_with_fake_quants(name: str, net: NetMaker, typical: Any) -> None:
    graph = net(name)
    samples = typical(graph)
    Quantize().run(graph, plain_context(graph, calibration=samples, target=TARGET))
    before = graph.copy()
    lower(graph)
    assert counts(graph) == WHOLE[name]
    wide = [{k: v * 2 if v.dtype == np.float32 else v for k, v in s.items()} for s in samples]
    close(before, graph, wide)


class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Samples as onnxruntime wants to be fed."""

    def __init__(self, samples: list[dict[str, Array]]) -> None:
        self.left: Iterator[dict[str, Array]] = iter(samples)

    def get_next(self) -> dict[str, Array] | None:
        return next(self.left, None)


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("kind", [QuantType.QInt8, QuantType.QUInt8], ids=str)
@pytest.mark.parametrize("name", ["residual", "concat", "depthwise", "attention"])
def test_files_that_onnxruntime_quantized(
    name: str, kind: QuantType, per_channel: bool, net: NetMaker, typical: Any, tmp_path: Path
) -> None:
    graph = net(name)
    samples = typical(graph)
    irc.compile(graph, passes=[]).save(tmp_path / "float.onnx")
    logging.disable()
    quantize_static(
        tmp_path / "float.onnx",
        tmp_path / "int8.onnx",
        Reader(samples),
        quant_format=QuantFormat.QDQ,
        activation_type=kind,
        weight_type=QuantType.QInt8,
        per_channel=per_channel,
    )
    logging.disable(logging.NOTSET)
    graph = irc.load(tmp_path / "int8.onnx")
    before = graph.copy()
    context = lower(graph)
    assert context.row.declined == []
    assert not {n.op.quant.kind for n in graph} & {QuantKind.CONTRACTION}
    inner = {"QConv", "QMatMul", "QAdd", "QBatchMatMul", "QReduceMean", "QLookup", "MaxPool", "Concat", "Reshape"}
    if name != "attention":
        assert set(counts(graph)) <= inner | {"QuantizeLinear", "DequantizeLinear", "Flatten"}
        assert counts(graph)["QuantizeLinear"] == 1
    close(before, graph, samples)


@pytest.mark.slow
def test_efficientnet_lite0() -> None:
    """All 49 convolutions, the 9 residual sums within them; no worse than the FakeQuants it came from."""
    torch.set_num_threads(1)
    model = openset.load("effnet_lite0")
    image = torch.from_numpy(next(iter(model.example_inputs.values())))
    plain = irc.load(model.model, (image,))
    name = plain.inputs[0].name
    passes = "fold-constants, simplify, fold-batch-norm, fold-pad, common-subexpressions, quantize, eliminate-dead"
    calibration = [next(iter(s.values())) for s in model.calibration(16)]
    target = Target("integer", "onnx", "", INTEGER_POLICY)
    graph = irc.compile(plain, passes, calibration=calibration, target=target).graph
    before = graph.copy()
    context = lower(graph)
    assert context.row.declined == []
    assert counts(graph) == {"QuantizeLinear": 1, "QConv": 49, "QReduceMean": 1, "Reshape": 1, "QMatMul": 1}
    assert sum(len(n.inputs) == 5 for n in graph if n.op.name == "QConv") == 9
    for node in graph:
        type = node.output.type
        assert isinstance(type, TensorType)
        assert type.dtype is DType.U8 or node.output.is_output
    runs = [Executable(each) for each in (plain, before, graph)]
    made: list[list[Array]] = [[], [], []]
    for sample in model.validation(20):
        for run, outputs in zip(runs, made, strict=True):
            outputs.append(next(iter(run.run_numpy({name: next(iter(sample.values()))}).values())))
    real, fake, integer = map(np.concatenate, made)
    sqnr = [10 * np.log10((real**2).sum() / ((real - each) ** 2).sum()) for each in (fake, integer)]
    assert sqnr[1] >= 20, sqnr
    assert sqnr[1] >= sqnr[0] - 0.5, sqnr  # a code turns into its neighbour as often for better as for worse

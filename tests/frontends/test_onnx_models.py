"""Real ONNX models come in, go out and run: the same outputs to 1e-4, in onnxruntime and through the execution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch

import openset
from irc.execution import Executable
from irc.frontends.onnx import read_onnx
from irc.graph import Graph
from irc.proto.writer import model_proto
from irc.verify import verify

TOLERANCE = 1e-4  # of outputs that are about 1: the graph is the same, but torch sums in another order
FILES = ("silero_vad", "basic_pitch")
MODULES = ("effnet_lite0", "mnist_cnn", "minilm", "mtcnn_rnet")  # exported by torch first

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def exported(model: openset.OpenModel, path: Path) -> str:
    """The torch module as torch's exporter writes it, at its default opset and with a symbolic batch."""
    assert isinstance(model.model, torch.nn.Module)
    inputs = tuple(torch.from_numpy(np.ascontiguousarray(a)) for a in model.example_inputs.values())
    program = torch.onnx.export(
        model.model, inputs, input_names=list(model.example_inputs), dynamo=True, verbose=False, external_data=False
    )
    assert program is not None
    program.save(path)
    return str(path)


def compare(path: str, inputs: list[openset.Inputs], tmp_path: Path) -> Graph:
    graph = read_onnx(path)
    verify(graph)
    ours = model_proto(graph)
    onnx.checker.check_model(ours)
    (tmp_path / "ours.onnx").write_bytes(ours.SerializeToString())
    original, written = openset.onnx_run(path), openset.onnx_run(str(tmp_path / "ours.onnx"))
    run = Executable(graph)
    for sample in inputs:
        wanted = original(sample)
        close(written(sample), wanted)
        close(list(run.run_numpy(sample).values()), wanted)
    return graph


def close(got: list[npt.NDArray[Any]], wanted: list[npt.NDArray[Any]]) -> None:
    assert [(a.shape, a.dtype) for a in got] == [(a.shape, a.dtype) for a in wanted]
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("name", openset.LIGHT)
def test_light(name: str, tmp_path: Path) -> None:
    model = openset.load(name)
    assert isinstance(model.model, str)
    graph = compare(model.model, [model.example_inputs, *model.validation(1)], tmp_path)
    assert graph.info.opsets[""] >= 21
    assert model.evaluate(lambda x: list(Executable(graph).run_numpy(x).values()))["max_abs_error"] <= 1e-5


@pytest.mark.parametrize("name", FILES)
def test_file(name: str, tmp_path: Path) -> None:
    model = openset.load(name)
    assert isinstance(model.model, str)
    compare(model.model, [model.example_inputs, *model.validation(3)], tmp_path)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's exporter warns of itself
def test_module_as_torch_exports_it(name: str, tmp_path: Path) -> None:
    model = openset.load(name)
    path = exported(model, tmp_path / "original.onnx")
    compare(path, [model.example_inputs, *model.validation(2)], tmp_path)

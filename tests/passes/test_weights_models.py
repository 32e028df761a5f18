"""Pruned and clustered real models: what they score, how small their files are, and that any runtime runs those."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

import irc.api
import openset
from irc.execution import Executable
from irc.passes import ClusterWeights, Distill, FoldBatchNorm, PruneWeights
from openset import mnist_cnn


def run_file(path: Path, sample: dict[str, Any]) -> list[Any]:
    """The outputs by plain onnxruntime."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return list(session.run(None, sample))


def top1(run: Any) -> float:
    return mnist_cnn.evaluate(lambda inputs: [run(inputs["x"])])["top1"]


def mnist(passes: list[Any], **options: Any) -> Any:
    example = (torch.zeros(1, 1, 28, 28),)
    return irc.api.compile(mnist_cnn.trained(), passes, example_inputs=example, **options)


@pytest.mark.slow
def test_four_of_five_weights_of_mnist_cnn_are_zero(tmp_path: Path) -> None:
    (images, labels), _ = mnist_cnn.digits()
    data = [(images[i : i + 1], int(labels[i])) for i in range(4000)]
    recipe: dict[str, Any] = {"temperature": 4.0, "batch": 16, "lr": 0.003, "optimizer": "adamw"}
    passes = [PruneWeights(sparsity=0.8), Distill(data=data, loss=("kl", "cross-entropy"), epochs=3, **recipe)]
    small, whole = mnist(passes, evaluate=top1), mnist([])
    small.save(tmp_path / "small.onnx")
    whole.save(tmp_path / "whole.onnx")
    assert small.report.rows[-1].metric >= 0.98
    assert (tmp_path / "small.onnx").stat().st_size <= (tmp_path / "whole.onnx").stat().st_size / 3
    shares = [np.mean(v.data == 0) for v in small.graph.constants if v.data is not None and v.data.ndim > 1]
    assert shares
    assert min(shares) >= 0.79


@pytest.mark.slow
def test_clustered_mnist_cnn_is_in_its_file_what_it_is_in_the_graph(tmp_path: Path) -> None:
    small = mnist([FoldBatchNorm(), ClusterWeights(bits=4)])
    small.save(tmp_path / "small.onnx")
    assert any(n.op_type == "Div" for n in onnx.load(tmp_path / "small.onnx").graph.node)
    (name,) = [value.name for value in small.graph.inputs]
    for inputs in mnist_cnn.validation(20):
        sample = {name: next(iter(inputs.values()))}
        wanted = next(iter(Executable(small.graph).run_numpy(sample).values()))
        (got,) = run_file(tmp_path / "small.onnx", sample)
        assert np.abs(got - wanted).max() <= 1e-5 * max(1.0, float(np.abs(wanted).max()))


@pytest.mark.slow
def test_four_bits_of_effnet_lite0_are_a_sixth(tmp_path: Path) -> None:
    model = openset.load("effnet_lite0")
    example = tuple(torch.from_numpy(array) for array in model.example_inputs.values())
    small, whole = (
        irc.api.compile(model.model, passes, example_inputs=example)
        for passes in ([FoldBatchNorm(), ClusterWeights(bits=4)], [FoldBatchNorm()])
    )
    small.save(tmp_path / "small.onnx")
    whole.save(tmp_path / "whole.onnx")
    assert (tmp_path / "small.onnx").stat().st_size <= (tmp_path / "whole.onnx").stat().st_size / 6
    again = irc.api.load(tmp_path / "small.onnx")
    assert [n.op.name for n in again] == [n.op.name for n in irc.api.load(tmp_path / "whole.onnx")]

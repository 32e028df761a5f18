"""Sessions of files with int8 activations run them as int8, as the processors that the files are for do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import irc
from irc.backends.onnx.artifact import OnnxArtifact
from irc.cli.runner import make_runner


class Patches(nn.Module):
    """The start of a vision transformer: nothing requantizes the rearranged result of the convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, 4)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.norm(self.embed(x).flatten(2).transpose(1, 2)))
        return scores


@pytest.mark.parametrize("target", ["onnx:arm", "onnx:tensorrt"])
def test_rearranged_int8_values_load_and_run(target: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Patches().eval()
    images = [torch.randn(1, 3, 16, 16) for _ in range(4)]
    made = irc.compile(model, "quantize", example_inputs=images[0], calibration=images, target=target)
    made.save(tmp_path / "m.onnx")
    graph = irc.load(tmp_path / "m.onnx")
    run = make_runner(str(tmp_path / "m.onnx"), graph, "onnxruntime")
    wanted = model(images[0]).detach().numpy()
    for got in (made(images[0]), irc.open(tmp_path / "m.onnx")(images[0]), *run({"x": images[0].numpy()}).values()):
        assert np.abs(got - wanted).max() < 0.05 * np.abs(wanted).max()  # 8 bits, and three steps


def test_report_says_what_arm_fuses(net: Any, typical: Any) -> None:
    graph = net("residual")
    made = irc.compile(graph, "quantize", calibration=typical(graph), target="onnx:arm")
    assert isinstance(made, OnnxArtifact)
    assert made.fusion.refused() == []
    assert made.fusion.left_inside == 0

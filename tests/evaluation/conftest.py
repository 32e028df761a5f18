"""Networks for the tests of evaluation, and data with labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import irc
from irc.types import Array

CLASSES = 10


class Residual(nn.Module):
    """x (N, 3, 16, 16) -> conv -> relu -> (conv + itself) -> relu -> depthwise, stride 2 -> pool -> 10 scores."""

    def __init__(self, width: int = 16, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.Conv2d(width, width, 3, padding=1)
        self.down = nn.Conv2d(width, width, 3, stride=2, padding=1, groups=width, bias=False)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.body(x) + x)
        return self.head(self.down(x).mean((2, 3)))  # type: ignore[no-any-return]  # torch


def images(count: int = 12, batch: int = 1) -> list[Array]:
    """Samples of the network."""
    return [np.random.default_rng(k).normal(size=(batch, 3, 16, 16)).astype(np.float32) for k in range(count)]


def classes(module: nn.Module, samples: list[Array]) -> list[Array]:
    """The classes that the network sees in the samples, a row each: labels that it has right."""
    with torch.inference_mode():
        return [module(torch.from_numpy(x)).argmax(-1).numpy() for x in samples]


@pytest.fixture
def module() -> Residual:
    """The network."""
    return Residual().eval()


@pytest.fixture
def models(tmp_path: Path, module: Residual) -> tuple[Path, Path]:
    """Files of the network and of its int8 form."""
    example = (torch.zeros(1, 3, 16, 16),)
    paths = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    irc.compile(module, "fold-constants, simplify", example_inputs=example).save(paths[0])
    quantized = irc.compile(module, "fold-constants, simplify, quantize", example_inputs=example, calibration=images())
    quantized.save(paths[1])
    return paths

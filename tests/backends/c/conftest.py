"""Small quantized networks that have one of everything the C backend treats in a special way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

import irc
from irc.api import DEFAULT_PASSES
from irc.backends.c.artifact import CArtifact
from irc.types import Array


class SmallNet(nn.Module):
    """Convolutions of every kind, strides, a residual, concat, sigmoid, pool and classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.wide = nn.Conv2d(32, 36, 1)
        self.depthwise = nn.Conv2d(36, 36, 3, 1, 1, groups=36)
        self.narrow = nn.Conv2d(36, 32, 1)
        self.dense = nn.Conv2d(32, 32, 3, 1, 1)
        self.grouped = nn.Conv2d(64, 24, 3, 2, 1, groups=4)
        self.classifier = nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        y = x + self.narrow(nn.functional.relu6(self.depthwise(nn.functional.relu6(self.wide(x)))))
        z = torch.cat([torch.relu(self.dense(y)), torch.sigmoid(y)], 1)
        z = nn.functional.max_pool2d(torch.relu(self.grouped(z)), 3, 2, 1)
        pooled: torch.Tensor = self.classifier(z.mean((2, 3)))
        return pooled


def images(count: int, seed: int = 0) -> list[Array]:
    """Random images, float32 (1, 3, 26, 21)."""
    random = np.random.default_rng(seed)
    return [random.standard_normal((1, 3, 26, 21)).astype(np.float32) for _ in range(count)]


Compile = Callable[..., CArtifact]


@pytest.fixture(scope="session")
def small_graph() -> irc.Graph:
    """SmallNet, quantized for C on a machine with AVX2."""
    torch.manual_seed(0)
    graph = irc.load(SmallNet().eval(), torch.zeros(1, 3, 26, 21))
    artifact = irc.compile(graph, f"{DEFAULT_PASSES}, quantize", calibration=images(4), target="c:x86-64")
    return artifact.graph


@pytest.fixture(scope="session")
def compile_small(small_graph: irc.Graph) -> Compile:
    """SmallNet for a C target, with options."""

    def make(target: str = "c:host", **options: object) -> CArtifact:
        artifact = irc.compile(small_graph, [], target=target, **options)  # type: ignore[arg-type]  # of compile
        assert isinstance(artifact, CArtifact)
        return artifact

    return make

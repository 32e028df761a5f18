"""Small quantized networks that have one of everything the C backend treats in a special way."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import irc
from irc.api import DEFAULT_PASSES
from irc.backends.c.artifact import CArtifact
from irc.backends.c.cached_artifact import CachedArtifact
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


(IMAGE,) = images(1, seed=9)


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


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, compile_small: Compile) -> Path:
    """A folder with a saved model, `net`, what it gives for IMAGE, and a cache that knows the model."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        artifact = compile_small("c:portable", name="small")
        artifact.save(folder / "net")
        np.save(folder / "wanted.npy", artifact(IMAGE))
    return folder


@pytest.fixture
def saved(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The saved model in a folder, and with a cache, of the test's own."""
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "net"


@pytest.fixture(scope="session")
def wanted(home: Path) -> Array:
    """What the saved model gives for IMAGE."""
    made: Array = np.load(home / "wanted.npy")
    return made


def opened(folder: Path, *, known: bool, **options: Any) -> CArtifact:
    """The artifact of a folder, which the cache has to know, or must not."""
    artifact = irc.open(folder, **options)
    assert isinstance(artifact, CArtifact)
    assert isinstance(artifact, CachedArtifact) == known
    return artifact


def entries(saved: Path) -> list[Path]:
    """What is remembered of saved models in the test's cache."""
    return list((saved.parent / "cache" / "irc").glob("opened-*.json"))

"""mnist_cnn for a search: the network, data to calibrate and to train, and its accuracy on some of the test digits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import nn

from irc.passes.context import Run
from irc.types import Array
from openset import mnist_cnn

_TRAINED, _SCORED = 640, 300


def model() -> tuple[nn.Module, tuple[Any, ...]]:
    """The trained network and its example inputs."""
    import torch

    return mnist_cnn.trained(), (torch.zeros(1, 1, 28, 28),)


def calibration() -> list[Array]:
    """Thirty-two training digits."""
    return [sample["x"] for sample in mnist_cnn.calibration(32)]


def training() -> Iterator[tuple[Array, int]]:
    """Training digits with their labels."""
    (images, labels), _ = mnist_cnn.digits()
    return ((images[i : i + 1], int(labels[i])) for i in range(_TRAINED))


def accuracy(run: Run) -> float:
    """Top-1 on test digits."""
    images, labels = mnist_cnn.digits()[1]
    return float(np.mean([run(images[i : i + 1]).argmax() == labels[i] for i in range(_SCORED)]))

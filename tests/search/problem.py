"""A small search that takes seconds: a network, its samples, and how well a compiled form agrees with it.

    python problem.py FOLDER TRIALS WORKERS [SLEEP]     searches in FOLDER; each evaluation sleeps so many seconds
"""

from __future__ import annotations

import os
import sys
import time
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from irc.passes.context import Run
from irc.types import Array

SPACE = "fold-constants, simplify, prune-channels?{macs=0.2..1.0, multiple=1}, quantize?{rounding=gptq|nearest}"
BUDGET = {"bytes": 7000.0}
SLEEP = "IRC_TEST_SLEEP"  # of every evaluation, in the environment, so that workers have it too


@cache
def network() -> nn.Module:
    """Two convolutions and a linear layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        convolutions = (nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())
        return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)).eval()


def make() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """The network and its example inputs."""
    return network(), (torch.zeros(1, 3, 8, 8),)


@cache
def samples() -> list[Array]:
    """Sixteen inputs."""
    return [np.random.default_rng(k).normal(size=(1, 3, 8, 8)).astype(np.float32) for k in range(16)]


def agreement(run: Run) -> float:
    """Minus the mean distance of the outputs from the network's."""
    time.sleep(float(os.environ.get(SLEEP, "0")))
    with torch.no_grad():
        wanted = [network()(torch.from_numpy(sample)).numpy() for sample in samples()]
    return -float(np.mean([np.abs(run(s) - w).mean() for s, w in zip(samples(), wanted, strict=True)]))


def refusing(run: Run) -> float:
    """A metric that fails."""
    raise ValueError("nothing to measure")


def search(folder: Any, trials: int, workers: int = 1, **options: Any) -> Any:
    """The search, with whatever is to be otherwise."""
    import irc

    given: dict[str, Any] = {"budget": BUDGET, "evaluate": agreement, "calibration": samples(), "space": SPACE}
    given |= options
    model, inputs = make()
    return irc.search(model, study=folder, trials=trials, workers=workers, example_inputs=inputs, **given)


if __name__ == "__main__":
    from tests.search import problem  # under its own name, so that recipes can name its functions

    problem.search(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

"""Calibration streams: with ten times the samples a compilation needs the same memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from measure import measured
from numpy.typing import NDArray
from torch import nn

CHANNELS, SIDE = 8, 512  # a sample takes 3 MB, an activation 8 MB
FEW = 6
SAME = 1.1  # the allocator's mood; less than what keeping the samples would add, as the test shows


def compile_small(samples: int, keep: bool) -> int:
    """Quantize a network with large activations; how many samples were drawn from the generator.

    keep : hold all samples in a list, as a compiler that does not stream would
    """
    import irc

    torch.manual_seed(0)
    stem = [nn.Conv2d(3, CHANNELS, 3, padding=1), nn.ReLU(), nn.Conv2d(CHANNELS, CHANNELS, 3, 2, 1), nn.ReLU()]
    network = nn.Sequential(*stem, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 10))
    drawn = 0

    def images() -> Iterator[NDArray[np.float32]]:
        nonlocal drawn
        random = np.random.default_rng(0)
        for _ in range(samples):
            drawn += 1
            yield random.random((1, 3, SIDE, SIDE), np.float32)

    calibration = list(images()) if keep else images()
    irc.compile(network, "quantize{method=mse}", example_inputs=torch.zeros(1, 3, SIDE, SIDE), calibration=calibration)
    return drawn


@pytest.mark.slow
def test_ten_times_the_samples_take_the_same_memory() -> None:
    few, many, kept = (measured(compile_small, *how) for how in ((FEW, False), (10 * FEW, False), (10 * FEW, True)))
    assert (few.result, many.result) == (FEW, 10 * FEW)
    assert many.peak_bytes <= SAME * few.peak_bytes
    assert kept.peak_bytes > SAME * few.peak_bytes, "kept samples do not show, so the line above proves nothing"

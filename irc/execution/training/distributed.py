"""Several processes that train one model, as `torchrun` starts them; one process is the world of size 1."""

from __future__ import annotations

import atexit
import inspect
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

_GIVEN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what torchrun sets
_PATIENCE = timedelta(days=1)  # the others wait while the first process evaluates


@dataclass(frozen=True)
class World:
    """The processes that train together.

    rank : the number of this one, from 0
    size : how many there are
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes and prints for all."""
        return self.rank == 0

    def total(self, value: float) -> float:
        """The sum of every process's value; the same in each."""
        if self.size == 1:
            return value
        held = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(held)
        return float(held)

    def agreed(self, value: float) -> float:
        """The value of the first process."""
        if self.size == 1:
            return value
        held = torch.tensor(value, dtype=torch.float64)
        dist.broadcast(held, 0)
        return float(held)

    def gathered(self, row: torch.Tensor) -> torch.Tensor:
        """The rows of all processes, shape (size, *row.shape), with gradients.

        The sum of what each process gives in its own place; so is the gradient, which every process has a part of.
        """
        if self.size == 1:
            return row[None]
        rows = [row if rank == self.rank else torch.zeros_like(row) for rank in range(self.size)]
        made: torch.Tensor = _SumOverProcesses.apply(torch.stack(rows))  # type: ignore[no-untyped-call]  # torch
        return made


def join_world() -> World:
    """The world that this process is started in; joins it on the first call."""
    if not all(name in os.environ for name in _GIVEN):
        return World()
    if not dist.is_initialized():
        dist.init_process_group("gloo", timeout=_PATIENCE)
        atexit.register(_leave)
    return World(dist.get_rank(), dist.get_world_size())


def is_first_process() -> bool:
    """Whether this process writes and prints for all that were started with it; joins nothing."""
    return not all(name in os.environ for name in _GIVEN) or os.environ["RANK"] == "0"


def distributed(module: nn.Module, *, branches: bool) -> nn.Module:
    """The module in DistributedDataParallel, which takes the mean of the gradients over all processes.

    branches : whether parameters may be without a gradient in some steps
    """
    kind = nn.parallel.DistributedDataParallel
    newer = "forward_sync_buffers" in inspect.signature(kind).parameters
    buffers: dict[str, Any] = {"forward_sync_buffers" if newer else "broadcast_buffers": False}  # they are equal anyway
    return kind(module, find_unused_parameters=branches, **buffers)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


class _SumOverProcesses(torch.autograd.Function):
    """The sum over all processes; every process's loss depends on it, so the gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total

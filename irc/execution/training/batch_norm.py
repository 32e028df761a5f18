"""Batch normalization in training mode, on graphs that hold the one of inference.

    y = scale * (x - m) / sqrt(v + epsilon) + b,      m, v: mean and variance of the batch, over all processes
    mean <- momentum * mean + (1 - momentum) * m
    var  <- momentum * var  + (1 - momentum) * v * n / (n - 1)                           n: elements of a channel

This is torch's rule, whose momentum is one minus ONNX's.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from irc.execution.convert import to_numpy, to_torch
from irc.execution.executable import Executable
from irc.execution.training.distributed import World
from irc.graph import Node
from irc.ops.norm import BatchNormalization


class TrainedBatchNorm(nn.Module):
    """Stands for a node's op: uses statistics of its own; in training mode those of the batch, which its own follow.

    counted : whether the rows of this process are part of the batch; else they only pass through
    """

    mean: torch.Tensor
    var: torch.Tensor

    def __init__(self, node: Node, op: BatchNormalization, world: World) -> None:
        super().__init__()
        mean, var = node.constant(3), node.constant(4)
        assert mean is not None
        assert var is not None
        self.op = op
        self.node = node
        self.world = world
        self.counted = True
        self.register_buffer("mean", to_torch(mean, copy=True))
        self.register_buffer("var", to_torch(var, copy=True))
        self.eval()  # until training begins

    def run(self, x: torch.Tensor, scale: torch.Tensor, b: torch.Tensor, *_: Any) -> torch.Tensor:
        """As the op does it; the node's constant statistics are passed in and not used."""
        elements = x.numel() // x.shape[1] if x.ndim > 1 else 1
        if not self.training or self.world.size * elements == 1:
            return self._kept(x, scale, b)
        if self.world.size == 1 and x.dtype == self.mean.dtype == scale.dtype:
            return F.batch_norm(x, self.mean, self.var, scale, b, True, 1 - self.op.momentum, self.op.epsilon)
        return self._together(x, scale, b, elements)

    def _kept(self, x: torch.Tensor, scale: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """With the running statistics: in use, and in training where there is one number, which has no variance."""
        return self.op.run(x, scale, b, self.mean, self.var)

    def _together(self, x: torch.Tensor, scale: torch.Tensor, b: torch.Tensor, elements: int) -> torch.Tensor:
        """With the statistics of all processes, put together as Chan et al. (1979) do: no difference of large sums."""
        held = x.to(self.mean.dtype)
        axes = [a for a in range(x.ndim) if a != 1]
        shape = (1, -1, *(1,) * (x.ndim - 2))
        mean = held.mean(axes)
        squares = ((held - mean.reshape(shape)) ** 2).sum(axes)
        count = mean.new_full((1,), float(elements if self.counted else 0))
        rows = self.world.gathered(torch.cat([count, mean, squares]))
        counts, means, sums = rows[:, :1], rows[:, 1 : 1 + len(mean)], rows[:, 1 + len(mean) :]
        total = counts.sum().detach()
        if total == 1:
            return self._kept(x, scale, b)
        mean = (counts * means).sum(0) / total
        squares = ((counts > 0) * sums + counts * (means - mean) ** 2).sum(0)
        variance = squares / total
        self._follow(mean.detach(), squares.detach() / (total - 1))
        gain = scale * torch.rsqrt(variance + self.op.epsilon)
        return ((held - mean.reshape(shape)) * gain.reshape(shape) + b.reshape(shape)).to(x.dtype)

    def _follow(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        kept = self.op.momentum
        self.mean.mul_(kept).add_(mean, alpha=1 - kept)
        self.var.mul_(kept).add_(variance, alpha=1 - kept)

    def write_back(self) -> None:
        """Put the statistics into the node's constants; into new ones where others read these too."""
        for index, (kind, held) in enumerate((("running_mean", self.mean), ("running_var", self.var)), 3):
            value, data = self.node.input(index), to_numpy(held).copy()
            assert value is not None
            if value.use_count == 1:
                value.data = data
            else:
                self.node.set_input(index, self.node.graph.add_constant(data, f"{self.node.name}.{kind}"))


def train_batch_norms(run: Executable, frozen: Collection[Node], world: World) -> list[TrainedBatchNorm]:
    """Let every batch norm with constant statistics, but the frozen, train; what now stands for their ops."""
    made = []
    for node, path in run.modules.items():
        constant = node.constant(3) is not None and node.constant(4) is not None
        if isinstance(node.op, BatchNormalization) and constant and node not in frozen and len(node.outputs) == 1:
            made.append(TrainedBatchNorm(node, node.op, world))
            setattr(run.module.get_submodule(path), "op", made[-1])  # noqa: B010  # a module where an op is declared
    return made

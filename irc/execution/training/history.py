"""What a training did, step by step and epoch by epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class History:
    """What a training did.

    losses : of each step, over all processes
    epoch_steps : steps taken at the end of each epoch
    metrics : by `evaluate`, before training and after each epoch
    best : the epoch whose weights are given; 0 for those that came in
    resumed : the step from which a checkpoint let it go on; None without one
    """

    losses: list[float] = field(default_factory=list)
    epoch_steps: list[int] = field(default_factory=list)
    metrics: list[float] = field(default_factory=list)
    best: int = 0
    done: bool = False
    resumed: int | None = None

    def epoch_losses(self) -> list[float]:
        """The mean loss of each epoch."""
        starts = [0, *self.epoch_steps]
        return [sum(self.losses[a:b]) / max(b - a, 1) for a, b in zip(starts, self.epoch_steps, strict=False)]

    def lines(self) -> list[dict[str, Any]]:
        """The loss of each step, and the metric before the first and behind the last of each epoch."""
        found: list[dict[str, Any]] = [{"epoch": 0, "metric": metric} for metric in self.metrics[:1]]
        epoch = 1
        for step, loss in enumerate(self.losses, 1):
            found.append({"epoch": epoch, "step": step, "loss": loss})
            if step in self.epoch_steps:
                if epoch < len(self.metrics):
                    found.append({"epoch": epoch, "metric": self.metrics[epoch]})
                epoch += 1
        return found

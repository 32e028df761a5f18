"""Learned step sizes: the scales of FakeQuants as parameters (Esser 2020, "Learned Step Size Quantization").

The gradient of an activation's scale is balanced by the elements of one row, whatever the number of rows that run at a
time, so that a batch in parts or on several processes learns the same. Scales stay positive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from irc.graph import Node, Value
from irc.ops.fake_quant import FakeQuant

_SMALLEST = 2.0**-10  # of what it was at first: a scale below would leave next to nothing in range


class StepSizes:
    """The scales among the trained weights.

    rows : how many rows run now
    """

    def __init__(self, trained: Mapping[Value, nn.Parameter]) -> None:
        self.rows = 1
        self.scales = {value: held for value, held in trained.items() if is_scale(value)}
        self.least = [held.detach().abs() * _SMALLEST for held in self.scales.values()]
        for value, held in self.scales.items():
            if any(_reads_activation(use.user) for use in value.uses):
                held.register_hook(self._balanced)  # type: ignore[no-untyped-call]  # torch

    def _balanced(self, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * math.sqrt(self.rows)

    def keep_positive(self) -> None:
        """Raise what a step of the optimizer has brought too low."""
        with torch.no_grad():
            for held, least in zip(self.scales.values(), self.least, strict=True):
                held.clamp_(min=least)


def is_scale(value: Value) -> bool:
    """Whether a FakeQuant has the value for its scale."""
    return any(
        isinstance(use.user, Node) and isinstance(use.user.op, FakeQuant) and use.index == 1 for use in value.uses
    )


def _reads_activation(user: object) -> bool:
    return isinstance(user, Node) and isinstance(user.op, FakeQuant) and user.constant(0) is None

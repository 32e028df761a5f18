"""Optimizers and learning rates by name.

    rate(step) = lr * (step + 1) / (warm-up steps + 1)      in the first `warmup` of the steps
                 lr * shape(p)                              then; p: the part of the others that is done, 0 to 1

    constant   1              cosine   (1 + cos(pi p)) / 2              step   1; 0.1 from p = 1/2; 0.01 from p = 3/4
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch

from irc.errors import OptionError
from irc.execution.training.recipe import Recipe
from irc.user_code import user_code

MakeOptimizer = Callable[[Iterable[dict[str, Any]]], torch.optim.Optimizer]


def make_optimizer(recipe: Recipe, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """The optimizer of the recipe over groups of parameters, each with its `weight_decay`.

    Raises
    ------
    OptionError : the user's function fails, or makes something else.
    """
    if not isinstance(recipe.optimizer, str):
        with user_code(f"{recipe.name}: optimizer failed", OptionError):
            made = recipe.optimizer(groups)
        if not isinstance(made, torch.optim.Optimizer):
            raise OptionError(f"{recipe.name}: optimizer gave a {type(made).__name__}, not a torch.optim.Optimizer")
        return made
    if recipe.optimizer == "sgd":
        nesterov = recipe.nesterov and recipe.momentum > 0
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=recipe.lr)


class Schedule:
    """Sets the learning rates of an optimizer; knows nothing but the step."""

    def __init__(self, recipe: Recipe, optimizer: torch.optim.Optimizer, steps: int) -> None:
        self.recipe = recipe
        self.optimizer = optimizer
        self.steps = steps
        self.base = [float(group["lr"]) for group in optimizer.param_groups]

    def set(self, step: int) -> float:
        """Set the rates for a step, counted from 0; the factor that they have."""
        factor = learning_rate_factor(self.recipe.schedule, step, self.steps, self.recipe.warmup)
        for group, base in zip(self.optimizer.param_groups, self.base, strict=True):
            group["lr"] = base * factor
        return factor


def learning_rate_factor(shape: str, step: int, steps: int, warmup: float) -> float:
    """What the learning rate is multiplied by in a step; see the top of the file."""
    first = math.ceil(warmup * steps)
    if step < first:
        return (step + 1) / (first + 1)
    part = min((step - first) / max(steps - first, 1), 1.0)
    if shape == "cosine":
        return (1 + math.cos(math.pi * part)) / 2
    if shape == "step":
        return 0.1 ** ((part >= 0.5) + (part >= 0.75))
    return 1.0

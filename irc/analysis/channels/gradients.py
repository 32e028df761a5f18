"""Importance from data: what the outputs lose, to first order, when a unit goes.

With J the derivative of the outputs and w the weights of a unit, removing it changes the outputs by about J w. For a
random direction v of mean 0 and variance 1, E (v . J w)^2 is the squared length of that change, and E (v . J)_i^2 the
i-th entry of the Gauss-Newton diagonal, so that one backward pass a sample estimates both without labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from irc.analysis.channels.groups import Channels, Group, Unit
from irc.analysis.channels.importance import Scores, is_weight_role, label_sums
from irc.errors import DataError
from irc.execution import Executable
from irc.execution.samples import Sample
from irc.graph import Value
from irc.types import Array


def from_data(channels: Channels, criterion: str, samples: Iterable[Sample], *, seed: int = 0) -> Scores:
    """`taylor` or `hessian` as a function of a group and units of it, float64, one number a unit.

    samples : inputs, each for one backward pass

    Raises
    ------
    DataError : there are no samples, or no output depends on a weight in a way that has a gradient.
    """
    roles = [k for k, role in enumerate(channels.roles) if is_weight_role(role)]
    hessian: dict[int, Array] = {}
    firsts: list[dict[int, Array]] = []
    for gradients in _gradients(channels, samples, seed):  # one at a time: each is as large as all weights
        first: dict[int, Array] = {}
        for k in roles:
            weight, gradient = channels.roles[k].value, gradients.get(channels.roles[k].value)
            if gradient is None or weight.data is None:
                continue
            product = gradient * weight.data
            first[k] = label_sums(channels.roles[k], product)
            squares = label_sums(channels.roles[k], product * product)
            hessian[k] = hessian.get(k, np.zeros_like(squares)) + squares
        firsts.append(first)
    if not firsts:
        raise DataError(f"criterion '{criterion}' needs samples, and there are none")

    def scores(group: Group, units: Sequence[Unit]) -> Array:
        mine = [k for k in group.roles if k in hessian]
        if criterion == "hessian":
            return 0.5 * _of_units(units, mine, hessian, channels) / len(firsts)
        each = [_of_units(units, mine, first, channels) for first in firsts]
        return np.asarray(np.mean(np.square(each), axis=0))

    return scores


def _of_units(units: Sequence[Unit], roles: Sequence[int], sums: dict[int, Array], channels: Channels) -> Array:
    total = np.zeros(channels.closure.size)
    for k in roles:
        total[: sums[k].size] += sums[k]
    total[0] = 0.0
    return np.array([total[list(unit.labels)].sum() for unit in units])


def _gradients(channels: Channels, samples: Iterable[Sample], seed: int) -> Iterable[dict[Value, Array]]:
    """For every sample the gradients of the outputs along a random direction, by weight."""
    run = Executable(channels.graph, trainable=True)
    weights = run.parameters
    generator = torch.Generator().manual_seed(seed)
    for sample in samples:
        made = run.forward(sample).values()
        outputs = [each for each in made if isinstance(each, torch.Tensor) and each.requires_grad]
        if not outputs:
            raise DataError("no output has a gradient with respect to a weight; prune before quantizing, or by l2")
        along = sum((each * torch.randn(each.shape, generator=generator).to(each)).sum() for each in outputs)
        found = torch.autograd.grad(along, list(weights.values()), allow_unused=True)  # type: ignore[arg-type]  # sum of tensors
        yield {v: g.double().numpy() for v, g in zip(weights, found, strict=True) if g is not None}

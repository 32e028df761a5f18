"""The criteria from data are what they estimate: for a net of two linear layers, in closed form.

    y = B A x                            unit u: row u of A, column u of B
    J w of u    = 2 B_u (A_u . x)        both are factors: what the outputs lose to first order, when u goes
    E_v (v . J w)^2 = |J w|^2            v a random direction among the outputs, of mean 0 and variance 1
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import irc
from irc.analysis.channels import trace_channels
from irc.analysis.channels.gradients import from_data
from irc.errors import DataError
from irc.execution.samples import Samples
from irc.graph import Graph
from irc.passes import PruneChannels
from irc.passes.context import plain_context
from irc.types import Array

SAMPLES = 400
# Of a mean over the samples: the square of a normal number has a deviation of 1.4 of its mean, over sqrt(400) that is
# 7 %; 25 % is three and a half of those.
WITHIN = 0.25
RANDOM = np.random.default_rng(0)
X = (0.1 * RANDOM.normal(size=(SAMPLES, 4)) + [1, 1, 0.5, 0]).astype(np.float32)
# What unit 0 makes of its first two inputs cancels out: that counts for hessian, and not for taylor.
A = np.array(
    [[1.4, -1.4, 0.1, 0], [0.3, 0.3, 0.2, 0.9], [0.5, 0.5, 0.1, 0.6], [1, 1, 0.5, 0.5], [1.5, 2, 1, 0], [3, 3, 1, 1]]
)
B = np.array([[0.7, 0.9, 0.6, 0.7, 0.9, 1.0], [-0.7, -0.6, 1.1, -0.7, 0.7, -1.1], [0.7, 0.5, -0.3, 0.9, 0.8, 1.2]])


def graph() -> Graph:
    first, second = nn.Linear(4, 6, bias=False), nn.Linear(6, 3, bias=False)
    first.weight.data, second.weight.data = torch.from_numpy(A).float(), torch.from_numpy(B).float()
    return irc.load(nn.Sequential(first, second).eval(), (torch.zeros(1, 4),))


def taylor() -> Array:
    """Mean over the samples of |J w|^2."""
    return np.asarray(((2 * (X @ A.T)) ** 2 * (B**2).sum(0)).mean(0))


def hessian() -> Array:
    """Half the mean of the sum over weights of |J_i|^2 w_i^2."""
    made = (X**2) @ (A**2).T * (B**2).sum(0)
    read = (X @ A.T) ** 2 * (B**2).sum(0)
    return np.asarray(0.5 * (made + read).mean(0))


@pytest.mark.parametrize("criterion", ["taylor", "hessian"])
def test_estimates(criterion: str) -> None:
    made = graph()
    channels = trace_channels(made)
    (group,) = channels.groups
    scores = from_data(channels, criterion, Samples([x[None] for x in X], made), seed=0)(group, group.units)
    np.testing.assert_allclose(scores, taylor() if criterion == "taylor" else hessian(), rtol=WITHIN)


def test_the_definitions_differ() -> None:
    first, second = (np.argsort(each()).tolist() for each in (taylor, hessian))
    assert first != second
    for each in (taylor, hessian):
        inorder = np.sort(each())
        assert (inorder[1:] > inorder[:-1] * (1 + WITHIN) / (1 - WITHIN)).all(), "else the estimate could swap them"


@pytest.mark.parametrize("criterion", ["taylor", "hessian"])
def test_least_important_go_first(criterion: str) -> None:
    order = np.argsort(taylor() if criterion == "taylor" else hessian())
    for count in range(1, 6):
        made = graph()
        step = PruneChannels(ratio=count / 6, criterion=criterion, least=0.0, samples=SAMPLES)
        step.run(made, plain_context(made, calibration=[x[None] for x in X]))
        weight = next(iter(made)).constant(1)
        assert weight is not None
        rows = weight if weight.shape[1] == 4 else weight.T
        left = [A[:, 0].astype(np.float32).tolist().index(each) for each in rows[:, 0].tolist()]
        assert left == np.sort(order[count:]).tolist()


def test_no_more_samples_are_read_than_asked_for() -> None:
    """The order by one sample is that of its own gradients, however many there are."""
    (only,) = np.eye(4, dtype=np.float32)[3:]  # sees the last column of A alone, and so neither 0 nor 4
    made = graph()
    step = PruneChannels(ratio=1 / 3, criterion="taylor", samples=1)
    step.run(made, plain_context(made, calibration=[only[None], *(x[None] for x in X)]))
    weight = next(iter(made)).constant(1)
    assert weight is not None
    rows = weight if weight.shape[1] == 4 else weight.T
    np.testing.assert_array_equal(rows, A[[1, 2, 3, 5]].astype(np.float32))


def test_no_samples() -> None:
    made = graph()
    with pytest.raises(DataError, match="needs samples, and there are none"):
        from_data(trace_channels(made), "taylor", [])

"""A budget of time is measured where the target measures: here, in onnxruntime."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

import irc
from irc.analysis.cost import cost


@pytest.mark.slow
def test_time_in_onnxruntime() -> None:
    """Convolutions that take all of the time: to take less of it, there are fewer products left."""
    torch.manual_seed(0)
    sizes = (3, 64, 128, 64, 8)
    layers = [
        layer
        for before, after in pairwise(sizes)
        for layer in (nn.Conv2d(before, after, 3, padding=1), nn.ReLU())
    ]
    graph = irc.load(nn.Sequential(*layers).eval(), (torch.zeros(1, 3, 32, 32),))
    made = irc.compile(graph, "fold-constants, simplify, prune-channels{latency=0.6}", target="onnx")
    row = next(row for row in made.report.ledger.rows if row.name.startswith("prune-channels"))
    assert row.cost is not None
    assert 0.02 < row.cost.macs / cost(graph).macs < 0.95
    assert sum(each.after for each in row.groups) < sum(each.before for each in row.groups) == 256
    assert all("latency of at most" in note for note in row.notes)  # it may be busy here, and that be said

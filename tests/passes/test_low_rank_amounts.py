"""How far `low-rank` goes: energy bounds the error, budgets are met; and what others make of the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import irc
from irc.analysis.cost import cost
from irc.analysis.error import relative_error
from irc.analysis.low_rank import spectrum, times, tucker, unfolded
from irc.errors import OptionError
from irc.graph import Graph
from irc.ops.conv import Conv
from irc.ops.linear import Gemm, MatMul
from irc.passes import LowRank, PruneChannels
from irc.passes.context import plain_context
from irc.target import Target
from irc.types import Array
from irc.verify import verify
from tests.passes.low_rank_nets import declined, factored, floats, layer, output, same_numbers  # noqa: F401  # a fixture


class Net(nn.Module):
    """A strided stem, three convolutions of 3 x 3, one of 1 x 1, and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.left = nn.Sequential(nn.Conv2d(32, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 48, 1))
        self.right = nn.Conv2d(32, 48, 3, padding=2, dilation=2)
        self.head = nn.Sequential(nn.Linear(48, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = self.left(x) + self.right(x)
        made: torch.Tensor = self.head(x.mean((2, 3)))
        return made


def net() -> Graph:
    torch.manual_seed(0)
    return irc.load(Net().eval(), (torch.zeros(1, 3, 16, 16),))


def images(count: int = 4) -> list[Array]:
    return [np.random.default_rng(k).normal(size=(1, 3, 16, 16)).astype(np.float32) for k in range(count)]


def budget(name: str, left: float) -> LowRank:
    return LowRank(macs=left, multiple=1) if name == "macs" else LowRank(parameters=left, multiple=1)


def ranks(context: Any) -> dict[tuple[str, str], int]:
    return {(group.name, group.kind): group.after for group in context.row.groups}


# ---- energy


@pytest.mark.parametrize("energy", [0.5, 0.9, 0.99])
def test_energy_is_kept_by_the_smallest_rank(energy: float) -> None:
    weight = (floats(40, 60) * np.exp(-np.arange(60) / 6)).astype(np.float32)
    made, context = factored(layer(MatMul(), (3, 40), None, weight), LowRank(energy=energy, multiple=1))
    left = np.cumsum(np.linalg.svd(weight.astype(np.float64), compute_uv=False) ** 2)
    rank = ranks(context)["layer", "rank"]
    assert left[rank - 1] / left[-1] >= energy > (left[rank - 2] / left[-1] if rank > 1 else 0)
    first, last = (made.value(f"layer.weight.{part}").data for part in ("first", "last"))
    assert first is not None
    assert last is not None
    lost = np.linalg.norm(first.astype(np.float64) @ last - weight) ** 2 / left[-1]
    assert lost == pytest.approx(1 - left[rank - 1] / left[-1], rel=1e-3)  # Eckart and Young: the tail, no more
    lengths = np.linalg.norm(first, axis=0), np.linalg.norm(last, axis=1)
    assert np.allclose(*lengths, rtol=1e-4)  # each factor has the root of the singular values
    assert np.allclose(lengths[0] ** 2, np.linalg.svd(weight, compute_uv=False)[:rank], rtol=1e-3)


@pytest.mark.parametrize("energy", [0.6, 0.9])
def test_energy_of_a_kernel(energy: float) -> None:
    scale = np.exp(-np.arange(32) / 5)
    weight = (floats(24, 32, 3, 3) * scale[:, None, None] * scale[:24, None, None, None]).astype(np.float32)
    made, context = factored(layer(Conv(), (1, 32, 9, 9), None, weight), LowRank(energy=energy, multiple=1))
    parts = {c.name.rpartition(".")[2]: np.asarray(c.data, np.float64) for c in made.constants}
    rebuilt = parts["core"]
    if "last" in parts:
        rebuilt = times(rebuilt, parts["last"][:, :, 0, 0], 0)
    if "first" in parts:
        rebuilt = times(rebuilt, parts["first"][:, :, 0, 0].T, 1)
    lost = np.linalg.norm(rebuilt - weight) / np.linalg.norm(weight)
    assert lost**2 <= 1 - energy
    reasons = {group.reason for group in context.row.groups}
    assert reasons == {f"error {lost:.3g} of the weight"}


def test_iteration_is_no_worse_than_hosvd() -> None:
    weight = floats(16, 12, 3, 3).astype(np.float64)
    last, first = (spectrum(unfolded(weight, mode)).basis[:, :4] for mode in (0, 1))
    start = times(times(weight, last @ last.T, 0), first @ first.T, 1)
    made = tucker(weight, last, first)
    rebuilt = times(times(made.core, made.last, 0), made.first.T, 1)
    assert np.linalg.norm(rebuilt - weight) < np.linalg.norm(start - weight)


# ---- budgets


@pytest.mark.parametrize("name", ["macs", "parameters"])
@pytest.mark.parametrize("part", [0.75, 0.4])
def test_budgets_are_met_and_used(name: str, part: float) -> None:
    before = net()
    made, context = factored(before, budget(name, part))
    achieved = getattr(cost(made), name) / getattr(cost(before), name)
    assert part - 0.05 < achieved <= part  # one rank more in each layer is some percent of so small a model
    assert not [note for note in context.row.notes if "not reached" in note]


def test_a_budget_may_be_a_number() -> None:
    limit = cost(net()).macs * 6 // 10
    made, _ = factored(net(), LowRank(macs=limit, multiple=1))
    assert 0.9 * limit < cost(made).macs <= limit


def test_a_budget_out_of_reach_is_noted() -> None:
    made, context = factored(net(), LowRank(macs=1000.0))
    assert cost(made).macs > 1000
    assert [note for note in context.row.notes if note.startswith("the budget is not reached: macs of at most 1,000")]


def test_a_budget_that_is_met_already_changes_nothing() -> None:
    made, _ = factored(net(), LowRank(macs=1.0))
    assert len(made) == len(net())


def test_ratio_is_of_each_layer() -> None:
    before = net()
    made, _ = factored(before, LowRank(ratio=0.5, multiple=1))
    for node in before:
        if not isinstance(node.op, Conv | Gemm) or node.name.startswith("stem"):
            continue
        held = [n for n in made if n.name.partition(".first")[0].partition(".core")[0] == node.name]
        now, was = (sum(_macs(n) for n in nodes) for nodes in (held, [node]))
        assert 0.25 * was < now <= 0.5 * was, node.name


def _macs(node: Any) -> int:
    made: int = node.op.macs([None if v is None else v.type for v in node.inputs], [v.type for v in node.outputs])
    return made


def test_ranks_are_what_the_target_likes() -> None:
    made = net()
    context = plain_context(made, target=Target("t", "none", "", channel_multiple=8))
    LowRank(energy=0.6).run(made, context)
    assert context.row.groups
    assert all(group.after % 8 == 0 or group.after == group.before for group in context.row.groups)


def test_more_than_a_multiple_holds() -> None:
    weight = floats(64, 1, 3, 3)  # nine columns: no sixteen ranks
    graph = layer(Conv(), (1, 1, 9, 9), None, weight)
    made, context = factored(graph, LowRank(energy=0.999, multiple=16))
    verify(made)
    assert "save nothing" in declined(context)["layer"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "needs one of energy, macs, parameters, ratio, and it has none"),
        ({"energy": 0.9, "macs": 0.5}, "and it has energy and macs"),
        ({"energy": 1.0}, "energy=1.0 leaves nothing or is no part"),
        ({"ratio": 0.0}, "ratio=0.0"),
        ({"macs": float("nan")}, "macs=nan"),
        ({"energy": 0.9, "multiple": 0}, "multiple=0"),
        ({"energy": 0.9, "criterion": "gut"}, "'gut' is not one of weights, activations"),
    ],
)
def test_options(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        LowRank(**options).run(net(), plain_context(net()))


# ---- with other passes and outside


def test_pruning_goes_on_behind_it() -> None:
    made, _ = factored(net(), LowRank(macs=0.7, multiple=1))
    before = cost(made).macs
    PruneChannels(macs=0.7, multiple=1).run(made, plain_context(made))
    verify(made)
    assert cost(made).macs <= 0.7 * before
    assert np.isfinite(output(made, x=images(1)[0])).all()


@pytest.mark.parametrize("criterion", ["weights", "activations"])
def test_the_file_runs_in_onnxruntime(tmp_path: Path, criterion: str) -> None:
    small = irc.compile(net(), [LowRank(macs=0.6, criterion=criterion)], calibration=images())
    small.save(tmp_path / "small.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "small.onnx", providers=["CPUExecutionProvider"])
    x = images(5)[4]
    (got,) = session.run(None, {session.get_inputs()[0].name: x})
    assert relative_error(output(small.graph, x=x), got) < 1e-5
    again = irc.load(str(tmp_path / "small.onnx"))
    assert cost(again).macs == cost(small.graph).macs <= 0.6 * cost(net()).macs


def test_quantization_behind_it() -> None:
    text = "fold-constants, simplify, low-rank{macs=0.6, skip=[stem]}, quantize"
    small = irc.compile(net(), text, calibration=images())
    last = small.report.rows[-1].sqnr
    only = irc.compile(net(), "fold-constants, simplify, low-rank{macs=0.6, skip=[stem]}", calibration=images())
    assert last is not None
    assert only.report.rows[-1].sqnr is not None
    assert last > only.report.rows[-1].sqnr - 3


def test_same_bytes_each_time() -> None:
    one, other = (factored(net(), LowRank(macs=0.5))[0] for _ in range(2))
    for a, b in zip(one.constants, other.constants, strict=True):
        assert a.data is not None
        assert b.data is not None
        assert a.data.tobytes() == b.data.tobytes()

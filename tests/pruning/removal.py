"""What tests of pruning do with a graph: choose what goes, remove it, hold the rest against the masked original."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import irc
from irc.analysis.channels import Channels, Group, Unit, trace_channels
from irc.analysis.cost import cost
from irc.backends.onnx.save import save_graph
from irc.execution import Executable
from irc.graph import Graph
from irc.passes.channels.budget import possible
from irc.passes.channels.remove import Plan, remove_channels
from irc.passes.channels.select import Candidate
from irc.passes.context import plain_context
from irc.passes.prune_channels import PruneChannels
from irc.types import Array
from irc.verify import verify
from tests.pruning.masked import random_inputs, run_masked

# Of the largest magnitude of an output. The products are the same, but sums have other orders and zeros among them;
# the largest seen is 1e-5, behind norms of a handful of survivors, and most are below 1e-6.
TOLERANCE = 1e-4
# What one removed unit that comes back has to change at least: ten times the tolerance, so that rounding cannot pass
# for it. Of a dozen units tried, the first that changes so much will do; most change an output by 0.01 to 0.5.
JUMP = 1e-3


@dataclass
class Traced:
    """A graph, its channels, and inputs of the traced shapes."""

    graph: Graph
    channels: Channels
    inputs: dict[str, Array]


def traced(graph: Graph) -> Traced:
    channels = trace_channels(graph)
    return Traced(graph, channels, random_inputs(graph, channels))


def draw(channels: Channels, seed: int, *, kinds: Collection[str] = ("head", "channel", "dim")) -> list[Unit]:
    """Some of the units of every group of the kinds: about 40 %, by seed 0 all but one."""
    random = np.random.default_rng(seed)
    chosen = []
    for group in channels.groups:
        if group.kind in kinds:
            share = random.uniform(0.3, 0.5) if seed else 1.0
            count = min(max(1, round(share * len(group.units))), len(group.units) - 1)
            chosen += _some(group, count, random)
    return chosen


def _some(group: Group, count: int, random: np.random.Generator) -> list[Unit]:
    """Units of a group; where rows choose for themselves, others in every row."""
    rows = group.rows or (group.units,)
    return [row[k] for row in rows for k in sorted(random.permutation(len(row))[:count].tolist())]


def prune(model: Traced, units: list[Unit]) -> tuple[Graph, Array]:
    """A copy of the graph without the units, and of every label whether it survived."""
    keep = model.channels.keep(units)
    graph = model.graph.copy()
    channels = trace_channels(graph, model.channels.dims)
    remove_channels(graph, channels, keep)
    verify(graph)
    return graph, keep


def error(got: dict[str, Array], wanted: dict[str, Array]) -> float:
    """The largest difference of any output, of the largest magnitude of that output."""
    assert list(got) == list(wanted)
    worst = 0.0
    for name, array in wanted.items():
        assert (got[name].shape, got[name].dtype) == (array.shape, array.dtype)
        assert np.isfinite(array).all()
        worst = max(worst, float(np.abs(got[name] - array).max() / (np.abs(array).max() or 1.0)))
    return worst


def run(graph: Graph, inputs: dict[str, Array]) -> dict[str, Array]:
    return Executable(graph).run_numpy(inputs)


def check_equal(model: Traced, units: list[Unit]) -> tuple[Graph, dict[str, Array]]:
    """Remove the units, and hold the rest against the masked original; the pruned graph and its outputs."""
    pruned, made = check_masked(model, units)
    assert cost(pruned).parameters < cost(model.graph).parameters
    return pruned, made


def check_masked(model: Traced, units: list[Unit]) -> tuple[Graph, dict[str, Array]]:
    """As `check_equal`, where parameters can become more: of a weight that is whole at one use, parts are copies."""
    pruned, keep = prune(model, units)
    made = run(pruned, model.inputs)
    assert error(made, run_masked(model.graph, model.channels, keep, model.inputs)) < TOLERANCE
    return pruned, made


def check_pass(model: Traced, step: PruneChannels) -> None:
    """Let the pass choose by its criterion, and hold what it leaves against the masked original."""
    plans: list[Plan] = []

    def note(channels: Channels, held: Sequence[Candidate]) -> tuple[Plan, dict[int, str]]:
        plan, given_up = possible(channels, held)
        plans.append(plan)
        return plan, given_up

    pruned = model.graph.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("irc.passes.prune_channels.possible", note)
        step.run(pruned, plain_context(pruned, calibration=[model.inputs]))
    keep = plans[-1].keep
    assert not keep.all()
    wanted = run_masked(model.graph, model.channels, keep, model.inputs)
    assert error(run(pruned, model.inputs), wanted) < TOLERANCE


def jump(model: Traced, units: list[Unit], made: dict[str, Array], *, tries: int = 12) -> float:
    """How much a reference differs that leaves one of the removed units in: the most of some tries."""
    worst = 0.0
    for k in np.random.default_rng(0).permutation(len(units))[:tries]:
        keep = model.channels.keep([unit for unit in units if unit is not units[k]])
        worst = max(worst, error(made, run_masked(model.graph, model.channels, keep, model.inputs)))
        if worst > JUMP:
            break
    return worst


def check_file(graph: Graph, inputs: dict[str, Array], made: dict[str, Array], path: Path) -> None:
    """The graph goes into one ordinary file, which gives the same wherever it is run."""
    save_graph(graph, path)
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    onnx.checker.check_model(str(path), full_check=True)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    by_onnxruntime = dict(zip(made, session.run(list(made), inputs), strict=True))
    assert error(by_onnxruntime, made) < TOLERANCE
    opened = irc.open(path)(inputs)
    by_irc = dict(zip(made, opened if isinstance(opened, tuple) else (opened,), strict=True))
    assert error(by_irc, made) < TOLERANCE

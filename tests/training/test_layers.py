"""`features` and `reconstruction` hold the layers that their patterns mean against the teacher's, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import irc.api
from irc.errors import OptionError
from irc.execution.training.layers import find_layers, paired_layers
from irc.execution.training.matching import fed_values
from irc.graph import Graph
from irc.passes.distill import Distill
from irc.passes.fold_batch_norm import FoldBatchNorm
from irc.passes.insert_fake_quant import InsertFakeQuant
from tests.training.nets import constants, graph_of, network, outputs, pairs, run_pass, trained

ITEMS = [x for x, _ in pairs(24)]


class Block(nn.Module):
    """Two linear layers and a skip."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, inner), nn.Linear(inner, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = x + self.down(torch.relu(self.up(x)))
        return made


class Blocks(nn.Module):
    """Blocks and a head."""

    def __init__(self, inner: int = 8, count: int = 2, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.blocks = nn.ModuleList(Block(inner) for _ in range(count))
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        made: torch.Tensor = self.head(x)
        return made


def blocks(**options: Any) -> Graph:
    return graph_of(Blocks(**options), (1, 6))


VECTORS = [x for x, _ in pairs(24, shape=(6,))]


def losses(log: Path) -> list[float]:
    return [line["loss"] for line in map(json.loads, log.read_text().splitlines()) if "loss" in line]


def test_a_pattern_means_the_outermost_layers() -> None:
    graph = blocks()
    assert list(find_layers(graph, "blocks.*")) == ["blocks.0", "blocks.1"]
    assert list(find_layers(graph, "*")) == ["blocks", "head"]
    assert list(find_layers(graph, "*.up")) == ["blocks.0.up", "blocks.1.up"]
    layer = find_layers(graph, "blocks.0")["blocks.0"]
    assert layer.nodes[-1].op.name == "Add"
    with pytest.raises(OptionError, match=r"called 'block.0'; did you mean blocks.0"):
        find_layers(graph, "block.0")


def test_layers_are_paired_by_name_or_as_written() -> None:
    student, teacher = blocks(count=1), blocks(count=2)
    named = [(a.name, b.name) for a, b in paired_layers(student, teacher, "blocks.*")]
    assert named == [("blocks.0", "blocks.0")]
    written = [(a.name, b.name) for a, b in paired_layers(student, teacher, "blocks.0=blocks.1")]
    assert written == [("blocks.0", "blocks.1")]
    with pytest.raises(OptionError, match=r"means 1 layers and 'blocks.\*' 2"):
        paired_layers(student, teacher, "blocks.0=blocks.*")


def test_features_are_the_relative_error_of_the_layers_outputs(tmp_path: Path) -> None:
    student, teacher = Blocks(seed=0), Blocks(seed=1)
    log = tmp_path / "log"
    each = Distill(data=VECTORS, loss=("features:blocks.*",), batch=24, log=str(log))
    run_pass(each, graph_of(student, (1, 6)), teacher=graph_of(teacher, (1, 6)))
    x = torch.from_numpy(np.concatenate(VECTORS))
    wanted, a, b = 0.0, x, x
    for mine, theirs in zip(student.blocks, teacher.blocks, strict=True):
        a, b = mine(a).detach(), theirs(b).detach()
        wanted += float(((a - b) ** 2).mean() / (b**2).mean()) / 2
    assert losses(log)[0] == pytest.approx(wanted, rel=1e-5)


def test_reconstruction_feeds_each_layer_with_what_the_teachers_gets(tmp_path: Path) -> None:
    student, teacher = Blocks(seed=0), Blocks(seed=1)
    log = tmp_path / "log"
    each = Distill(data=VECTORS, loss=("reconstruction:blocks.*",), batch=24, log=str(log))
    run_pass(each, graph_of(student, (1, 6)), teacher=graph_of(teacher, (1, 6)))
    wanted, b = 0.0, torch.from_numpy(np.concatenate(VECTORS))
    for mine, theirs in zip(student.blocks, teacher.blocks, strict=True):
        a, b = mine(b).detach(), theirs(b).detach()
        wanted += float(((a - b) ** 2).mean() / (b**2).mean()) / 2
    assert losses(log)[0] == pytest.approx(wanted, rel=1e-5)


def test_reconstruction_of_one_layer_trains_that_alone() -> None:
    graph = blocks(seed=0)
    before = constants(graph)
    made = trained(Distill(data=VECTORS, loss=("reconstruction:blocks.1",), batch=8), graph, teacher=blocks(seed=1))
    moved = {name for name in before if (made[name] != before[name]).any()}
    assert moved
    assert all(name.startswith("blocks.1.") for name in moved)


def test_what_the_loss_does_not_reach_is_noted() -> None:
    graph = blocks(seed=0)
    context = run_pass(Distill(data=VECTORS, loss=("features:blocks.0",)), graph, teacher=blocks(seed=1))
    assert any("the loss does not depend on 6 weights" in note for note in context.row.notes)


def test_a_narrower_layer_is_matched_through_a_projection_that_is_thrown_away(tmp_path: Path) -> None:
    teacher = blocks(inner=8, seed=1)
    wide, narrow = blocks(inner=8, seed=1), blocks(inner=4, seed=0)
    names = [v.name for v in narrow.constants]
    log = tmp_path / "log"
    each = Distill(data=VECTORS, loss=("features:*.up",), epochs=20, batch=8, lr=0.01, log=str(log))
    run_pass(each, narrow, teacher=teacher)
    assert [v.name for v in narrow.constants] == names
    found = losses(log)
    assert found[0] < 1, "a least-squares fit leaves less than everything"
    assert np.mean(found[-3:]) < 0.7 * np.mean(found[:3])
    run_pass(each, wide, teacher=teacher)
    assert max(losses(log)) < 1e-6, "the teacher itself, without a projection, has no error"


def test_a_folded_batch_norm_belongs_to_the_teachers_layer(tmp_path: Path) -> None:
    graph = graph_of(network())
    teacher, log = graph.copy(), tmp_path / "log"
    run_pass(FoldBatchNorm(), graph)
    assert not any(n.op.name == "BatchNormalization" for n in graph)
    for loss in ("features:[0-8]", "reconstruction:[0-8]"):
        run_pass(Distill(data=ITEMS, loss=(loss,), batch=8, lr=0.0, log=str(log)), graph.copy(), teacher=teacher)
        assert max(losses(log)) < 1e-9, "folding moves nothing, so that there is no error"


def test_a_quantized_layer_is_fed_through_its_fake_quant() -> None:
    from irc.backends.registry import find_target
    from irc.passes.context import Context
    from irc.passes.fold_batch_norm import FoldBatchNorm

    graph = graph_of(network())
    teacher = graph.copy()
    context = Context(find_target("onnx"), teacher)
    for each in (FoldBatchNorm(), InsertFakeQuant()):
        each.run(graph, context)
    layer = find_layers(graph, "3")["3"]
    fed = fed_values(layer.output, set(layer.nodes), graph, teacher)
    assert [(mine.name, theirs.name) for mine, theirs in fed.items() if theirs is not None] == [("2", "2")]


def test_another_teacher_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "teacher.onnx"
    irc.api.compile(blocks(seed=1), []).save(path)
    graph = blocks(seed=0)
    x = np.concatenate(VECTORS[:1])
    before = np.abs(outputs(graph, x) - outputs(blocks(seed=1), x)).max()
    each = Distill(data=VECTORS, teacher=str(path), epochs=30, batch=8, lr=0.1)
    assert run_pass(each, graph).row.notes
    assert np.abs(outputs(graph, x) - outputs(blocks(seed=1), x)).max() < before / 2

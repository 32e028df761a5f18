"""Each term of a loss is its formula: on given tensors, in their weighted sum, and relative to the teacher."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from irc.graph import Graph
from irc.passes.base import Pass
from irc.passes.distill import Distill
from irc.passes.fine_tune import FineTune
from irc.text import parse_graph
from tests.training.nets import graph_of, network, pairs, run_pass

TOLERANCE = 1e-5  # relative; float32 sums in another order


def first_loss(each: Pass, graph: Graph, log: Path, **options: Any) -> float:
    """The loss of the first step, before anything has changed."""
    run_pass(each, graph.copy(), **options)
    found: float = next(line["loss"] for line in map(json.loads, log.read_text().splitlines()) if "loss" in line)
    return found


def fixed(seed: int = 0) -> nn.Sequential:
    """The network, whose outputs here are numbers to compare with."""
    made = network(seed)
    for parameter in made.parameters():
        parameter.requires_grad_(False)
    return made


@pytest.mark.parametrize("loss", ["mse", "features:[0-5]"])
def test_relative_to_the_whole_first_batch_however_it_runs(
    loss: str, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = Distill(data=[x for x, _ in pairs(16)], loss=(loss,), batch=16, batch_norm="freeze", log=str(log))
    teacher = graph_of(network(1, width=12))
    whole = first_loss(each, graph_of(network()), log, teacher=teacher)
    monkeypatch.setattr("irc.passes.training.can_stack", lambda runs, items: False)
    assert first_loss(each, graph_of(network()), log, teacher=teacher) == pytest.approx(whole, rel=TOLERANCE)


def test_inputs_go_to_the_teacher_by_name(log: Path) -> None:
    student, teacher = (
        parse_graph(
            f"graph main(opset = 21) {{\n  input %{first}: f32[1, 4]\n  input %{second}: f32[1, 4]\n"
            "  weight %w: f32[4] = splat(2.0)\n  %d: f32[1, 4] = Sub(%a, %b)\n  %y: f32[1, 4] = Mul(%d, %w)\n"
            "  return %y\n}\n"
        )
        for first, second in ("ab", "ba")
    )
    random = np.random.default_rng(0)
    data = [{name: random.normal(size=(1, 4)).astype(np.float32) for name in "ab"} for _ in range(4)]
    assert first_loss(Distill(data=data, log=str(log)), student, log, teacher=teacher) == 0


def stacked(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    items = pairs(count)
    return torch.from_numpy(np.concatenate([x for x, _ in items])), torch.tensor([y for _, y in items])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "losses.jsonl"


KL = ("kl", 3.0)


@pytest.mark.parametrize("terms", [("kl",), ("mse",), ("0.25*kl:output", "2*mse", "cross-entropy")])
def test_outputs_against_the_teacher(terms: tuple[str, ...], log: Path) -> None:
    student, teacher, temperature = fixed(0), fixed(1), 3.0
    images, labels = stacked(16)
    with torch.no_grad():
        z, t = student(images), teacher(images)
    values = {
        "kl": temperature**2
        * F.kl_div(F.log_softmax(z / temperature, 1), F.softmax(t / temperature, 1), reduction="batchmean"),
        "mse": F.mse_loss(z, t) / (t**2).mean(),
        "cross-entropy": F.cross_entropy(z, labels),
    }
    wanted = sum(
        (float(term.partition("*")[0]) if "*" in term else 1.0) * values[term.rpartition("*")[2].partition(":")[0]]
        for term in terms
    )
    each = Distill(data=pairs(16), loss=terms, temperature=temperature, batch=16, batch_norm="freeze", log=str(log))
    made = first_loss(each, graph_of(student), log, teacher=graph_of(teacher))
    assert made == pytest.approx(float(wanted), rel=TOLERANCE)


def test_labels(log: Path) -> None:
    module = nn.Linear(4, 3)
    random = np.random.default_rng(0)
    x, y = (random.normal(size=(6, n)).astype(np.float32) for n in (4, 3))
    items = [(x[i : i + 1], y[i : i + 1]) for i in range(6)]
    graph, z = graph_of(module, (1, 4)), module(torch.from_numpy(x)).detach()
    made = first_loss(FineTune(data=items, loss=("mse",), log=str(log)), graph, log)
    assert made == pytest.approx(float(F.mse_loss(z, torch.from_numpy(y))), rel=TOLERANCE)
    soft = F.softmax(torch.from_numpy(y), 1)
    items = [(x[i : i + 1], soft[i : i + 1].numpy()) for i in range(6)]
    made = first_loss(FineTune(data=items, log=str(log)), graph, log)
    assert made == pytest.approx(float(F.cross_entropy(z, soft)), rel=TOLERANCE)


def test_a_model_that_ends_in_a_softmax_is_trained_by_its_logits(log: Path) -> None:
    plain = fixed()
    images, labels = stacked(16)
    wanted = float(F.cross_entropy(plain(images), labels))
    ended = nn.Sequential(*plain, nn.Softmax(1)).eval()
    tune = FineTune(data=pairs(16), batch=16, batch_norm="freeze", log=str(log))
    assert first_loss(tune, graph_of(ended), log) == pytest.approx(wanted, rel=TOLERANCE)
    distill = Distill(data=pairs(16), loss=("kl",), batch=16, batch_norm="freeze", log=str(log))
    teacher = fixed(1)
    with torch.no_grad():
        z, t = plain(images), teacher(images)
    kl = float(F.kl_div(F.log_softmax(z, 1), F.softmax(t, 1), reduction="batchmean"))
    assert first_loss(distill, graph_of(ended), log, teacher=graph_of(teacher)) == pytest.approx(kl, rel=TOLERANCE)


@pytest.mark.parametrize(("shape", "labels"), [((2, 5, 3, 4), (2, 3, 4)), ((2, 3, 5), (2, 3)), ((2, 5, 5), (2, 5))])
def test_the_axis_of_the_classes_is_the_one_that_labels_lack(
    shape: tuple[int, ...], labels: tuple[int, ...], log: Path
) -> None:
    """Images have it second, sequences last; so where both would do."""
    random = np.random.default_rng(0)
    dims = ", ".join(str(d) for d in shape[1:])
    graph = parse_graph(
        f"graph main(opset = 21) {{\n  input %x: f32[N, {dims}]\n  weight %w: f32[{dims}] = splat(2.0)\n"
        f"  %y: f32[N, {dims}] = Mul(%x, %w)\n  return %y\n}}\n"
    )
    x, y = random.normal(size=shape).astype(np.float32), random.integers(0, 5, labels)
    made = first_loss(FineTune(data=[(x, y)], batch=2, log=str(log)), graph, log)
    z = torch.from_numpy(2 * x)
    if len(shape) == 3:
        z = z.transpose(1, 2)
    assert made == pytest.approx(float(F.cross_entropy(z, torch.from_numpy(y))), rel=TOLERANCE)


def test_functions_get_outputs_by_name_and_labels(log: Path) -> None:
    student, teacher = fixed(0), fixed(1)
    images, labels = stacked(16)

    def supervised(outputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(outputs["output"], labels, label_smoothing=0.1)

    def distilled(outputs: dict[str, torch.Tensor], targets: dict[str, torch.Tensor], labels: Any) -> torch.Tensor:
        return (outputs["output"] - targets["output"]).abs().mean()

    options: dict[str, Any] = {"data": pairs(16), "batch": 16, "batch_norm": "freeze", "log": str(log)}
    made = first_loss(FineTune(loss=(supervised,), **options), graph_of(student), log)
    wanted = F.cross_entropy(student(images), labels, label_smoothing=0.1)
    assert made == pytest.approx(float(wanted), rel=TOLERANCE)
    made = first_loss(Distill(loss=(distilled,), **options), graph_of(student), log, teacher=graph_of(teacher))
    assert made == pytest.approx(float(F.l1_loss(student(images), teacher(images))), rel=TOLERANCE)


TWO = """\
graph main(opset = 21) {
  input %x: f32[N, 4]
  weight %w: f32[4, 4] = splat(0.5)
  %a: f32[N, 4] = MatMul(%x, %w) @"first"
  %b: f32[N, 4] = Relu(%a) @"second"
  return %a, %b
}
"""


def test_a_function_may_view_images_as_rows(log: Path) -> None:
    def rows(outputs: dict[str, torch.Tensor], targets: dict[str, torch.Tensor], labels: Any) -> torch.Tensor:
        (y,), (t,) = outputs.values(), targets.values()
        return (y.view(len(y), -1) - t.view(len(t), -1)).square().mean()  # for which memory has to be in that order

    torch.manual_seed(0)
    student, teacher = (nn.Conv2d(3, 4, 3).eval() for _ in range(2))
    images = [image for image, _ in pairs(6)]
    options: dict[str, Any] = {"data": images, "batch": 6, "steps": 1, "shuffle": False, "log": str(log)}
    loss = first_loss(Distill(loss=(rows,), **options), graph_of(student), log, teacher=graph_of(teacher))
    x = torch.from_numpy(np.concatenate(images))
    assert loss == pytest.approx(float((student(x) - teacher(x)).square().mean().detach()), rel=TOLERANCE)


def test_of_several_outputs_one_is_named_or_each_has_labels(log: Path) -> None:
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    graph, a = parse_graph(TWO), torch.from_numpy(x) @ torch.full((4, 4), 0.5)
    one = [(x[i : i + 1], 1) for i in range(8)]
    wanted = F.cross_entropy(a, torch.ones(8, dtype=torch.long))
    made = first_loss(FineTune(data=one, loss=("cross-entropy:a",), log=str(log)), graph, log)
    assert made == pytest.approx(float(wanted), rel=TOLERANCE)
    both = [(x[i : i + 1], {"a": 1, "b": 2}) for i in range(8)]
    other = F.cross_entropy(torch.relu(a), torch.full((8,), 2))
    made = first_loss(FineTune(data=both, log=str(log)), graph, log)
    assert made == pytest.approx(float((wanted + other) / 2), rel=TOLERANCE)

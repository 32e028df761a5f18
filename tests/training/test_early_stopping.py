"""The metric decides: it is taken before and after each epoch, ends the training, and chooses the weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import irc.api
from irc.passes.fine_tune import FineTune
from tests.training.nets import accuracy, constants, graph_of, network, outputs, pairs, run_pass


class Scripted:
    """A metric that says what it is told to, and remembers an output of each model that it saw."""

    def __init__(self, *values: float) -> None:
        self.values: Iterator[float] = iter(values)
        self.seen: list[Any] = []

    def __call__(self, run: Any) -> float:
        self.seen.append(run(np.ones((1, 3, 8, 8), np.float32)))
        return next(self.values)


def tuned(metric: Any, **options: Any) -> tuple[Any, list[str]]:
    graph = graph_of(network())
    each = FineTune(data=pairs(16), batch=8, **({"epochs": 5} | options))
    notes = run_pass(each, graph, evaluate=metric).row.notes
    return outputs(graph, np.ones((1, 3, 8, 8), np.float32)), notes


def test_the_best_epoch_stays() -> None:
    metric = Scripted(0.1, 0.2, 0.6, 0.4, 0.5, 0.3)
    made, notes = tuned(metric)
    np.testing.assert_array_equal(made, metric.seen[2])
    assert notes[1] == "metric 0.1 before, then 0.2, 0.6, 0.4, 0.5, 0.3; the weights after epoch 2 are kept"


def test_a_model_that_training_only_harms_stays_as_it_came_in() -> None:
    metric = Scripted(0.9, 0.2, 0.1, 0.1, 0.1, 0.1)
    made, _ = tuned(metric)
    np.testing.assert_array_equal(made, metric.seen[0])


def test_lower_can_be_better() -> None:
    metric = Scripted(0.9, 0.2, 0.1, 0.3, 0.4, 0.5)
    made, _ = tuned(metric, lower_is_better=True)
    np.testing.assert_array_equal(made, metric.seen[2])


def test_any_metric_is_better_than_none() -> None:
    metric = Scripted(float("nan"), 0.3, 0.2, float("nan"), 0.1, 0.1)
    made, _ = tuned(metric, lower_is_better=True)
    np.testing.assert_array_equal(made, metric.seen[4])


def test_the_last_can_be_kept() -> None:
    metric = Scripted(0.9, 0.2, 0.1, 0.3, 0.4, 0.5)
    made, _ = tuned(metric, keep_best=False)
    np.testing.assert_array_equal(made, metric.seen[5])


def test_patience_ends_the_training() -> None:
    metric = Scripted(0.1, 0.2, 0.15, 0.15, 0.9, 0.9)
    made, notes = tuned(metric, patience=2)
    assert len(metric.seen) == 4
    np.testing.assert_array_equal(made, metric.seen[1])
    assert notes[0].startswith("6 steps in 3 epochs: loss ")


def test_steps_end_it_within_an_epoch(tmp_path: Path) -> None:
    log = tmp_path / "log"
    tuned(Scripted(*range(9)), steps=5, epochs=1, log=str(log))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["step"] for line in lines if "step" in line] == [1, 2, 3, 4, 5]
    assert [(line["epoch"], line["metric"]) for line in lines if "metric" in line] == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_a_metric_improves_and_the_ledger_shows_it() -> None:
    data = pairs(128)
    small = irc.api.compile(
        graph_of(network()), [FineTune(data=data, epochs=12, batch=16, lr=0.1)], evaluate=accuracy(data)
    )
    before, after = (row.metric for row in small.report.rows)
    assert before is not None
    assert after is not None
    assert after > before + 0.3
    steps, metric = small.report.rows[1].notes
    assert steps.startswith("96 steps in 12 epochs: loss ")
    assert metric.startswith(f"metric {before:.4g} before, then ")


def test_without_a_metric_the_last_weights_stay() -> None:
    graph = graph_of(network())
    before = constants(graph)
    notes = run_pass(FineTune(data=pairs(16), batch=8), graph).row.notes
    assert len(notes) == 1
    assert any((constants(graph)[name] != before[name]).any() for name in before)


def test_progress_shows_loss_and_metric_on_terminals_only(capsys: pytest.CaptureFixture[str]) -> None:
    from irc.report.progress import bar

    seen = []

    def progress(items: Any, title: str, count: int | None) -> Iterator[Any]:
        for item in bar(items, title, count):
            yield item
            seen.append((str(title), getattr(title, "status", ""), count))

    irc.api.compile(
        graph_of(network()), [FineTune(data=pairs(16), batch=8, epochs=2)], evaluate=lambda run: 0.5, progress=progress
    )
    assert [(title, count) for title, _, count in seen] == [("fine-tune, epoch 1/2", 2)] * 2 + [
        ("fine-tune, epoch 2/2", 2)
    ] * 2
    assert all(status.startswith("loss ") and status.endswith(", metric 0.5") for _, status, _ in seen)
    assert capsys.readouterr().err == ""

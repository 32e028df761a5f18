"""An interrupted training goes on from its checkpoint, and its weights then are those of an uninterrupted one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from irc.errors import DataError
from irc.execution.training.checkpoint import FILE, read_checkpoint, write_checkpoint
from irc.execution.training.distributed import World
from irc.execution.training.identity import graph_digest
from irc.graph import Graph
from irc.passes.distill import Distill
from irc.passes.fine_tune import FineTune
from tests.training import worker
from tests.training.nets import graph_of, largest_difference, network, pairs, run_pass, trained

ROOT = Path(__file__).resolve().parents[2]


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, worker.__file__, *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def finish(folder: Path, *arguments: str) -> str:
    """Run to the end; the notes of the last pass."""
    process = start(folder, *arguments)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return (folder / f"{arguments[1]}.0.notes").read_text()


def interrupted(folder: Path, number: signal.Signals, *arguments: str) -> str:
    """Run until the third checkpoint has been written, and then a little; what it says when the signal comes."""
    process = start(folder, *arguments)
    written: set[int] = set()
    end = time.monotonic() + 60
    while len(written) < 3 and process.poll() is None and time.monotonic() < end:
        if (folder / "checkpoint" / FILE).exists():
            written.add((folder / "checkpoint" / FILE).stat().st_mtime_ns)
        time.sleep(0.005)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0, "it was over before the signal came"
    return errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "number"),
    [
        ("fine-tune", signal.SIGINT),
        ("stream", signal.SIGINT),
        ("stream", signal.SIGKILL),
        ("metric", signal.SIGKILL),
        ("quantized", signal.SIGKILL),
        ("features", signal.SIGKILL),
    ],
)
def test_the_bits_are_those_of_an_uninterrupted_training(job: str, number: signal.Signals, tmp_path: Path) -> None:
    worker.prepare(tmp_path)
    finish(tmp_path, job, "whole")
    said = interrupted(tmp_path, number, job, "none", "checkpoint", "0.02")
    if number is signal.SIGINT:
        assert "the same call goes on from step" in said.strip().splitlines()[-1]
        assert [p.name for p in (tmp_path / "checkpoint").iterdir()] == [FILE]
    assert not (tmp_path / "none.0").exists()
    notes = finish(tmp_path, job, "resumed", "checkpoint")
    assert "let it go on from step" in notes
    assert (tmp_path / "resumed.0").read_bytes() == (tmp_path / "whole.0").read_bytes()
    assert (tmp_path / "resumed.log").read_bytes() == (tmp_path / "whole.log").read_bytes()
    again = finish(tmp_path, job, "again", "checkpoint")
    assert "had finished this training" in again
    for kind in ("0", "log"):
        assert (tmp_path / f"again.{kind}").read_bytes() == (tmp_path / f"whole.{kind}").read_bytes()


ITEMS = pairs(12)
BASE: dict[str, Any] = {"data": ITEMS, "batch": 4}


def test_every_step_is_one_to_go_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import irc.execution.training.loop as loop

    graph = graph_of(network())
    whole = trained(FineTune(epochs=2, **BASE), graph)
    for stop in range(1, 7):
        folder = tmp_path / str(stop)
        count = 0

        def stopping(self: Any, items: Any, step: Any = loop._Loop._step, stop: int = stop) -> None:
            nonlocal count
            if count == stop:
                raise KeyboardInterrupt
            count += 1
            step(self, items)

        options = {**BASE, "epochs": 2, "checkpoint": str(folder), "checkpoint_every": 1}
        with monkeypatch.context() as patch:
            patch.setattr(loop._Loop, "_step", stopping)
            if stop < 6:
                with pytest.raises(
                    KeyboardInterrupt, match=f"fine-tune was interrupted after step {stop} of 6; the same"
                ):
                    trained(FineTune(**options), graph)
        assert largest_difference(trained(FineTune(**options), graph), whole) == 0


OTHERS: dict[str, tuple[Any, str]] = {
    "model": (lambda: (FineTune(**BASE), graph_of(network(1)), 0), "of another model"),
    "data": (lambda: (FineTune(**BASE | {"data": ITEMS[1:]}), graph_of(network()), 0), "with other data"),
    "labels": (
        lambda: (FineTune(**BASE | {"data": [(x, 0) for x, _ in ITEMS]}), graph_of(network()), 0),
        "with other data",
    ),
    "rate": (lambda: (FineTune(lr=0.5, **BASE), graph_of(network()), 0), "with lr=0.01, not 0.5"),
    "epochs": (lambda: (FineTune(epochs=2, **BASE), graph_of(network()), 0), "with epochs=1, not 2"),
    "seed": (lambda: (FineTune(**BASE), graph_of(network()), 1), "with seed=0, not 1"),
    "pass": (lambda: (Distill(**BASE), graph_of(network()), 0), "with pass=fine-tune, not distill"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_checkpoint_of_another_training_is_refused(other: str, tmp_path: Path) -> None:
    from dataclasses import replace

    folder = str(tmp_path / "checkpoint")
    run_pass(FineTune(checkpoint=folder, **BASE), graph_of(network()))
    make, said = OTHERS[other]
    each, graph, seed = make()
    with pytest.raises(DataError, match=f"the checkpoint in '{folder}' is of a training {said}"):
        run_pass(replace(each, checkpoint=folder), graph, seed=seed)


def test_processes_that_find_different_checkpoints_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(World):
        def total(self, value: float) -> float:
            return value + 8  # the other one's step

    monkeypatch.setattr("irc.passes.training.join_world", lambda: Other(0, 2))
    with pytest.raises(DataError, match="give a folder that all of them see"):
        run_pass(FineTune(checkpoint=str(tmp_path), **BASE), graph_of(network()))


def test_a_digest_reads_texts_and_not_where_they_are() -> None:
    def made() -> Graph:
        graph = Graph()
        graph.add_constant(np.array(["".join(["a", "b"])], object))
        return graph

    assert graph_digest(made()) == graph_digest(made())


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"12345678")
    with pytest.raises(DataError, match="cannot be read as a checkpoint"):
        run_pass(FineTune(checkpoint=str(tmp_path), **BASE), graph_of(network()))
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / FILE)
    with pytest.raises(DataError, match="is no checkpoint of irc"):
        run_pass(FineTune(checkpoint=str(tmp_path), **BASE), graph_of(network()))


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    state = {
        "numbers": [1, 2.5, True, None, "text"],
        "tree": {0: {"step": torch.tensor(3.0), "a/b": torch.arange(3)}, "lists": [[torch.zeros(0)], {}]},
    }
    write_checkpoint(tmp_path / "new", state)
    found = read_checkpoint(tmp_path / "new")
    assert found is not None
    assert found["numbers"] == state["numbers"]
    assert list(found["tree"]) == [0, "lists"]
    assert found["tree"][0]["step"].equal(torch.tensor(3.0))
    assert found["tree"][0]["a/b"].equal(torch.arange(3))
    assert found["tree"]["lists"][0][0].shape == (0,)
    assert read_checkpoint(tmp_path) is None

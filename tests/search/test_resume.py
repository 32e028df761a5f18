"""A search whose processes are killed half-way goes on where it was, and its winner can be made again to the byte."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from irc.searching.study import DATABASE
from tests.search import problem

ROOT = Path(__file__).resolve().parents[2]
IRC = ("-c", "from irc.cli import main; main()")
SPACE = (
    "fold-constants, simplify, prune-channels?{macs=0.4..1.0}, "
    'fine-tune{data="tests.search.digits:training", steps=40, lr=0.003..0.1:log}, '
    "fold-batch-norm, fold-pad, quantize{layer_bits=[?=4|8]}"
)
BUDGET = 30_000  # bytes; the network has 140,000, and 42,000 in int8
TRIALS = 8


def start(folder: Path, *command: str, sleep: float = 0.0, threads: int = 1, **more: str) -> subprocess.Popen[str]:
    """A process group of its own, in the folder; `more` of the environment."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "examples")])
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": paths, problem.SLEEP: str(sleep)}
    environment |= more
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """What a process prints until it ends well."""
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, said
    return said


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    """Wait until something is so."""
    end = time.monotonic() + 200
    while not what():
        assert time.monotonic() < end, "it never came to be"
        assert process is None or process.poll() is None, process.stdout and process.stdout.read()
        time.sleep(0.05)


def states(folder: Path) -> list[str]:
    """The states of the study's trials."""
    import sqlite3

    if not (folder / DATABASE).exists():
        return []
    connection = sqlite3.connect(folder / DATABASE)
    try:
        return [state for (state,) in connection.execute("SELECT state FROM trials ORDER BY number")]
    finally:
        connection.close()


def kill(process: subprocess.Popen[str], *, group: bool) -> None:
    """Kill a process, or its group, and take what it had printed."""
    if group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.communicate(timeout=60)


@pytest.mark.slow
def test_mnist_cnn_killed_and_resumed(tmp_path: Path) -> None:
    search = [*IRC, "search", "tests.search.digits:model", "--space", SPACE, "--budget", f"bytes={BUDGET}"]
    search += shlex.split("--evaluate tests.search.digits:accuracy --calibration tests.search.digits:calibration")
    search += shlex.split(f"--trials {TRIALS} --workers 2 --study study")
    first = start(tmp_path, *search)
    wait_for(lambda: states(tmp_path / "study").count("COMPLETE") >= TRIALS // 2, first)
    kill(first, group=True)
    before = states(tmp_path / "study")
    assert before.count("COMPLETE") < TRIALS
    assert "RUNNING" in before
    said = finish(start(tmp_path, *search))
    after = states(tmp_path / "study")
    assert after.count("COMPLETE") == TRIALS
    after_kill = TRIALS - before.count("COMPLETE")
    assert after.count("FAIL") == before.count("RUNNING")
    assert sum(line.startswith("trial ") and ": " in line for line in said.splitlines()) == after_kill
    finish(start(tmp_path, *IRC, "compile", "--recipe", "study/best.toml", "-o", "again.onnx", threads=2))
    made = (tmp_path / "again.onnx").read_bytes()
    front = json.loads((tmp_path / "study" / "front.json").read_text())
    assert len(made) == front[0]["bytes"] <= BUDGET
    assert hashlib.sha256(made).hexdigest() == front[0]["sha256"]
    assert front[0]["metric"] > 0.9, "a network that has learnt nothing says nothing"


@pytest.mark.slow
def test_what_ran_is_tried_again_and_workers_end_with_their_search(tmp_path: Path) -> None:
    command = (problem.__file__, "study", "3", "2")
    first = start(tmp_path, *command, sleep=60)
    wait_for(lambda: states(tmp_path / "study").count("RUNNING") == 2, first)
    workers = children(first.pid)
    assert len(workers) >= 2
    kill(first, group=False)
    wait_for(lambda: not any(map(is_alive, workers)))
    finish(start(tmp_path, *command))
    assert states(tmp_path / "study") == ["FAIL", "FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    found = problem.search(tmp_path / "study", 3)
    alone = problem.search(tmp_path / "alone", 3)
    assert {trial.passes for trial in found.trials[:2]} == {trial.passes for trial in alone.trials[:2]}
    assert {t.passes: t.sha256 for t in found.trials[:2]} == {t.passes: t.sha256 for t in alone.trials[:2]}


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(each) for each in listed]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that waits for its parent to look does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False

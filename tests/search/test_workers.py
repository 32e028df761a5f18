"""A worker process that is killed costs a trial at the most; an interrupt leaves a study, and no files."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from irc.errors import ExecutionError
from irc.passes.context import Run
from irc.searching.executors import local_executor
from tests.search import problem
from tests.search.test_resume import IRC, finish, start, states, wait_for

MARK = "IRC_TEST_MARK"  # a file, in the environment, so that workers have it too


def dies_once(run: Run) -> float:
    """A metric in which the first process that comes here kills itself."""
    try:
        Path(os.environ[MARK]).touch(exist_ok=False)
    except FileExistsError:
        return problem.agreement(run)
    os.kill(os.getpid(), signal.SIGKILL)
    return 0.0


def dies_of_pruned(run: Run) -> float:
    """A metric in which a process with a pruned model kills itself."""
    value = problem.agreement(run)
    if value < -1e-3:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def folder_of_temporary_files() -> str:
    """Where a process makes them, with one of them left there."""
    Path(tempfile.mkstemp()[1]).write_text("left")
    return tempfile.gettempdir()


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARK, str(tmp_path / "mark"))
    result = problem.search(tmp_path / "study", 4, workers=2, evaluate=dies_once)
    assert (tmp_path / "mark").exists()
    assert [trial.error for trial in result.trials] == [""] * 4
    alone = problem.search(tmp_path / "alone", 2)
    assert [t.sha256 for t in result.trials[:2]] == [t.sha256 for t in alone.trials[:2]]


@pytest.mark.slow
def test_a_trial_that_kills_its_worker_is_refused_and_the_others_go_on(tmp_path: Path) -> None:
    result = problem.search(tmp_path / "study", 4, workers=2, evaluate=dies_of_pruned, budget={})
    died = [trial for trial in result.trials if "its process died" in trial.error]
    assert 0 < len(died) < 4
    assert all("prune-channels" in trial.passes for trial in died)
    assert all(not trial.error for trial in result.trials if trial not in died)


@pytest.mark.slow
def test_a_users_pool_that_breaks_ends_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARK, str(tmp_path / "mark"))
    with (
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
        pytest.raises(ExecutionError, match=r"a worker process died; the study in .* goes on"),
    ):
        problem.search(tmp_path / "study", 2, executor=pool, evaluate=dies_once)


@pytest.mark.slow
def test_an_interrupt_ends_with_one_line_and_no_files(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    command: list[str] = [*IRC, "search", "tests.search.problem:make", "--space", problem.SPACE, "--study", "study"]
    command += ["--evaluate", "tests.search.problem:agreement", "--calibration", "tests.search.problem:samples"]
    command += ["--trials", "3", "--workers", "2"]
    process = start(tmp_path, *command, sleep=100, TMPDIR=str(tmp_path / "tmp"))
    wait_for(lambda: states(tmp_path / "study").count("RUNNING") == 2, process)
    wait_for(lambda: len(list((tmp_path / "tmp").glob("irc-*/*"))) == 2, process)
    time.sleep(5)  # the workers are at work
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 130
    assert said == "irc: interrupted; the same command goes on with the study in 'study'\n"
    assert list((tmp_path / "tmp").glob("irc-*")) == []
    assert "3 trials" in finish(start(tmp_path, *command))


def test_temporary_files_of_workers_go_with_them() -> None:
    with local_executor(2) as pool:
        folder = Path(pool.submit(folder_of_temporary_files).result())
        assert len(list(folder.iterdir())) == 1
    assert not folder.parent.exists()

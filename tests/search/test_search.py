"""A search finds the best within its budget, says what it found in tables, files and a picture, and repeats."""

from __future__ import annotations

import csv
import hashlib
import json
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import irc
from irc.errors import BudgetError, ExecutionError, IrcError, OptionError, OutputError
from irc.passes.options import format_pipeline
from irc.recipe import Recipe
from irc.searching import SearchResult, Space, Trial, search_recipe
from irc.searching.study import open_study
from tests.search import problem

TRIALS = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("found") / "study"


@pytest.fixture(scope="module")
def found(folder: Path) -> SearchResult:
    result = problem.search(folder, TRIALS)
    assert isinstance(result, SearchResult)
    return result


def test_the_best_is_within_the_budget_and_none_within_it_is_better(found: SearchResult) -> None:
    assert len(found.trials) == TRIALS
    assert any(not trial.within for trial in found.trials), "a budget that everything meets says nothing"
    within = [trial for trial in found.trials if trial.measures["bytes"] <= problem.BUDGET["bytes"]]
    assert found.best.measures["metric"] == max(trial.measures["metric"] for trial in within)
    assert found.best.measures["bytes"] <= problem.BUDGET["bytes"]


def test_the_measures_are_those_of_the_compiled_model(found: SearchResult, tmp_path: Path) -> None:
    best = found.best
    made = irc.compile(problem.make()[0], best.passes, example_inputs=problem.make()[1], calibration=problem.samples())
    made.save(tmp_path / "made.onnx")
    again = irc.open(tmp_path / "made.onnx")
    assert best.measures["metric"] == pytest.approx(problem.agreement(again), abs=1e-5)  # as rounding differs
    assert best.measures["macs"] == made.report.rows[-1].cost.macs  # type: ignore[union-attr]
    recipe = Recipe.read(found.folder / "best.toml")
    recipe.compile().save(tmp_path / "best.onnx")
    assert best.measures["bytes"] == (tmp_path / "best.onnx").stat().st_size
    assert hashlib.sha256((tmp_path / "best.onnx").read_bytes()).hexdigest() == best.sha256 == recipe.sha256


def test_nothing_beats_the_front(found: SearchResult) -> None:
    front = found.front
    assert front[0] == found.best
    points = [(-trial.measures["metric"], trial.measures["bytes"]) for trial in found.trials if trial.within]
    for trial in front:
        point = (-trial.measures["metric"], trial.measures["bytes"])
        assert not any(a <= point[0] and b <= point[1] and (a, b) != point for a, b in points)
    on_front = {(-trial.measures["metric"], trial.measures["bytes"]) for trial in front}
    for point in set(points) - on_front:
        assert any(a <= point[0] and b <= point[1] for a, b in on_front)


def test_what_is_written(found: SearchResult, folder: Path) -> None:
    rows = list(csv.DictReader((folder / "front.csv").read_text().splitlines()))
    held = json.loads((folder / "front.json").read_text())
    assert [int(row["trial"]) for row in rows] == [row["trial"] for row in held] == [t.number for t in found.front]
    assert [float(row["bytes"]) for row in rows] == [t.measures["bytes"] for t in found.front]
    assert (folder / "front.png").read_bytes().startswith(b"\x89PNG")
    assert found.best.passes in str(found)


def test_a_picture_of_another_kind(found: SearchResult, tmp_path: Path) -> None:
    found.plot(tmp_path / "front.svg")
    assert "<svg" in (tmp_path / "front.svg").read_text()
    with pytest.raises(OptionError, match=r"'.*front\.jpeg' is no kind of picture"):
        found.plot(tmp_path / "front.jpeg")


def test_the_same_again(found: SearchResult, tmp_path: Path) -> None:
    again = problem.search(tmp_path / "study", TRIALS)
    assert [(t.passes, t.measures, t.sha256) for t in again.trials] == [
        (t.passes, t.measures, t.sha256) for t in found.trials
    ]


def test_a_search_goes_on_to_where_it_would_have_come(found: SearchResult, tmp_path: Path) -> None:
    class Stop(Exception):  # noqa: N818  # it is no error
        pass

    def stop(trial: Trial) -> None:
        if trial.number == 2:
            raise Stop

    with pytest.raises(Stop):
        problem.search(tmp_path / "study", TRIALS, report=stop)
    first = problem.search(tmp_path / "study", 5)
    assert len(first.trials) == 5
    whole = problem.search(tmp_path / "study", TRIALS)
    assert [t.passes for t in whole.trials] == [t.passes for t in found.trials]


def asked(folder: Path, count: int) -> list[str]:
    """The next points of a study, whose trials are then left as a kill leaves them."""
    with open_study(folder, Space.of(problem.SPACE), {"space": "the same"}, ["maximize", "minimize"], seed=0) as study:
        return [format_pipeline(study.ask()[1]) for _ in range(count)]


def test_trials_that_were_running_come_again(tmp_path: Path) -> None:
    first = asked(tmp_path / "study", 4)
    assert len(set(first)) == 4
    assert asked(tmp_path / "study", 4) == first


def test_a_trial_that_was_being_drawn_is_drawn_as_it_would_have_been(tmp_path: Path) -> None:
    wanted = asked(tmp_path / "whole", 3)
    space = Space.of(problem.SPACE)
    for number in range(3):
        with open_study(tmp_path / "cut", space, {"space": "the same"}, ["maximize", "minimize"], seed=0) as study:
            for _ in range(number):
                study.ask()
            study.optimizer.ask().set_user_attr("and then", "it was killed")
    assert asked(tmp_path / "cut", 3) == wanted


def test_a_trial_that_was_running_at_every_kill_is_given_up(tmp_path: Path) -> None:
    first = asked(tmp_path / "study", 1)
    assert asked(tmp_path / "study", 1) == first
    assert asked(tmp_path / "study", 1) == first
    assert asked(tmp_path / "study", 1) != first


def test_another_seed_draws_otherwise(found: SearchResult, tmp_path: Path) -> None:
    other = problem.search(tmp_path / "study", 5, seed=1)
    assert [t.passes for t in other.trials[2:]] != [t.passes for t in found.trials[2:5]]


def test_points_that_come_again_are_not_compiled_again(tmp_path: Path) -> None:
    seen: list[Trial] = []
    result = problem.search(
        tmp_path / "study", 6, space="fold-constants, quantize{rounding=gptq|nearest}", report=seen.append
    )
    assert len(result.trials) == len(seen) == 6
    by_passes = {trial.passes: trial.seconds for trial in seen}
    assert len(by_passes) == 2
    assert all(trial.seconds == by_passes[trial.passes] for trial in seen), "a second run would take another time"


def test_threads_run_trials(tmp_path: Path) -> None:
    names: set[str] = set()

    def metric(run: Any) -> float:  # has no name, and needs none in this process
        names.add(threading.current_thread().name)
        return problem.agreement(run)

    with ThreadPoolExecutor(2, thread_name_prefix="pool") as pool:
        result = problem.search(tmp_path / "study", 4, workers=2, executor=pool, evaluate=metric)
    assert len(result.trials) == 4
    assert names
    assert all(name.startswith("pool") for name in names)
    assert Recipe.read(tmp_path / "study" / "best.toml").evaluate == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"space": "fold-constants, quantize{rounding=gptq|nearest}"}, "is of another space"),
        ({"budget": {"bytes": 6000}}, r"is of another budget \(bytes=7000.0, not bytes=6000.0\)"),
        ({"calibration": problem.samples()[1:]}, "is of another data"),
        ({"evaluate": "tests.search.problem:samples"}, "is of another metric"),
        ({"objectives": ("bytes",)}, "is of another objectives"),
        ({"seed": 3}, "is of another options"),
    ],
)
def test_the_folder_of_another_search_is_refused(
    change: dict[str, Any], said: str, found: SearchResult, folder: Path
) -> None:
    with pytest.raises(OptionError, match=said):
        problem.search(folder, TRIALS, **change)


def test_a_folder_in_use_or_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("Dear")
    with pytest.raises(OutputError, match="exists and is no study"):
        problem.search(tmp_path / "other", 1)

    def nested(trial: Trial) -> None:
        problem.search(tmp_path / "study", 1)

    with pytest.raises(OutputError, match="another search runs in"):
        problem.search(tmp_path / "study", 1, report=nested)


@pytest.mark.parametrize("content", [b"", b"nonsense" * 1000])
def test_a_broken_study_is_refused(content: bytes, tmp_path: Path) -> None:
    asked(tmp_path / "study", 1)
    (tmp_path / "study" / "study.db").write_bytes(content)
    with pytest.raises(OutputError, match="study"):
        asked(tmp_path / "study", 1)


def test_a_study_of_something_else_or_of_another_version_is_refused(tmp_path: Path) -> None:
    asked(tmp_path / "study", 1)
    with sqlite3.connect(tmp_path / "study" / "study.db") as database:
        database.execute("UPDATE trials SET state = 'COMPLETE'")
    with pytest.raises(OutputError, match=r"study\.db' holds trials that this version of irc does not read"):
        asked(tmp_path / "study", 1)
    with sqlite3.connect(tmp_path / "study" / "study.db") as database:
        database.execute("DELETE FROM study_user_attributes")
    with pytest.raises(OutputError, match=r"study\.db' holds no search of irc; name another folder"):
        asked(tmp_path / "study", 1)


def test_no_trial_within_the_budget(tmp_path: Path) -> None:
    result = problem.search(tmp_path / "study", 4, budget={"bytes": 100})
    assert not result.met
    smallest = min(result.trials, key=lambda trial: trial.measures["bytes"])
    with pytest.raises(BudgetError) as raised:
        _ = result.best
    assert smallest.passes in str(raised.value)
    assert f"bytes is {smallest.measures['bytes']:,}" in str(raised.value)
    assert not (tmp_path / "study" / "best.toml").exists()
    assert smallest in result.front


def test_a_floor_of_the_metric_turns_the_question_round(found: SearchResult, tmp_path: Path) -> None:
    floor = -0.001
    result = problem.search(tmp_path / "study", TRIALS, budget={}, floor=floor, objectives=("bytes", "metric"))
    good = [trial for trial in result.trials if trial.measures["metric"] >= floor]
    assert 0 < len(good) < TRIALS
    assert result.best == min(good, key=lambda trial: trial.measures["bytes"])


def test_refused_trials_are_remembered_and_do_not_end_the_search(tmp_path: Path) -> None:
    space = "fold-constants, quantize{rounding=gptq|nearest, percentile=40.0|99.9}"
    result = problem.search(tmp_path / "study", 8, space=space)
    refused = [trial for trial in result.trials if trial.error]
    assert 0 < len(refused) < 8
    assert all("percentile=40 is not in (50, 100]" in trial.error for trial in refused)
    assert "percentile=40" not in result.best.passes
    assert f"{len(refused)} refused" in str(result)


def test_a_search_in_which_everything_is_refused_ends(tmp_path: Path) -> None:
    with pytest.raises(ExecutionError, match=r"the first 8 trials were all refused; the last: .*nothing to measure"):
        problem.search(tmp_path / "study", 30, evaluate="tests.search.problem:refusing")
    with pytest.raises(OptionError, match="has no 'absent'"):
        problem.search(tmp_path / "other", 30, evaluate="tests.search.problem:absent")


def test_what_cannot_travel_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="evaluate cannot be sent to another process"):
        problem.search(tmp_path / "study", 4, workers=2, evaluate=lambda run: 0.0)
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"budget": {"byte": 3}}, "did you mean 'bytes'"),
        ({"budget": {"metric": 3}}, "floor is the least metric"),
        ({"budget": {"bytes": -3}}, "must be a number above 0"),
        ({"objectives": ("size",)}, "there is no measure 'size'"),
        ({"evaluate": None, "floor": 0.9}, "nothing measures it; give evaluate"),
        ({"target": "onyx"}, "onyx"),
        ({"workers": 0}, "workers=0 is below 1"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(IrcError) as raised:
        problem.search(tmp_path / "study", **{"trials": 2, **change})
    assert said in str(raised.value)
    assert not (tmp_path / "study").exists()


def test_a_recipe_with_a_space(found: SearchResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "samples.npz", input=np.stack(problem.samples()))
    irc.compile(problem.make()[0], "", example_inputs=problem.make()[1]).save(tmp_path / "net.onnx")
    names = {"model": "net.onnx", "calibration": "samples.npz", "evaluate": "tests.search.problem:agreement"}
    Recipe(**names, space=problem.SPACE, budget=problem.BUDGET).write("recipe.toml")  # type: ignore[arg-type]
    result = search_recipe(Recipe.read("recipe.toml"), study="deep/study", trials=3)
    assert result.best.recipe.model == "../../net.onnx"
    again = Recipe.read("deep/study/best.toml").compile()
    assert "the bytes are those that the recipe names" in again.report.rows[0].notes

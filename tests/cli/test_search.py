"""`irc search` prints every trial and the front, writes the winner's recipe, and refuses what does not fit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Irc

SPACE = "fold-constants, quantize{rounding=gptq|nearest, weight_bits=4|8}"
METRIC = """
import numpy as np

def score(run):
    return float(run(np.ones((1, 3, 8, 8), np.float32))[0, 0])
"""


def test_search_and_its_winner(tmp_path: Path, model: Path, samples: Path, irc: Irc) -> None:
    (tmp_path / "search_metric.py").write_text(METRIC)
    arguments = ["search", "net.onnx", "--study", "study", "--space", SPACE, "--calibration", "samples.npz"]
    arguments += ["--evaluate", "search_metric:score", "--trials", "4", "--budget", "bytes=20k,weight_bytes=1k"]
    ran = irc(*arguments)
    assert ran.code == 0, ran.err
    assert [line.split(":")[0] for line in ran.out.splitlines()[:4]] == [f"trial {k}" for k in range(4)]
    assert "4 trials, 4 within the budget" in ran.out
    assert "`irc compile --recipe study/best.toml -o OUT`" in ran.out
    again = irc(*arguments)
    assert again.code == 0, again.err
    assert again.out == ran.out[ran.out.index("4 trials") :], "the trials are remembered"
    made = irc("compile", "--recipe", "study/best.toml", "-o", "out.onnx")
    assert made.code == 0, made.err
    assert "the bytes are those that the recipe names" in made.out
    front = json.loads((tmp_path / "study" / "front.json").read_text())
    assert hashlib.sha256((tmp_path / "out.onnx").read_bytes()).hexdigest() == front[0]["sha256"]


def test_search_by_recipe_and_options_instead(tmp_path: Path, model: Path, samples: Path, irc: Irc) -> None:
    (tmp_path / "deep").mkdir()
    keys = ['model = "../net.onnx"', 'calibration = "../samples.npz"', f'space = "{SPACE}"', "seed = 5"]
    (tmp_path / "deep" / "r.toml").write_text("\n".join([*keys, "[budget]", "bytes = 100"]))
    missed = irc("search", "--recipe", "deep/r.toml", "--study", "study", "--trials", "2")
    assert missed.code == 2
    assert "none of 2 trials is within the budget" in missed.err
    assert "0 within the budget" in missed.out, "what was found is shown all the same"
    other = irc("search", "--recipe", "deep/r.toml", "--study", "other", "--trials", "2", "--budget", "bytes=1MB")
    assert other.code == 0, other.err
    assert "seed = 5" in (tmp_path / "other" / "best.toml").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--space quantize", "leaves nothing open"),
        ("--space quantize?", "needs calibration"),
        ("", "the recipe has no space"),
        ("--space quantize? --budget bites=3", "there is no quantity 'bites'"),
        ("--space quantize? --floor 0.5", "give evaluate"),
        ("--space quantize? --calibration absent.npz", "there is no file 'absent.npz'"),
        ("--space quantize? --evaluate absent:score", "module 'absent' cannot be imported"),
    ],
)
def test_refused(arguments: str, said: str, tmp_path: Path, model: Path, irc: Irc) -> None:
    ran = irc("search", "net.onnx", "--study", "study", *arguments.split())
    if said == "needs calibration":  # not known before it is tried: the other half of the space needs none
        assert "refused: " in ran.out
        assert said in ran.out
        return
    assert ran.code == 2
    assert said in ran.err
    assert not (tmp_path / "study").exists()


def test_no_model(irc: Irc) -> None:
    ran = irc("search", "--study", "study", "--space", "quantize?")
    assert ran.code == 2
    assert "names no model" in ran.err

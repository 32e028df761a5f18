"""`irc compare` and `irc select` print, and write as JSON, what they find; `irc compile --evaluate` asks the metric."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tests.cli.conftest import Irc, Ran

QUIET = "--no-latency"


@pytest.fixture
def small(irc: Irc, model: Path, samples: Path) -> Path:
    """The int8 form of `net.onnx`."""
    made = irc("compile", "net.onnx", "--passes", "quantize", "--calibration", "samples.npz", "-o", "int8.onnx")
    assert made.code == 0, made.err
    return Path("int8.onnx")


@pytest.fixture
def labelled(samples: Path, model: Path) -> Path:
    """The samples with the classes that `net.onnx` sees in them, but for the first."""
    with np.load(samples) as data:
        x = data["x"]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    y = np.array([session.run(None, {"x": each})[0].argmax() for each in x])
    y[0] = (y[0] + 1) % 10
    path = samples.with_name("labelled.npz")
    np.savez(path, x=x, y=y)
    return path


def table(ran: Ran) -> dict[str, list[str]]:
    """The cells behind the first of each line of the table."""
    assert ran.code == 0, ran.err
    return {line[:22].strip(): line[22:].split() for line in ran.out.splitlines()}


def rows(ran: Ran) -> list[list[str]]:
    return [re.split(r"\s{2,}", line) for line in ran.out.splitlines()]


def score(tmp_path: Path, body: str) -> str:
    (tmp_path / "metrics.py").write_text(f"import numpy as np\ndef score(run):\n    {body}\n")
    return "metrics:score"


def test_compare(irc: Irc, small: Path, labelled: Path) -> None:
    ran = irc("compare", "net.onnx", "int8.onnx", "--data", labelled, "--labels", "y", "--turns", 1, "--json", "c.json")
    shown = table(ran)
    sizes = [Path(name).stat().st_size for name in ("net.onnx", "int8.onnx")]
    macs = 4 * 36 * 27 + 40
    assert shown["file bytes"] == [f"{sizes[0]:,}", f"{sizes[1]:,}", f"{sizes[1] / sizes[0]:.3f}"]
    assert shown["parameters"] == [f"{4 * 27 + 4 + 40 + 10}"] * 2 + ["1.000"]
    assert shown["MACs"] == [f"{macs:,}"] * 2 + ["1.000"]
    assert shown["float32"] == [f"{macs:,}", "0", "0.000"]
    assert shown["top-1 accuracy"][0] == f"{5 / 6:.4f}"
    assert "latency ms, median" in ran.out
    held = json.loads(Path("c.json").read_text())
    assert [each["name"] for each in held["models"]] == ["net.onnx", "int8.onnx"]
    assert held["models"][0]["accuracy"] == 5 / 6
    assert held["models"][1]["macs"] == {"int8": macs}
    assert [each["file_bytes"] for each in held["models"]] == sizes
    assert held["models"][0]["latency_ms"] > 0


def test_compare_with_a_metric_costs_and_a_function(irc: Irc, tmp_path: Path, small: Path) -> None:
    metric = score(tmp_path, "return run(np.ones((1, 3, 8, 8), np.float32))[0, 0]")
    (tmp_path / "costs.toml").write_text('source = "a chip"\n[mac]\nint8 = 1000000\nfloat32 = 2000000\n')
    (tmp_path / "nets.py").write_text("import irc\ndef make():\n    return irc.load('net.onnx')\n")
    ran = irc("compare", "nets:make", "int8.onnx", "--evaluate", metric, "--energy", "costs.toml", QUIET)
    shown = table(ran)
    macs = 4 * 36 * 27 + 40
    assert shown["arithmetic"] == [f"{2 * macs:,}.00", f"{macs:,}.00", "0.500"]
    session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    assert shown["metric"][0] == f"{session.run(None, {'x': np.ones((1, 3, 8, 8), np.float32)})[0][0, 0]:.4f}"
    assert "costs of a chip" in ran.out
    assert "latency" not in ran.out


def test_select(irc: Irc, small: Path, labelled: Path) -> None:
    size = small.stat().st_size
    arguments = ["net.onnx", "int8.onnx", "--data", labelled, "--labels", "y", "--json", "s.json"]
    ran = irc("select", *arguments, "--budget", f"bytes={size}")
    assert ran.code == 0, ran.err
    assert rows(ran)[0] == ["candidate", "metric", "bytes", "fits", "front"]
    assert ["int8.onnx", f"{size:,}", "yes"] == [rows(ran)[2][k] for k in (0, 2, 3)]
    held = json.loads(Path("s.json").read_text())
    assert held["budget"] == {"bytes": size}
    assert held["best"] is not None
    assert f"best: {held['best']} (the highest metric of what fits)" in ran.out
    assert [v["kind"] for v in held["verdicts"]][1] == "fits"
    none = irc("select", "net.onnx", "--budget", "bytes=10")
    assert none.code == 0
    assert none.out.endswith("nothing fits\n")


def test_select_goes_on_when_one_is_broken(irc: Irc, model: Path, tmp_path: Path) -> None:
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    ran = irc("select", "junk.onnx", "net.onnx", "gone:make", "--budget", "bytes=1MB")
    assert ran.code == 0, ran.err
    assert "junk.onnx: cannot be measured: " in ran.out
    assert "gone:make: cannot be measured: " in ran.out
    assert ran.out.endswith("best: net.onnx (the most parameters of what fits)\n")


def test_compile_asks_the_metric_after_every_pass(irc: Irc, tmp_path: Path, model: Path, samples: Path) -> None:
    metric = score(tmp_path, "return run(np.ones((1, 3, 8, 8), np.float32))[0, 0]")
    quantize = ("--passes", "simplify, quantize", "--calibration", "samples.npz")
    ran = irc("compile", "net.onnx", *quantize, "-o", "q.onnx", "--evaluate", metric, "--report", "r.json")
    assert ran.code == 0, ran.err
    assert "metric" in rows(ran)[0]
    report = json.loads(Path("r.json").read_text())
    first, same, last = (row["metric"] for row in report["rows"])
    x = {"x": np.ones((1, 3, 8, 8), np.float32)}
    paths = ("net.onnx", "q.onnx")
    wanted = [onnxruntime.InferenceSession(p, providers=["CPUExecutionProvider"]).run(None, x)[0][0, 0] for p in paths]
    assert first == pytest.approx(wanted[0], rel=1e-5)  # in torch here
    assert same is None
    assert last == pytest.approx(wanted[1], abs=0.05)
    assert last != first


def test_a_metric_that_is_nan_stays_json(irc: Irc, tmp_path: Path, model: Path) -> None:
    metric = score(tmp_path, "return float('nan')")
    ran = irc("compile", "net.onnx", "-o", "q.onnx", "--evaluate", metric, "--report", "r.json")
    assert ran.code == 0, ran.err

    def refuse(text: str) -> Any:
        raise AssertionError(text)

    report = json.loads(Path("r.json").read_text(), parse_constant=refuse)
    assert report["rows"][0]["metric"] == "nan"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return 1 / 0", "'metrics:score' failed: ZeroDivisionError: division by zero"),
        ("return None", "'metrics:score' returned a NoneType, not a number"),
        ("return run(3)", "sample 0"),
    ],
)
@pytest.mark.parametrize("command", [("compile", "-o", "q.onnx"), ("compare", QUIET)])
def test_a_metric_that_fails_is_the_users(
    irc: Irc, tmp_path: Path, model: Path, body: str, said: str, command: tuple[str, ...]
) -> None:
    ran = irc(command[0], "net.onnx", *command[1:], "--evaluate", score(tmp_path, body))
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert said in ran.err
    assert not Path("q.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compare"], "Missing argument"),
        (["compare", "none.onnx"], "there is no file 'none.onnx'"),
        (["compare", "net.onnx", "--labels", "y"], "--labels is for the samples of --data"),
        (["compare", "net.onnx", "--preprocess", "size=8"], "--preprocess is for the samples of --data"),
        (["compare", "net.onnx", "--data", "samples.npz", "--labels", "y"], "no array 'y'; it has x"),
        (["compare", "net.onnx", "--data", "labelled.npz"], "no input 'y'"),
        (["compare", "net.onnx", "--evaluate", "nowhere:f"], "module 'nowhere' cannot be imported"),
        (["compare", "net.onnx", "--evaluate", "f"], "'f' is not of the form package.module:function"),
        (["compare", "net.onnx", "--energy", "none.toml"], "'none.toml' cannot be read"),
        (["compare", "net.onnx", "--json", "net.onnx"], "'net.onnx' is what the command reads"),
        (["compare", "net.onnx", "--json", "none/c.json"], "there is no folder 'none'"),
        (["compare", "net.onnx", "--dims", "N=2"], "no dimension 'N'; all of theirs are numbers"),
        (["compare", "net.onnx", "--target", "tpu"], "no target 'tpu'"),
        (["select", "net.onnx"], "Missing option '--budget'"),
        (["select", "net.onnx", "--budget", "size=3"], "no quantity 'size'; there are bytes, weight_bytes, parameters"),
        (["select", "net.onnx", "--budget", "bytes=x"], "bytes=x is no amount; write it as bytes=1.5MB"),
        (["select", "net.onnx", "--budget", "bytes=9", "--floor", "0.5"], "a floor and no metric"),
        (["select", "none.onnx", "--budget", "bytes=9"], "none.onnx cannot be measured"),
    ],
)
@pytest.mark.usefixtures("labelled")
def test_refusals(irc: Irc, arguments: list[str], said: str) -> None:
    if arguments[0] == "compare":
        arguments = [*arguments, QUIET]
    ran = irc(*arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert said in ran.err


def test_labels_are_for_named_arrays(irc: Irc, tmp_path: Path, model: Path) -> None:
    (tmp_path / "data.py").write_text(
        "import numpy as np\ndef make():\n    return [np.zeros((1, 3, 8, 8), np.float32)]\n"
    )
    ran = irc("compare", "net.onnx", "--data", "data:make", "--labels", "y", QUIET)
    assert ran.code == 2
    assert "give evaluate instead" in ran.err

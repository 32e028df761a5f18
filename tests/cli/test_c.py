"""Compiled C on the command line: run at the size of its samples, opened from its folder, compiled with its options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.cli.conftest import Irc, listing, network


@pytest.fixture
def dynamic(tmp_path: Path) -> Path:
    """The file of `network()` with a symbolic batch, and an output whose node has another name."""
    proto = network()
    proto.graph.node[-1].output[0] = "scores"
    proto.graph.output[0].name = "scores"
    for value in (proto.graph.input[0], proto.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    path = tmp_path / "dynamic.onnx"
    onnx.save(proto, path)
    return path


@pytest.fixture
def folder(irc: Irc, model: Path, samples: Path) -> Path:
    """`network()` quantized, as C."""
    quantize = ("--passes", "quantize", "--calibration", "samples.npz")
    assert irc("compile", "net.onnx", *quantize, "-o", "net", "--target", "c:host").code == 0
    return Path("net")


def run_outputs(irc: Irc, *arguments: str) -> dict[str, Any]:
    ran = irc("run", *arguments, "-o", "y.npz")
    assert ran.code == 0, ran.err
    with np.load("y.npz") as made:
        return dict(made)


@pytest.mark.parametrize(("options", "batch"), [((), 2), (("--dims", "N=5"), 5)])
def test_made_up_samples_of_a_dynamic_model(irc: Irc, dynamic: Path, options: tuple[str, ...], batch: int) -> None:
    made = [run_outputs(irc, "dynamic.onnx", *options, "--runtime", each) for each in ("c", "onnxruntime", "irc")]
    assert [{name: y.shape for name, y in each.items()} for each in made] == [{"scores": (8, batch, 10)}] * 3
    for each in made[1:]:
        np.testing.assert_allclose(made[0]["scores"], each["scores"], rtol=1e-4, atol=1e-5)  # sums in another order


def test_data_of_a_dynamic_model(irc: Irc, dynamic: Path) -> None:
    np.savez("batches.npz", x=np.random.default_rng(1).normal(size=(3, 4, 3, 8, 8)).astype(np.float32))
    made = [run_outputs(irc, "dynamic.onnx", "--inputs", "batches.npz", "--runtime", each) for each in ("c", "irc")]
    assert made[0]["scores"].shape == (3, 4, 10)
    np.testing.assert_allclose(made[0]["scores"], made[1]["scores"], rtol=1e-4, atol=1e-5)
    ran = irc("run", "dynamic.onnx", "--inputs", "batches.npz", "--runtime", "c", "--dims", "N=3")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "has shape [4, 3, 8, 8]" in ran.err


def test_instruction_set(irc: Irc, model: Path, samples: Path) -> None:
    data = ("--inputs", "samples.npz", "--runtime", "c")
    plain = run_outputs(irc, "net.onnx", *data, "--isa", "portable")
    np.testing.assert_allclose(plain["y"], run_outputs(irc, "net.onnx", *data)["y"], rtol=1e-4, atol=1e-5)
    ran = irc("run", "net.onnx", *data, "--isa", "sse")
    assert ran.code == 2
    assert "no instruction set 'sse'" in ran.err


def test_folder_in_every_runtime(irc: Irc, folder: Path) -> None:
    runtimes = ("onnxruntime", "irc", "c")
    made = [run_outputs(irc, "net", "--inputs", "samples.npz", "--runtime", each)["y"] for each in runtimes]
    peak = np.abs(made[0]).max()
    for each in made[1:]:
        assert np.abs(each - made[0]).max() < 0.03 * peak  # some steps of 1/255 of the range


@pytest.mark.parametrize("runtime", ["onnxruntime", "c"])
def test_diff_with_a_folder(irc: Irc, folder: Path, runtime: str) -> None:
    ran = irc("diff", "net.onnx", "net", "--data", "samples.npz", "--runtime", runtime)
    assert ran.code == 0, ran.err
    (row,) = [line.split() for line in ran.out.splitlines() if line.startswith("y ")]
    assert float(row[1]) > 30  # dB: eight bits
    assert f"6 samples in {runtime}" in ran.out


def test_saved_sizes_are_those_of_made_up_samples(irc: Irc, dynamic: Path) -> None:
    assert irc("compile", "dynamic.onnx", "-o", "net8", "--target", "c:host", "--dims", "N=8").code == 0
    assert json.loads(Path("net8/irc.json").read_text())["dims"] == {"N": 8}
    for runtime in ("c", "onnxruntime"):
        assert run_outputs(irc, "net8", "--runtime", runtime)["scores"].shape == (8, 8, 10)


def test_options_reach_the_tuning(irc: Irc, model: Path, tuned_with: list[tuple[int, str]]) -> None:
    arguments = ("compile", "net.onnx", "-o", "net", "--target", "c:host", "--name", "tiny")
    assert irc(*arguments, "--tune", "--threads", 2, "--isa", "portable").code == 0
    assert tuned_with == [(2, "portable")]
    assert Path("net/tiny.h").is_file()
    assert irc(*arguments).code == 0
    assert len(tuned_with) == 1


C = ("--target", "c:host")
REFUSED: dict[str, tuple[str, tuple[str, ...], str]] = {
    "name of a file": ("out.onnx", ("--name", "net"), "--name is for the code of c targets; target 'onnx' has no use"),
    "dims of a file": ("out.onnx", ("--dims", "N=8"), "--dims is for the code of c targets"),
    "tune for a file": ("out.onnx", ("--tune",), "--tune is for the code of c targets"),
    "threads of a file": ("out.onnx", ("--threads", "2"), "--threads is for the code of c targets"),
    "isa of a file": ("out.onnx", ("--isa", "avx2"), "--isa is for the code of c targets"),
    "name in text": ("out.irc", (*C, "--name", "net"), "--name is for the code of c targets; an .irc file has no use"),
    "opset of code": ("out", (*C, "--opset", "21"), "--opset is for .onnx files; target 'c:host' has no use for it"),
    "opset of text": ("out.irc", ("--opset", "21"), "--opset is for .onnx files; an .irc file has no use for it"),
    "threads without tuning": ("out", (*C, "--threads", "2"), "--threads says how to measure kernels"),
    "isa without tuning": ("out", (*C, "--isa", "avx2"), "--isa says how to measure kernels"),
    "dims that are no sizes": ("out", (*C, "--dims", "N"), "--dims: 'N' must be a name and a size"),
    "dims that the model lacks": ("out", (*C, "--dims", "N=8"), "have no dimension 'N'"),
    "a folder named as a file": ("out.onnx", C, "'out.onnx' names a file, and target 'c:host' writes a folder"),
    "in no folder": ("absent/out", C, "'absent/out' cannot be written: there is no folder 'absent'; make it first"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_compile_refuses(irc: Irc, tmp_path: Path, model: Path, case: str) -> None:
    output, options, said = REFUSED[case]
    before = listing(tmp_path)
    ran = irc("compile", "net.onnx", "-o", output, *options)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert said in ran.err
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--isa", "avx2"], "--isa is for --runtime c"),
        (["--runtime", "irc", "--threads", "2"], "--threads is for --runtime onnxruntime and c"),
        (["--dims", "N=2", "--inputs", "samples.npz"], "--dims is for made-up samples"),
        (["--dims", "N=2"], "no dimension 'N'; all of theirs are numbers"),
        (["--dims", "2"], "--dims: '2' must be a name and a size"),
    ],
)
def test_run_refuses(irc: Irc, model: Path, samples: Path, options: list[str], said: str) -> None:
    ran = irc("run", "net.onnx", *options)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert said in ran.err


def test_help_names_all_runtimes(irc: Irc) -> None:
    for command in ("run", "diff"):
        text = " ".join(irc(command, "--help").out.split())
        assert "c (compiled)" in text
    assert "as many as onnxruntime chooses, 1 of c" in " ".join(irc("run", "--help").out.split())

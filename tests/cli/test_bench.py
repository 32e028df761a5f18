"""`irc bench` gives every runtime the same work, says what each row is, and refuses what cannot be compared."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from irc.backends import latency
from irc.backends.c.runner import Runner
from tests.cli.conftest import Irc, network

NUMBERS = ["--turns", "1"]


@pytest.fixture
def dynamic(tmp_path: Path) -> Path:
    """The file of `network()` with a symbolic batch."""
    proto = network()
    for value in (proto.graph.input[0], proto.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    path = tmp_path / "dynamic.onnx"
    onnx.save(proto, path)
    return path


@pytest.fixture
def batches(tmp_path: Path) -> Path:
    """An .npz file of four batches of eight."""
    path = tmp_path / "batches.npz"
    np.savez(path, x=np.random.default_rng(1).normal(size=(4, 8, 3, 8, 8)).astype(np.float32))
    return path


@pytest.fixture
def given_to_c(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Of each call of compiled C the shape of its input, and the shape that the code was made for."""
    calls = []
    run = Runner.__call__

    def recorded(self: Runner, inputs: Any) -> Any:
        outputs = run(self, inputs)
        calls.append((inputs[0].shape, (outputs[0].shape[0], *inputs[0].shape[1:])))
        return outputs

    monkeypatch.setattr(Runner, "__call__", recorded)
    return calls


@pytest.fixture
def openvino(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Something in the place of OpenVINO that runs files in onnxruntime; the options of each call of `infer`."""
    calls: list[dict[str, Any]] = []

    class Model:
        def __init__(self, file: str) -> None:
            self.session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

        def create_infer_request(self) -> Model:
            return self

        def infer(self, feed: Any, **options: Any) -> dict[int, Any]:
            calls.append(options)
            return dict(enumerate(self.session.run(None, feed)))

    class Core:
        def compile_model(self, file: str, device: str, settings: dict[str, Any]) -> Model:
            assert settings["INFERENCE_NUM_THREADS"] == 1
            return Model(file)

    module = types.ModuleType("openvino")
    module.__spec__ = importlib.machinery.ModuleSpec("openvino", None)
    module.Core = Core  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "openvino", module)
    return calls


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO is not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "openvino" else find(name))


def rows(out: str) -> dict[tuple[str, str], list[str]]:
    """The cells behind runtime and model of each row of the table."""
    table = out.split("\nc: ")[0].splitlines()
    assert re.split(r"\s{2,}", table[0])[:2] == ["runtime", "model"]
    cells = [re.split(r"\s{2,}", line) for line in table[1:]]
    return {(row[0], row[1]): row[2:] for row in cells}


def test_rows_of_a_quantized_model(irc: Irc, model: Path, samples: Path, openvino: list[dict[str, Any]]) -> None:
    ran = irc("bench", "net.onnx", "--calibration", "samples.npz", *NUMBERS)
    assert ran.code == 0, ran.err
    found = rows(ran.out)
    assert list(found) == [
        ("irc c", "quantized, c:host"),
        ("onnxruntime", "float, as given"),
        ("onnxruntime", "quantized, onnx"),
        ("OpenVINO", "float, as given"),
        ("OpenVINO", "quantized, onnx:openvino"),
    ]
    quantized = [float(cells[4]) for (_, what), cells in found.items() if what.startswith("quantized")]
    assert min(quantized) > 30  # dB: eight bits, and a few layers
    assert found["onnxruntime", "float, as given"][4:] == []  # what the others are held against
    assert found["irc c", "quantized, c:host"][3] == "1.00"
    assert openvino
    assert all(options == {"share_inputs": True, "share_outputs": True} for options in openvino)


@pytest.mark.usefixtures("alone")
def test_float_passes_make_no_quantized_rows(irc: Irc, model: Path) -> None:
    ran = irc("bench", "net.onnx", "--passes", "simplify", *NUMBERS)
    assert ran.code == 0, ran.err
    assert list(rows(ran.out)) == [
        ("irc c", "float, c:host"),
        ("onnxruntime", "float, as given"),
        ("onnxruntime", "float, onnx"),
    ]


@pytest.mark.usefixtures("alone")
def test_a_quantized_model_is_said_to_be_quantized(irc: Irc, model: Path, samples: Path) -> None:
    assert irc("compile", "net.onnx", "--passes", "quantize", "--calibration", "samples.npz", "-o", "q.onnx").code == 0
    ran = irc("bench", "q.onnx", *NUMBERS)
    assert ran.code == 0, ran.err
    assert list(rows(ran.out)) == [("irc c", "quantized, c:host"), ("onnxruntime", "quantized, as given")]


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(("options", "batch"), [((), 8), (("--dims", "N=3"), 3), (("--dims", "N=11"), 11)])
def test_c_does_the_whole_batch(
    irc: Irc, dynamic: Path, batches: Path, given_to_c: list[Any], options: tuple[str, ...], batch: int
) -> None:
    ran = irc("bench", "dynamic.onnx", "--calibration", "batches.npz", *options, *NUMBERS)
    assert ran.code == 0, ran.err
    assert set(given_to_c) == {((batch, 3, 8, 8), (batch, 3, 8, 8))}
    assert float(rows(ran.out)["irc c", "quantized, c:host"][4]) > 30  # dB; none is shown where outputs differ in shape


@pytest.mark.usefixtures("alone")
def test_a_saved_folder_is_timed_at_its_own_size(irc: Irc, dynamic: Path, given_to_c: list[Any]) -> None:
    assert irc("compile", "dynamic.onnx", "-o", "net", "--target", "c:host", "--dims", "N=8").code == 0
    ran = irc("bench", "net", *NUMBERS)
    assert ran.code == 0, ran.err
    assert set(given_to_c) == {((8, 3, 8, 8), (8, 3, 8, 8))}
    given_to_c.clear()
    assert irc("bench", "net", "--dims", "N=2", *NUMBERS).code == 0
    assert set(given_to_c) == {((2, 3, 8, 8), (2, 3, 8, 8))}


@pytest.mark.usefixtures("openvino")
def test_data_that_can_be_read_once(irc: Irc, tmp_path: Path, model: Path) -> None:
    """All runtimes get a model that was quantized with all samples."""
    (tmp_path / "once.py").write_text(
        "import numpy as np\n"
        "def stream():\n"
        "    for seed in range(3):\n"
        "        yield np.random.default_rng(seed).normal(size=(1, 3, 8, 8)).astype(np.float32)\n"
        "def kept():\n"
        "    return list(stream())\n"
    )
    found = []
    for name in ("once:stream", "once:kept"):
        ran = irc("bench", "net.onnx", "--calibration", name, *NUMBERS)
        assert ran.code == 0, ran.err
        found.append([cells[4:] for cells in rows(ran.out).values()])
    assert len(found[0]) == 5
    assert found[0] == found[1]  # the same errors


def test_outputs_of_other_shapes_are_refused(
    irc: Irc, model: Path, openvino: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = onnxruntime.InferenceSession.run

    def run(self: Any, names: Any, feed: Any) -> Any:
        made = real(self, names, feed)
        return [array[:, :4] for array in made] if len(openvino) > 0 else made

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", run)
    ran = irc("bench", "net.onnx", *NUMBERS)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.count("\n") == 1
    assert "OpenVINO (float, as given) gives outputs of shapes [[1, 4]], the model as given [[1, 10]]" in ran.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--dims", "N"], "--dims: 'N' must be a name and a size"),
        (["--dims", "M=2"], "no dimension 'M'; they have N"),
        (["--isa", "sse"], "no instruction set 'sse'"),
        (["--preprocess", "size=8"], "--calibration, which is not given"),
    ],
)
def test_refusals(irc: Irc, dynamic: Path, options: list[str], said: str) -> None:
    ran = irc("bench", "dynamic.onnx", *options)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert said in ran.err


@pytest.mark.usefixtures("alone")
def test_tuning(irc: Irc, model: Path, tuned_with: list[tuple[int, str]]) -> None:
    assert irc("bench", "net.onnx", "--tune", "--threads", 2, *NUMBERS).code == 0
    assert [threads for threads, _ in tuned_with] == [2]
    assert irc("bench", "net.onnx", *NUMBERS).code == 0
    assert len(tuned_with) == 1


def test_turns_are_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each turn the threads of the runtime before it come to rest."""
    done: list[str] = []
    monkeypatch.setattr("irc.backends.latency.time.sleep", lambda seconds: done.append(f"rest {seconds}"))
    calls = {name: lambda name=name: done.append(name) for name in ("a", "b")}
    latency.interleaved(calls, turns=2, runs=2)
    each = latency.DROPPED + 2
    rest = [f"rest {latency.PAUSE}"]
    assert done == [part for name in "abba" for part in rest + [name] * each]
    assert latency.PAUSE > 0.01  # seconds: threads spin for some milliseconds

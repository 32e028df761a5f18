"""Whatever is wrong with the input, the command line says so in one line, exits with 2 and writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.cli.conftest import Irc, listing, network

QUANTIZE = ("--passes", "quantize", "--calibration", "samples.npz")


def _save(change: Callable[[onnx.ModelProto], object]) -> str:
    proto = network()
    change(proto)
    Path("bad.onnx").write_bytes(proto.SerializeToString())
    return "bad.onnx"


def _external(proto: onnx.ModelProto, location: str) -> None:
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)


def _cycle(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].input[0] = "flat"


def _nan(proto: onnx.ModelProto) -> None:
    weight = numpy_helper.to_array(proto.graph.initializer[0]).copy()
    weight[1, 2] = np.nan
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "stem.weight"))


def _truncated() -> str:
    Path("bad.onnx").write_bytes(network().SerializeToString()[:-40])
    return "bad.onnx"


def _text() -> str:
    Path("bad.onnx").write_text("this is no model\n" * 9)
    return "bad.onnx"


def _module(name: str, code: str) -> str:
    Path(f"{name}.py").write_text(f"{code}\n")
    return f"{name}:make"


def _unknown_value_in_text() -> str:
    Path("bad.irc").write_text("graph main(opset = 21) {\n  input %x: f32[2]\n  return %y\n}\n")
    return "bad.irc"


MODELS: dict[str, tuple[Callable[[], str], str]] = {
    "truncated": (_truncated, "truncated"),
    "not a model": (_text, "is not an ONNX model"),
    "empty": (lambda: str(Path("bad.onnx").write_bytes(b"") or "bad.onnx"), "holds no graph"),
    "absent": (lambda: "absent.onnx", "there is no file 'absent.onnx'"),
    "a folder": (lambda: ".", "is a folder"),
    "a name that is too long": (lambda: "n" * 300, "too long"),
    "cycle": (lambda: _save(_cycle), "cycle"),
    "missing initializer": (lambda: _save(lambda p: p.graph.initializer.pop()), "head.bias"),
    "external data outside": (lambda: _save(lambda p: _external(p, "../../etc/passwd")), "outside"),
    "external data, absolute path": (lambda: _save(lambda p: _external(p, "/etc/passwd")), "outside"),
    "external data absent": (lambda: _save(lambda p: _external(p, "weights.bin")), "weights.bin"),
    "text with an unknown value": (_unknown_value_in_text, "'bad.irc', line 3:10: value '%y'"),
    "no such module": (lambda: "no_such_module:make", "no_such_module"),
    "no such function": (lambda: "json:no_such_function", "no_such_function"),
    "no function": (lambda: "json:__name__", "is no function"),
    "module fails": (lambda: _module("bad_module", "1 / 0"), "cannot be imported: division by zero"),
    "function fails": (lambda: _module("bad_make", "def make():\n    return {}['k']"), "KeyError"),
    "function that makes no model": (lambda: "os:getpid", "a int is no model that irc knows"),
    "function that makes too much": (lambda: _module("long_make", "def make():\n    return 1, 2, 3, 4"), "4 things"),
}


def _npz(**arrays: Any) -> None:
    np.savez("data.npz", **arrays)


def _cut(path: str) -> None:
    Path("data.npz").write_bytes(Path(path).read_bytes()[:900])


X = np.zeros((3, 1, 3, 8, 8), np.float32)


DATA: dict[str, tuple[Callable[[], object], str, str]] = {
    "wrong shape": (lambda: _npz(x=X[..., :7]), "data.npz", "has shape [1, 3, 8, 7], the model takes f32[1, 3, 8, 8]"),
    "not stacked": (lambda: _npz(x=X[:, 0]), "data.npz", "has shape [3, 8, 8]"),
    "wrong dtype": (lambda: _npz(x=X.astype(np.float64)), "data.npz", "is float64, the model takes float32"),
    "wrong name": (lambda: _npz(image=X), "data.npz", "no input 'image'"),
    "no sample": (lambda: _npz(x=X[:0]), "data.npz", "not a single sample"),
    "no array": (lambda: _npz(), "data.npz", "holds no array"),
    "a number": (lambda: _npz(x=np.float32(1)), "data.npz", "single number"),
    "different counts": (lambda: _npz(x=X, y=X[:2]), "data.npz", "different numbers of samples"),
    "pickled objects": (lambda: _npz(x=np.array([{}, []], object)), "data.npz", "no pickle"),
    "absent": (lambda: None, "absent.npz", "there is no file 'absent.npz'"),
    "a name that is too long": (lambda: None, "n" * 300, "too long"),
    "truncated": (lambda: _cut("samples.npz"), "data.npz", "not a whole"),
    "another file": (lambda: None, "net.onnx", "is neither"),
    "a folder without preprocessing": (lambda: Path("images").mkdir(), "images", "preprocess size="),
    "no iterable": (lambda: None, "os:getpid", "not an iterable"),
    "function fails": (lambda: _module("bad_data", "def make():\n    {}['k']"), "bad_data:make", "KeyError"),
    "samples fail": (
        lambda: _module("bad_samples", "def make():\n    yield {}['k']"),
        "bad_samples:make",
        "failed at sample 0: KeyError",
    ),
}

OPTIONS: dict[str, tuple[list[str], str]] = {
    "unknown pass": (["--passes", "fold-batchnorm"], "did you mean 'fold-batch-norm'?"),
    "unknown option of a pass": (["--passes", "quantize{methods=mse}"], "did you mean 'method'?"),
    "value of a wrong type": (["--passes", "quantize{percentile=high}"], "is not a number"),
    "value not in the choices": (["--passes", "quantize{method=best}"], "is not one of"),
    "broken pipeline": (["--passes", "quantize{"], "column"),
    "wrong order": (["--passes", "quantize, fold-batch-norm"], "must stand after"),
    "no calibration": (["--passes", "quantize"], "needs calibration data"),
    "unknown target": (["--target", "onnx:armm"], "did you mean 'onnx:arm'?"),
    "unknown check": (["--check", "speed"], "'speed' is not known"),
    "unknown opset": (["--opset", "999"], "opset 999 is not known"),
    "opset that is no number": (["--opset", "new"], "--opset"),
    "opset too old to quantize": ([*QUANTIZE, "--opset", "11"], "opset"),
    "print after no pass": (["--passes", "simplify", "--print-after", "quantize"], "no pass 'quantize' in"),
    "unknown option": (["--colour"], "--colour"),
    "too many arguments": (["other.onnx"], "other.onnx"),
    "preprocessing without data": (["--preprocess", "size=8"], "--calibration"),
    "preprocessing of no images": ([*QUANTIZE, "--preprocess", "size=8"], "folder of images"),
    "report over the output": (["--report", "./out.onnx"], "both name"),
    "report into a folder": (["--report", "."], "is a folder"),
}

OUTPUTS: dict[str, tuple[str, str]] = {
    "in no folder": ("absent/out.onnx", "there is no folder 'absent'"),
    "under a file": ("samples.npz/out.onnx", "samples.npz"),
    "in a folder that takes no file": ("/proc/out.onnx", "/proc/out.onnx"),
    "a folder": (".", "is a folder"),
    "a device": ("/dev/null", "is no file"),
    "the model itself": ("./net.onnx", "is what the command reads"),
    "a name that is too long": ("n" * 300, "too long"),
}


COMMANDS = {
    "compile": "compile MODEL -o out.onnx",
    "show": "show MODEL",
    "run": "run MODEL -o out.npz",
    "bench": "bench MODEL",
    "diff": "diff MODEL MODEL",
    "targets": "targets --missing MODEL",
}


def _refused(irc: Irc, folder: Path, said: str, *arguments: str) -> None:
    before = listing(folder)
    ran = irc(*arguments)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("irc: error: ")
    assert ran.err.count("\n") == 1
    assert said in ran.err
    assert listing(folder) == before


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("case", MODELS)
def test_model(irc: Irc, tmp_path: Path, samples: Path, case: str, command: str) -> None:
    make, said = MODELS[case]
    bad = make()
    _refused(irc, tmp_path, said, *(bad if word == "MODEL" else word for word in COMMANDS[command].split()))


def test_weights_that_are_no_numbers(irc: Irc, tmp_path: Path, samples: Path) -> None:
    bad = _save(_nan)
    _refused(irc, tmp_path, "weight 'stem.weight' of Conv 'stem'", "compile", bad, *QUANTIZE, "-o", "out.onnx")


@pytest.mark.parametrize("case", DATA)
def test_calibration(irc: Irc, tmp_path: Path, model: Path, samples: Path, case: str) -> None:
    make, data, said = DATA[case]
    make()
    quantize = ("--passes", "quantize", "--calibration", data)
    _refused(irc, tmp_path, said, "compile", "net.onnx", *quantize, "-o", "out.onnx")


@pytest.mark.parametrize("case", DATA)
def test_inputs_of_run(irc: Irc, tmp_path: Path, model: Path, samples: Path, case: str) -> None:
    make, data, said = DATA[case]
    make()
    _refused(irc, tmp_path, said, "run", "net.onnx", "--inputs", data, "-o", "out.npz")


@pytest.mark.parametrize("case", DATA)
def test_data_of_diff(irc: Irc, tmp_path: Path, model: Path, samples: Path, case: str) -> None:
    make, data, said = DATA[case]
    make()
    _refused(irc, tmp_path, said, "diff", "net.onnx", "net.onnx", "--data", data)


@pytest.mark.parametrize("case", DATA)
def test_calibration_of_bench(irc: Irc, tmp_path: Path, model: Path, samples: Path, case: str) -> None:
    make, data, said = DATA[case]
    make()
    _refused(irc, tmp_path, said, "bench", "net.onnx", "--calibration", data)


@pytest.mark.parametrize("case", OPTIONS)
def test_options(irc: Irc, tmp_path: Path, model: Path, samples: Path, case: str) -> None:
    arguments, said = OPTIONS[case]
    _refused(irc, tmp_path, said, "compile", "net.onnx", "-o", "out.onnx", *arguments)


@pytest.mark.parametrize("case", OUTPUTS)
def test_output(irc: Irc, tmp_path: Path, model: Path, samples: Path, case: str) -> None:
    output, said = OUTPUTS[case]
    _refused(irc, tmp_path, said, "compile", "net.onnx", "-o", output)


@pytest.mark.parametrize("case", ["in no folder", "under a file", "in a folder that takes no file", "a folder"])
def test_output_is_refused_before_the_model_is_made(irc: Irc, tmp_path: Path, samples: Path, case: str) -> None:
    (tmp_path / "never_made.py").write_text("def make():\n    open('called', 'w').close()\n")
    output, said = OUTPUTS[case]
    _refused(irc, tmp_path, said, "compile", "never_made:make", "-o", output)  # a file `called` would be noticed


def test_output_folder_that_goes_away_meanwhile(irc: Irc, tmp_path: Path, model: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "removing.py").write_text("import os\ndef make():\n    os.rmdir('out')\n    return 'net.onnx'\n")
    _refused(irc, tmp_path, "'out/out.onnx' cannot be written", "compile", "removing:make", "-o", "out/out.onnx")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["frobnicate"], "frobnicate"),
        (["--frobnicate"], "--frobnicate"),
        (["compile"], "MODEL"),
        (["compile", "net.onnx"], "--output"),
        (["passes", "quantise"], "did you mean 'quantize'?"),
        (["targets", "onxx"], "did you mean 'onnx'?"),
        (["run", "net.onnx", "--runtime", "tensorrt"], "no runtime 'tensorrt'"),
        (["diff", "net.onnx"], "'B'"),
        (["run", "net.onnx", "-o", "net.onnx"], "is what the command reads"),
        (["run", "net.onnx", "--preprocess", "size=8"], "no data is given"),
        (["diff", "net.onnx", "net.onnx", "--preprocess", "size=8"], "no data is given"),
    ],
)
def test_usage(irc: Irc, tmp_path: Path, model: Path, arguments: list[str], said: str) -> None:
    _refused(irc, tmp_path, said, *arguments)


def test_outputs_that_cannot_be_stacked(irc: Irc, tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("NonZero", ["x"], ["y"], "find")],
        "find",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [1, "N"])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), "find.onnx")
    np.savez("x.npz", x=np.array([[0, 1], [1, 1]], np.float32))
    _refused(irc, tmp_path, "only equal shapes can be stacked", "run", "find.onnx", "--inputs", "x.npz", "-o", "y.npz")

"""How the tests of the command line run it: in this process where they can, in a fresh folder."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from irc import api
from irc.cli import main


class Ran(NamedTuple):
    """A finished command."""

    code: int
    out: str
    err: str


Irc = Callable[..., Ran]


@pytest.fixture
def irc(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Irc]:
    """Run `irc` with these arguments in `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        try:
            main([str(a) for a in arguments])
        except SystemExit as done:
            code = done.code
        finally:
            signal.signal(signal.SIGTERM, before)
        assert isinstance(code, int)
        return Ran(code, *capsys.readouterr())

    yield run
    for name, module in list(sys.modules.items()):  # each test has modules of its own
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def network(seed: int = 0) -> onnx.ModelProto:
    """x (1, 3, 8, 8) -> Conv 'stem' -> Relu 'act' -> GlobalAveragePool 'pool' -> Flatten 'flat' -> Gemm 'head' -> y."""
    random = np.random.default_rng(seed)
    weights = {
        "stem.weight": random.normal(size=(4, 3, 3, 3)),
        "stem.bias": random.normal(size=4),
        "head.weight": random.normal(size=(10, 4)),
        "head.bias": random.normal(size=10),
    }
    nodes = [
        helper.make_node("Conv", ["x", "stem.weight", "stem.bias"], ["stem"], "stem"),
        helper.make_node("Relu", ["stem"], ["act"], "act"),
        helper.make_node("GlobalAveragePool", ["act"], ["pool"], "pool"),
        helper.make_node("Flatten", ["pool"], ["flat"], "flat"),
        helper.make_node("Gemm", ["flat", "head.weight", "head.bias"], ["y"], "head", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The file of `network()`."""
    path = tmp_path / "net.onnx"
    onnx.save(network(), path)
    return path


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """An .npz file of six inputs of `network()`."""
    path = tmp_path / "samples.npz"
    np.savez(path, x=np.random.default_rng(1).normal(size=(6, 1, 3, 8, 8)).astype(np.float32))
    return path


@pytest.fixture
def tuned_with(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """The threads and the instruction set of every tuning that is asked for; none is done."""
    asked: list[tuple[int, str]] = []
    compile_ = api.compile

    def compiled(*arguments: Any, tune: bool = False, **options: Any) -> Any:
        if tune:
            asked.append((options["threads"], options["isa"]))
        return compile_(*arguments, **options)

    monkeypatch.setattr("irc.api.compile", compiled)
    return asked


def listing(folder: Path) -> dict[str, bytes]:
    """The files in a folder, and what is in them."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

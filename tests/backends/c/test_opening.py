"""A saved model that was built here before runs without torch and onnx, and gives what it gave when it was compiled."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import irc
from irc.backends.c.artifact import CArtifact
from irc.backends.c.folder import MANIFEST, MODEL_FILE, Tuning
from irc.backends.c.isa import host_isas
from irc.errors import DataError, IrcError, ModelError, OptionError
from irc.graph import Graph
from irc.ops.binary import Mul
from irc.types import Array, DType, TensorType
from tests.backends.c.conftest import IMAGE, Compile, entries, opened

# ---- the same as the compiled artifact


@pytest.mark.parametrize("threads", [1, 3])
def test_bits(net: Path, wanted: Array, threads: int) -> None:
    artifact = opened(net, known=True, threads=threads, isa="portable")
    np.testing.assert_array_equal(artifact(IMAGE), wanted)
    assert (artifact.name, artifact.threads, artifact.isa) == ("small", threads, "portable")
    assert (artifact.machine, [isa.name for isa in artifact.isas]) == ("portable", ["portable"])
    assert artifact.dims == {}
    assert artifact.library.parent == net.parent / "cache" / "irc"


def test_for_this_processor(net: Path, compile_small: Compile) -> None:
    compiled = compile_small("c:host")
    want = compiled(IMAGE)
    compiled.save(net.parent / "host")
    artifact = opened(net.parent / "host", known=True)
    assert artifact.isas == host_isas()
    np.testing.assert_array_equal(artifact(IMAGE), want)


FRESH = """if True:
    import sys
    import numpy as np
    import irc
    artifact = irc.open(sys.argv[1], threads=2)
    assert (artifact(np.load(sys.argv[2])) == np.load(sys.argv[3])).all()
    assert artifact.runner.isa == "portable"
    print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def fresh_process(net: Path) -> list[str]:
    """The command of a process that opens the saved model and looks at what it gives."""
    image = net.parent / "image.npy"
    np.save(image, IMAGE)
    return [sys.executable, "-c", FRESH, *map(str, (net, image, net.parent / "wanted.npy"))]


def test_a_fresh_process_imports_neither_torch_nor_onnx(net: Path) -> None:
    done = subprocess.run(fresh_process(net), capture_output=True, text=True, timeout=120, check=True)
    loaded = set(done.stdout.split())
    assert "irc" in loaded
    assert not loaded & {"torch", "onnx", "onnxruntime", "google", "ml_dtypes", "networkx", "sympy"}


def test_everything_else_is_there_when_it_is_asked_for(net: Path, compile_small: Compile) -> None:
    compiled, artifact = compile_small("c:portable", name="small"), opened(net, known=True)
    assert [node.op.title for node in artifact.lowered] == [node.op.title for node in compiled.lowered]
    assert artifact.sources.files == compiled.sources.files
    assert len(artifact.program.steps) == len(compiled.program.steps)
    assert str(artifact.fusion) == str(compiled.fusion)
    assert artifact.target is compiled.target
    assert artifact.graph.output_names == compiled.graph.output_names
    assert artifact.tuning is None
    assert [row.name for row in artifact.report.rows] == ["opened"]


def test_saved_again(net: Path, wanted: Array) -> None:
    opened(net, known=True).save(net.parent / "again")
    texts = [{p.name: p.read_bytes() for p in (net.parent / name).glob("*.[ch]")} for name in ("net", "again")]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 5
    np.testing.assert_array_equal(opened(net.parent / "again", known=True)(IMAGE), wanted)


# ---- when it is remembered


def test_saved_before_it_is_built(net: Path, compile_small: Compile) -> None:
    artifact = compile_small("c:portable", name="later")
    artifact.save(net.parent / "later")
    opened(net.parent / "later", known=False)  # nothing was built
    artifact(IMAGE)
    opened(net.parent / "later", known=True)


def test_opened_before_it_is_built(net: Path, wanted: Array) -> None:
    shutil.rmtree(net.parent / "cache")
    artifact = opened(net, known=False)
    np.testing.assert_array_equal(artifact(IMAGE), wanted)
    np.testing.assert_array_equal(opened(net, known=True)(IMAGE), wanted)


def test_a_cache_that_moves_with_its_models(net: Path, wanted: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = shutil.move(net.parent / "cache", net.parent / "elsewhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(moved))
    np.testing.assert_array_equal(opened(net, known=True)(IMAGE), wanted)


def test_sizes_and_tuning_have_entries_of_their_own(net: Path, compile_small: Compile) -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, (2, "N")))
    graph.add_output(graph.insert(Mul(), [x, x]).output)
    for size in (3, 4):
        made = irc.compile(graph, [], target="c:portable", dims={"N": size})
        made.save(net.parent / f"n{size}")
        made(np.ones((2, size), np.float32))
    for size in (3, 4):
        artifact = opened(net.parent / f"n{size}", known=True)
        assert artifact.dims == {"N": size}
        np.testing.assert_array_equal(artifact(np.full((2, size), 3, np.float32)), np.full((2, size), 9, np.float32))
    plain = compile_small("c:portable", name="small")
    tuning = Tuning("portable", (0,) * len(plain.program.steps))
    tuned = CArtifact(plain.graph, plain.target, plain.report, name="small", tuning=tuning)
    tuned.save(net.parent / "tuned")
    opened(net.parent / "tuned", known=False)
    tuned(IMAGE)
    assert opened(net.parent / "tuned", known=True).tuning == tuning
    assert opened(net, known=True).tuning is None


# ---- what callers give


def test_tensors_in_tensors_out(net: Path, wanted: Array) -> None:
    artifact = opened(net, known=True)
    made = artifact(torch.from_numpy(IMAGE))
    assert isinstance(made, torch.Tensor)
    np.testing.assert_array_equal(made.numpy(), wanted)
    assert isinstance(artifact(IMAGE), np.ndarray)


def test_default_inputs_may_be_left_out(net: Path) -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, (2, 3)))
    scale = graph.add_input("scale", TensorType(DType.F32, (3,)), np.full(3, 2, np.float32))
    graph.add_output(graph.insert(Mul(), [x, scale]).output)
    made, given = irc.compile(graph, [], target="c:portable"), np.ones((2, 3), np.float32)
    made.save(net.parent / "defaults")
    made(given)
    artifact = opened(net.parent / "defaults", known=True)
    np.testing.assert_array_equal(artifact(given, np.ones(3, np.float32)), given)
    np.testing.assert_array_equal(artifact(given), 2 * given)


def text_of_error(call: Callable[[], object]) -> str:
    with pytest.raises(IrcError) as caught:
        call()
    assert type(caught.value) in (DataError, OptionError)
    return str(caught.value)


BAD_INPUTS: dict[str, Any] = {
    "shape": IMAGE[..., :20],
    "rank": IMAGE[0],
    "dtype": IMAGE.astype(np.float64),
    "name": {"y": IMAGE},
    "missing": {},
    "many": (IMAGE, IMAGE),
    "ragged": [[1.0], [1.0, 2.0]],
    "tensor": torch.zeros(1, 2),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_errors_of_inputs_have_the_same_text(net: Path, compile_small: Compile, case: str) -> None:
    given = BAD_INPUTS[case]
    compiled, artifact = compile_small("c:portable"), opened(net, known=True)
    assert text_of_error(lambda: artifact(given)) == text_of_error(lambda: compiled(given))


def test_errors_of_sizes_say_what_it_was_compiled_for(net: Path) -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, ("N", 2)))
    graph.add_output(graph.insert(Mul(), [x, x]).output)
    compiled = irc.compile(graph, [], target="c:portable", dims={"N": 3})
    compiled.save(net.parent / "sized")
    compiled(np.ones((3, 2), np.float32))
    artifact, given = opened(net.parent / "sized", known=True), np.ones((4, 2), np.float32)
    said = text_of_error(lambda: artifact(given))
    assert "compiled for N = 3" in said
    assert said == text_of_error(lambda: compiled(given))


@pytest.mark.parametrize("options", [{"threads": 0}, {"threads": 2.0}, {"threads": 65}, {"isa": "mmx"}])
def test_errors_of_options_have_the_same_text(net: Path, compile_small: Compile, options: dict[str, Any]) -> None:
    said = text_of_error(lambda: irc.open(net, **options))
    assert said == text_of_error(lambda: compile_small("c:portable", **options))
    shutil.rmtree(net.parent / "cache")
    assert said == text_of_error(lambda: irc.open(net, **options))


# ---- folders that were changed


def test_c_in_the_folder_does_not_matter(net: Path, wanted: Array) -> None:
    for path in net.rglob("*"):
        if path.suffix in (".c", ".h", ".txt"):
            path.write_text("#error this is not compiled")
    np.testing.assert_array_equal(opened(net, known=True)(IMAGE), wanted)
    shutil.rmtree(net.parent / "cache")
    np.testing.assert_array_equal(opened(net, known=False)(IMAGE), wanted)


def test_another_model_is_another_model(net: Path, wanted: Array, small_graph: Graph, tmp_path: Path) -> None:
    graph = small_graph.copy()
    for value in graph.constants:
        if value.data is not None and value.data.dtype == np.float32 and value.data.shape == (10,):
            value.data = value.data + np.float32(1)  # the classifier's bias
    changed = irc.compile(graph, [], target="c:portable", name="small")
    changed.save(tmp_path / "changed")
    shutil.copy(tmp_path / "changed" / MODEL_FILE, net / MODEL_FILE)
    made = opened(net, known=False)(IMAGE)
    np.testing.assert_array_equal(made, changed(IMAGE))
    assert not np.array_equal(made, wanted)


def test_another_manifest_is_read(net: Path, wanted: Array) -> None:
    held = json.loads((net / MANIFEST).read_text())
    (net / MANIFEST).write_text(json.dumps(held | {"name": "other"}))
    artifact = opened(net, known=False)
    assert artifact.name == "other"
    np.testing.assert_array_equal(artifact(IMAGE), wanted)
    (net / MANIFEST).unlink()
    assert opened(net, known=False).name == "model"


def test_a_folder_that_changes_after_it_was_opened(net: Path, wanted: Array) -> None:
    """Calls go on, and nothing is told of another model."""
    artifact, other = opened(net, known=True), opened(net, known=True)
    (net / MANIFEST).write_text("{}")
    np.testing.assert_array_equal(artifact(IMAGE), wanted)
    with pytest.raises(ModelError, match="has changed since it was opened; open it again"):
        _ = artifact.graph
    shutil.rmtree(net)
    np.testing.assert_array_equal(other(IMAGE), wanted)
    with pytest.raises(ModelError, match="there is no file"):
        _ = other.graph


def test_a_relative_folder(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(net.parent)
    artifact = opened(Path("net"), known=True)
    monkeypatch.chdir(net)
    assert len(artifact.graph.inputs) == 1


def test_no_model_in_the_folder(net: Path) -> None:
    (net / MODEL_FILE).unlink()
    with pytest.raises(ModelError, match=f"there is no file '{net / MODEL_FILE}'"):
        irc.open(net)


# ---- several at once


def test_many_threads_open_it(net: Path, wanted: Array) -> None:
    for known in (True, False):
        if not known:
            shutil.rmtree(net.parent / "cache")
        with ThreadPoolExecutor(4) as pool:
            for made in pool.map(lambda _: irc.open(net)(IMAGE), range(8)):
                np.testing.assert_array_equal(made, wanted)
    opened(net, known=True)
    assert len(entries(net)) == 1


@pytest.mark.slow
def test_many_processes_open_it(net: Path) -> None:
    """With an empty cache all of them build, and each finds what it needs."""
    shutil.rmtree(net.parent / "cache")
    running = [subprocess.Popen(fresh_process(net), stdout=subprocess.DEVNULL, env=dict(os.environ)) for _ in range(3)]
    assert [process.wait(300) for process in running] == [0, 0, 0]
    opened(net, known=True)
    assert len(entries(net)) == 1

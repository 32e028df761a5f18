"""A saved model that was compiled here before runs without torch and onnx, and gives what it gave then."""

from __future__ import annotations

import json
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
from irc.backends.c.isa import host_isas
from irc.backends.c.manifest import MANIFEST_FILE, MODEL_FILE, Tuning
from irc.errors import DataError, IrcError, ModelError, OptionError
from irc.graph import Graph
from irc.ops.binary import Mul
from irc.types import Array, DType, TensorType
from tests.backends.c.conftest import IMAGE, Compile, entries, opened

# ---- the same as the compiled artifact


@pytest.mark.parametrize("threads", [1, 3])
def test_bits(saved: Path, wanted: Array, threads: int) -> None:
    artifact = opened(saved, known=True, threads=threads, isa="portable")
    np.testing.assert_array_equal(artifact(IMAGE), wanted)
    assert (artifact.name, artifact.threads, artifact.isa) == ("small", threads, "portable")
    assert (artifact.machine, [isa.name for isa in artifact.isas]) == ("portable", ["portable"])
    assert artifact.dims == {}
    assert artifact.library.parent == saved.parent / "cache" / "irc"


def test_for_this_processor(saved: Path, compile_small: Compile) -> None:
    compiled = compile_small("c:host")
    want = compiled(IMAGE)
    compiled.save(saved.parent / "host")
    artifact = opened(saved.parent / "host", known=True)
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


def forget_libraries(saved: Path) -> None:
    """Leave the cache as it is when a model was saved and nothing was built."""
    for path in (saved.parent / "cache" / "irc").glob("*.*o"):
        path.unlink()


def fresh_process(saved: Path) -> list[str]:
    """The command of a process that opens the saved model and looks at what it gives."""
    image = saved.parent / "image.npy"
    np.save(image, IMAGE)
    return [sys.executable, "-c", FRESH, *map(str, (saved, image, saved.parent / "wanted.npy"))]


@pytest.mark.parametrize("built", [True, False])
def test_a_fresh_process_imports_neither_torch_nor_onnx(saved: Path, built: bool) -> None:
    """Even if it is the first to run what another process saved."""
    if not built:
        forget_libraries(saved)
    done = subprocess.run(fresh_process(saved), capture_output=True, text=True, timeout=120, check=True)
    loaded = set(done.stdout.split())
    assert "irc" in loaded
    assert not loaded & {"torch", "onnx", "onnxruntime", "google", "ml_dtypes", "networkx", "sympy"}


def test_everything_else_is_there_when_it_is_asked_for(saved: Path, compile_small: Compile) -> None:
    compiled, artifact = compile_small("c:portable", name="small"), opened(saved, known=True)
    assert [node.op.title for node in artifact.lowered] == [node.op.title for node in compiled.lowered]
    assert artifact.sources.files == compiled.sources.files
    assert len(artifact.program.steps) == len(compiled.program.steps)
    assert str(artifact.fusion) == str(compiled.fusion)
    assert artifact.target is compiled.target
    assert artifact.graph.output_names == compiled.graph.output_names
    assert artifact.tuning is None
    assert [row.name for row in artifact.report.rows] == ["opened"]


def test_saved_again(saved: Path, wanted: Array) -> None:
    opened(saved, known=True).save(saved.parent / "again")
    texts = [{p.name: p.read_bytes() for p in (saved.parent / name).glob("*.[ch]")} for name in ("net", "again")]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 5
    np.testing.assert_array_equal(opened(saved.parent / "again", known=True)(IMAGE), wanted)


# ---- when it is remembered


def test_saved_before_it_is_built(saved: Path, compile_small: Compile) -> None:
    compiled = compile_small("c:portable", name="later")
    compiled.save(saved.parent / "later")
    artifact = opened(saved.parent / "later", known=True)
    assert "library" not in vars(artifact)
    np.testing.assert_array_equal(artifact(IMAGE), compiled(IMAGE))
    assert "compilation" not in vars(artifact)
    assert "library" in vars(opened(saved.parent / "later", known=True))


def test_opened_before_it_is_built(saved: Path, wanted: Array) -> None:
    shutil.rmtree(saved.parent / "cache")
    artifact = opened(saved, known=False)
    np.testing.assert_array_equal(artifact(IMAGE), wanted)
    np.testing.assert_array_equal(opened(saved, known=True)(IMAGE), wanted)


def test_a_cache_that_moves_with_its_models(saved: Path, wanted: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = shutil.move(saved.parent / "cache", saved.parent / "elsewhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(moved))
    np.testing.assert_array_equal(opened(saved, known=True)(IMAGE), wanted)


def test_sizes_and_tuning_have_entries_of_their_own(saved: Path, compile_small: Compile) -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, (2, "N")))
    graph.add_output(graph.insert(Mul(), [x, x]).output)
    for size in (3, 4):
        made = irc.compile(graph, [], target="c:portable", dims={"N": size})
        made.save(saved.parent / f"n{size}")
        made(np.ones((2, size), np.float32))
    for size in (3, 4):
        artifact = opened(saved.parent / f"n{size}", known=True)
        assert artifact.dims == {"N": size}
        np.testing.assert_array_equal(artifact(np.full((2, size), 3, np.float32)), np.full((2, size), 9, np.float32))
    plain = compile_small("c:portable", name="small")
    tuning = Tuning("portable", (0,) * len(plain.program.steps))
    tuned = CArtifact(plain.graph, plain.target, plain.report, name="small", tuning=tuning)
    tuned.save(saved.parent / "tuned")
    tuned(IMAGE)
    assert opened(saved.parent / "tuned", known=True).tuning == tuning
    assert opened(saved, known=True).tuning is None


# ---- what callers give


def test_tensors_in_tensors_out(saved: Path, wanted: Array) -> None:
    artifact = opened(saved, known=True)
    made = artifact(torch.from_numpy(IMAGE))
    assert isinstance(made, torch.Tensor)
    np.testing.assert_array_equal(made.numpy(), wanted)
    assert isinstance(artifact(IMAGE), np.ndarray)


def test_default_inputs_may_be_left_out(saved: Path) -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, (2, 3)))
    scale = graph.add_input("scale", TensorType(DType.F32, (3,)), np.full(3, 2, np.float32))
    graph.add_output(graph.insert(Mul(), [x, scale]).output)
    made, given = irc.compile(graph, [], target="c:portable"), np.ones((2, 3), np.float32)
    made.save(saved.parent / "defaults")
    made(given)
    artifact = opened(saved.parent / "defaults", known=True)
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
def test_errors_of_inputs_have_the_same_text(saved: Path, compile_small: Compile, case: str) -> None:
    given = BAD_INPUTS[case]
    compiled, artifact = compile_small("c:portable"), opened(saved, known=True)
    assert text_of_error(lambda: artifact(given)) == text_of_error(lambda: compiled(given))


def test_errors_of_sizes_say_what_it_was_compiled_for(saved: Path) -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, ("N", 2)))
    graph.add_output(graph.insert(Mul(), [x, x]).output)
    compiled = irc.compile(graph, [], target="c:portable", dims={"N": 3})
    compiled.save(saved.parent / "sized")
    compiled(np.ones((3, 2), np.float32))
    artifact, given = opened(saved.parent / "sized", known=True), np.ones((4, 2), np.float32)
    said = text_of_error(lambda: artifact(given))
    assert "compiled for N = 3" in said
    assert said == text_of_error(lambda: compiled(given))


@pytest.mark.parametrize("options", [{"threads": 0}, {"threads": 2.0}, {"threads": 65}, {"isa": "mmx"}])
def test_errors_of_options_have_the_same_text(saved: Path, compile_small: Compile, options: dict[str, Any]) -> None:
    said = text_of_error(lambda: irc.open(saved, **options))
    assert said == text_of_error(lambda: compile_small("c:portable", **options))
    shutil.rmtree(saved.parent / "cache")
    assert said == text_of_error(lambda: irc.open(saved, **options))


# ---- folders that were changed


def test_c_in_the_folder_does_not_matter(saved: Path, wanted: Array) -> None:
    for path in saved.rglob("*"):
        if path.suffix in (".c", ".h", ".txt"):
            path.write_text("#error this is not compiled")
    np.testing.assert_array_equal(opened(saved, known=True)(IMAGE), wanted)
    shutil.rmtree(saved.parent / "cache")
    np.testing.assert_array_equal(opened(saved, known=False)(IMAGE), wanted)


@pytest.mark.parametrize("name", ["small.c", "small_constants.c", "kernels/runtime.h"])
def test_c_that_irc_did_not_write_is_not_compiled(saved: Path, wanted: Array, name: str) -> None:
    """Nor if the cache knows the model and it has yet to be built."""
    forget_libraries(saved)
    (saved / name).write_text((saved / name).read_text() + "\n#error this is not compiled\n")
    artifact = opened(saved, known=True)
    np.testing.assert_array_equal(artifact(IMAGE), wanted)
    assert "compilation" in vars(artifact)
    forget_libraries(saved)
    (saved / name).unlink()
    np.testing.assert_array_equal(opened(saved, known=True)(IMAGE), wanted)


def test_another_model_is_another_model(saved: Path, wanted: Array, small_graph: Graph, tmp_path: Path) -> None:
    graph = small_graph.copy()
    for value in graph.constants:
        if value.data is not None and value.data.dtype == np.float32 and value.data.shape == (10,):
            value.data = value.data + np.float32(1)  # the classifier's bias
    changed = irc.compile(graph, [], target="c:portable", name="small")
    changed.save(tmp_path / "changed")
    shutil.copy(tmp_path / "changed" / MODEL_FILE, saved / MODEL_FILE)
    made = opened(saved, known=True)(IMAGE)  # as what was saved elsewhere: the C beside it is of the model before
    np.testing.assert_array_equal(made, changed(IMAGE))
    assert not np.array_equal(made, wanted)


def test_another_manifest_is_read(saved: Path, wanted: Array) -> None:
    held = json.loads((saved / MANIFEST_FILE).read_text())
    (saved / MANIFEST_FILE).write_text(json.dumps(held | {"name": "other"}))
    artifact = opened(saved, known=False)
    assert artifact.name == "other"
    np.testing.assert_array_equal(artifact(IMAGE), wanted)
    (saved / MANIFEST_FILE).unlink()
    assert opened(saved, known=False).name == "model"


def test_a_folder_that_changes_after_it_was_opened(saved: Path, wanted: Array) -> None:
    """Calls go on, and nothing is told of another model."""
    artifact, other = opened(saved, known=True), opened(saved, known=True)
    held = json.loads((saved / MANIFEST_FILE).read_text())
    (saved / MANIFEST_FILE).write_text(json.dumps(held | {"name": "other"}))
    np.testing.assert_array_equal(artifact(IMAGE), wanted)
    with pytest.raises(ModelError, match="has changed since it was opened; open it again"):
        _ = artifact.graph
    shutil.rmtree(saved)
    np.testing.assert_array_equal(other(IMAGE), wanted)
    with pytest.raises(ModelError, match="there is no file"):
        _ = other.graph


def test_a_relative_folder(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved.parent)
    artifact = opened(Path("net"), known=True)
    monkeypatch.chdir(saved)
    assert len(artifact.graph.inputs) == 1


def test_no_model_in_the_folder(saved: Path) -> None:
    (saved / MODEL_FILE).unlink()
    with pytest.raises(ModelError, match=f"there is no file '{saved / MODEL_FILE}'"):
        irc.open(saved)


# ---- several at once


def test_many_threads_open_it(saved: Path, wanted: Array) -> None:
    for known in (True, False):
        if not known:
            shutil.rmtree(saved.parent / "cache")
        with ThreadPoolExecutor(4) as pool:
            for made in pool.map(lambda _: irc.open(saved)(IMAGE), range(8)):
                np.testing.assert_array_equal(made, wanted)
    opened(saved, known=True)
    assert len(entries(saved)) == 1


@pytest.mark.slow
def test_many_processes_open_it(saved: Path) -> None:
    """With an empty cache all of them build, and each finds what it needs."""
    shutil.rmtree(saved.parent / "cache")
    command = fresh_process(saved)
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait(300) for process in running] == [0, 0, 0]
    opened(saved, known=True)
    assert len(entries(saved)) == 1

"""What the cache has of a saved model is believed if it is whole, and of this irc, this machine and that very model."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import irc
import irc.errors
from irc.backends.c import build_cache
from irc.backends.c.artifact import CArtifact
from irc.backends.c.build_cache import CachedBuild
from irc.backends.c.isa import host_machine
from irc.backends.c.manifest import MANIFEST_FILE, MODEL_FILE
from irc.backends.c.saved_model import read_saved_model
from irc.backends.registry import find_target
from irc.errors import BackendError, IrcError
from irc.types import Array
from tests.backends.c.conftest import IMAGE, Compile, entries, opened

Damage = Callable[[Path], object]


def library_of(saved: Path) -> Path:
    (library,) = (saved.parent / "cache" / "irc").glob("*.so")
    return library


# ---- damage

DAMAGED_ENTRIES: dict[str, Damage] = {
    "missing": Path.unlink,
    "empty": lambda entry: entry.write_text(""),
    "cut short": lambda entry: entry.write_text(entry.read_text()[:-20]),
    "other numbers": lambda entry: entry.write_text(entry.read_text().replace("26", "27")),
    "another checksum": lambda entry: entry.write_text("01"[entry.read_text()[0] == "0"] + entry.read_text()[1:]),
    "no text": lambda entry: entry.write_bytes(b"\xff\xfe" * 40),
    "a folder": lambda entry: entry.rename(entry.with_suffix(".old")).with_suffix(".json").mkdir(),
}


@pytest.mark.parametrize("case", DAMAGED_ENTRIES)
def test_a_damaged_entry_is_none(saved: Path, wanted: Array, case: str) -> None:
    (entry,) = entries(saved)
    DAMAGED_ENTRIES[case](entry)
    np.testing.assert_array_equal(opened(saved, known=False)(IMAGE), wanted)
    if case != "a folder":
        np.testing.assert_array_equal(opened(saved, known=True)(IMAGE), wanted)


DAMAGED_LIBRARIES: dict[str, Damage] = {
    "missing": Path.unlink,
    "cut short": lambda library: os.truncate(library, library.stat().st_size // 2),
    "empty": lambda library: os.truncate(library, 0),
}


@pytest.mark.parametrize("case", DAMAGED_LIBRARIES)
def test_a_library_that_is_not_whole_is_built_again(saved: Path, wanted: Array, case: str) -> None:
    library = library_of(saved)
    size = library.stat().st_size
    DAMAGED_LIBRARIES[case](library)
    np.testing.assert_array_equal(opened(saved, known=True)(IMAGE), wanted)
    assert library_of(saved).stat().st_size == size


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_library_that_does_not_load_is_built_again(saved: Path, wanted: Array, when: str) -> None:
    """Whether it is found to be damaged, or to be gone, when the model has been opened."""
    library = library_of(saved)
    if when == "before":
        library.write_bytes(bytes(library.stat().st_size))
    artifact = opened(saved, known=True)
    if when == "after":
        library.unlink()
    np.testing.assert_array_equal(artifact(IMAGE), wanted)
    np.testing.assert_array_equal(opened(saved, known=True)(IMAGE), wanted)


# ---- caches that cannot be written to


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose cache it is may not write to it: told by patches, as root may write everywhere."""
    access, unlink, mkstemp = os.access, Path.unlink, tempfile.mkstemp

    def refuse(path: Any) -> None:
        if "cache" in Path(path).parts:
            raise PermissionError(13, "read-only", str(path))

    def patched_mkstemp(*arguments: Any, **options: Any) -> Any:
        refuse(options.get("dir") or "")
        return mkstemp(*arguments, **options)

    def patched_unlink(path: Path, missing_ok: bool = False) -> None:
        refuse(path)
        unlink(path, missing_ok)

    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))
    monkeypatch.setattr(tempfile, "mkstemp", patched_mkstemp)
    monkeypatch.setattr(Path, "unlink", patched_unlink)


@pytest.mark.usefixtures("read_only")
def test_a_read_only_cache_is_read(saved: Path, wanted: Array) -> None:
    np.testing.assert_array_equal(opened(saved, known=True)(IMAGE), wanted)


@pytest.mark.usefixtures("read_only")
def test_a_read_only_cache_that_is_damaged(saved: Path, wanted: Array) -> None:
    library = library_of(saved)
    library.write_bytes(bytes(library.stat().st_size))
    np.testing.assert_array_equal(opened(saved, known=True)(IMAGE), wanted)


def test_nothing_can_be_remembered(saved: Path, wanted: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(saved.parent / "cache")
    (saved.parent / "cache").write_text("a file, where a folder is needed")
    for _ in range(2):
        np.testing.assert_array_equal(opened(saved, known=False)(IMAGE), wanted)

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", nobody)
    opened(saved, known=False)


def test_a_cache_in_the_current_folder_is_none(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever made that folder may have put a library there."""
    monkeypatch.chdir(saved.parent)
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    opened(saved, known=False)


def test_a_full_disk_stops_no_call(saved: Path, wanted: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    (entry,) = entries(saved)
    entry.unlink()
    artifact = opened(saved, known=False)
    _ = artifact.sources

    def full(*arguments: Any, **options: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    np.testing.assert_array_equal(artifact(IMAGE), wanted)
    assert not entries(saved)


# ---- what an entry depends on


def test_another_irc(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_cache, "_source", lambda: b"another")
    opened(saved, known=False)


def test_every_source_file_matters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of passes and backends too, which are links in a checkout."""
    (tmp_path / "irc").mkdir()
    (tmp_path / "passes").mkdir()
    (tmp_path / "irc" / "passes").symlink_to(tmp_path / "passes")
    monkeypatch.setattr(irc.errors, "__file__", str(tmp_path / "irc" / "errors.py"))
    monkeypatch.setattr(build_cache, "LOADED_AT", float("inf"))
    found = set()
    for path, text in (("irc/errors.py", "1"), ("irc/errors.py", "2"), ("passes/a.py", "1"), ("passes/kernel.h", "")):
        (tmp_path / path).write_text(text)
        found.add(build_cache._source.__wrapped__())
    (tmp_path / "passes" / "kernel.h").write_text("#define N 3")
    found.add(build_cache._source.__wrapped__())
    assert len(found) == 4  # an empty file adds nothing
    (tmp_path / "irc" / "notes.txt").write_text("not read")
    assert build_cache._source.__wrapped__() in found
    for each in (tmp_path / "irc" / "errors.py", tmp_path / "passes" / "a.py", tmp_path / "passes" / "kernel.h"):
        os.utime(each, (1, 1))  # as an installer may leave it
    monkeypatch.setattr(build_cache, "LOADED_AT", 2.0)
    with pytest.raises(ValueError, match="has changed since this process loaded it"):
        build_cache._source.__wrapped__()  # irc was installed anew meanwhile


def test_all_of_irc_is_source() -> None:
    root = Path(irc.errors.__file__).parent
    found = {Path(path) for path in build_cache._files(str(root))}
    assert {root / "types.py", root / "backends/c/runner.py", root / "passes/simplify.py"} < found
    assert any(path.parent.name == "kernels" and path.suffix == ".h" for path in found)


def test_another_compiler(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler is not None
    wrapper = tmp_path / "wrapped"
    wrapper.write_text(f'#!/bin/sh\nexec {compiler} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("CC", str(wrapper))
    opened(saved, known=False)(IMAGE)
    opened(saved, known=True)
    wrapper.write_text(f'#!/bin/sh\n# the next version\nexec {compiler} "$@"\n')
    opened(saved, known=False)
    monkeypatch.setenv("CC", f"{wrapper} -O0")
    opened(saved, known=False)
    monkeypatch.setenv("CC", "'")  # no command at all
    opened(saved, known=False)


def test_another_processor(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_cache, "host_isas", lambda: ())
    opened(saved, known=False)


# ---- what is not remembered


def test_a_target_that_has_borrowed_its_name(saved: Path, compile_small: Compile) -> None:
    """A folder knows its target by name; what another one of that name made is not what opening makes."""
    plain = compile_small("c:portable")
    other = replace(plain.target, title="of someone else")
    artifact = CArtifact(plain.graph, other, plain.report)
    artifact.save(saved.parent / "other")
    artifact(IMAGE)
    opened(saved.parent / "other", known=False)


def test_another_machine(saved: Path, compile_small: Compile) -> None:
    other = "x86-64" if host_machine() == "aarch64" else "aarch64"
    compile_small(f"c:{other}").save(saved.parent / "other")
    artifact = opened(saved.parent / "other", known=False)
    build_cache.store("key", CachedBuild(artifact.interface, {}, {}, library_of(saved)))
    assert len(entries(saved)) == 1
    with pytest.raises(BackendError, match=f"is for {other} and this machine is {host_machine()}"):
        artifact(IMAGE)


def test_weights_in_a_file_of_their_own(saved: Path, wanted: Array) -> None:
    """Nobody has hashed that file."""
    model = onnx.load_model(saved / MODEL_FILE)
    onnx.save_model(model, saved / MODEL_FILE, save_as_external_data=True, size_threshold=0, location="w")
    assert read_saved_model(saved).key == ""
    for _ in range(2):
        np.testing.assert_array_equal(opened(saved, known=False)(IMAGE), wanted)


def test_large_weights_are_saved_without_an_entry(
    saved: Path, compile_small: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("irc.backends.onnx.save.save_graph.__kwdefaults__", {"external_past": 100})
    artifact = compile_small("c:portable", name="large")
    artifact(IMAGE)
    artifact.save(saved.parent / "large")
    assert (saved.parent / "large" / f"{MODEL_FILE}.data").is_file()
    opened(saved.parent / "large", known=False)
    assert len(entries(saved)) == 1


def test_the_key_is_of_the_bytes_that_were_read(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever exchanges the file between two readings does not get a library remembered for another model."""
    real, contents = (saved / MODEL_FILE).read_bytes(), []
    manifest = (saved / MANIFEST_FILE).read_bytes()

    def read(path: Path) -> bytes:
        contents.append(path)
        return real

    (saved / MODEL_FILE).write_bytes(b"exchanged")
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) if path.name == MODEL_FILE else manifest)
    key = read_saved_model(saved).key
    assert len(contents) == 1
    (saved / MODEL_FILE).write_bytes(real)
    assert key == build_cache.folder_key(saved)


def test_an_onnx_target_in_a_folder(saved: Path, small_graph: irc.Graph) -> None:
    made = irc.compile(small_graph, [])
    made.save(saved / MODEL_FILE)
    artifact = irc.open(saved)
    assert artifact.target is find_target("onnx")
    assert len(entries(saved)) == 1


def test_an_edited_graph_is_not_what_was_built(saved: Path, compile_small: Compile) -> None:
    """The folder gets the graph as it is now; the library is of the graph as it was."""
    artifact = compile_small("c:portable")
    before = artifact(IMAGE)
    for value in artifact.graph.constants:
        if value.data is not None and value.data.dtype == np.float32:
            value.data = value.data * np.float32(2)
    artifact.save(saved.parent / "edited")
    assert not np.array_equal(opened(saved.parent / "edited", known=False)(IMAGE), before)


def test_a_part_in_a_file_of_its_own_in_an_attribute(saved: Path) -> None:
    """Whatever states a file, in an attribute too, was not hashed, and is not read from the process's own folder."""
    model = onnx.load_model(saved / MODEL_FILE)
    node = model.graph.node.add(op_type="ConstantOfShape", name="far", input=["far.shape"], output=["far"])
    shape = onnx.numpy_helper.from_array(np.array([1], np.int64), "far.shape")
    model.graph.initializer.append(shape)
    tensor = onnx.TensorProto(data_type=onnx.TensorProto.FLOAT, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="far.bin")
    node.attribute.append(onnx.helper.make_attribute("value", tensor))
    (saved / MODEL_FILE).write_bytes(model.SerializeToString())
    count = len(entries(saved))
    with contextlib.suppress(IrcError):  # it may be refused, but not be remembered
        opened(saved, known=False)(IMAGE)
    assert len(entries(saved)) == count


def test_a_layer_that_is_called_location(saved: Path, wanted: Array) -> None:
    """A name is not yet a part in a file of its own."""
    model = onnx.load_model(saved / MODEL_FILE)
    model.graph.node[0].name = "location"
    onnx.save_model(model, saved / MODEL_FILE)
    np.testing.assert_array_equal(opened(saved, known=False)(IMAGE), wanted)
    np.testing.assert_array_equal(opened(saved, known=True)(IMAGE), wanted)

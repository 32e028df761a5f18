"""Compilers are found, their objects are kept by content, and whoever has none is told what to install."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import irc
from irc.backends.c import toolchain
from irc.backends.c.artifact import CArtifact
from irc.backends.c.blocking import with_other_blocks
from irc.backends.c.cache import cache_folder
from irc.backends.c.compilers import find_compiler
from irc.backends.c.isa import host_machine
from irc.backends.c.toolchain import build_library
from irc.errors import ToolchainError
from tests.backends.c.conftest import Compile, images

FILES: dict[str, str | bytes] = {
    "a.c": '#include "a.h"\nint f(void) { return N; }\n',
    "a.h": "#define N 3\nint f(void);\n",
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "irc"


def test_objects_are_kept_by_content(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = find_compiler(host_machine())
    commands: list[Any] = []
    run = toolchain._run

    def counted(command: list[str], folder: Path) -> None:
        commands.append(command)
        run(command, folder)

    monkeypatch.setattr(toolchain, "_run", counted)
    library = build_library(FILES, {"a.c": ()}, compiler)
    assert len(commands) == 2  # compiled and linked
    assert build_library(FILES, {"a.c": ()}, compiler) == library
    assert len(commands) == 2
    changed = build_library(FILES | {"a.h": "#define N 4\nint f(void);\n"}, {"a.c": ()}, compiler)
    assert changed != library
    assert len(commands) == 4
    assert {path.suffix for path in cache.iterdir()} == {".o", ".so"}


def test_what_the_compiler_says_is_shown(cache: Path) -> None:
    with pytest.raises(ToolchainError, match="expected"):
        build_library({"a.c": "int f(void) { return }\n"}, {"a.c": ()}, find_compiler(host_machine()))
    assert not [path for path in cache.iterdir() if path.suffix == ".so"]


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolchainError, match="install a C compiler: gcc or clang"):
        find_compiler(host_machine())
    with pytest.raises(ToolchainError, match=r"gcc-aarch64-linux-gnu|a C compiler"):
        find_compiler("aarch64")


def test_cc_is_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "gcc -pipe")
    assert find_compiler(host_machine()).command == ("gcc", "-pipe")
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(ToolchainError, match="'no-such-compiler' does not run"):
        find_compiler(host_machine())


def test_a_read_only_home(compile_small: Compile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the cache cannot be, the model runs all the same."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    (image,) = images(1)
    assert np.isfinite(compile_small("c:portable")(image)).all()
    assert blocked.is_file()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="needs the package ziglang (extra zig)")
@pytest.mark.parametrize("machine", ["host", "aarch64"])
def test_zig(machine: str, compile_small: Compile, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.delenv("CC", raising=False)
    artifact = compile_small(f"c:{machine}")
    compiler = find_compiler(artifact.machine)
    assert "ziglang" in compiler.command
    library = build_library(artifact.sources.files, artifact.sources.objects, compiler)
    assert library.stat().st_size > 10_000
    if machine == "host":
        (image,) = images(1)
        np.testing.assert_array_equal(artifact(image), compile_small("c:portable", isa="portable")(image))


def test_tuned(compile_small: Compile, cache: Path) -> None:
    """Tuning changes no bit, is remembered, and says what it found."""
    artifact = compile_small(tune=True)
    (image,) = images(1)
    np.testing.assert_array_equal(artifact(image), compile_small()(image))
    kept = [path for path in cache.iterdir() if path.name.startswith("tuned-")]
    isa = artifact.runner.isa
    counts = [len(step.candidates(isa)) for step in with_other_blocks(compile_small().program, isa).steps]
    assert len(kept) == 1
    assert max(counts) > 1
    for path in kept:
        choices = json.loads(path.read_text())
        assert len(choices) == len(artifact.program.steps)
        assert all(choice < count for choice, count in zip(choices, counts, strict=True))
    (row,) = [row for row in artifact.report.rows if row.name == "tune"]
    several = sum(count > 1 for count in counts)
    assert re.fullmatch(rf"\d+ of {several} steps .*", row.notes[0])


def test_tuning_with_nothing_to_choose_says_so(cache: Path) -> None:
    artifact = irc.compile(torch.nn.ReLU(), "", example_inputs=torch.zeros(2, 3), target="c:portable", tune=True)
    assert isinstance(artifact, CArtifact)
    assert artifact.tuning is None
    assert "tune: no step of this model can be done in a second way on portable" in str(artifact.report)


def test_interrupted_builds_leave_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files appear under their names when they are whole, and what was begun is taken away."""
    compiler = find_compiler(host_machine())

    def interrupted(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:100])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copy", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_library(FILES, {"a.c": ()}, compiler)
    assert not list(cache.iterdir())
    ctypes.CDLL(str(build_library(FILES, {"a.c": ()}, compiler)))


def test_builders_of_one_number_do_not_meet(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads, and containers that share a cache, have one process number; each writes a file of its own."""
    sources = [tmp_path / f"made{i}" for i in range(2)]
    for source in sources:
        source.write_bytes(source.name.encode() * 1000)
    cache.mkdir()
    both, copy, partials = threading.Barrier(2), shutil.copy, []

    def slow(source: Path, target: Path) -> None:
        partials.append(target)
        both.wait(30)
        copy(source, target)
        both.wait(30)

    monkeypatch.setattr(shutil, "copy", slow)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda source: toolchain._place(source, cache / "a.so"), sources))
    assert partials[0] != partials[1]
    assert (cache / "a.so").read_bytes() in [source.read_bytes() for source in sources]
    assert [path.name for path in cache.iterdir()] == ["a.so"]


def test_damaged_objects_are_built_again(cache: Path) -> None:
    compiler = find_compiler(host_machine())
    library = build_library(FILES, {"a.c": ()}, compiler)
    (kept,) = cache.glob("*.o")
    kept.write_bytes(b"half")
    library.unlink()
    assert ctypes.CDLL(str(build_library(FILES, {"a.c": ()}, compiler))).f() == 3


def test_a_damaged_library_is_built_again(compile_small: Compile, cache: Path) -> None:
    (image,) = images(1)
    wanted = compile_small("c:portable")(image)
    artifact = compile_small("c:portable", name="damaged")
    artifact.library.write_bytes(b"half")
    np.testing.assert_array_equal(artifact(image), wanted)


def test_warnings_stop_tests_alone(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a newer compiler may warn of is no reason for a user's build to fail."""
    files = {"a.c": "int f(void);\nint f(void) { int unused; return 1; }\n"}
    compiler = find_compiler(host_machine())
    monkeypatch.delenv("IRC_CI", raising=False)
    build_library(files, {"a.c": ()}, compiler)
    monkeypatch.setenv("IRC_CI", "1")
    with pytest.raises(ToolchainError, match="unused"):
        build_library(files, {"a.c": ()}, compiler)


@pytest.mark.parametrize("target", ["c:portable", "c:host"])
def test_models_are_built_without_warnings(
    target: str, compile_small: Compile, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IRC_CI", "1")
    assert compile_small(target).library.is_file()


def test_integers_wrap(cache: Path) -> None:
    source = "int f(int x);\nint f(int x) { return x + 1 < x; }\n"  # false if an overflow were never to happen
    library = ctypes.CDLL(str(build_library({"a.c": source}, {"a.c": ()}, find_compiler(host_machine()))))
    assert library.f(2**31 - 1) == 1


def test_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    assert cache_folder().is_dir()


def test_a_temporary_cache_goes_with_its_process(tmp_path: Path) -> None:
    """A fork that ends leaves it to the process that made it."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    code = """if True:
        import os, sys
        from irc.backends.c.cache import cache_folder
        folder = cache_folder()
        if os.fork() == 0:
            sys.exit()
        os.wait()
        print(folder, folder.is_dir())
    """
    environment = {**os.environ, "XDG_CACHE_HOME": str(blocked), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    folder, alive = done.stdout.split()
    assert alive == "True"
    assert not Path(folder).exists()

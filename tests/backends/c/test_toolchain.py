"""Compilers are found, their objects are kept by content, and whoever has none is told what to install."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from irc.backends.c import toolchain
from irc.backends.c.isa import host_machine
from irc.backends.c.toolchain import build_library, find_compiler
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
    """Tuning changes no bit, and is remembered."""
    artifact = compile_small(tune=True)
    (image,) = images(1)
    np.testing.assert_array_equal(artifact(image), compile_small()(image))
    kept = [path for path in cache.iterdir() if path.name.startswith("tuned-")]
    counts = [len(step.candidates(artifact.runner.isa)) for step in compile_small().program.steps]
    assert len(kept) == (max(counts) > 1)
    for path in kept:
        choices = json.loads(path.read_text())
        assert len(choices) == len(artifact.program.steps)
        assert all(choice < count for choice, count in zip(choices, counts, strict=True))


def test_interrupted_builds_leave_no_broken_object(cache: Path) -> None:
    """Objects appear under their names when they are whole."""
    cache.mkdir(parents=True, exist_ok=True)
    build_library(FILES, {"a.c": ()}, find_compiler(host_machine()))
    assert not [p for p in cache.iterdir() if p.suffix == f".{os.getpid()}"]
    (library,) = [p for p in cache.iterdir() if p.suffix == ".so"]
    subprocess.run(["nm", str(library)], check=True, capture_output=True)

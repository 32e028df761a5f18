"""Compilers: which there are, and a shared library from the C of a model.

Objects are cached by the content of everything that goes into them, under $XDG_CACHE_HOME/irc (~/.cache/irc). Processes
that share the cache, and threads, may build at the same time: a file appears under its name when it is whole.

What the compiler warns of is an error where the environment has IRC_CI; elsewhere newer compilers may warn of more.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from irc.backends.c.isa import host_machine
from irc.errors import ToolchainError

# -O2 with the vectorizer; contraction off, since an fma is only where the contract says one; integers wrap as in numpy
COMMON_FLAGS = ("-O2", "-ftree-vectorize", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-fwrapv")
# gcc alone: its full cost model, and loops left as they are written, which vectorize better; no result changes
GCC_FLAGS = ("-fvect-cost-model=dynamic", "-fno-thread-jumps", "-fno-tree-loop-distribute-patterns")
STANDARD = ("-std=c99",)
WARNINGS = (*STANDARD, "-Wall", "-Wextra", "-Werror", "-pedantic")  # what the code is held to
_CROSS = {"aarch64": ("aarch64-linux-gnu-gcc",), "x86-64": ("x86_64-linux-gnu-gcc",)}
# zig names processors and their extensions in its own way
_ZIG_FLAGS = {
    "-march=armv8-a": "-mcpu=generic",
    "-march=armv8.2-a+dotprod": "-mcpu=generic+v8_2a+dotprod",
    "-march=armv8.2-a+dotprod+i8mm": "-mcpu=generic+v8_2a+dotprod+i8mm",
}
_ZIG_TARGETS = {"aarch64": "aarch64-linux-gnu", "x86-64": "x86_64-linux-gnu"}


@dataclass(frozen=True)
class Compiler:
    """A C compiler: the command to which flags and files are added, and what it says of its version."""

    command: tuple[str, ...]
    version: str

    @property
    def flags(self) -> tuple[str, ...]:
        """What every file is compiled with."""
        return COMMON_FLAGS + (GCC_FLAGS if "Free Software Foundation" in self.version else ())

    def translated(self, flags: Sequence[str]) -> list[str]:
        """Flags for gcc and clang in the compiler's own words."""
        return [_ZIG_FLAGS.get(flag, flag) for flag in flags] if "ziglang" in self.command else list(flags)


def find_compiler(machine: str) -> Compiler:
    """The compiler for a machine: $CC, cc, gcc, clang or zig; for another machine than this one its cross compiler.

    Raises
    ------
    ToolchainError : there is none, with what to install.
    """
    native = machine in (host_machine(), "portable")
    given = os.environ.get("CC", "").strip()
    if native and given:
        return _asked(tuple(shlex.split(given)))
    names = ("cc", "gcc", "clang") if native else _CROSS.get(machine, ())
    for name in names:
        if shutil.which(name):
            return _asked((name,))
    if (zig := _zig(machine, native)) is not None:
        return zig
    what = "a C compiler: gcc or clang" if native else f"a cross compiler for {machine}: {' or '.join(names)}"
    raise ToolchainError(
        f"there is no C compiler for {machine}; install {what} (on Debian: apt install "
        f"{'gcc' if native else f'gcc-{_ZIG_TARGETS.get(machine, machine)}'}), or pip install 'irc-compiler[zig]'"
    )


def _zig(machine: str, native: bool) -> Compiler | None:
    if importlib.util.find_spec("ziglang") is None:
        return None
    import sys

    target = () if native else ("-target", _ZIG_TARGETS.get(machine, machine))
    return _asked((sys.executable, "-m", "ziglang", "cc", *target))


@cache
def _asked(command: tuple[str, ...]) -> Compiler:
    try:
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True, timeout=120)
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolchainError(f"the C compiler '{shlex.join(command)}' does not run: {error}") from error
    return Compiler(command, done.stdout)


def build_library(
    files: Mapping[str, str | bytes], objects: Mapping[str, tuple[str, ...]], compiler: Compiler, *flags: str
) -> Path:
    """The shared library of a model's files, from the cache if it was built before.

    files : text by path; objects : the .c files with the flags of each; flags : for all of them, and for linking

    Raises
    ------
    ToolchainError : the compiler refuses, with what it said.
    """
    keys = {path: _key(files, path, (*compiler.flags, *own, *flags), compiler) for path, own in objects.items()}
    library = cache_folder() / f"{_digest(*keys.values(), *flags)}.so"
    if library.exists():
        return library
    kept = [cached for key in keys.values() if (cached := cache_folder() / f"{key}.o").exists()]
    with tempfile.TemporaryDirectory(prefix="irc-") as name:
        folder = Path(name)
        write_files(folder, files)
        made = folder / "library.so"
        try:
            _link(folder, made, objects, keys, compiler, flags)
        except ToolchainError:
            if not kept:
                raise
            for cached in kept:  # one of them may be damaged
                cached.unlink(missing_ok=True)
            _link(folder, made, objects, keys, compiler, flags)
        _place(made, library)
    return library


def _link(
    folder: Path,
    made: Path,
    objects: Mapping[str, tuple[str, ...]],
    keys: Mapping[str, str],
    compiler: Compiler,
    flags: tuple[str, ...],
) -> None:
    """Compile what the cache does not hold, and link it all."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        built = list(pool.map(lambda p: _compile(folder, p, objects[p], keys[p], compiler, flags), objects))
    _run([*compiler.command, "-shared", *flags, "-o", str(made), *map(str, built), "-lm", "-lpthread"], folder)


def write_files(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write texts and bytes below a folder."""
    for path, text in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.encode() if isinstance(text, str) else text)


def cache_folder() -> Path:
    """Where objects and libraries are kept; a temporary folder if the home cannot be written to."""
    with suppress(OSError, RuntimeError):  # RuntimeError: there is no home
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "irc"
        base.mkdir(parents=True, exist_ok=True)
        if os.access(base, os.W_OK):
            return base
    return _temporary_cache()


@cache
def _temporary_cache() -> Path:
    folder, process = Path(tempfile.mkdtemp(prefix="irc-cache-")), os.getpid()

    def remove() -> None:
        if os.getpid() == process:  # not at the end of a fork
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


@contextmanager
def appearing(cached: Path) -> Iterator[Path]:
    """A file to write, which has the name `cached` when all is written; after an error or interrupt it is gone."""
    handle, name = tempfile.mkstemp(prefix=f".{cached.name}.", dir=cached.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.replace(cached)
    finally:
        partial.unlink(missing_ok=True)


def _compile(
    folder: Path, path: str, own: tuple[str, ...], key: str, compiler: Compiler, flags: tuple[str, ...]
) -> Path:
    cached = cache_folder() / f"{key}.o"
    if not cached.exists():
        made = folder / f"{key}.o"
        command = [
            *compiler.command,
            *_standard(),
            *compiler.flags,
            "-fPIC",
            *compiler.translated(own),
            *flags,
            "-c",
            path,
            "-o",
            str(made),
        ]
        _run(command, folder)
        _place(made, cached)
    return cached


def _standard() -> tuple[str, ...]:
    return WARNINGS if os.environ.get("IRC_CI") else STANDARD


def _place(made: Path, cached: Path) -> None:
    """Put a finished file into the cache, in one step."""
    with appearing(cached) as partial:
        shutil.copy(made, partial)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = "\n".join(done.stderr.splitlines()[:20])
        raise ToolchainError(f"the C compiler failed: {shlex.join(command)}\n{said}")


def _key(files: Mapping[str, str | bytes], path: str, flags: tuple[str, ...], compiler: Compiler) -> str:
    """What an object is known by: all that goes into it."""
    headers = [part for name, text in sorted(files.items()) if name.endswith(".h") for part in (name, text)]
    data = [text for name, text in files.items() if name.endswith(".bin") and path.endswith("_constants.c")]
    return _digest(files[path], *headers, *data, *flags, *_standard(), *compiler.command, compiler.version)


def _digest(*parts: str | bytes) -> str:
    made = hashlib.sha256()
    for part in parts:
        made.update((part.encode() if isinstance(part, str) else part) + b"\0")
    return made.hexdigest()[:32]

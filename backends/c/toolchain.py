"""A shared library from the C of a model. Objects are cached by the content of everything that goes into them."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from irc.backends.c.cache import appearing, cache_folder
from irc.backends.c.compilers import Compiler, standard
from irc.errors import ToolchainError


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


def _compile(
    folder: Path, path: str, own: tuple[str, ...], key: str, compiler: Compiler, flags: tuple[str, ...]
) -> Path:
    cached = cache_folder() / f"{key}.o"
    if not cached.exists():
        made = folder / f"{key}.o"
        command = [
            *compiler.command,
            *standard(),
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
    return _digest(files[path], *headers, *data, *flags, *standard(), *compiler.command, compiler.version)


def _digest(*parts: str | bytes) -> str:
    made = hashlib.sha256()
    for part in parts:
        made.update((part.encode() if isinstance(part, str) else part) + b"\0")
    return made.hexdigest()[:32]

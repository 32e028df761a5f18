"""irc's cache, $XDG_CACHE_HOME/irc (~/.cache/irc): files that are whole, under names that tell what they were made of.

    <key>.o, <key>.so      toolchain.py      objects and libraries
    opened-<key>.json      build_cache.py    saved models, and which library is whose
    tuned-<key>.json       tuning.py         the kernels that were fastest

Processes that share it, and threads, may write at the same time: a file appears under its name in one step.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path


def home_cache() -> Path:
    """Where the cache is if the home has a place for it, which may not be there, or be only read.

    What lies there is run. A relative $XDG_CACHE_HOME does not count, as the XDG base directory specification says: it
    would be a folder of whoever filled the current one.

    Raises
    ------
    RuntimeError : there is no home.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".cache") / "irc"


def cache_folder() -> Path:
    """Where files are written; a temporary folder if the home cannot be written to."""
    with suppress(OSError, RuntimeError):
        base = home_cache()
        base.mkdir(parents=True, exist_ok=True)
        if os.access(base, os.W_OK):
            return base
    return _temporary_cache()


@cache
def _temporary_cache() -> Path:
    import shutil
    import tempfile

    folder, process = Path(tempfile.mkdtemp(prefix="irc-cache-")), os.getpid()

    def remove() -> None:
        if os.getpid() == process:  # not at the end of a fork
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


@contextmanager
def appearing(cached: Path) -> Iterator[Path]:
    """A file to write, which has the name `cached` when all is written; after an error or interrupt it is gone."""
    import tempfile  # here, as what only reads the cache is in a hurry

    handle, name = tempfile.mkstemp(prefix=f".{cached.name}.", dir=cached.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.replace(cached)
    finally:
        partial.unlink(missing_ok=True)

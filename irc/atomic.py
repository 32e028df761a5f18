"""Files that are whole or not there: written under temporary names, which give way to their own in one step each."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from irc.errors import OutputError


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name when it is complete; on an error or an interrupt nothing appears."""
    with atomic_files(path) as (file,):
        yield file


@contextmanager
def atomic_files(*paths: Path) -> Iterator[list[IO[bytes]]]:
    """Files that appear under their names, one right after the other, when all of them are complete."""
    files: list[IO[bytes]] = []  # each knows its `name`, for libraries that want one
    names: list[str] = []
    try:
        for path in paths:
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            names.append(name)
            os.close(handle)
            files.append(open(name, "wb"))  # noqa: SIM115, PTH123  # closed below; its name is a str
        yield files
        for file in files:
            file.flush()
            os.fsync(file.fileno())
        for name in names:
            Path(name).chmod(0o666 & ~_umask())
        for path, name in zip(paths, names, strict=True):
            Path(name).replace(path)
    except OSError as error:
        raise OutputError(f"'{path}' cannot be written: {error.strerror}; choose another output path") from None
    finally:
        for file in files:
            with suppress(OSError):  # a full disk says so again
                file.close()
        for name in names:
            Path(name).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def atomic_folder(path: Path, *, marker: str) -> Iterator[Path]:
    """A folder that appears under its name when it is complete; on an error or an interrupt nothing appears.

    marker : a file that tells a folder made so; one that has it is replaced, any other stays and is an error

    Raises
    ------
    OutputError : the folder cannot be written, or something else has its name.
    """
    if path.exists() and not (path / marker).is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise OutputError(f"'{path}' exists and holds something else; choose another output path, or remove it")
    if not path.parent.is_dir():
        raise OutputError(f"'{path}' cannot be written: there is no folder '{path.parent}'; make it first")
    try:
        made = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise OutputError(f"'{path}' cannot be written: {error.strerror}; choose another output path") from None
    old = made.with_name(made.name + ".old")
    try:
        new = made / "new"
        new.mkdir()
        yield new
        if path.exists():
            path.replace(old)
        new.replace(path)
    except OSError as error:
        if old.exists() and not path.exists():
            old.replace(path)
        raise OutputError(f"'{path}' cannot be written: {error.strerror}; choose another output path") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)

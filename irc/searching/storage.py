"""Optuna's storage in a folder: one SQLite file, one process at a time, errors told as irc's.

    study.db   what Optuna remembers           lock.db   held while a search runs, and free when its process is killed
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from irc.errors import OptionError, OutputError

_LOCK = "lock.db"


def import_optuna() -> Any:
    """The library that chooses trials; OptionError if it is not installed."""
    try:
        import optuna
    except ImportError:
        raise OptionError("a search needs Optuna: pip install 'irc-compiler[search]'") from None
    return optuna


@contextmanager
def quiet() -> Iterator[None]:
    """Let Optuna say nothing of every trial."""
    optuna = import_optuna()
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Tell what SQLite says, such as of a full disk, as an error in writing."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as error:
        said = " ".join(str(getattr(error, "orig", None) or error).split())
        raise OutputError(f"the study in '{folder}' cannot be read or written: {said}") from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder, made if it is not there, for this process alone.

    Raises
    ------
    OutputError : it cannot be made, holds something else, or another search runs in it.
    """
    if folder.exists() and not (folder.is_dir() and ((folder / _LOCK).exists() or not any(folder.iterdir()))):
        raise OutputError(f"'{folder}' exists and is no study; name another folder, or remove it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = sqlite3.connect(folder / _LOCK, timeout=0, isolation_level=None)  # free again even if we are killed
    except (OSError, sqlite3.Error) as error:
        raise OutputError(f"the study '{folder}' cannot be written: {error}; name another folder") from None
    try:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            raise OutputError(f"another search runs in '{folder}' ({error}); wait for it, or name another") from None
        yield
    finally:
        lock.close()


@contextmanager
def open_storage(database: Path) -> Iterator[Any]:
    """Optuna's storage in a file, made if it is not there.

    Raises
    ------
    OutputError : the file is of a version of Optuna that this one does not read.
    """
    from optuna.storages import RDBStorage
    from sqlalchemy.pool import NullPool

    options = {"creator": lambda: sqlite3.connect(database), "poolclass": NullPool}  # a URL would need escapes
    try:
        storage = RDBStorage("sqlite://", engine_kwargs=options)
    except RuntimeError as error:  # it is of another version of Optuna
        said = f"'{database}' cannot be read: {error}; take that version of Optuna, or name another folder"
        raise OutputError(said) from None
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()

"""Saved models that this machine has built before, so that `irc.open` finds the library at once.

    key    ::=  sha256 of model.onnx, irc.json, irc's own source, the C compiler, the processor's instruction sets
    entry  ::=  checksum, then as JSON: the Interface, the library's name and size      opened-<key>.json in irc's cache

A folder that is opened may come from anybody, so it only says which model it holds, by its content. What runs is a
library that irc made on this machine of that very content. Whatever does not fit is as if it had not been remembered.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import irc.errors
from irc.backends.c.cache import appearing, home_cache
from irc.backends.c.compilers import compiler_stamp
from irc.backends.c.folder import MANIFEST, MODEL_FILE
from irc.backends.c.interface import Interface
from irc.backends.c.isa import host_isas, host_machine
from irc.loaded import LOADED_AT


@dataclass(frozen=True)
class Remembered:
    """A model that was built: how to call it, and its library."""

    interface: Interface
    library: Path


def folder_key(folder: Path) -> str:
    """The key of the model that a folder holds; empty if it cannot be read."""
    with suppress(OSError):
        with (folder / MODEL_FILE).open("rb") as file:
            model = hashlib.file_digest(file, "sha256").digest()
        return content_key(model, read_manifest(folder))
    return ""


def read_manifest(folder: Path) -> bytes:
    """The manifest's bytes; none if there is no such file."""
    with suppress(OSError):
        return (folder / MANIFEST).read_bytes()
    return b""


def content_key(model: bytes, manifest: bytes) -> str:
    """The key of a model here and now; empty if there is no telling.

    model : sha256 of the model's file;  manifest : the bytes of the other file
    """
    with suppress(OSError, ValueError):  # ValueError: $CC is no command, or irc was installed anew meanwhile
        here = json.dumps([host_machine(), [isa.name for isa in host_isas()], compiler_stamp()])
        parts = (model, hashlib.sha256(manifest).digest(), _source(), here.encode())
        return hashlib.sha256(b"".join(parts)).hexdigest()
    return ""


def recall(key: str) -> Remembered | None:
    """What was remembered under a key, if it is whole and its library is there."""
    with suppress(OSError, RuntimeError, ValueError):  # RuntimeError: there is no home
        place = _entry(home_cache(), key)
        checksum, _, text = place.read_text().partition("\n")
        if checksum == _checksum(text):
            held = json.loads(text)
            library = place.with_name(held["library"])
            if library.stat().st_size == held["bytes"]:  # one that was cut short may load, and crash where it is cut
                return Remembered(Interface.of_json(held["interface"]), library)
    return None


def remember(key: str, interface: Interface, library: Path) -> None:
    """Keep it beside the library. A cache that is full or cannot be written to is no reason to fail."""
    if interface.machine not in (host_machine(), "portable"):
        return  # the key says nothing of a cross compiler, and the library does not run here
    with suppress(OSError):
        held = {"library": library.name, "bytes": library.stat().st_size, "interface": interface.as_json()}
        text = json.dumps(held)
        with appearing(_entry(library.parent, key)) as partial:
            partial.write_text(f"{_checksum(text)}\n{text}")


def _entry(cache_folder: Path, key: str) -> Path:
    return cache_folder / f"opened-{key}.json"


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _source() -> bytes:
    """A digest of irc itself: the Python and C that decide what becomes of a model.

    Raises
    ------
    ValueError : the files are not those that run here any more.
    """
    made = hashlib.sha256()
    for path in sorted(_files(str(Path(irc.errors.__file__).parent))):
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # Path.open takes twice as long, for 400 files
            if os.fstat(file.fileno()).st_mtime > LOADED_AT:
                raise ValueError(f"{path} has changed since this process loaded it")
            made.update(file.read())
    return made.digest()


def _files(folder: str) -> list[str]:
    """The .py and .h files below a folder, whether its folders lie there or are links, as in a checkout."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                found += _files(entry.path)
            elif entry.name.endswith((".py", ".h")):
                found.append(entry.path)
    return found

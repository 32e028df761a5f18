"""The builds of saved models that this machine knows, so that `irc.open` need not make the C again to call them.

    key    ::=  sha256 of model.onnx, irc.json, irc's own source, the C compiler, the processor's instruction sets
    entry  ::=  checksum, then a CachedBuild as JSON        opened-<key>.json in irc's cache

A folder that is opened may come from anybody, so it only says which model it holds, by its content. What runs is a
library that irc made on this machine of that very content; and what is compiled, if it was not built yet, are files
with the very bytes that irc wrote here. Whatever does not fit is as if it were not in the cache. The cache itself is
believed: who may write to it is who may run programs as this user.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import irc.errors
from irc.backends.c.cache import appearing, cache_folder, home_cache
from irc.backends.c.compilers import compiler_stamp
from irc.backends.c.interface import Interface
from irc.backends.c.isa import host_isas, host_machine
from irc.backends.c.manifest import MODEL_FILE, manifest_bytes
from irc.errors import ModelError
from irc.loaded import LOADED_AT


@dataclass(frozen=True)
class CachedBuild:
    """A model in C, and what became of it here.

    interface : how to call it
    files : the sha256 of each file that irc wrote for it, by path in the model's folder
    objects : for each .c file, the flags that it is compiled with
    library : what was built; None if nothing was, or it is not there any more
    """

    interface: Interface
    files: dict[str, str]
    objects: dict[str, tuple[str, ...]]
    library: Path | None

    @staticmethod
    def of(
        interface: Interface,
        files: Mapping[str, str | bytes],
        objects: dict[str, tuple[str, ...]],
        library: Path | None,
    ) -> CachedBuild:
        """As `build_library` takes the files and objects."""
        return CachedBuild(interface, {path: _sha256(content) for path, content in files.items()}, objects, library)

    def files_in(self, folder: Path) -> dict[str, str | bytes] | None:
        """The files as they lie in a folder; None if one of them is not as it was written."""
        found: dict[str, str | bytes] = {}
        for path, wanted in self.files.items():
            with suppress(OSError):
                content = (folder / path).read_bytes()
                if _sha256(content) == wanted:
                    found[path] = content
        return found if len(found) == len(self.files) else None


def folder_key(folder: Path) -> str:
    """The key of the model that a folder holds; empty if it cannot be read."""
    with suppress(OSError, ModelError):
        with (folder / MODEL_FILE).open("rb") as file:
            model = hashlib.file_digest(file, "sha256").digest()
        return model_key(model, manifest_bytes(folder))
    return ""


def model_key(model: bytes, manifest: bytes | None) -> str:
    """The key of a model here and now; empty if there is no telling.

    model : sha256 of the model's file;  manifest : the bytes of the other file
    """
    with suppress(OSError, ValueError):  # ValueError: $CC is no command, or irc was installed anew meanwhile
        here = json.dumps([host_machine(), [isa.name for isa in host_isas()], compiler_stamp()])
        parts = (model, hashlib.sha256(manifest or b"").digest(), _source(), here.encode())
        return hashlib.sha256(b"".join(parts)).hexdigest()
    return ""


def find(key: str) -> CachedBuild | None:
    """What the cache holds under a key, if it is whole."""
    with suppress(OSError, RuntimeError, ValueError):  # RuntimeError: there is no home
        entry = _entry(home_cache(), key)
        checksum, _, text = entry.read_text().partition("\n")
        if checksum == _sha256(text):
            return _of_json(json.loads(text), entry.parent)
    return None


def store(key: str, build: CachedBuild) -> None:
    """Keep it. A cache that is full or cannot be written to is no reason to fail."""
    if build.interface.machine not in (host_machine(), "portable"):
        return  # the key says nothing of a cross compiler, and the library does not run here
    with suppress(OSError):
        text = json.dumps(_as_json(build))
        folder = cache_folder() if build.library is None else build.library.parent
        with appearing(_entry(folder, key)) as partial:
            partial.write_text(f"{_sha256(text)}\n{text}")


def _as_json(build: CachedBuild) -> dict[str, Any]:
    library = build.library and [build.library.name, build.library.stat().st_size]
    held = {"interface": build.interface.as_json(), "library": library}
    return {**held, "files": build.files, "objects": build.objects}


def _of_json(held: Mapping[str, Any], folder: Path) -> CachedBuild:
    objects = {path: tuple(flags) for path, flags in held["objects"].items()}
    library = _whole(folder, *held["library"]) if held["library"] else None
    return CachedBuild(Interface.of_json(held["interface"]), held["files"], objects, library)


def _whole(folder: Path, name: str, size: int) -> Path | None:
    """The library of that name; one that was cut short may load, and crash where it is cut, so it is taken away."""
    library = folder / name
    with suppress(OSError):
        if library.stat().st_size == size:
            return library
        library.unlink()
    return None


def _entry(folder: Path, key: str) -> Path:
    return folder / f"opened-{key}.json"


def _sha256(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


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
            status = os.fstat(file.fileno())
            if max(status.st_mtime, status.st_ctime) > LOADED_AT:  # installers and rsync may keep an old mtime
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

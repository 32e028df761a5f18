"""`open`: a saved model as a callable. A C model that was compiled here needs neither torch nor onnx for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from irc.backends.c.build_cache import find, folder_key

if TYPE_CHECKING:
    from irc.backends.artifact import Artifact


def open(path: str | Path, *, threads: int = 1, isa: str = "") -> Artifact:
    """The artifact that was saved at `path`, a file or a folder; any other ONNX file will do too.

    threads, isa : of calls of a C artifact, as for `compile`

    Raises
    ------
    ModelError : there is no model, or it cannot be read.
    OptionError : `threads` or `isa` is none that the target's code has.
    """
    place = Path(path)
    if not place.is_dir():
        return _open_file(place, threads, isa)
    key = folder_key(place)
    cached = find(key) if key else None
    if cached is None:
        return _open_folder(place, threads, isa)
    from irc.backends.c.cached_artifact import CachedArtifact

    return CachedArtifact(place, key, cached, threads=threads, isa=isa)


def _open_file(path: Path, threads: int, isa: str) -> Artifact:
    from irc.api import artifact_of
    from irc.backends.c.saved_model import opened_report
    from irc.backends.registry import target_of
    from irc.frontends.onnx import read_onnx

    graph = read_onnx(path)
    return artifact_of(graph, target_of(graph), opened_report(graph), threads=threads, isa=isa)


def _open_folder(folder: Path, threads: int, isa: str) -> Artifact:
    from irc.api import artifact_of
    from irc.backends.c.artifact import CArtifact
    from irc.backends.c.saved_model import read_saved_model

    saved = read_saved_model(folder)
    if saved.target.kind != "c":
        return artifact_of(saved.graph, saved.target, saved.report, threads=threads, isa=isa)
    options: dict[str, Any] = {"threads": threads, "isa": isa, "name": saved.name, "tuning": saved.tuning}
    made = CArtifact(saved.graph, saved.target, saved.report, **options)
    made.cache_as(saved.key if made.compilation.is_reproducible else "")
    return made

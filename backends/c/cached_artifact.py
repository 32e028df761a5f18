"""A saved model that the build cache knows: called at once, and read only if more than calls is asked of it."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from irc.backends.c.artifact import CArtifact
from irc.backends.c.build_cache import CachedBuild
from irc.backends.c.compilers import find_compiler
from irc.backends.c.options import check_isa, check_threads
from irc.errors import ModelError

if TYPE_CHECKING:
    from irc.backends.c.compilation import Compilation


class CachedArtifact(CArtifact):
    """A CArtifact of which the interface, and mostly the library, are in the cache.

    folder : where it was saved;  key : under which the cache has it

    Raises
    ------
    OptionError : `threads` or `isa` is none that the target's code has.
    """

    def __init__(self, folder: Path, key: str, cached: CachedBuild, *, threads: int = 1, isa: str = "") -> None:
        # not `super().__init__`, which compiles
        check_threads(threads)
        check_isa(isa, cached.interface.isas, cached.interface.target)
        self._prepare(cached.interface, threads, isa)
        self._folder, self._key, self._cached = folder.absolute(), key, cached
        self._keys.add(key)  # what is built, now or if the library turns out to be damaged, is kept
        if cached.library is not None:
            self.library = cached.library

    @cached_property
    def compilation(self) -> Compilation:  # type: ignore[override]  # mypy takes it for read-only
        """The stages from the graph to the C, from the folder as it was when it was opened.

        Raises
        ------
        ModelError : the folder is not there any more, or holds another model by now.
        """
        from irc.backends.c.compilation import Compilation
        from irc.backends.c.saved_model import read_saved_model

        saved = read_saved_model(self._folder)
        if saved.key != self._key:
            raise ModelError(f"'{self._folder}' has changed since it was opened; open it again")
        return Compilation(saved.graph, saved.target, saved.report, name=saved.name, tuning=saved.tuning)

    def _build(self) -> Path:
        """The library, of the C in the folder if that is to the byte what irc wrote; else of the model."""
        files = self._cached.files_in(self._folder)
        if files is None:
            return super()._build()
        from irc.backends.c.toolchain import build_library

        return build_library(files, self._cached.objects, find_compiler(self.machine))

    def _cached_build(self, library: Path | None) -> CachedBuild:
        return replace(self._cached, library=library)

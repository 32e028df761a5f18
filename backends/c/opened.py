"""A saved model that was built here before: called at once, and read only if more than calls is asked of it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from irc.backends.c.artifact import CArtifact
from irc.backends.c.options import check_isa, check_threads
from irc.backends.c.remembered import Remembered
from irc.errors import ModelError

if TYPE_CHECKING:
    from irc.backends.c.compilation import Compilation


class OpenedArtifact(CArtifact):
    """A CArtifact whose library the cache knows.

    folder : where it was saved;  key : what its library is remembered by

    Raises
    ------
    OptionError : `threads` or `isa` is none that the target's code has.
    """

    def __init__(self, folder: Path, key: str, known: Remembered, *, threads: int = 1, isa: str = "") -> None:
        # not `super().__init__`, which compiles
        check_threads(threads)
        check_isa(isa, known.interface.isas, known.interface.target)
        self._prepare(known.interface, threads, isa)
        self.library = known.library
        self._folder, self._key = folder.absolute(), key
        self._keys.add(key)  # should the library turn out to be damaged, that which replaces it is remembered

    @cached_property
    def compilation(self) -> Compilation:  # type: ignore[override]  # mypy takes it for read-only
        """The stages from the graph to the C, from the folder as it was when it was opened.

        Raises
        ------
        ModelError : the folder is not there any more, or holds another model by now.
        """
        from irc.backends.c.compilation import Compilation
        from irc.backends.c.saved import read_saved

        saved = read_saved(self._folder)
        if saved.key != self._key:
            raise ModelError(f"'{self._folder}' has changed since it was opened; open it again")
        return Compilation(saved.graph, saved.target, saved.report, **saved.options)

"""Passes by name: the built-in ones, and those that installed packages announce under the entry point `irc.passes`."""

from __future__ import annotations

import difflib
import inspect
from functools import cache
from importlib.metadata import entry_points

import irc.passes
from irc.errors import OptionError
from irc.passes.base import Pass, Rewrite


@cache
def all_passes() -> dict[str, type[Pass]]:
    """Every pass by name, built-in ones first; a package's pass does not replace a built-in one."""
    found = {
        cls.pass_name(): cls
        for cls in vars(irc.passes).values()
        if inspect.isclass(cls) and issubclass(cls, Pass) and cls not in (Pass, Rewrite)
    }
    for entry in sorted(entry_points(group="irc.passes"), key=lambda e: e.name):
        try:
            cls = entry.load()
        except Exception as error:  # whatever the package's import raises
            where = f"pass '{entry.name}' of entry point '{entry.value}'"
            raise OptionError(f"{where} cannot be loaded: {error}") from error
        if not (inspect.isclass(cls) and issubclass(cls, Pass)):
            said = f"entry point '{entry.value}' of group irc.passes is not a subclass of irc.passes.base.Pass"
            raise OptionError(said)
        found.setdefault(cls.pass_name(), cls)
    return found


def find_pass(name: str) -> type[Pass]:
    """The pass of that name; OptionError naming the nearest one if there is none."""
    known = all_passes()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, 1)
    raise OptionError(
        f"there is no pass '{name}'; " + (f"did you mean '{near[0]}'? " if near else "") + "`irc passes` lists them"
    )

"""Targets by name: the built-in ones, and those that installed packages announce under `irc.targets`."""

from __future__ import annotations

import difflib
from functools import cache
from importlib.metadata import entry_points

from irc.backends.c.targets import TARGETS as C_TARGETS
from irc.backends.onnx.profiles import TARGETS
from irc.errors import OptionError
from irc.graph import Graph
from irc.target import Target


@cache
def all_targets() -> dict[str, Target]:
    """Every target by name; a package's target does not replace a built-in one."""
    found = TARGETS | C_TARGETS
    for entry in sorted(entry_points(group="irc.targets"), key=lambda e: e.name):
        try:
            target = entry.load()
        except Exception as error:  # whatever the package's import raises
            where = f"target '{entry.name}' of entry point '{entry.value}'"
            raise OptionError(f"{where} cannot be loaded: {error}") from error
        if not isinstance(target, Target):
            raise OptionError(f"entry point '{entry.value}' of group irc.targets is not an irc.target.Target")
        found.setdefault(target.name, target)
    return found


def target_of(graph: Graph) -> Target:
    """The target that a graph was compiled for, as its metadata say; `onnx` if they name none that is installed."""
    return all_targets().get(graph.info.metadata.get("irc.target", ""), TARGETS["onnx"])


def find_target(name: str) -> Target:
    """The target of that name; OptionError naming the nearest one if there is none."""
    known = all_targets()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, 1)
    raise OptionError(
        f"there is no target '{name}'; " + (f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}")
    )

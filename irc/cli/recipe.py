"""--recipe on the command line: what a file says, and what the command line says instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from irc.recipe import Recipe


def recipe_with(path: Path | None, given: Mapping[str, Any]) -> Recipe:
    """The recipe of the file, an empty one if there is none, its paths as seen from the current folder.

    given : values of the command line, which hold instead of the file's unless they are None or empty

    Raises
    ------
    TextError, OptionError : the file, or a value, is not what a recipe takes.
    """
    from irc.recipe import Recipe

    said = {name: value for name, value in given.items() if value or (value == 0 and value is not False)}
    if path is None:
        return Recipe(**said)
    recipe = Recipe.read(path).moved(Path())
    if "passes" in said or "space" in said:
        recipe = replace(recipe, passes=None, space="")
    return replace(recipe, **said)

"""`package.module:function`, the way to name something in Python where there is only text."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from irc.errors import IrcError

_NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


def is_function_name(text: str) -> bool:
    """Whether the text has the form `package.module:function`, and no file is called so."""
    return _NAME.fullmatch(text) is not None and not os.path.lexists(text)


def call(text: str, refusal: type[IrcError]) -> Any:
    """What `package.module:function` returns; modules are looked for in the current folder too.

    Raises
    ------
    refusal : the module cannot be imported, has no such function, or the function fails.
    """
    function = resolve(text, refusal)
    try:
        return function()
    except IrcError:
        raise
    except Exception as error:  # whatever the user's function raises
        raise refusal(f"'{text}' failed: {type(error).__name__}: {error}; `--traceback` shows where") from error


def resolve(text: str, refusal: type[IrcError]) -> Callable[..., Any]:
    """The function that `package.module:function` names; modules are looked for in the current folder too.

    Raises
    ------
    refusal : it has not that form, the module cannot be imported, or has no such function.
    """
    if _NAME.fullmatch(text) is None:
        raise refusal(f"'{text}' is not of the form package.module:function")
    module_name, _, path = text.partition(":")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as `python -m` does
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # an import runs code, which may raise anything
        raise refusal(f"'{text}': module '{module_name}' cannot be imported: {error}") from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise refusal(f"'{text}': module '{module_name}' has no '{path}'")
        found = getattr(found, part)
    if not callable(found):
        raise refusal(f"'{text}' is no function")
    function: Callable[..., Any] = found
    return function

"""The errors irc raises: every one is an `IrcError` whose text names the thing and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class IrcError(Exception):
    """Base of all errors that irc raises on purpose; the command line prints it as one line and exits with 2."""


class ModelError(IrcError):
    """A model cannot be read: truncated, cyclic, missing data, or unsafe."""


class GraphError(IrcError):
    """An edit would break the graph: the value or node is not where the caller says it is."""


class VerifyError(IrcError):
    """A graph breaks a rule of the IR; the text names the node, the value and the rule."""


class TextError(IrcError):
    """Text of the IR or of a pipeline cannot be parsed; the text names line and column."""


class PassError(IrcError):
    """A pass failed, changed the numbers more than it may, or stands in the wrong place."""


class OptionError(IrcError):
    """An unknown pass, target or option, or a value that the option does not take."""


class BudgetError(IrcError):
    """A result is larger, slower or worse than its budget allows; the text says by how much."""


class DataError(IrcError):
    """A sample does not fit the model: wrong name, shape or dtype, or no sample at all."""


class ExecutionError(IrcError):
    """A node could not be run, and the text names it and says why; or there is nothing that training could change."""


class OutputError(IrcError):
    """The result cannot be written where it was asked for."""


class ToolchainError(IrcError):
    """There is no C compiler for the machine, or it refuses the code; the text says what to install or what it said."""


class BackendError(IrcError):
    """A compiled artifact cannot run what it was given, or its target cannot take the model."""


def nearest(word: str, known: Iterable[str]) -> str:
    """The way out of an unknown word: the known one that it is like, or all of them."""
    names = list(known)
    near = difflib.get_close_matches(word, names, 1)
    return f"did you mean '{near[0]}'?" if near else f"there are {', '.join(names)}"

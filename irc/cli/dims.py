"""--dims on the command line: sizes of the symbolic dimensions of a model's inputs.

dims ::= name=size ("," name=size)*       N=8,T=128
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from irc.errors import IrcError, OptionError

if TYPE_CHECKING:
    from irc.graph import Graph


def parse_dims(text: str) -> dict[str, int]:
    """The size of each dimension that the text names.

    Raises
    ------
    OptionError : the text is not of the form above, or names a dimension twice.
    """
    dims: dict[str, int] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, _, size = (p.strip() for p in part.partition("="))
        if not name or not size.isdecimal() or int(size) < 1:
            raise OptionError(f"--dims: '{part}' must be a name and a size, 1 or more, such as N=8")
        if name in dims:
            raise OptionError(f"--dims: '{name}' is given twice")
        dims[name] = int(size)
    return dims


def check_dims(graph: Graph, dims: Mapping[str, int]) -> None:
    """OptionError if the graph's inputs do not have one of the dimensions."""
    from irc.backends.c.specialize import symbols

    known = symbols(graph)
    for name in dims:
        if name not in known:
            have = f"they have {', '.join(known)}" if known else "all of theirs are numbers"
            raise OptionError(f"--dims: the model's inputs have no dimension '{name}'; {have}")


def stored_dims(graph: Graph) -> dict[str, int]:
    """What a saved C model was compiled for; empty for other models."""
    from irc.backends.c.artifact import CArtifact
    from irc.backends.c.specialize import symbols
    from irc.backends.registry import target_of
    from irc.report.ledger import Ledger
    from irc.report.report import Report

    target = target_of(graph)
    if target.kind == "c" and symbols(graph):
        with suppress(IrcError):  # it may be text that was never compiled
            return CArtifact(graph, target, Report(Ledger())).dims
    return {}

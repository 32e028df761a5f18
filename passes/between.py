"""Passes that another pass runs between its steps: the option `between`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from irc.errors import OptionError
from irc.graph import Graph
from irc.passes.base import Pass
from irc.passes.context import Context
from irc.verify import verify


def check_between(between: str | Iterable[Any]) -> None:
    """OptionError or TextError if the text is no pipeline, or what is given from Python no list of passes."""
    from irc.passes.options import parse_pipeline  # which knows the passes that use this

    if isinstance(between, str):
        parse_pipeline(between)
    elif not isinstance(between, Sequence) or not all(isinstance(each, Pass) for each in between):
        raise OptionError("between takes passes as text, or a list of them: they run after each step, not only once")


def run_between(between: str | Iterable[Any], graph: Graph, context: Context) -> None:
    """Run the passes, given as text or as instances, and verify the graph after each."""
    from irc.passes.options import parse_pipeline  # which knows the passes that use this

    passes: Iterable[Any] = parse_pipeline(between) if isinstance(between, str) else between
    for each in passes:
        each.run(graph, context)
        verify(graph)

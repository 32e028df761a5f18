"""Passes that another pass runs between its steps: the option `between`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from irc.graph import Graph
from irc.passes.context import Context
from irc.verify import verify


def check_between(between: str | Iterable[Any]) -> None:
    """OptionError or TextError if the text is no pipeline."""
    from irc.passes.options import parse_pipeline  # which knows the passes that use this

    if isinstance(between, str):
        parse_pipeline(between)


def run_between(between: str | Iterable[Any], graph: Graph, context: Context) -> None:
    """Run the passes, given as text or as instances, and verify the graph after each."""
    from irc.passes.options import parse_pipeline  # which knows the passes that use this

    for each in parse_pipeline(between) if isinstance(between, str) else list(between):
        each.run(graph, context)
        verify(graph)

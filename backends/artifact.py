"""What a compilation gives: something that runs, reports on itself, and can be saved."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irc.errors import OptionError

if TYPE_CHECKING:
    from irc.graph import Graph
    from irc.report.report import Report
    from irc.target import Target


class Artifact(ABC):
    """A compiled model."""

    def __init__(self, graph: Graph, target: Target, report: Report) -> None:
        self._graph, self._target, self._report = graph, target, report

    @property
    def graph(self) -> Graph:
        """The graph as the passes left it."""
        return self._graph

    @property
    def target(self) -> Target:
        """What it was compiled for."""
        return self._target

    @property
    def report(self) -> Report:
        """What every pass did."""
        return self._report

    @abstractmethod
    def __call__(self, *inputs: Any) -> Any:
        """Run it: arrays in input order, or one dict by input name. One output comes alone, several as a tuple."""

    @abstractmethod
    def save(self, path: str | Path) -> None:
        """Write it, atomically: a file, or a folder for the c targets."""

    @property
    def fusion(self) -> Any:
        """What the target's runtime makes of the file: which nodes run as integer, and why each of the rest does not.

        Raises
        ------
        OptionError : there is no such runtime for this target.
        """
        raise OptionError(f"target '{self.target.name}' is run by no runtime that could be asked what it fuses")

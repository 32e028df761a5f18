"""What a compilation gives: something that runs, reports on itself, and can be saved."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from irc.graph import Graph
from irc.report.report import Report
from irc.target import Target


class Artifact(ABC):
    """A compiled model.

    graph : the graph as the passes left it
    target : what it was compiled for
    report : what every pass did
    """

    def __init__(self, graph: Graph, target: Target, report: Report) -> None:
        self.graph = graph
        self.target = target
        self.report = report

    @abstractmethod
    def __call__(self, *inputs: Any) -> Any:
        """Run it: arrays in input order, or one dict by input name. One output comes alone, several as a tuple."""

    @abstractmethod
    def save(self, path: str | Path) -> None:
        """Write it, atomically: a file, or a folder for the c targets."""

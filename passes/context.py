"""What a pass is given besides the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from irc.errors import DataError
from irc.execution.samples import Sample, Samples
from irc.graph import Graph, Node
from irc.report.ledger import DeclinedSite, Row
from irc.report.progress import Progress, silent
from irc.target import Target

Run = Callable[[Any], Any]
Evaluate = Callable[[Run], float]


class Context:
    """The surroundings of a compilation; one for all passes.

    target : what the result is for
    calibration : typical inputs, replayable, or None
    evaluate : the user's own metric, called with a function that runs the model; or None
    teacher : the graph as it came in; not to be changed
    seed : of everything random
    row : the ledger's row of the pass that runs now
    """

    def __init__(
        self,
        target: Target,
        teacher: Graph,
        *,
        calibration: Samples | None = None,
        evaluate: Evaluate | None = None,
        seed: int = 0,
        progress: Progress = silent,
    ) -> None:
        self.target = target
        self.teacher = teacher
        self.calibration = calibration
        self.evaluate = evaluate
        self.seed = seed
        self.progress = progress
        self.row = Row("")

    def decline(self, node: Node, reason: str) -> None:
        """Note that the pass leaves `node` alone, and why."""
        self.row.declined.append(DeclinedSite(node.name, node.op.title, reason))

    def note(self, text: str) -> None:
        """Note something that the user should know."""
        self.row.notes.append(text)

    def samples(self, wanted_by: str) -> Iterator[Sample]:
        """The calibration samples, with progress shown; DataError naming who wants them if there are none."""
        if self.calibration is None:
            raise DataError(f"{wanted_by} needs calibration data: give compile(calibration=…) or --calibration")
        return iter(self.progress(self.calibration, wanted_by, self.calibration.count))


def plain_context(graph: Graph, *, calibration: Iterable[Any] | None = None, target: Target | None = None) -> Context:
    """A context for running one pass by hand, in a test or a notebook."""
    samples = None if calibration is None else Samples(calibration, graph)
    return Context(target or Target("none", "none", "no target"), graph.copy(), calibration=samples)

"""Milliseconds of one inference of a graph on its target, for passes that have a budget of time.

The graph is timed as it is: a float graph in float, whatever is quantized later.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from irc.execution.samples import random_sample
from irc.graph import Graph
from irc.target import Target

_SECONDS = 0.4  # for which to repeat
_LEAST = 5


def onnx_latency(graph: Graph, target: Target) -> float:
    """In onnxruntime on this machine, one thread, symbolic dimensions as 1; the least of many runs."""
    from irc.backends.onnx.artifact import OnnxArtifact  # which knows this module by its target
    from irc.report.ledger import Ledger
    from irc.report.report import Report

    artifact = OnnxArtifact(graph.copy(), target, Report(Ledger()))
    return _least(lambda sample: artifact(sample), graph)


def c_latency(graph: Graph, target: Target) -> float:
    """In C on this machine, one thread, symbolic dimensions as 1; the least of many runs.

    Raises
    ------
    BackendError : the target is for another machine.
    """
    from irc.backends.c.artifact import CArtifact  # which knows this module by its target
    from irc.report.ledger import Ledger
    from irc.report.report import Report

    artifact = CArtifact(graph.copy(), target, Report(Ledger()))
    return _least(lambda sample: artifact(sample), graph)


def _least(run: Callable[[object], object], graph: Graph) -> float:
    sample = random_sample(graph, symbol=1)
    run(sample)
    least, end, count = float("inf"), time.perf_counter() + _SECONDS, 0
    while count < _LEAST or time.perf_counter() < end:
        start = time.perf_counter()
        run(sample)
        least, count = min(least, (time.perf_counter() - start) * 1e3), count + 1
    return least

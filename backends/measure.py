"""Milliseconds of one inference of a graph on its target, for passes that have a budget of time.

The graph is timed as it is: a float graph in float, whatever is quantized later.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from irc.execution.samples import check_sample, input_signature, random_sample
from irc.graph import Graph
from irc.target import Target

_SECONDS = 0.4  # for which to repeat
_LEAST = 5


def onnx_latency(graph: Graph, target: Target) -> float:
    """In onnxruntime on this machine, one thread, symbolic dimensions as 1; the least of many runs."""
    from irc.backends.onnx.lowering import lower  # which know this module by their target
    from irc.backends.onnx.save import save_graph
    from irc.backends.onnx.session import make_session

    with TemporaryDirectory(prefix="irc-") as folder:
        path = Path(folder) / "model.onnx"
        save_graph(lower(graph.copy(), target), path)
        session = make_session(path, threads=1, signed=target.policy.activation.signed)
        signature = input_signature(graph)
        return _least(lambda sample: session.run(None, check_sample(sample, signature)), graph)


def c_latency(graph: Graph, target: Target) -> float:
    """In C on this machine, one thread, symbolic dimensions as 1; the least of many runs.

    Raises
    ------
    BackendError : the target is for another machine.
    """
    from irc.backends.c.artifact import CArtifact  # which knows this module by its target
    from irc.report.ledger import Ledger
    from irc.report.report import Report

    return _least(CArtifact(graph.copy(), target, Report(Ledger())), graph)


def _least(run: Callable[[object], object], graph: Graph) -> float:
    sample = random_sample(graph, symbol=1)
    run(sample)
    least, end, count = float("inf"), time.perf_counter() + _SECONDS, 0
    while count < _LEAST or time.perf_counter() < end:
        start = time.perf_counter()
        run(sample)
        least, count = min(least, (time.perf_counter() - start) * 1e3), count + 1
    return least

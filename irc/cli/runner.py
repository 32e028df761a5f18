"""Run what MODEL names, in onnxruntime or in irc's own execution."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irc.cli.data import open_data, progress_over
from irc.cli.names import is_function_name
from irc.errors import OptionError

if TYPE_CHECKING:
    from irc.execution.samples import Sample
    from irc.graph import Graph

Runner = Callable[["Sample"], dict[str, Any]]

RUNTIMES = ("onnxruntime", "irc", "c")
_MADE_UP = 8


def check_runtime(runtime: str) -> None:
    """OptionError if there is no such runtime."""
    if runtime not in RUNTIMES:
        raise OptionError(f"there is no runtime '{runtime}'; it is one of {', '.join(RUNTIMES)}")


def make_runner(text: str, graph: Graph, runtime: str, threads: int = 0) -> Runner:
    """A function from a sample to the outputs by name.

    text : MODEL as given; an .onnx file goes into onnxruntime as it is
    graph : what it was read as
    """
    if runtime == "irc":
        from irc.execution import Executable

        return Executable(graph).run_numpy
    if runtime == "c":
        return _c_runner(graph, threads or 1)
    from irc.backends.onnx.session import make_session
    from irc.backends.registry import target_of

    signed = target_of(graph).policy.activation.signed
    if text.endswith(".irc") or is_function_name(text):
        with tempfile.TemporaryDirectory(prefix="irc-") as folder:
            session = make_session(_written(graph, Path(folder)), threads=threads, signed=signed)
    else:
        session = make_session(Path(text), threads=threads, signed=signed)
    names = [output.name for output in session.get_outputs()]
    return lambda sample: dict(zip(names, session.run(None, dict(sample)), strict=True))


def _c_runner(graph: Graph, threads: int) -> Runner:
    """The graph as C for this machine; that of its own target if it has one."""
    from irc.backends.c.artifact import CArtifact
    from irc.backends.registry import find_target, target_of
    from irc.report.ledger import Ledger
    from irc.report.report import Report

    target = target_of(graph)
    artifact = CArtifact(
        graph, target if target.kind == "c" else find_target("c:host"), Report(Ledger()), threads=threads
    )

    def run(sample: Sample) -> dict[str, Any]:
        made = artifact(sample)
        names = [port.name for port in artifact.program.outputs]
        return dict(zip(names, made if isinstance(made, tuple) else (made,), strict=True))

    return run


def _written(graph: Graph, folder: Path) -> Path:
    """The graph as an ONNX file in the folder."""
    from irc.backends.onnx.artifact import OnnxArtifact
    from irc.backends.registry import target_of
    from irc.report.ledger import Ledger
    from irc.report.report import Report

    OnnxArtifact(graph, target_of(graph), Report(Ledger())).save(folder / "model.onnx")
    return folder / "model.onnx"


def checked_samples(graph: Graph, data: str, preprocess: str, title: str) -> tuple[Iterable[Sample], bool]:
    """The samples that DATA names, checked against the graph's inputs; made-up ones, and True, if it names none."""
    from irc.execution.samples import Samples, random_sample

    if preprocess and not data:
        raise OptionError("--preprocess is for a folder of images, and no data is given")
    if not data:
        return [random_sample(graph, seed) for seed in range(_MADE_UP)], True
    source = open_data(data, preprocess)

    def stream() -> Iterator[Sample]:
        yield from progress_over(source)(Samples(source, graph), title, None)

    return stream(), False

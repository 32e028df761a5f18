"""Run what MODEL names: in onnxruntime, in irc's own execution, or as compiled C."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irc.cli.dims import check_dims, stored_dims
from irc.errors import OptionError
from irc.evaluation.sizes import made_up_sample, sample_dims
from irc.names import is_function_name
from irc.reading.data import open_data, progress_over

if TYPE_CHECKING:
    from irc.backends.c.artifact import CArtifact
    from irc.execution.samples import Sample
    from irc.graph import Graph

Runner = Callable[["Sample"], dict[str, Any]]

RUNTIMES = ("onnxruntime", "irc", "c")
_MADE_UP = 8
_SYMBOL = 2  # of made-up samples the size of a symbolic dimension: 1 would hide what goes wrong along it


def check_runtime(runtime: str) -> None:
    """OptionError if there is no such runtime."""
    if runtime not in RUNTIMES:
        raise OptionError(f"there is no runtime '{runtime}'; it is one of {', '.join(RUNTIMES)}")


def make_runner(
    text: str,
    graph: Graph,
    runtime: str,
    threads: int = 0,
    *,
    isa: str = "",
    dims: Mapping[str, int] | None = None,
) -> Runner:
    """A function from a sample to the outputs by name.

    text : MODEL as given; an .onnx file, or that of a folder of C, goes into onnxruntime as it is
    graph : what it was read as
    isa, dims : of compiled C: the instruction set, and sizes of dimensions that the first sample does not tell
    """
    if runtime == "irc":
        from irc.execution import Executable

        return Executable(graph).run_numpy
    if runtime == "c":
        return _CompiledC(graph, threads or 1, isa, dims or {})
    from irc.backends.c.manifest import MODEL_FILE
    from irc.backends.onnx.session import make_session
    from irc.backends.registry import target_of

    signed = target_of(graph).policy.activation.signed
    if text.endswith(".irc") or is_function_name(text):
        with tempfile.TemporaryDirectory(prefix="irc-") as folder:
            session = make_session(_written(graph, Path(folder)), threads=threads, signed=signed)
    else:
        file = Path(text) / MODEL_FILE if Path(text).is_dir() else Path(text)
        session = make_session(file, threads=threads, signed=signed)
    names = [output.name for output in session.get_outputs()]
    return lambda sample: dict(zip(names, session.run(None, dict(sample)), strict=True))


class _CompiledC:
    """The graph as C for this machine, or for its own target if that is a c target; the first sample says its sizes."""

    def __init__(self, graph: Graph, threads: int, isa: str, dims: Mapping[str, int]) -> None:
        self.graph = graph
        self.options: dict[str, Any] = {"threads": threads, "isa": isa}
        self.dims = dims
        self.artifact: CArtifact | None = None

    def __call__(self, sample: Sample) -> dict[str, Any]:
        if self.artifact is None:
            self.artifact = self._compiled({**sample_dims(self.graph, sample), **self.dims})
        made = self.artifact(sample)
        return dict(zip(self.graph.output_names, made if isinstance(made, tuple) else (made,), strict=True))

    def _compiled(self, dims: dict[str, int]) -> CArtifact:
        from irc.backends.c.artifact import CArtifact
        from irc.backends.registry import find_target, target_of
        from irc.report.ledger import Ledger
        from irc.report.report import Report

        target = target_of(self.graph)
        target = target if target.kind == "c" else find_target("c:host")
        return CArtifact(self.graph, target, Report(Ledger()), dims=dims, **self.options)


def _written(graph: Graph, folder: Path) -> Path:
    """The graph as an ONNX file in the folder."""
    from irc.backends.onnx.artifact import OnnxArtifact
    from irc.backends.registry import target_of
    from irc.report.ledger import Ledger
    from irc.report.report import Report

    OnnxArtifact(graph, target_of(graph), Report(Ledger())).save(folder / "model.onnx")
    return folder / "model.onnx"


def checked_samples(
    graph: Graph, data: str, preprocess: str, title: str, dims: Mapping[str, int] | None = None
) -> tuple[Iterable[Sample], bool]:
    """The samples that DATA names, checked against the graph's inputs; made-up ones, and True, if it names none.

    dims : sizes of made-up samples; those that a saved C model is for, and 2 where nothing is known, if not given
    """
    from irc.execution.samples import Samples

    if preprocess and not data:
        raise OptionError("--preprocess is for a folder of images, and no data is given")
    check_dims(graph, dims or {})
    if not data:
        sizes = {**stored_dims(graph), **(dims or {})}
        return [made_up_sample(graph, sizes, seed=seed, other=_SYMBOL) for seed in range(_MADE_UP)], True
    source = open_data(data, preprocess)

    def stream() -> Iterator[Sample]:
        yield from progress_over(source)(Samples(source, graph), title, None)

    return stream(), False

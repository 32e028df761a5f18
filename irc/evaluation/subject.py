"""A model of any kind as something that can be weighed and run.

    path of an .onnx or .irc file, folder of C | Artifact | torch module | Graph ...   ->   Subject

What is a file already is run and weighed as it lies there; what is not is written as it would be saved.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import irc.api
from irc.analysis.cost import cost
from irc.backends.artifact import Artifact
from irc.backends.c.manifest import MODEL_FILE
from irc.backends.onnx.artifact import OnnxArtifact
from irc.backends.onnx.session import make_session
from irc.backends.registry import target_of
from irc.errors import ExecutionError, IrcError, ModelError
from irc.evaluation.sizes import bind
from irc.evaluation.stored import Stored, of_folder, of_onnx, of_text, sha256_of
from irc.execution import Executable
from irc.execution.samples import Sample, check_sample, input_signature
from irc.frontends.onnx import read_onnx
from irc.graph import Graph
from irc.names import call, is_function_name
from irc.ops.fake_quant import FakeQuant
from irc.passes.numerics import unwrap
from irc.reading.model import parts, read_file
from irc.report.ledger import Ledger
from irc.report.report import Report
from irc.signature import OWN_DOMAIN
from irc.target import Target

Outputs = dict[str, Any]
Runner = Callable[[Sample], Outputs]

_ONLY_IRC = "it has ops that only irc knows, so torch runs it, in as many threads as torch likes"
_NO_FILE = "it has no file: its bytes are those of its constants"
_SOURCE = "its file bytes are those of a folder of C source, which takes more than what is compiled from it"


class Subject:
    """A model.

    name : for the table
    graph : as its file holds it, weights that are stored as bits unpacked
    stored : what it takes as a file
    notes : what a reader of these should know
    """

    def __init__(
        self,
        name: str,
        graph: Graph,
        stored: Stored,
        make_runner: Callable[[], Runner],
        notes: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.graph = graph
        self.stored = stored
        self.notes = notes
        self.make_runner = make_runner

    @cached_property
    def _runner(self) -> Runner:
        with named(self.name):
            return self.make_runner()

    def run(self, sample: Sample) -> Outputs:
        """The outputs by name, in one thread.

        sample : by input name, checked

        Raises
        ------
        IrcError : it cannot be run; the text names it.
        """
        with named(self.name):
            return self._runner(sample)

    def call(self, item: Any) -> Any:
        """What `evaluate` is given: one output of an input alone, several as a tuple."""
        with named(self.name):
            return unwrap(self._runner(check_sample(item, input_signature(self.graph))))

    def bound(self, dims: Mapping[str, int]) -> Graph:
        """A copy of the graph with sizes for its symbolic dimensions, 1 for those that `dims` does not have."""
        made = self.graph.copy()
        bind(made, dims)
        return made


@contextmanager
def named(name: str) -> Iterator[None]:
    """Name the model in whatever goes wrong with it."""
    try:
        yield
    except IrcError as error:
        raise error if f"'{name}'" in str(error) else type(error)(f"'{name}': {error}") from error
    except Exception as error:  # a runtime's have no common base
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExecutionError(f"'{name}' cannot be run: {said}") from error


def open_subject(
    model: Any, name: str, target: Target, *, example_inputs: Any = None, sizes: Callable[[Graph], Mapping[str, int]]
) -> Subject:
    """The model as something to weigh and run.

    Parameters
    ----------
    model : the path of an .onnx or .irc file or of a folder that `save` wrote; an Artifact; what `irc.load` takes, also
        as a tuple with its example inputs and dynamic shapes; `package.module:function` that returns one of these
    target : what runs a model that is neither an Artifact nor a folder: onnxruntime, or compiled C
    sizes : of the symbolic dimensions of a graph that is compiled to C

    Raises
    ------
    IrcError : it cannot be read; the text names it.
    """
    with named(name):
        where = "a tuple holds"
        if isinstance(model, str) and is_function_name(model):
            model, where = call(model, ModelError), "it returned"
        model, own_inputs, shapes = parts(model, where)
        if isinstance(model, str | Path):
            return _of_path(Path(model), name, target, sizes)
        if isinstance(model, Artifact):
            return of_artifact(model, name)
        inputs = example_inputs if own_inputs is None else own_inputs
        return _of_graph(irc.api.load(model, inputs, dynamic_shapes=shapes), name, target, sizes)


def _of_path(path: Path, name: str, target: Target, sizes: Callable[[Graph], Mapping[str, int]]) -> Subject:
    if path.is_dir():
        artifact = irc.api.open(path)
        return Subject(name, artifact.graph, of_folder(path, path / MODEL_FILE), lambda: _calls(artifact), (_SOURCE,))
    graph = read_file(path)
    stored = of_text(path, graph) if path.suffix == ".irc" else of_onnx(path)
    if target.kind == "onnx" and path.suffix != ".irc":
        return Subject(name, graph, stored, lambda: _session(path, target_of(graph)))
    made = _of_graph(graph, name, target, sizes)
    return Subject(name, made.graph, stored, made.make_runner, tuple(n for n in made.notes if n == _ONLY_IRC))


def _of_graph(graph: Graph, name: str, target: Target, sizes: Callable[[Graph], Mapping[str, int]]) -> Subject:
    """A graph that has no file: as the target's artifact, or, with ops that only irc has, as irc runs it."""
    if any(node.op.domain == OWN_DOMAIN and not isinstance(node.op, FakeQuant) for node in graph.walk()):
        size = cost(graph).bytes
        return Subject(name, graph, Stored(size, size), lambda: Executable(graph).run_numpy, (_ONLY_IRC, _NO_FILE))
    own = target_of(graph)
    goal = own if own.kind == target.kind else target
    dims = sizes(graph) if goal.kind == "c" else None
    return of_artifact(irc.api.artifact_of(graph, goal, Report(Ledger()), dims=dims), name)


def of_artifact(artifact: Artifact, name: str) -> Subject:
    """An artifact, saved to be weighed and read as any file is."""
    with tempfile.TemporaryDirectory(prefix="irc-") as folder:
        place = Path(folder)
        if isinstance(artifact, OnnxArtifact):
            path = place / "model.onnx"
            artifact.save(path)
            stored = replace(of_onnx(path), sha256=sha256_of(place))
            return Subject(name, read_onnx(path), stored, lambda: _artifact_session(artifact))
        path = place / "model" / MODEL_FILE
        artifact.save(path.parent)
        stored = replace(of_folder(path.parent, path), sha256=sha256_of(place))
        return Subject(name, read_onnx(path), stored, lambda: _calls(artifact), (_SOURCE, *_threads(artifact)))


def _threads(artifact: Artifact) -> list[str]:
    count = getattr(artifact, "threads", 1)
    return [f"it is run in the {count} threads that it was made for"] if count > 1 else []


def _calls(artifact: Artifact) -> Runner:
    """An artifact that runs by itself."""
    names = artifact.graph.output_names

    def run(sample: Sample) -> Outputs:
        made = artifact(sample)
        return dict(zip(names, made if isinstance(made, tuple) else (made,), strict=True))

    return run


def _session(path: Path, target: Target) -> Runner:
    """The file in onnxruntime, in one thread."""
    session = make_session(path, threads=1, signed=target.policy.activation.signed)
    names = [output.name for output in session.get_outputs()]
    return lambda sample: dict(zip(names, session.run(None, sample), strict=True))


def _artifact_session(artifact: OnnxArtifact) -> Runner:
    with tempfile.TemporaryDirectory(prefix="irc-") as folder:
        path = Path(folder) / "model.onnx"
        artifact.save(path)
        return _session(path, artifact.target)

"""`compile`, `load` and `open`: the whole way of a model in one call each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import irc.ops  # noqa: F401  # fills the registry of ops
from irc.backends.artifact import Artifact
from irc.backends.c.artifact import CArtifact
from irc.backends.c.lower import missing_early, refuse
from irc.backends.c.options import check_isa, check_threads, isa_to_tune
from irc.backends.c.targets import isas_of
from irc.backends.onnx.artifact import OnnxArtifact
from irc.backends.registry import find_target
from irc.errors import ModelError, OptionError
from irc.execution.samples import Samples
from irc.frontends.onnx import read_onnx
from irc.graph import Graph
from irc.opening import open
from irc.passes.base import Pass
from irc.passes.context import Context, Evaluate
from irc.passes.options import format_pipeline, parse_pipeline
from irc.passes.pipeline import Pipeline
from irc.report.progress import Progress, silent
from irc.report.report import Report
from irc.target import Target

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import fx, nn
    from torch.export import ExportedProgram

    Model = nn.Module | ExportedProgram | fx.GraphModule | ModelProto | Graph | str | Path

__all__ = ["DEFAULT_PASSES", "artifact_of", "compile", "load", "open"]

DEFAULT_PASSES = (
    "fold-constants, simplify, fold-batch-norm, fold-pad, common-subexpressions, dedup-weights, eliminate-dead"
)


def load(model: Model, example_inputs: Any = None, *, dynamic_shapes: Any = None) -> Graph:
    """The Graph of a model.

    Parameters
    ----------
    model : a torch module, ExportedProgram or fx.GraphModule; the path of an .onnx or .irc file; a ModelProto; a Graph
        (which is copied)
    example_inputs : for torch modules: a tensor, or a tuple of the arguments of `forward`
    dynamic_shapes : for torch modules: as `torch.export.export` takes it

    Raises
    ------
    ModelError : the model cannot be read, or is of a kind that irc does not know.
    """
    if isinstance(model, Graph):
        return model.copy()
    if isinstance(model, str | Path):
        if str(model).endswith(".irc"):
            from irc.text import load_text

            return load_text(Path(model))
        return read_onnx(model)
    if type(model).__name__ == "ModelProto":
        return read_onnx(model)  # type: ignore[arg-type]  # told by name, so that this need not import it
    from irc.frontends.torch import is_torch_model, read_torch

    if is_torch_model(model):
        return read_torch(model, example_inputs, dynamic_shapes=dynamic_shapes)
    raise ModelError(
        f"a {type(model).__name__} is no model that irc knows; give a torch module, an ExportedProgram, a ModelProto, "
        "a Graph, or the path of an .onnx file"
    )


def compile(
    model: Model,
    passes: str | Sequence[Pass] | None = None,
    *,
    example_inputs: Any = None,
    dynamic_shapes: Any = None,
    calibration: Iterable[Any] | None = None,
    evaluate: Evaluate | None = None,
    evaluate_each: bool = True,
    target: str | Target = "onnx",
    opset: int | None = None,
    threads: int = 1,
    isa: str = "",
    name: str = "model",
    dims: Mapping[str, int] | None = None,
    tune: bool = False,
    seed: int = 0,
    check: str = "",
    reproducer: str | Path | None = None,
    print_after: Iterable[str] = (),
    progress: Progress = silent,
) -> Artifact:
    """Compress a model.

    Parameters
    ----------
    model, example_inputs, dynamic_shapes : as for `load`
    passes : instances of passes, or their text form; `DEFAULT_PASSES`, which are exact, if not given
    calibration : an iterable of inputs, each an array, a tuple in input order or a dict by input name; read as a stream
    evaluate : called with a function that runs the model on one input; returns the metric for the report
    evaluate_each : whether `evaluate` is called for every row of the report, or for the last only
    target : a target or its name, see `irc targets`
    opset : of the ONNX file; the model's own (21 at least) if not given
    threads, isa : of calls of a C artifact: how many threads, and the instruction set if not the best one
    name : of a C artifact, in the names of its files and functions
    tune : of a C artifact: choose among kernels by measuring them on this machine, which is remembered
    dims : of a C artifact: sizes of the inputs' symbolic dimensions, e.g. `{"N": 4}`; 1 for those not given
    seed : of everything random
    check : `numerics` holds every pass that is not lossy to its tolerance, by running the graph before and after
    reproducer : folder in which a crash of a pass leaves what replays it
    print_after : names of passes after which to print the graph, or `all`
    progress : shows the progress of long work; `irc.report.progress.bar` draws a bar

    Raises
    ------
    IrcError : one of its subclasses, naming what is wrong and the way out.
    """
    goal = find_target(target) if isinstance(target, str) else target
    text = DEFAULT_PASSES if passes is None else passes
    steps = parse_pipeline(text) if isinstance(text, str) else list(text)
    pipeline = Pipeline(
        steps,
        check=check,
        print_after=frozenset(print_after),
        show=_print_graph,
        reproducer=None if reproducer is None else Path(reproducer),
        evaluate_each=evaluate_each,
    )
    if goal.kind == "c":
        _check_calls(goal, threads, isa, tune)
    graph = load(model, example_inputs, dynamic_shapes=dynamic_shapes)
    if goal.kind == "c":
        refuse(missing_early(graph, goal, dims))
    samples = None if calibration is None else Samples(calibration, graph)
    context = Context(goal, graph.copy(), calibration=samples, evaluate=evaluate, seed=seed, progress=progress)
    ledger = pipeline.run(graph, context)
    for node in goal.missing(graph) if goal.kind == "onnx" else ():
        ledger.rows[0].notes.append(f"{node!r} is not defined by ONNX or onnxruntime; it needs its own library to run")
    graph.info.metadata.update({"irc.target": goal.name, "irc.passes": format_pipeline(steps)})
    options: dict[str, Any] = {"opset": opset, "threads": threads, "isa": isa, "name": name, "dims": dims, "tune": tune}
    return artifact_of(graph, goal, Report(ledger), **options)


def _check_calls(target: Target, threads: int, isa: str, tune: bool) -> None:
    """OptionError for what a C artifact would refuse when the passes have run."""
    isas = isas_of(target)[1]
    check_threads(threads)
    check_isa(isa, isas, target.name)
    if tune:
        isa_to_tune(isa, isas, target.name)


def artifact_of(
    graph: Graph,
    target: Target,
    report: Report,
    *,
    opset: int | None = None,
    threads: int = 1,
    isa: str = "",
    name: str = "model",
    dims: Mapping[str, int] | None = None,
    tune: bool = False,
) -> Artifact:
    """The artifact of the target's kind; the options are those of `compile`."""
    if target.kind == "onnx":
        return OnnxArtifact(graph, target, report, opset)
    if target.kind == "c":
        return CArtifact(graph, target, report, threads=threads, isa=isa, name=name, dims=dims, tuned=tune)
    raise OptionError(f"target '{target.name}' is of kind '{target.kind}', which no backend writes")


def _print_graph(name: str, graph: Graph) -> None:
    import sys

    from irc.text import print_graph

    sys.stdout.write(f"// after {name}\n{print_graph(graph)}\n")

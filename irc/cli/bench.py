"""`irc bench`: a model of one's own in every runtime at hand, timed in turns, and where the time goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from irc.cli.data import HELP as DATA_HELP
from irc.cli.data import PREPROCESS_HELP, open_data, progress_over
from irc.cli.model import HELP, read_model
from irc.cli.output import add_row, make_table, print_table, print_text
from irc.errors import OptionError

if TYPE_CHECKING:
    from irc.backends.c.artifact import CArtifact
    from irc.backends.latency import Timed
    from irc.execution.samples import Sample
    from irc.graph import Graph

_LEAST = 0.005  # of the whole time, below which a step is not worth a line


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=HELP)],
    calibration: Annotated[
        str, typer.Option(metavar="DATA", help=f"Quantize the model with it for c and onnxruntime. {DATA_HELP}")
    ] = "",
    preprocess: Annotated[str, typer.Option(help=PREPROCESS_HELP)] = "",
    passes: Annotated[str | None, typer.Option(help="For c and onnxruntime; the exact ones, then quantize.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of every runtime.")] = 1,
    isa: Annotated[str, typer.Option(help="The instruction set of c; the best one if not given.")] = "",
    turns: Annotated[int, typer.Option(min=1, help="How often the runtimes take turns.")] = 10,
    profile: Annotated[bool, typer.Option("--profile", help="Show what every layer of c takes.")] = False,
) -> None:
    """Time a model as compiled C against onnxruntime, and OpenVINO if it is installed; print ratios and errors."""
    from irc.backends.latency import interleaved
    from irc.cli.peers import runtimes

    if preprocess and not calibration:
        raise OptionError("--preprocess is for the images of --calibration, which is not given")
    graph = read_model(model)
    data = open_data(calibration, preprocess) if calibration else None
    artifact = _compile(graph, "c:host", passes, data, threads=threads, isa=isa)
    sample = _sample(graph, data)
    calls = runtimes(artifact, graph, sample, threads, _onnx(graph, passes, data))
    timed = interleaved({name: run for name, (run, _) in calls.items()}, turns=turns, runs=10)
    _print_times(timed, {name: error for name, (_, error) in calls.items()}, artifact)
    if profile:
        _print_profile(artifact, sample)


def _passes(passes: str | None, data: Any) -> str:
    from irc.api import DEFAULT_PASSES

    if passes is not None:
        return passes
    return f"{DEFAULT_PASSES}, quantize" if data is not None else DEFAULT_PASSES


def _compile(graph: Graph, target: str, passes: str | None, data: Any, **options: Any) -> CArtifact:
    import irc.api
    from irc.backends.c.artifact import CArtifact

    artifact = irc.api.compile(
        graph, _passes(passes, data), target=target, calibration=data, progress=progress_over(data), **options
    )
    assert isinstance(artifact, CArtifact)
    return artifact


def _onnx(graph: Graph, passes: str | None, data: Any) -> Any:
    """The same compiled for onnxruntime; None if nothing is quantized, so that the model itself will do."""
    import irc.api

    if data is None and passes is None:
        return None
    return irc.api.compile(graph, _passes(passes, data), target="onnx", calibration=data)


def _sample(graph: Graph, data: Any) -> Sample:
    from irc.execution.samples import Samples, random_sample

    return random_sample(graph, symbol=1) if data is None else Samples(data, graph).first(1)[0]


def _print_times(timed: dict[str, Timed], errors: dict[str, float | None], artifact: CArtifact) -> None:
    table = make_table("runtime", "least ms", "median ms", "processor ms", "times c", "SQNR dB")
    ours = timed["irc c"]
    for name, each in timed.items():
        error = errors[name]
        sqnr = "" if error is None else "exact" if error == float("inf") else f"{error:.1f}"
        ratio = f"{each.ratio(ours):.2f}"
        add_row(table, name, f"{each.least:.3f}", f"{each.median:.3f}", f"{each.median_cpu:.3f}", ratio, sqnr)
    print_table(table)
    plan, constants = artifact.sources.plan, artifact.sources.constants
    print_text(
        f"c: {artifact.runner.isa}, {artifact.threads} thread{'s' * (artifact.threads > 1)}, "
        f"arena {plan.arena:,} bytes, "
        f"constants {constants.bytes:,} bytes"
    )


def _print_profile(artifact: CArtifact, sample: Sample) -> None:
    import numpy as np

    from irc.backends.c.machine import peak_gops
    from irc.backends.c.profiling import profile

    inputs = [np.ascontiguousarray(sample[port.name]) for port in artifact.program.inputs]
    rows = profile(artifact, inputs)
    whole = sum(row.microseconds for row in rows)
    peak = peak_gops(artifact.runner.isa) * artifact.threads
    table = make_table("layer", "op", "kernel", "us", "%", "MMAC", "GOP/s", "of limit", left=("op", "kernel"))
    small = 0.0
    for row in rows:
        if row.microseconds < _LEAST * whole:
            small += row.microseconds
            continue
        speed = (f"{row.macs / 1e6:.2f}", f"{row.gops:.1f}", f"{row.gops / peak:.2f}") if row.macs else ("", "", "")
        share = f"{100 * row.microseconds / whole:.1f}"
        add_row(table, row.layer, row.op, row.kernel, f"{row.microseconds:.1f}", share, *speed)
    add_row(table, "all others", "", "", f"{small:.1f}", f"{100 * small / whole:.1f}", "", "", "")
    print_text("")
    print_table(table)
    print_text(f"{whole:.0f} us in all; the limit is {peak:.0f} GOP/s, measured in registers")

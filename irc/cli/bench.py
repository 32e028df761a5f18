"""`irc bench`: a model of one's own in every runtime at hand, timed in turns, and where the time goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irc.cli import texts
from irc.cli.dims import check_dims, parse_dims, stored_dims
from irc.cli.output import add_row, make_table, print_table, print_text
from irc.errors import OptionError
from irc.evaluation.sizes import fitted, made_up_sample, sample_dims
from irc.reading.data import open_data, progress_over
from irc.reading.model import read_model

if TYPE_CHECKING:
    from irc.backends.c.artifact import CArtifact
    from irc.backends.latency import Timed
    from irc.cli.peers import Contender
    from irc.execution.samples import Sample, Samples
    from irc.graph import Graph

_LEAST = 0.005  # of the whole time, below which a step is not worth a line


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=texts.MODEL)],
    calibration: Annotated[
        str,
        typer.Option(
            metavar="DATA",
            help=f"Quantize the model with it for every runtime, and time its first sample. {texts.DATA}",
        ),
    ] = "",
    preprocess: Annotated[str, typer.Option(help=texts.PREPROCESS)] = "",
    passes: Annotated[str | None, typer.Option(help="For every runtime; the exact ones, then quantize.")] = None,
    dims: Annotated[
        str,
        typer.Option(help=f"{texts.DIMS}: the sample is repeated or cut to them; its own if not given, 1 if made up."),
    ] = "",
    threads: Annotated[int, typer.Option(min=1, help="Threads of every runtime.")] = 1,
    isa: Annotated[str, typer.Option(help="The instruction set of c; the best one if not given.")] = "",
    tune: Annotated[bool, typer.Option("--tune", help="Choose among the kernels of c by measuring them.")] = False,
    turns: Annotated[int, typer.Option(min=1, help="How often the runtimes take turns.")] = 10,
    profile: Annotated[bool, typer.Option("--profile", help="Show what every layer of c takes.")] = False,
) -> None:
    """Time a model as compiled C against onnxruntime, and OpenVINO if it is installed; print ratios and errors."""
    from irc.backends.latency import interleaved
    from irc.cli.peers import contenders

    if preprocess and not calibration:
        raise OptionError("--preprocess is for the images of --calibration, which is not given")
    sizes = parse_dims(dims)
    graph = read_model(model)
    check_dims(graph, sizes)
    compiled, samples = _compiler(graph, calibration, preprocess, passes)
    sample = _sample(graph, samples, sizes)
    bound = sample_dims(graph, sample) | sizes
    artifact: CArtifact = compiled("c:host", dims=bound, threads=threads, isa=isa, tune=tune)
    changed = samples is not None or passes is not None
    entered = contenders(artifact, graph, sample, threads, compiled if changed else None)
    names = [f"{each.runtime}, {each.model}" for each in entered]
    timed = interleaved({name: each.run for name, each in zip(names, entered, strict=True)}, turns=turns, runs=10)
    _print_times(entered, [timed[name] for name in names], artifact)
    if profile:
        _print_profile(artifact, sample)


def _compiler(
    graph: Graph, calibration: str, preprocess: str, passes: str | None
) -> tuple[Callable[..., Any], Samples | None]:
    """A function that compiles the graph for a target, and the samples, which can be read for each target anew."""
    import irc.api
    from irc.execution.samples import Samples

    source = open_data(calibration, preprocess) if calibration else None
    samples = None if source is None else Samples(source, graph)
    exact = irc.api.DEFAULT_PASSES
    steps = passes if passes is not None else exact if samples is None else f"{exact}, quantize"
    shown = progress_over(source)

    def compiled(target: str, **options: Any) -> Any:
        return irc.api.compile(graph, steps, target=target, calibration=samples, progress=shown, **options)

    return compiled, samples


def _sample(graph: Graph, samples: Samples | None, dims: dict[str, int]) -> Sample:
    """What is timed: the first sample, or a made-up one of the sizes that a saved C model is for."""
    if samples is None:
        return made_up_sample(graph, stored_dims(graph) | dims, other=1)
    return fitted(graph, samples.first(1)[0], dims)


def _print_times(entered: list[Contender], timed: list[Timed], artifact: CArtifact) -> None:
    table = make_table(
        "runtime", "model", "least ms", "median ms", "processor ms", "times c", "SQNR dB", left=("model",)
    )
    for each, took in zip(entered, timed, strict=True):
        sqnr = "" if each.error is None else "exact" if each.error == float("inf") else f"{each.error:.1f}"
        times = (f"{ms:.3f}" for ms in (took.least, took.median, took.median_cpu))
        add_row(table, each.runtime, each.model, *times, f"{took.ratio(timed[0]):.2f}", sqnr)
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

"""`irc run`: what a model gives for some inputs, and how long it takes."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irc.cli import texts
from irc.cli.dims import parse_dims
from irc.cli.output import add_row, check_output, make_table, print_table, print_text
from irc.cli.runner import Runner, check_runtime, checked_samples, make_runner
from irc.errors import OptionError
from irc.reading.model import read_model

if TYPE_CHECKING:
    from irc.execution.samples import Sample
    from irc.reading.npz import NpzWriter


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=texts.MODEL)],
    inputs: Annotated[str, typer.Option(metavar="DATA", help=f"{texts.DATA} Made up if not given.")] = "",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT", help="Write the outputs to this .npz file, stacked as in DATA."),
    ] = None,
    runtime: Annotated[
        str, typer.Option(help="What runs it: onnxruntime, irc (torch) or c (compiled).")
    ] = "onnxruntime",
    threads: Annotated[
        int, typer.Option(min=0, help="Threads of onnxruntime or c; 0: as many as onnxruntime chooses, 1 of c.")
    ] = 0,
    isa: Annotated[str, typer.Option(help="The instruction set of c; the best one if not given.")] = "",
    dims: Annotated[
        str, typer.Option(help=f"{texts.DIMS}, of made-up samples, and of c where DATA does not tell them.")
    ] = "",
    repeat: Annotated[int, typer.Option(min=1, help="Run each sample so many times, to time it.")] = 1,
    preprocess: Annotated[str, typer.Option(help=texts.PREPROCESS)] = "",
) -> None:
    """Run a model on some inputs; print the shapes and statistics of its outputs and the median latency."""
    from irc.atomic import atomic_file
    from irc.reading.npz import NpzWriter

    check_runtime(runtime)
    if isa and runtime != "c":
        raise OptionError(f"--isa is for --runtime c; {runtime} does not use it")
    if threads and runtime == "irc":
        raise OptionError("--threads is for --runtime onnxruntime and c; irc does not use it")
    if dims and inputs and runtime != "c":
        raise OptionError(
            "--dims is for made-up samples and for --runtime c; those of --inputs have sizes of their own"
        )
    sizes = parse_dims(dims)
    if output is not None:
        for read in (model, inputs):
            check_output(output, reads=read)
    graph = read_model(model)
    samples, made_up = checked_samples(graph, inputs, preprocess, "run", sizes)
    run = make_runner(model, graph, runtime, threads, isa=isa, dims=sizes)
    with NpzWriter() as writer:
        found, seconds = _measure(run, samples, repeat, writer if output is not None else None)
        if output is not None:
            with atomic_file(output) as file:
                writer.write(file)
    _print_statistics(found)
    count = len(seconds) // repeat
    print_text(
        f"\n{count} {'made-up ' if made_up else ''}sample{'s' * (count != 1)} in {runtime}: "
        f"median {statistics.median(seconds) * 1e3:.3f} ms, fastest {min(seconds) * 1e3:.3f} ms"
    )
    if output is not None:
        print_text(f"wrote {output}: {output.stat().st_size:,} bytes")


class _Statistics:
    """Of one output, over all samples."""

    def __init__(self) -> None:
        self.shapes: set[tuple[int, ...]] = set()
        self.dtype = ""
        self.low, self.high = math.inf, -math.inf
        self.total, self.count, self.strange = 0.0, 0, 0

    def add(self, value: Any) -> None:
        import numpy as np

        if isinstance(value, list):
            self.dtype = "sequence"
            return
        array = np.asarray(value)
        self.shapes.add(array.shape)
        self.dtype = str(array.dtype)
        if array.dtype.kind in "OUSc":
            return
        wide = array.astype(np.float64)
        finite = wide[np.isfinite(wide)]
        self.strange += wide.size - finite.size
        self.count += finite.size
        self.total += float(finite.sum())
        self.low = min(self.low, float(finite.min(initial=math.inf)))
        self.high = max(self.high, float(finite.max(initial=-math.inf)))

    def cells(self) -> list[str]:
        shapes = [str(list(s)) for s in sorted(self.shapes)]
        shape = shapes[0] if len(shapes) == 1 else f"{shapes[0]} … {shapes[-1]}" if shapes else ""
        if not self.count:
            return [self.dtype, shape, "", "", "", f"{self.strange:,}"]
        numbers = (self.low, self.total / self.count, self.high)
        return [self.dtype, shape, *(f"{n:.6g}" for n in numbers), f"{self.strange:,}"]


def _measure(
    run: Runner, samples: Iterable[Sample], repeat: int, writer: NpzWriter | None
) -> tuple[dict[str, _Statistics], list[float]]:
    """Statistics of the outputs by name, and the seconds of each run; the first sample is run once more, to warm up."""
    found: dict[str, _Statistics] = {}
    seconds: list[float] = []
    for sample in samples:
        if not seconds:
            run(sample)
        for _ in range(repeat):
            start = time.perf_counter()
            outputs = run(sample)
            seconds.append(time.perf_counter() - start)
        for name, value in outputs.items():
            found.setdefault(name, _Statistics()).add(value)
        if writer is not None:
            writer.add(outputs)
    return found, seconds


def _print_statistics(found: dict[str, _Statistics]) -> None:
    table = make_table("output", "dtype", "shape", "min", "mean", "max", "not finite", left=("dtype", "shape"))
    for name, statistics_ in found.items():
        add_row(table, name, *statistics_.cells())
    print_table(table)

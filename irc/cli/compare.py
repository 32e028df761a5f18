"""`irc compare`: models side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from irc.cli import texts
from irc.cli.dims import parse_dims
from irc.cli.output import check_output, print_table, print_text
from irc.errors import OptionError
from irc.reading.data import open_data, progress_over
from irc.reading.labels import labelled
from irc.reading.metric import open_metric


def command(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL", help=f"The first is what the others are held against. {texts.MODEL}")
    ],
    data: Annotated[str, typer.Option(metavar="DATA", help=f"Inputs of the first model. {texts.DATA}")] = "",
    preprocess: Annotated[str, typer.Option(help=texts.PREPROCESS)] = "",
    labels: Annotated[str, typer.Option(metavar="KEY", help=texts.LABELS)] = "",
    evaluate: Annotated[str, typer.Option(metavar="METRIC", help=texts.EVALUATE)] = "",
    target: Annotated[
        str, typer.Option(help="What runs the models, see irc targets; a c target compiles them.")
    ] = "onnx",
    dims: Annotated[str, typer.Option(help=f"{texts.DIMS}; those of the first sample, or 1, if not given.")] = "",
    latency: Annotated[bool, typer.Option("--latency/--no-latency", help="Time the models in turns.")] = True,
    turns: Annotated[int, typer.Option(min=1, help="How many turns of ten runs each model has.")] = 10,
    energy: Annotated[Path | None, typer.Option(metavar="FILE", help=texts.ENERGY)] = None,
    json_: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the numbers to this file.")
    ] = None,
) -> None:
    """Put models side by side: accuracy, size, parameters, MACs, memory, latency in one thread, estimated energy."""
    from irc.evaluation.compare import compare

    options = measured_with(data, preprocess, labels, evaluate, energy)
    if json_ is not None:
        for read in (*models, data):
            check_output(json_, reads=read)
    made = compare(
        *models,
        target=target,
        dims=parse_dims(dims),
        latency=latency,
        turns=turns,
        **options,
    )
    if json_ is not None:
        write_json(json_, made.to_dict())
    print_table(made.table())
    for line in made.remarks():
        print_text(line)


def measured_with(data: str, preprocess: str, labels: str, evaluate: str, energy: Path | None) -> dict[str, Any]:
    """The data, the metric and the costs that the options name, as `irc.compare` and `irc.select` take them.

    Raises
    ------
    OptionError : an option has no use without another one.
    """
    from irc.analysis.energy import read_energy_costs

    for option, given in (("--preprocess", preprocess), ("--labels", labels)):
        if given and not data:
            raise OptionError(f"{option} is for the samples of --data, which is not given")
    source: Any = open_data(data, preprocess) if data else None
    options: dict[str, Any] = {"data": source, "labels": None, "progress": progress_over(source)}
    if labels:
        options["data"], options["labels"] = labelled(source, labels)
    options["evaluate"] = open_metric(evaluate)
    options["energy"] = None if energy is None else read_energy_costs(energy)
    return options


def write_json(path: Path, what: dict[str, Any]) -> None:
    """Write a file of JSON, whole or not at all."""
    from irc.atomic import atomic_file

    with atomic_file(path) as file:
        file.write(json.dumps(what, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n")

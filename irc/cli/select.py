"""`irc select`: the best of several models under a budget, and which are worth compressing for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irc.cli import texts
from irc.cli.compare import measured_with, write_json
from irc.cli.dims import parse_dims
from irc.cli.output import check_output, print_table, print_text


def command(
    models: Annotated[list[str], typer.Argument(metavar="MODEL", help=f"The candidates. {texts.MODEL}")],
    budget: Annotated[str, typer.Option(help=texts.BUDGET)],
    data: Annotated[
        str, typer.Option(metavar="DATA", help=f"What to quantize with, and what --labels are of. {texts.DATA}")
    ] = "",
    preprocess: Annotated[str, typer.Option(help=texts.PREPROCESS)] = "",
    labels: Annotated[str, typer.Option(metavar="KEY", help=texts.LABELS)] = "",
    evaluate: Annotated[str, typer.Option(metavar="METRIC", help=texts.EVALUATE)] = "",
    floor: Annotated[float | None, typer.Option(help="The least metric, or accuracy, of what is chosen.")] = None,
    target: Annotated[str, typer.Option(help="What the models are for, and runs them; see irc targets.")] = "onnx",
    dims: Annotated[str, typer.Option(help=f"{texts.DIMS}; those of the first sample, or 1, if not given.")] = "",
    energy: Annotated[Path | None, typer.Option(metavar="FILE", help=texts.ENERGY)] = None,
    seed: Annotated[int, typer.Option(help="Of everything random in the passes that are tried.")] = 0,
    json_: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the choice to this file.")] = None,
) -> None:
    """Choose among models under a budget; compress those that do not fit, to see which are worth it."""
    from irc.evaluation.select import select

    options = measured_with(data, preprocess, labels, evaluate, energy)
    if json_ is not None:
        for read in (*models, data):
            check_output(json_, reads=read)
    made = select(
        models,
        budget,
        floor=floor,
        target=target,
        dims=parse_dims(dims),
        seed=seed,
        **options,
    )
    if json_ is not None:
        write_json(json_, made.to_dict())
    print_table(made.table())
    for line in made.remarks():
        print_text(line)

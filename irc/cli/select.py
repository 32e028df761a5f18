"""`irc select`: the best of several models under a budget, and which are worth compressing for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irc.cli.compare import measured_with, write_json
from irc.cli.data import HELP as DATA_HELP
from irc.cli.data import PREPROCESS_HELP
from irc.cli.dims import HELP as DIMS_HELP
from irc.cli.dims import parse_dims
from irc.cli.evaluate import ENERGY_HELP, LABELS_HELP
from irc.cli.evaluate import HELP as EVALUATE_HELP
from irc.cli.model import HELP
from irc.cli.output import check_output, print_table, print_text

_BUDGET_HELP = (
    "What a model may cost at most, as bytes=1.5MB,latency=2: of bytes (of the file), parameters, macs, flops, "
    "peak_memory (bytes), latency (ms, median) and energy (uJ)."
)


def command(
    models: Annotated[list[str], typer.Argument(metavar="MODEL", help=f"The candidates. {HELP}")],
    budget: Annotated[str, typer.Option(help=_BUDGET_HELP)],
    data: Annotated[
        str, typer.Option(metavar="DATA", help=f"What to quantize with, and what --labels are of. {DATA_HELP}")
    ] = "",
    preprocess: Annotated[str, typer.Option(help=PREPROCESS_HELP)] = "",
    labels: Annotated[str, typer.Option(metavar="KEY", help=LABELS_HELP)] = "",
    evaluate: Annotated[str, typer.Option(metavar="METRIC", help=EVALUATE_HELP)] = "",
    floor: Annotated[float | None, typer.Option(help="The least metric, or accuracy, of what is chosen.")] = None,
    target: Annotated[str, typer.Option(help="What the models are for, and runs them; see irc targets.")] = "onnx",
    dims: Annotated[str, typer.Option(help=f"{DIMS_HELP}; those of the first sample, or 1, if not given.")] = "",
    energy: Annotated[Path | None, typer.Option(metavar="FILE", help=ENERGY_HELP)] = None,
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

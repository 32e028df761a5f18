"""`irc search`: the best compilation of a model within a budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irc.cli import texts
from irc.cli.dims import parse_dims
from irc.cli.output import print_table, print_text
from irc.cli.recipe import recipe_with

if TYPE_CHECKING:
    from irc.searching import Trial

_SPACE_HELP = (
    "Passes with holes, as 'prune-channels?{macs=0.2..1}, quantize{weight_bits=4|8}': a range, a choice, ? for what "
    "the option declares, name? for a pass that may go."
)


def command(
    study: Annotated[Path, typer.Option(metavar="FOLDER", help="Remembers the trials; a search goes on in its own.")],
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help=f"{texts.MODEL} The recipe's if not given.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A recipe with a space; other options hold instead of its keys.")
    ] = None,
    space: Annotated[str, typer.Option(help=_SPACE_HELP)] = "",
    budget: Annotated[str, typer.Option(help=texts.BUDGET)] = "",
    floor: Annotated[float | None, typer.Option(help="The least metric of what is chosen.")] = None,
    evaluate: Annotated[str, typer.Option(metavar="METRIC", help=texts.EVALUATE)] = "",
    lower_is_better: Annotated[bool, typer.Option("--lower-is-better", help="Of the metric.")] = False,
    calibration: Annotated[str, typer.Option(metavar="DATA", help=texts.DATA)] = "",
    preprocess: Annotated[str, typer.Option(help=texts.PREPROCESS)] = "",
    objectives: Annotated[
        str, typer.Option(help="Measures to improve, the first most; metric, bytes and the budget's if not given.")
    ] = "",
    target: Annotated[str, typer.Option(help="What the result is for, see irc targets; onnx if not given.")] = "",
    dims: Annotated[str, typer.Option(help=f"For c targets: {texts.DIMS}; 1 for those not given.")] = "",
    seed: Annotated[int | None, typer.Option(help="Of everything random; 0 if not given.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="How many in all, those that the study holds included.")] = 30,
    workers: Annotated[int, typer.Option(min=1, help="How many run at a time, each in a process of its own.")] = 1,
) -> None:
    """Search for the best compilation within a budget; write its recipe and the Pareto front into the study."""
    from irc.evaluation.budget import parse_budget
    from irc.searching import search_recipe

    given: dict[str, Any] = {
        "space": space,
        "budget": parse_budget(budget) if budget else {},
        "floor": floor,
        "evaluate": evaluate,
        "lower_is_better": lower_is_better,
        "calibration": calibration,
        "preprocess": preprocess,
        "objectives": tuple(name.strip() for name in objectives.split(",") if name.strip()),
        "target": target,
        "dims": parse_dims(dims),
        "seed": seed,
        "model": model,
    }
    asked = recipe_with(recipe, given)
    try:
        result = search_recipe(asked, study=study, trials=trials, workers=workers, report=_print_trial)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; the same command goes on with the study in '{study}'") from None
    print_text(result.summary)
    print_table(result.table())
    best = result.best  # or BudgetError, when the front has been seen
    print_text(f"best: trial {best.number}; `irc compile --recipe {study / 'best.toml'} -o OUT` makes it again")


def _print_trial(trial: Trial) -> None:
    from irc.recipe.limits import shown

    if trial.error:
        print_text(f"trial {trial.number}: {trial.passes}: refused: {trial.error}")
        return
    measured = ", ".join(f"{name} {shown(value)}" for name, value in trial.measures.items())
    print_text(f"trial {trial.number}: {trial.passes}: {measured}{'' if trial.within else '; over the budget'}")

"""One trial: a recipe, compiled and measured, in whatever process.

    Job --run--> Outcome          Trial ::= number, recipe, outcome, and by how much it is over the budget
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from irc.errors import IrcError
from irc.passes.context import Evaluate
from irc.recipe import Recipe
from irc.recipe.limits import measure


@dataclass(frozen=True)
class Job:
    """What travels to the process that runs a trial.

    recipe, folder : as `Recipe.parse` takes them
    measures : what to measure
    evaluate : the metric, if it is an object that the recipe cannot name
    """

    recipe: str
    folder: str
    measures: tuple[str, ...]
    evaluate: Evaluate | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a job: measures and the sha256 of what would be written; or, if it was refused, why."""

    measures: dict[str, float] = field(default_factory=dict)
    sha256: str = ""
    seconds: float = 0.0
    error: str = ""

    def stored(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def run(job: Job) -> Outcome:
    """Compile and measure; an IrcError is an outcome too."""
    start = time.perf_counter()
    try:
        recipe = Recipe.parse(job.recipe, folder=Path(job.folder))
        given = {} if job.evaluate is None else {"evaluate": job.evaluate}
        artifact = recipe.compile(evaluate_each=False, **given)
        made = measure(artifact, job.measures, recipe.dims)
    except IrcError as error:
        return Outcome(seconds=time.perf_counter() - start, error=str(error))
    known = {name: value for name, value in made.values.items() if value is not None}
    wrong = [f"nobody can say its {name}" for name in made.values if name not in known]
    wrong += [f"{name} is {value}" for name, value in known.items() if not math.isfinite(value)]
    return Outcome(known, made.sha256, time.perf_counter() - start, "; ".join(wrong))


@dataclass(frozen=True)
class Trial:
    """A trial that has ended.

    number : in the order in which trials began
    passes : as text
    measures : `metric`, `bytes`, … by name; latency in milliseconds
    sha256 : of what the recipe gives
    over : by which part of its limit each measure of the budget is over it
    error : why it was refused; empty if it was not
    recipe : what makes it again
    """

    number: int
    passes: str
    measures: Mapping[str, float]
    sha256: str
    seconds: float
    over: Mapping[str, float]
    error: str
    recipe: Recipe

    @property
    def within(self) -> bool:
        """Whether it is within the budget."""
        return not self.error and all(part <= 0 for part in self.over.values())

    @property
    def excess(self) -> float:
        """How far it is over the budget, all measures added up, each as a part of its limit."""
        return sum(max(part, 0.0) for part in self.over.values())

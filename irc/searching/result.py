"""What a search found: the best trial, the Pareto front, all trials; as a table and as files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irc.atomic import atomic_file
from irc.errors import BudgetError, ExecutionError
from irc.recipe.limits import METRIC, said, shown
from irc.searching.trial import Trial

if TYPE_CHECKING:
    from rich.table import Table

BEST, FRONT_CSV, FRONT_JSON, FRONT_PLOT = "best.toml", "front.csv", "front.json", "front.png"


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    trials : all that have ended, in the order of their beginning
    objectives : the measures to improve, the most important first
    limits : the budget, and the floor of the metric
    folder : of the study
    """

    trials: Sequence[Trial]
    objectives: Sequence[str]
    limits: Mapping[str, float]
    lower_is_better: bool
    folder: Path

    @property
    def met(self) -> bool:
        """Whether a trial is within the budget."""
        return any(trial.within for trial in self.trials)

    @property
    def best(self) -> Trial:
        """The trial within the budget that is best by the first objective, then the second, and so on.

        Raises
        ------
        BudgetError : none is within the budget; the text says what the nearest is like.
        ExecutionError : no trial came to its end.
        """
        ended = [trial for trial in self.trials if not trial.error]
        if not ended:
            why = f"; the last said: {self.trials[-1].error}" if self.trials else "; there was none"
            raise ExecutionError(f"no trial came to its end{why}")
        within = [trial for trial in ended if trial.within]
        if within:
            return min(within, key=self._key)
        nearest = min(ended, key=lambda trial: (trial.excess, self._key(trial)))
        missed = [said(n, nearest.measures[n], self.limits[n]) for n, part in nearest.over.items() if part > 0]
        raise BudgetError(
            f"none of {len(self.trials)} trials is within the budget; of the nearest, '{nearest.passes}', "
            f"{'; '.join(missed)}; search longer, widen the space or the budget"
        )

    @property
    def front(self) -> list[Trial]:
        """The trials within the budget (of all, if none is) that no other beats: as good in all, better in one.

        Of trials that measure the same only the first is in it.
        """
        ended = [trial for trial in self.trials if not trial.error]
        among = [trial for trial in ended if trial.within] or ended
        keys = [self._key(trial) for trial in among]
        return sorted(
            (t for i, t in enumerate(among) if not any(_beats(key, keys[i], j < i) for j, key in enumerate(keys))),
            key=self._key,
        )

    def _key(self, trial: Trial) -> tuple[float, ...]:
        """The objectives, turned so that less is better."""
        lower = self.lower_is_better
        return tuple(turned(name, trial.measures[name], lower_is_better=lower) for name in self.objectives)

    def table(self) -> Table:
        """The front, the best trial first."""
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("trial", justify="right")
        for name in self._columns():
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("passes", overflow="fold")
        for trial in self.front:
            cells = (shown(trial.measures[name]) for name in self._columns())
            table.add_row(str(trial.number), *cells, trial.passes)
        return table

    def _columns(self) -> list[str]:
        """The objectives, then what else was measured."""
        measured = [name for trial in self.front[:1] for name in trial.measures]
        return list(dict.fromkeys([*self.objectives, *measured]))

    @property
    def summary(self) -> str:
        """How many trials there were, and how many of them are within the budget."""
        failed = sum(bool(trial.error) for trial in self.trials)
        within = sum(trial.within for trial in self.trials)
        return f"{len(self.trials)} trials, {within} within the budget" + (f", {failed} refused" if failed else "")

    def __str__(self) -> str:
        from irc.report.report import render

        return f"{self.summary}\n{render(self.table())}"

    def plot(self, path: str | Path) -> None:
        """Draw the trials and the front, all objectives against the second, and write the picture.

        path : .png, .svg or .pdf

        Raises
        ------
        OptionError : matplotlib is not installed, or knows no such kind of picture.
        """
        from irc.searching.plot import plot

        plot(self, Path(path))

    def write(self) -> list[Path]:
        """Write the recipe of the best trial, if there is one, and the front, into the study's folder.

        Returns
        -------
        The files: none if no trial came to its end, no picture where matplotlib is not installed.
        """
        if not self.front:
            return []
        columns = self._columns()
        rows = [_row(trial, columns) for trial in self.front]
        text = io.StringIO()
        writer = csv.DictWriter(text, ["trial", *columns, "passes", "sha256"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        paths = [self._put(FRONT_CSV, text.getvalue()), self._put(FRONT_JSON, json.dumps(rows, indent=2) + "\n")]
        if self.met:
            self.best.recipe.write(self.folder / BEST)
            paths.insert(0, self.folder / BEST)
        from irc.searching.plot import can_plot

        if can_plot():
            self.plot(self.folder / FRONT_PLOT)
            paths.append(self.folder / FRONT_PLOT)
        return paths

    def _put(self, name: str, text: str) -> Path:
        with atomic_file(self.folder / name) as file:
            file.write(text.encode())
        return self.folder / name


def _row(trial: Trial, columns: Sequence[str]) -> dict[str, Any]:
    measures = {name: trial.measures[name] for name in columns}
    return {"trial": trial.number, **measures, "passes": trial.passes, "sha256": trial.sha256}


def _beats(one: tuple[float, ...], other: tuple[float, ...], earlier: bool) -> bool:
    """Whether `one` is as good in all and better in one; or the same and earlier."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and (one != other or earlier)


def turned(name: str, value: float, *, lower_is_better: bool) -> float:
    """A measure, turned so that less is better."""
    return -value if name == METRIC and not lower_is_better else value

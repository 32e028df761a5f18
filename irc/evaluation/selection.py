"""What `irc.select` found: the forms of every candidate, a verdict on each, and the best form that fits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from irc.backends.artifact import Artifact
from irc.evaluation.budget import QUANTITIES, over, spent
from irc.evaluation.comparison import json_number, number_text, printable
from irc.evaluation.measures import Measures
from irc.report.report import render

KINDS = ("fits", "compress", "too large", "too bad", "dominated", "failed")


@dataclass(frozen=True)
class Form:
    """A candidate as it is, or compressed.

    compression : the name of what was tried on it; empty for the candidate as it is
    passes : that as text of passes
    artifact : what they made; None for the candidate as it is
    quantized : whether anything of it is
    """

    candidate: str
    row: Measures
    compression: str = ""
    passes: str = ""
    artifact: Artifact | None = field(default=None, repr=False, compare=False)
    quantized: bool = False

    @property
    def name(self) -> str:
        """`b.onnx`, or `b.onnx, quantized`."""
        return f"{self.candidate}, {self.compression}" if self.compression else self.candidate


@dataclass(frozen=True)
class Verdict:
    """What to do with a candidate.

    kind : `fits` as it is; `compress`, for it fits then; `too large` even then; `too bad`, for it fits and its metric
        is below the floor; `dominated` by another; `failed`, for it could not be measured
    text : the same with reasons and numbers
    """

    candidate: str
    kind: str
    text: str


@dataclass(frozen=True)
class Selection:
    """The choice among candidates. `print` shows it.

    budget : what a model may cost
    forms : every candidate that could be measured, as it is and in each form that was tried
    verdicts : one a candidate, in the order given
    best : the form that fits with the highest metric, without one that with the most parameters; None if nothing fits
    floor : the least metric
    """

    budget: dict[str, float]
    forms: list[Form]
    verdicts: list[Verdict]
    best: Form | None
    floor: float | None = None

    @property
    def worth_compressing(self) -> list[str]:
        """The candidates that fit when compressed, and not as they are."""
        return [verdict.candidate for verdict in self.verdicts if verdict.kind == "compress"]

    @property
    def front(self) -> list[Form]:
        """The Pareto front: the forms that none beats in both metric and budgeted quantities; empty without metric."""
        scored = [form for form in self.forms if form.row.score is not None]
        return [form for form in scored if not any(dominates(other.row, form.row, self.budget) for other in scored)]

    def table(self) -> Table:
        """One row a form: metric, what it takes of the budget, whether it fits, whether it is on the front."""
        scored = any(form.row.score is not None for form in self.forms)
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("candidate", overflow="fold")
        for title in (*(["metric"] if scored else []), *map(_title, self.budget)):
            table.add_column(title, justify="right")
        table.add_column("fits")
        if scored:
            table.add_column("front")
        front = self.front
        for form in self.forms:
            cells = [printable(form.name)]
            if scored:
                cells.append("" if form.row.score is None else f"{form.row.score:.4f}")
            cells += [_cell(name, took) for name, took in spent(form.row, self.budget).items()]
            cells.append("yes" if not over(form.row, self.budget) else "no")
            table.add_row(*cells, *(["yes" if form in front else ""] if scored else []))
        return table

    def remarks(self) -> list[str]:
        """The verdicts, and the choice."""
        lines = [f"{verdict.candidate}: {verdict.text}" for verdict in self.verdicts]
        if self.best is None:
            return [*lines, "nothing fits"]
        why = "the most parameters of what fits" if self.best.row.score is None else "the highest metric of what fits"
        return [*lines, f"best: {self.best.name} ({why})"]

    def __str__(self) -> str:
        return "\n".join([render(self.table()), *self.remarks()])

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON takes it."""
        front = self.front
        return {
            "budget": self.budget,
            "floor": self.floor,
            "forms": [
                {
                    "candidate": form.candidate,
                    "compression": form.compression,
                    "passes": form.passes,
                    "metric": json_number(form.row.score),
                    **spent(form.row, self.budget),
                    "fits": not over(form.row, self.budget),
                    "front": form in front,
                }
                for form in self.forms
            ],
            "verdicts": [{"candidate": v.candidate, "kind": v.kind, "text": v.text} for v in self.verdicts],
            "best": None if self.best is None else self.best.name,
        }


def dominates(a: Measures, b: Measures, budget: Iterable[str]) -> bool:
    """Whether `a` is nowhere worse than `b`, and somewhere better: in metric, and in each quantity of the budget."""
    if a.score is None or b.score is None:
        return False
    pairs = [(-a.score, -b.score)]
    for name in budget:
        left, right = QUANTITIES[name][1](a), QUANTITIES[name][1](b)
        if left is None or right is None:
            return False
        pairs.append((left, right))
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


def best_of(forms: Sequence[Form]) -> Form | None:
    """The form with the highest metric, or, without, the most parameters; of equals the least bytes, then the first."""

    def rank(form: Form) -> tuple[float, float]:
        score = form.row.parameters if form.row.score is None else form.row.score
        return score, -form.row.file_bytes

    return max(forms, key=rank, default=None)


def _title(name: str) -> str:
    unit = QUANTITIES[name][0]
    return f"{name.replace('_', ' ')} {unit}" if unit in ("ms", "uJ") else name.replace("_", " ")


def _cell(name: str, took: float | None) -> str:
    return "" if took is None else number_text(took, ".3f" if QUANTITIES[name][0] in ("ms", "uJ") else ",.0f")

"""What an artifact takes and is worth, against what limits allow: a budget, and the floor of a metric.

    metric         what `evaluate` said last
    bytes, macs, latency, …      the quantities of `irc.evaluation.budget`, measured as `irc.compare` does
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

from irc.backends.artifact import Artifact
from irc.errors import BudgetError
from irc.evaluation.budget import QUANTITIES
from irc.evaluation.measures import check_timed, count, with_latency
from irc.evaluation.sizes import made_up_sample
from irc.evaluation.subject import of_artifact

METRIC = "metric"
MEASURES = (METRIC, *QUANTITIES)


@dataclass(frozen=True)
class Measured:
    """Of an artifact: the measures by name, None where nobody can say; the sha256 of what `save` writes."""

    values: dict[str, float | None]
    sha256: str


def measure(artifact: Artifact, names: Collection[str], dims: Mapping[str, int] | None = None) -> Measured:
    """The measures of these names.

    dims : sizes of symbolic dimensions; 1 for those that are not in it

    Raises
    ------
    OptionError : a latency on a target that cannot be timed here.
    """
    if "latency" in names:
        check_timed(artifact.target)
    subject = of_artifact(artifact, "the result")
    sample = partial(made_up_sample, subject.graph, dims or {}, other=1)
    row = count(subject, dims or {}, sample, None)
    if "latency" in names:
        (row,) = with_latency([row], [subject], [sample()])
    values = {name: QUANTITIES[name][1](row) if name != METRIC else _metric(artifact) for name in names}
    return Measured(values, subject.stored.sha256)


def _metric(artifact: Artifact) -> float | None:
    said = [row.metric for row in artifact.report.rows if row.metric is not None]
    return said[-1] if said else None


def excess(
    measured: Mapping[str, float | None], limits: Mapping[str, float], *, lower_is_better: bool
) -> dict[str, float]:
    """By which part of its limit each measure is over it; 0 and less is within, inf what is no number.

    A limit of the metric is the least that it may be, or the largest if lower is better.
    """
    found = {}
    for name, limit in limits.items():
        value = measured[name]
        if value is None or math.isnan(value):
            found[name] = math.inf
            continue
        over = limit - value if name == METRIC and not lower_is_better else value - limit
        found[name] = over / (abs(limit) or 1.0)
    return found


def check_limits(measured: Mapping[str, float | None], limits: Mapping[str, float], *, lower_is_better: bool) -> None:
    """BudgetError if what was measured is larger, slower or worse than the limits allow."""
    over = excess(measured, limits, lower_is_better=lower_is_better)
    missed = [said(name, measured[name], limits[name]) for name, part in over.items() if part > 0]
    if missed:
        raise BudgetError(
            f"the budget is missed: {'; '.join(missed)}; prune more, use fewer bits, or let `irc search` find out"
        )


def said(name: str, value: float | None, limit: float) -> str:
    """A measure against its limit, in words."""
    if value is None or not math.isfinite(value):
        return f"{name} is {'not known' if value is None else value}, and the limit is {shown(limit)}"
    off = abs(value - limit)
    more = f" ({off / abs(limit):.1%})" if limit else ""
    return f"{name} is {shown(value)}, {shown(off)}{more} off the limit of {shown(limit)}"


def shown(value: float) -> str:
    """A measure as people read it."""
    return f"{int(value):,}" if float(value).is_integer() else f"{value:.4g}"

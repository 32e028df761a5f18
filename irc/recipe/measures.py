"""How large, fast and good an artifact is, and what limits allow.

    bytes          of all that `save` writes          parameters, macs   as the report counts them
    weight_bytes   of the constants in it             peak_memory        bytes of activations at one time
    latency        milliseconds of one inference on the target, where that can be timed
    metric         what `evaluate` said last
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from irc.analysis.cost import cost
from irc.backends.artifact import Artifact
from irc.errors import BudgetError, OptionError

SIZES = ("bytes", "weight_bytes", "parameters", "macs", "peak_memory", "latency")  # of all, less is better
METRIC = "metric"
MEASURES = (METRIC, *SIZES)


@dataclass(frozen=True)
class Written:
    """What `save` writes: how many bytes, and their sha256 (of a folder, of the names and bytes of its files)."""

    bytes: int
    sha256: str


def written(artifact: Artifact) -> Written:
    """Save the artifact where nobody looks, to see what comes."""
    with TemporaryDirectory(prefix="irc-") as folder:
        path = Path(folder) / ("model" if artifact.target.kind == "c" else "model.onnx")
        artifact.save(path)
        files = sorted(p for p in Path(folder).rglob("*") if p.is_file())
        digest = hashlib.sha256()
        for file in files:
            if len(files) > 1:
                digest.update(f"{file.relative_to(folder).as_posix()}\0{file.stat().st_size}\0".encode())
            with file.open("rb") as opened:
                while block := opened.read(1 << 20):
                    digest.update(block)
        return Written(sum(file.stat().st_size for file in files), digest.hexdigest())


def measure(artifact: Artifact, names: Iterable[str], made: Written | None = None) -> dict[str, float]:
    """The measures of these names; `metric` is left out where nothing was evaluated.

    made : what `written` said, if it was asked before

    Raises
    ------
    OptionError : a latency on a target that cannot be timed here.
    """
    costs = cost(artifact.graph)
    found: dict[str, float] = {}
    for name in names:
        if name == "bytes":
            found[name] = (made or written(artifact)).bytes
        elif name == "weight_bytes":
            found[name] = costs.bytes
        elif name == "latency":
            found[name] = _latency(artifact)
        elif name == METRIC:
            said = [row.metric for row in artifact.report.rows if row.metric is not None]
            found |= {name: said[-1]} if said else {}
        else:
            found[name] = getattr(costs, name)
    return found


def _latency(artifact: Artifact) -> float:
    target = artifact.target
    if target.latency is None:
        raise OptionError(f"target '{target.name}' cannot be timed here; leave latency out, macs will do")
    return target.latency(artifact.graph, target)


def excess(measured: Mapping[str, float], limits: Mapping[str, float], *, lower_is_better: bool) -> dict[str, float]:
    """By which part of its limit each measure is over it; 0 and less is within.

    A limit of the metric is the least that it may be, or the largest if lower is better.
    """
    found = {}
    for name, limit in limits.items():
        over = measured[name] - limit
        found[name] = (-over if name == METRIC and not lower_is_better else over) / (abs(limit) or 1.0)
    return found


def check_limits(artifact: Artifact, limits: Mapping[str, float], *, lower_is_better: bool = False) -> None:
    """BudgetError if the artifact is larger, slower or worse than the limits allow."""
    if not limits:
        return
    measured = measure(artifact, limits)
    over = excess(measured, limits, lower_is_better=lower_is_better)
    missed = [said(name, measured[name], limits[name]) for name, part in over.items() if part > 0]
    if missed:
        raise BudgetError(
            f"the budget is missed: {'; '.join(missed)}; prune more, use fewer bits, or let `irc search` find out"
        )


def said(name: str, value: float, limit: float) -> str:
    """A measure against its limit, in words."""
    off = abs(value - limit)
    more = f" ({off / abs(limit):.1%})" if limit else ""
    return f"{name} is {shown(value)}, {shown(off)}{more} off the limit of {shown(limit)}"


def shown(value: float) -> str:
    """A measure as people read it."""
    return f"{int(value):,}" if float(value).is_integer() else f"{value:.4g}"

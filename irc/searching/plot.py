"""The picture of a search: every objective against the second one, the front as a line, the budget as an edge."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irc.atomic import atomic_file
from irc.errors import OptionError

if TYPE_CHECKING:
    from irc.searching.result import SearchResult

_FORMATS = (".png", ".svg", ".pdf")


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def plot(result: SearchResult, path: Path) -> None:
    """Draw the trials of a search and write the picture; see `SearchResult.plot`."""
    if not can_plot():
        raise OptionError("a plot needs matplotlib: pip install 'irc-compiler[plot]'")
    if path.suffix not in _FORMATS:
        raise OptionError(f"'{path}' is no kind of picture that is written; name it {', '.join(_FORMATS)}")
    from matplotlib.figure import Figure

    across = result.objectives[1] if len(result.objectives) > 1 else "bytes"
    up = [name for name in result.objectives if name != across] or ["macs"]
    figure = Figure(figsize=(6.4, 4.0 * len(up)), layout="constrained")
    for axes, name in zip(figure.subplots(len(up), squeeze=False)[:, 0], up, strict=True):
        _draw(axes, result, across, name)
    made = io.BytesIO()
    figure.savefig(made, format=path.suffix[1:], dpi=150)
    with atomic_file(path) as file:
        file.write(made.getvalue())


def _draw(axes: Any, result: SearchResult, across: str, up: str) -> None:
    ended = [trial for trial in result.trials if not trial.error]
    for within, color, label in ((False, "0.75", "over the budget"), (True, "tab:blue", "within the budget")):
        points = [(t.measures[across], t.measures[up]) for t in ended if t.within is within]
        if points:
            axes.scatter(*zip(*points, strict=True), s=18, color=color, label=label)
    front = sorted((t.measures[across], t.measures[up]) for t in result.front)
    if front:
        axes.plot(*zip(*front, strict=True), color="tab:orange", marker="o", fillstyle="none", label="front")
    for name, line in ((across, axes.axvline), (up, axes.axhline)):
        if name in result.limits:
            line(result.limits[name], color="0.4", linestyle="--", linewidth=1)
    axes.set_xlabel(_unit(across))
    axes.set_ylabel(_unit(up))
    axes.legend(fontsize="small")


def _unit(name: str) -> str:
    return f"{name} (ms)" if name == "latency" else name.replace("_", " ")

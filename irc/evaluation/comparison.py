"""Models side by side: the measures of each, those of the second and later ones over the first's, as table and JSON."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table

from irc.analysis.energy import EnergyCosts
from irc.evaluation.measures import Measures
from irc.report.report import render

Number = Callable[[Measures], float | None]


@dataclass(frozen=True)
class _Line:
    """A line of the table: how a number is found and shown, and whether its ratio to the first says anything."""

    title: str
    of: Number
    format: str = ",.0f"
    ratio: bool = True


_QUALITY = (
    _Line("metric", lambda row: row.metric, ".4f"),
    _Line("top-1 accuracy", lambda row: row.quality.accuracy, ".4f"),
    _Line("top-1 agreement", lambda row: row.quality.agreement, ".4f", False),
    _Line("SQNR dB", lambda row: row.quality.sqnr_db, ".1f", False),
    _Line("largest error", lambda row: row.quality.max_abs_error, ".4g", False),
)
_SIZE = (
    _Line("file bytes", lambda row: row.file_bytes),
    _Line("weight bytes", lambda row: row.weight_bytes),
    _Line("nodes", lambda row: row.nodes),
    _Line("parameters", lambda row: row.parameters),
    _Line("MACs", lambda row: row.all_macs),
)
_WORK = (
    _Line("FLOPs", lambda row: row.flops),
    _Line("peak memory", lambda row: row.peak_memory),
    _Line("latency ms, median", lambda row: row.latency_ms, ".3f"),
    _Line("latency ms, least", lambda row: row.least_latency_ms, ".3f", False),
    _Line("energy uJ, estimate", lambda row: row.energy_uj, ",.2f"),
    _Line("  arithmetic", lambda row: None if row.energy is None else row.energy.arithmetic, ",.2f"),
    _Line("  weights", lambda row: None if row.energy is None else row.energy.weights, ",.2f"),
    _Line("  activations", lambda row: None if row.energy is None else row.energy.activations, ",.2f"),
)


@dataclass(frozen=True)
class Comparison:
    """What `irc.compare` found. `print` shows it; `rows` are the data, what the others are held against first.

    samples : how many samples of data the outputs are of, 0 without data
    dims : the sizes of symbolic dimensions that are counted and timed
    costs : what the energy is estimated with
    """

    rows: list[Measures]
    samples: int = 0
    dims: dict[str, int] = field(default_factory=dict)
    costs: EnergyCosts = field(default_factory=EnergyCosts)

    def compression(self, row: Measures) -> float:
        """The compression ratio: bytes of the first model's file over this one's."""
        return self.rows[0].file_bytes / row.file_bytes

    def table(self) -> Table:
        """One column a model, and behind each but the first its numbers over the first one's."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("")
        for index, row in enumerate(self.rows):
            table.add_column(printable(row.name), justify="right", overflow="fold")
            if index:
                table.add_column(f"{index + 1} / 1", justify="right")
        for line in self._lines():
            cells = self._cells(line)
            if any(cells):
                table.add_row(line.title, *cells)
        return table

    def _lines(self) -> list[_Line]:
        widths = dict.fromkeys(width for row in self.rows for width in row.macs)
        by_width = [_Line(f"  {width}", lambda row, width=width: row.macs.get(width, 0)) for width in widths]  # type: ignore[misc]  # of the default
        compression = _Line("compression ratio", self.compression, ".2f", False)
        return [*_QUALITY, _SIZE[0], compression, *_SIZE[1:], *by_width, *_WORK]

    def _cells(self, line: _Line) -> list[str]:
        numbers = [line.of(row) for row in self.rows]
        cells = []
        for index, number in enumerate(numbers):
            cells.append("" if number is None else number_text(number, line.format, line.title))
            if index:
                cells.append(self._ratio(line, index, number, numbers[0]))
        return cells

    def _ratio(self, line: _Line, index: int, number: float | None, first: float | None) -> str:
        measured = self.rows[index].latency_ratio
        if line.title.startswith("latency") and line.ratio and measured is not None:
            return f"{measured:.3f}"
        if not line.ratio or number is None or not first or not math.isfinite(number / first):
            return ""
        return f"{number / first:.3f}"

    def remarks(self) -> list[str]:
        """What the table's numbers are of, and what could not be told."""
        lines = []
        if self.samples:
            plural = "s" * (self.samples != 1)
            lines.append(f"outputs: {self.samples} sample{plural}, held against '{self.rows[0].name}'")
        if self.dims:
            lines.append(f"sizes: {', '.join(f'{name}={size}' for name, size in self.dims.items())}")
        if any(row.energy for row in self.rows):
            lines.append(f"energy: an estimate, costs of {self.costs.source}")
        return lines + [f"{row.name}: {note}" for row in self.rows for note in (*row.notes, *row.quality.notes)]

    def __str__(self) -> str:
        return "\n".join([render(self.table()), *self.remarks()])

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON takes it; a number that is none is text: `exact`, `no signal`, `nan`, `inf`."""
        return {
            "models": [self._row(row) for row in self.rows],
            "samples": self.samples,
            "dims": dict(self.dims),
            "energy_costs": asdict(self.costs),
        }

    def _row(self, row: Measures) -> dict[str, Any]:
        quality = asdict(row.quality)
        notes = [*row.notes, *quality.pop("notes")]
        whole = {**asdict(row), **quality, "compression_ratio": self.compression(row), "notes": notes}
        del whole["quality"]
        whole |= {"flops": row.flops, "energy_uj": row.energy_uj}
        return {name: json_number(value, name) for name, value in whole.items()}


def json_number(value: Any, name: str = "") -> Any:
    """A number as JSON takes it: as text if it is not finite."""
    return number_text(value, "", name) if isinstance(value, float) and not math.isfinite(value) else value


def number_text(number: float, format: str, name: str = "") -> str:
    """A number as text; an infinite SQNR in words."""
    if math.isinf(number) and name.lower().startswith("sqnr"):
        return "exact" if number > 0 else "no signal"
    return f"{number:{format}}"


def printable(name: str) -> str:
    """The name of a model with escapes for what would break a line."""
    return name if name.isprintable() else repr(name)[1:-1]

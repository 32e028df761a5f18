"""The report of a compilation: the ledger as a table, and what else there is to say."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.table import Table

from irc.report.ledger import Ledger, Row

_GROUPS_SHOWN = 6
_DECLINED_SHOWN = 3  # reasons a pass; the ledger holds them all


@dataclass
class Report:
    """What happened to a model. `print(report)` shows it; `report.rows` and `report.ledger` are the data."""

    ledger: Ledger

    @property
    def rows(self) -> list[Row]:
        """One row a pass, the original model first."""
        return self.ledger.rows

    def table(self) -> Table:
        """One row a pass: nodes, parameters, bytes, MACs, peak activation memory, error, metric, time."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("pass", overflow="fold")
        for title in ("nodes", "parameters", "bytes", "MACs", "peak memory", "SQNR dB"):
            table.add_column(title, justify="right", no_wrap=True)
        measured = any(row.metric is not None for row in self.rows)
        if measured:
            table.add_column("metric", justify="right")
        table.add_column("seconds", justify="right")
        for row in self.rows:
            cells = [row.name, *_cost_cells(row)]
            if measured:
                cells.append("" if row.metric is None else f"{row.metric:.4f}")
            table.add_row(*cells, f"{row.seconds:.2f}")
        return table

    def remarks(self) -> list[str]:
        """The notes of the passes, and the sites they declined, counted by reason."""
        lines = []
        for row in self.rows:
            lines += [f"{row.name}: {note}" for note in row.notes]
            lines += [f"{row.name}: {text}" for text in _pruned(row)]
            reasons = Counter(site.reason for site in row.declined).most_common()
            for reason, count in reasons[:_DECLINED_SHOWN]:
                first = next(s for s in row.declined if s.reason == reason)
                more = f" and {count - 1} more" if count > 1 else ""
                lines.append(f"{row.name}: left {first.op} '{first.node}'{more}: {reason}")
            if len(reasons) > _DECLINED_SHOWN:
                lines.append(f"{row.name}: {len(reasons) - _DECLINED_SHOWN} more reasons in the ledger")
        return lines

    def __str__(self) -> str:
        return "\n".join([render(self.table()), *self.remarks()])


def _cost_cells(row: Row) -> list[str]:
    cost = row.cost
    if cost is None:
        return [""] * 6
    sqnr = "" if row.sqnr is None else "exact" if row.sqnr == float("inf") else f"{row.sqnr:.1f}"
    return [
        f"{cost.nodes:,}",
        f"{cost.parameters:,}",
        f"{cost.bytes:,}",
        f"{cost.macs:,}",
        f"{cost.peak_memory:,}",
        sqnr,
    ]


def render(what: RenderableType, width: int = 160) -> str:
    """A rich renderable as plain text."""
    buffer = io.StringIO()
    # names are text, not markup: `skip=[head]` must not vanish
    Console(file=buffer, width=width, color_system=None, markup=False, emoji=False).print(what)
    return "\n".join(line.rstrip() for line in buffer.getvalue().rstrip().splitlines())


def _pruned(row: Row) -> list[str]:
    """The groups of channels, those that lost most first."""
    held = sorted(row.groups, key=lambda group: group.after / group.before)
    lines = [
        f"{group.kind}s of '{group.name}': {group.after} of {group.before} stay ({group.reason})"
        for group in held[:_GROUPS_SHOWN]
    ]
    return [*lines, f"{len(held) - _GROUPS_SHOWN} more groups in the ledger"] if len(held) > _GROUPS_SHOWN else lines

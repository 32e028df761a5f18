"""The benchmark's figures as tables: for the terminal, and in Markdown for the README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isinf

from bench_models import BenchModel
from bench_run import Result, best_peer, speedup

Row = dict[str, str]


def rows(model: BenchModel, results: Mapping[str, Result]) -> list[Row]:
    """One row a peer: time, how much faster than the best peer, accuracy, size, loading, memory, precision."""
    best = best_peer(results)
    return [
        {"": name}
        | _times(result, speedup(result.timed, results[best].timed) if best else 1.0)
        | {"GOP/s": f"{2e-6 * model.macs / result.timed.least:.0f}"}
        | {key: _decimals(value, key) for key, value in result.accuracy.items()}
        | _deployment(result)
        | {"says": ", ".join(f"{key} {value}" for key, value in result.facts.items())}
        for name, result in results.items()
    ]


def terminal(table: Sequence[Row]) -> str:
    """Columns padded with spaces: the first and the last to the left, numbers to the right."""
    columns = list(table[0])
    lines = [columns, *([row[column] for column in columns] for row in table)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    last = len(columns) - 1
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in (0, last) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def markdown(table: Sequence[Row], title: str) -> str:
    """A Markdown table whose first column is headed by the title."""
    columns = list(table[0])
    heading = [title, *columns[1:]]
    rule = ["---", *("---:" for _ in columns[1:-1]), "---"]
    lines = [heading, rule, *([row[column] for column in columns] for row in table)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _times(result: Result, faster: float) -> Row:
    timed = result.timed
    return {
        "min ms": f"{timed.least:.2f}",
        "median": f"{timed.median:.2f}",
        "CPU ms": f"{timed.median_cpu:.2f}",
        "x best peer": f"{faster:.2f}",
    }


def _deployment(result: Result) -> Row:
    start = result.start
    return {
        "MB": f"{result.prepared.deployed / 1e6:.2f}",
        "import ms": f"{start['import_ms']:.0f}",
        "load ms": f"{start['load_ms']:.0f}",
        "1st ms": f"{start['first_ms']:.0f}",
        "MiB": f"{start['peak_bytes'] / 2**20:.0f}",
    }


def _decimals(value: float, key: str) -> str:
    if isinf(value):
        return "equal" if value > 0 else "-inf"
    return f"{value:.{4 if key == 'cosine' else 3 if key == 'agree' else 1}f}"

"""The benchmark's figures as tables: for the terminal, and in Markdown for the README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isinf

from bench_accuracy import score
from bench_models import BenchModel
from bench_run import OURS, Result, best_peer, speedup

Row = dict[str, str]

FAMILIES = {
    "onnxruntime float32, ms": ("ort-fp32",),
    "onnxruntime int8, ms": ("ort-u8s8", "ort-u8s7", "ort-dynamic"),
    "OpenVINO default, ms": ("ov-default",),
    "OpenVINO int8, ms": ("ov-int8", "ov-qdq", "ov-qdq-s7"),
}
FLOAT_PEERS = ("ort-fp32", "ov-default")
INT8_PEERS = tuple(name for names in FAMILIES.values() for name in names if name not in FLOAT_PEERS)


def rows(model: BenchModel, results: Mapping[str, Result], limit: float) -> list[Row]:
    """One row a peer: time, how much faster than the best peer, accuracy, size, loading, memory, precision.

    limit : GOP/s of int8 that the cores can do at most
    """
    best = best_peer(results)
    return [
        {"": name}
        | _times(result, speedup(result.timed, results[best].timed) if best else 1.0)
        | _speed(2e-6 * model.macs / result.timed.least, limit)
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


def summary(model: BenchModel, results: Mapping[str, Result], threads: int) -> Row:
    """A model and a number of threads in one row: the fastest of each family of peers, irc, and their accuracy."""
    best = best_peer(results)
    row = {"": f"{model.name}, {threads} thread{'s' if threads > 1 else ''}"}
    for title, names in FAMILIES.items():
        found = [results[name].timed.least for name in names if name in results]
        row[title] = f"{min(found):.2f}" if found else ""
    ours = next((results[name] for name in OURS if name in results), None)
    exact = max((score(results[name].accuracy) for name in INT8_PEERS if name in results), default=None)
    row["irc, ms"] = f"{ours.timed.least:.2f}" if ours else ""
    row["times as fast as the best"] = f"{speedup(ours.timed, results[best].timed):.2f}" if ours and best else ""
    row["dB, best int8 peer"] = "" if exact is None else f"{exact:.1f}"
    row["dB, irc"] = f"{score(ours.accuracy):.1f}" if ours else ""
    return row


def _speed(gops: float, limit: float) -> Row:
    return {"GOP/s": f"{gops:.0f}", "of limit": f"{gops / limit:.0%}"}


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

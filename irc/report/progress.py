"""Progress of long work: a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Progress = Callable[[Iterable[Any], str, int | None], Iterable[Any]]


def silent(items: Iterable[Any], title: str, count: int | None) -> Iterable[Any]:
    """No progress shown."""
    return items


def bar(items: Iterable[Any], title: str, count: int | None) -> Iterator[Any]:
    """A progress bar on standard error when that is a terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, f"{title:<24}", total=count, console=Console(stderr=True), transient=True)

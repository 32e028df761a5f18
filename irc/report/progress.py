"""Progress of long work: a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Progress = Callable[[Iterable[Any], str, int | None], Iterable[Any]]


class LiveTitle(str):
    """A title of work that has something to say as it goes on.

    status : what a bar shows beside the title, as of now
    """

    status: str = ""


def silent(items: Iterable[Any], title: str, count: int | None) -> Iterable[Any]:
    """No progress shown."""
    return items


def bar(items: Iterable[Any], title: str, count: int | None) -> Iterator[Any]:
    """A progress bar on standard error when that is a terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import Progress as Bars

    with Bars(console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(f"{title:<24}", total=count)
        for item in items:
            yield item
            status = getattr(title, "status", "")
            shown.update(task, advance=1, description=f"{title:<24}" + (f" {status}" if status else ""))

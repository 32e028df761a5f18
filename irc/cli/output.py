"""What the commands print and where they write: checks before the work starts, plain text when nobody looks at it."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from irc.errors import OutputError

if TYPE_CHECKING:
    from rich.table import Table

_WIDE = 10_000  # columns; a pipe has no edge


def check_output(path: Path, *, reads: str = "") -> None:
    """Try whether a file can be written there, so that minutes of work are not lost at their end.

    reads : what the command reads, which must not be overwritten

    Raises
    ------
    OutputError : it cannot.
    """
    try:
        if path.exists() and not path.is_file():
            raise OutputError(f"'{path}' is {'a folder' if path.is_dir() else 'no file'}; name a file to write")
        if not path.parent.is_dir():
            raise OutputError(f"'{path}' cannot be written: there is no folder '{path.parent}'; make it first")
        if reads and path.exists() and Path(reads).exists() and path.samefile(reads):
            raise OutputError(f"'{path}' is what the command reads; name another file to write")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        said = error.strerror or str(error)
        raise OutputError(f"'{path}' cannot be written: {said}; choose another output path") from None


def check_folder(path: Path, *, marker: str) -> None:
    """Try whether a folder can be made there.

    marker : a file that tells a folder which may be replaced

    Raises
    ------
    OutputError : it cannot, or something else has its name.
    """
    from irc.atomic import atomic_folder

    with contextlib.suppress(_Tried), atomic_folder(path, marker=marker):
        raise _Tried


class _Tried(Exception):  # noqa: N818  # it is no error
    """Leaves atomic_folder before anything appears."""


def make_table(*titles: str, left: Sequence[str] = ()) -> Table:
    """A table without lines; columns are flush right, but for the first and those in `left`."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, title in enumerate(titles):
        flush_left = index == 0 or title in left
        table.add_column(title, justify="left" if flush_left else "right", overflow="fold", no_wrap=not flush_left)
    return table


def add_row(table: Table, *cells: str) -> None:
    """Add a row; the cells are plain text."""
    table.add_row(*map(printable, cells))


def print_table(table: Table) -> None:
    """Print a table: styled to the width of a terminal, as plain text of any width elsewhere."""
    from rich.console import Console

    if sys.stdout is not None and sys.stdout.isatty():
        Console(markup=False, emoji=False, highlight=False).print(table)
        return
    from irc.report.report import render

    print_text(render(table, _WIDE))


def printable(text: str) -> str:
    """The text with escapes for what would steer a terminal or break a line; names in models can hold anything."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def print_text(text: str) -> None:
    """Print lines as they are; characters that would steer a terminal are shown as escapes."""
    if sys.stdout is None:
        return
    sys.stdout.write("\n".join(printable(line) for line in text.split("\n")) + "\n")


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Print `title   text` lines; a title stands only where it changes."""
    width = max(len(title) for title, _ in fields)
    before = ""
    lines = []
    for title, text in fields:
        lines.append(f"{'' if title == before else title:<{width}}  {text}".rstrip())
        before = title
    print_text("\n".join(lines))

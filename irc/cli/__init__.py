"""The command line, `irc`: one file a command, nothing heavy imported before a command needs it.

exit code   0 done   1 irc itself failed   2 refused, and nothing written   130 interrupted   141 nobody reads on
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import typer

from irc.errors import IrcError

_TRACEBACK = "--traceback"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    arguments : those behind the program's name; those of the process if not given
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # of libraries, to their authors; `python -W` brings them back
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # closed, or no text file
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # see above
    with contextlib.suppress(ValueError):  # only the main thread may
        signal.signal(signal.SIGTERM, _terminate)
    code = _guarded([a for a in given if a != _TRACEBACK], _TRACEBACK in given)
    sys.exit(code)


def _terminate(number: int, frame: FrameType | None) -> None:
    """Leave as on an interrupt, so that temporary files go."""
    raise SystemExit(128 + number)


def _guarded(arguments: list[str], traceback: bool) -> int:
    """Run a command; the exit code, after one line on standard error for whatever goes wrong."""
    try:
        _invoke(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except typer.Exit as done:
        return done.exit_code
    except (KeyboardInterrupt, typer.Abort) as stop:
        return _say(str(stop) or "interrupted", 130)  # a training says how to go on
    except BrokenPipeError:
        return _close_output(141)
    except Exception as error:
        if traceback:
            import traceback as module

            module.print_exception(error)
        return _explain(error)
    return 0


def _invoke(arguments: list[str]) -> None:
    from irc.cli.app import app

    command = typer.main.get_command(app)
    with command.make_context("irc", arguments) as context:
        command.invoke(context)


def _explain(error: Exception) -> int:
    if isinstance(error, IrcError):
        return _say(str(error), 2)
    usage = getattr(error, "format_message", None)  # typer's usage errors; their class has moved between its versions
    if usage is not None:
        return _say(f"{usage()} `irc --help` shows what there is", 2)
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:  # from wherever the path is first looked at
        return _say(f"the name '{str(error.filename)[:40]}…' is too long for a file", 2)
    if isinstance(error, OSError) and error.filename is None:
        return _say(f"cannot write the output: {error.strerror or error}", _close_output(2))
    return _say(
        f"irc failed, which is a bug: {type(error).__name__}: {error}; `{_TRACEBACK}` shows where, please report it", 1
    )


def _say(text: str, code: int) -> int:
    """One line on standard error, whatever `text` holds."""
    with contextlib.suppress(OSError, ValueError):
        line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
        sys.stderr.write(f"irc: error: {line}\n" if code != 130 else f"irc: {line}\n")
        sys.stderr.flush()
    return code


def _close_output(code: int) -> int:
    """Send what is still buffered nowhere, or Python complains of it on its way out."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code

"""The user's code: data, metrics, losses, optimizers. What goes wrong in it is told as the user's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from irc.errors import IrcError


@contextmanager
def user_code(failed: str, refusal: type[IrcError]) -> Iterator[None]:
    """Say what failed, and raise `refusal`, for whatever is raised inside; an IrcError says it itself."""
    try:
        yield
    except (IrcError, StopIteration):
        raise
    except Exception as error:  # the user's code may raise anything
        raise refusal(f"{failed}: {type(error).__name__}: {error}") from error

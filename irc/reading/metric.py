"""The user's metric: `evaluate`, as a function or as package.module:function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from irc.errors import DataError, OptionError
from irc.names import resolve
from irc.user_code import user_code

if TYPE_CHECKING:
    from irc.passes.context import Evaluate, Run


@dataclass(frozen=True)
class Metric:
    """A metric; what goes wrong in it is told as the user's.

    called : what to call it in errors
    """

    function: Evaluate
    called: str = "evaluate"

    def __call__(self, run: Run) -> float:
        """What it says of a model.

        Raises
        ------
        DataError : it fails, or returns no number.
        """
        with user_code(f"{self.called} failed", DataError):
            made: Any = self.function(run)
        try:
            return float(made)
        except (TypeError, ValueError):
            raise DataError(f"{self.called} returned a {type(made).__name__}, not a number") from None


def open_metric(text: str) -> Metric | None:
    """The metric that the text names; None if it names none.

    Raises
    ------
    OptionError : there is no such function.
    """
    return Metric(resolve(text, OptionError), f"'{text}'") if text else None

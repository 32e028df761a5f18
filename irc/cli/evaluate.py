"""--evaluate, --labels and --energy on the command line: what models are held against."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from irc.errors import DataError, IrcError, OptionError
from irc.names import resolve

if TYPE_CHECKING:
    from irc.passes.context import Evaluate

HELP = "package.module:function that is called with a function that runs the model on one input, and returns a number."
LABELS_HELP = "The array of the .npz file that holds the classes, one a sample: prints top-1 accuracy."
ENERGY_HELP = "A TOML file with what arithmetic and memory cost in pJ; by default the numbers of Horowitz, ISSCC 2014."


def open_evaluate(text: str) -> Evaluate | None:
    """The metric that the text names; None if it names none.

    What goes wrong in the user's function is told as the user's.

    Raises
    ------
    OptionError : there is no such function.
    """
    if not text:
        return None
    function: Callable[..., Any] = resolve(text, OptionError)

    def evaluate(run: Callable[[Any], Any]) -> float:
        try:
            made = function(run)
        except IrcError:
            raise
        except Exception as error:  # whatever the user's function raises
            raise DataError(f"'{text}' failed: {type(error).__name__}: {error}; `--traceback` shows where") from error
        try:
            return float(made)
        except (TypeError, ValueError):
            raise DataError(f"'{text}' returned a {type(made).__name__}, not a number") from None

    return evaluate


def labelled(data: Iterable[Any], key: str) -> tuple[Iterable[Any], Iterable[Any]]:
    """The samples without the array of labels, and the labels.

    Raises
    ------
    DataError : the samples have no such array.
    """
    return _Without(data, key), _Only(data, key)


class _Without:
    """Samples without one of their arrays."""

    def __init__(self, data: Iterable[Any], key: str) -> None:
        self.data = data
        self.key = key

    def __iter__(self) -> Iterator[Any]:
        for sample in self.data:
            _check(sample, self.key)
            yield {name: array for name, array in sample.items() if name != self.key}


class _Only:
    """One array of the samples."""

    def __init__(self, data: Iterable[Any], key: str) -> None:
        self.data = data
        self.key = key

    def __iter__(self) -> Iterator[Any]:
        for sample in self.data:
            _check(sample, self.key)
            yield sample[self.key]


def _check(sample: Any, key: str) -> None:
    if not isinstance(sample, dict):
        raise DataError(f"--labels '{key}' is for data of named arrays, as an .npz file holds; give --evaluate instead")
    if key not in sample:
        raise DataError(f"--labels: the data has no array '{key}'; it has {', '.join(sample)}")

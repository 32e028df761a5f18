"""Samples by name: an .npz file, a folder of images, or a function that gives them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irc.errors import DataError, OptionError
from irc.names import call, is_function_name
from irc.user_code import user_code

if TYPE_CHECKING:
    from irc.report.progress import Progress


def open_data(text: str, preprocess: str = "") -> Iterable[Any]:
    """The samples that DATA names, as a stream.

    Raises
    ------
    DataError : there is no such data, or it cannot be read.
    OptionError : `preprocess` does not describe a preprocessing, or there is no image to preprocess.
    """
    from irc.reading.images import ImageFolder, parse_preprocess

    how = parse_preprocess(preprocess) if preprocess else None
    path = Path(text)
    if path.is_dir():
        if how is None:
            raise OptionError(f"'{text}' is a folder of images; say how they become inputs, as preprocess size=224,…")
        return ImageFolder(path, how)
    if how is not None:
        raise OptionError(f"preprocess is for a folder of images, which '{text}' is not")
    if is_function_name(text):
        made = call(text, DataError)
        if isinstance(made, str | bytes) or not isinstance(made, Iterable):
            raise DataError(f"'{text}' returned a {type(made).__name__}, not an iterable of samples")
        return _once(text, iter(made)) if iter(made) is made else _Guarded(text, made)
    if path.suffix != ".npz" and path.exists():
        raise DataError(f"'{text}' is neither an .npz file, nor a folder of images, nor package.module:function")
    from irc.reading.npz import NpzSamples

    return NpzSamples(path)


class _Guarded:
    """What a user's function gave, when it can be iterated again and again."""

    def __init__(self, text: str, source: Iterable[Any]) -> None:
        self.text = text
        self.source = source

    def __iter__(self) -> Iterator[Any]:
        return _once(self.text, iter(self.source))


def _once(text: str, samples: Iterator[Any]) -> Iterator[Any]:
    """The samples; what goes wrong in the user's code is told as the user's, and is no crash of a pass."""
    number = 0
    while True:
        try:
            with user_code(f"'{text}' failed at sample {number}", DataError):
                sample = next(samples)
        except StopIteration:
            return
        yield sample
        number += 1


def progress_over(data: Iterable[Any] | None) -> Progress:
    """A progress bar that knows how many samples there are, where the data says so."""
    from irc.report.progress import bar

    source = data.source if isinstance(data, _Guarded) else data
    known = len(source) if isinstance(source, Sized) else None
    return lambda items, title, count: bar(items, title, known if count is None else count)

"""DATA on the command line: an .npz file, a folder of images, or a function that gives the samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irc.errors import DataError, IrcError, OptionError
from irc.names import call, is_function_name

if TYPE_CHECKING:
    from irc.report.progress import Progress

HELP = (
    "An .npz file (arrays named as the inputs, samples stacked along a new first axis), a folder of images with "
    "--preprocess, or package.module:function giving an iterable of samples."
)
PREPROCESS_HELP = (
    "How an image becomes an input: size=224,crop=0.875,mean=127,std=128,layout=nchw; also color=rgb|bgr|gray, "
    "resample=bicubic|bilinear|nearest, dtype=float32|uint8. Mean and std are in pixels (0 to 255), one number or one "
    "for each channel (123.7:116.3:103.5); crop is the middle part that is used."
)


def open_data(text: str, preprocess: str = "") -> Iterable[Any]:
    """The samples that DATA names, as a stream.

    Raises
    ------
    DataError : there is no such data, or it cannot be read.
    OptionError : `preprocess` does not describe a preprocessing, or there is no image to preprocess.
    """
    from irc.cli.images import ImageFolder, parse_preprocess

    how = parse_preprocess(preprocess) if preprocess else None
    path = Path(text)
    if path.is_dir():
        if how is None:
            raise OptionError(f"'{text}' is a folder of images; say how they become inputs, --preprocess size=224,…")
        return ImageFolder(path, how)
    if how is not None:
        raise OptionError(f"--preprocess is for a folder of images, which '{text}' is not")
    if is_function_name(text):
        made = call(text, DataError)
        if isinstance(made, str | bytes) or not isinstance(made, Iterable):
            raise DataError(f"'{text}' returned a {type(made).__name__}, not an iterable of samples")
        return _once(text, iter(made)) if iter(made) is made else _Guarded(text, made)
    if path.suffix != ".npz" and path.exists():
        raise DataError(f"'{text}' is neither an .npz file, nor a folder of images, nor package.module:function")
    from irc.cli.npz import NpzSamples

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
            sample = next(samples)
        except StopIteration:
            return
        except IrcError:
            raise
        except Exception as error:  # whatever the user's iterable raises
            raise DataError(f"'{text}' failed at sample {number}: {type(error).__name__}: {error}") from error
        yield sample
        number += 1


def progress_over(data: Iterable[Any] | None) -> Progress:
    """A progress bar that knows how many samples there are, where the data says so."""
    from irc.report.progress import bar

    source = data.source if isinstance(data, _Guarded) else data
    known = len(source) if isinstance(source, Sized) else None
    return lambda items, title, count: bar(items, title, known if count is None else count)

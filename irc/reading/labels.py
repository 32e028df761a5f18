"""Labels that lie among the arrays of the samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from irc.errors import DataError


def labelled(data: Iterable[Any], key: str) -> tuple[Iterable[Any], Iterable[Any]]:
    """The samples without the array of labels, and the labels; DataError from both where there is no such array.

    data : samples that can be iterated again and again, for either stream reads them

    Raises
    ------
    DataError : they can be iterated once only.
    """
    if isinstance(data, Iterator):
        raise DataError(f"labels '{key}': the samples can be read once only; give a list of them, or an .npz file")

    def others(sample: dict[str, Any]) -> dict[str, Any]:
        return {name: array for name, array in sample.items() if name != key}

    return _Part(data, key, others), _Part(data, key, lambda sample: sample[key])


@dataclass(frozen=True)
class _Part:
    """A part of each sample."""

    data: Iterable[Any]
    key: str
    part: Callable[[dict[str, Any]], Any]

    def __iter__(self) -> Iterator[Any]:
        for sample in self.data:
            _check(sample, self.key)
            yield self.part(sample)


def _check(sample: Any, key: str) -> None:
    if not isinstance(sample, dict):
        raise DataError(f"labels '{key}': the samples have no named arrays, as an .npz file has; give evaluate instead")
    if key not in sample:
        raise DataError(f"labels: the data has no array '{key}'; it has {', '.join(sample)}")

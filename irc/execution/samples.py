"""Samples: a stream of model inputs, checked one by one and replayed as often as a pass needs.

A sample is an array, a tuple or list of arrays in input order, or a dict by input name. An iterator, which can be read
once only, is spooled to a temporary file as it is read, so that memory does not grow with the number of samples.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import IO, Any

import numpy as np

from irc.errors import DataError, OutputError
from irc.graph import Graph
from irc.inputs import Sample, Signature, check_sample
from irc.types import Array, TensorType

__all__ = ["Sample", "Samples", "check_sample", "input_signature", "random_sample"]


class Samples:
    """Checked, replayable samples for a graph's inputs."""

    def __init__(self, source: Iterable[Any], graph: Graph) -> None:
        single = isinstance(source, str | bytes | Mapping) or getattr(source, "ndim", 1) == 0  # numbers do not iterate
        if single or not isinstance(source, Iterable):
            raise DataError("samples must be an iterable of inputs, such as a list of arrays; put one alone in a list")
        self.signature = input_signature(graph)
        self._source = source
        self._spool: IO[bytes] | None = None
        self._spooled = 0
        self.count: int | None = None

    def __iter__(self) -> Iterator[Sample]:
        number = 0
        for sample in self._replayed(self._source) if isinstance(self._source, Iterator) else self._checked():
            yield sample
            number += 1
        if number == 0:
            raise DataError("there is not a single sample; calibration needs some typical inputs")
        self.count = number

    def first(self, limit: int) -> list[Sample]:
        """Up to `limit` samples from the start."""
        found = []
        for sample in self:
            found.append(sample)
            if len(found) == limit:
                break
        return found

    def _checked(self) -> Iterator[Sample]:
        for number, item in enumerate(self._source):
            yield check_sample(item, self.signature, number)

    def _replayed(self, source: Iterator[Any]) -> Iterator[Sample]:
        """What was spooled, and then what is left of the source, which is spooled as it comes."""
        number = position = 0
        while True:
            if number == self._spooled:
                try:
                    item = next(source)
                except StopIteration:
                    return
                self._write(check_sample(item, self.signature, number))
            sample, position = self._read(position)
            yield sample
            number += 1

    def _write(self, sample: Sample) -> None:
        try:
            self._spool_sample(sample)
        except OSError as error:
            raise OutputError(
                f"sample {self._spooled} cannot be kept in '{tempfile.gettempdir()}': {error.strerror or error}; "
                "set TMPDIR to a folder with more room, or give the samples as a list"
            ) from None

    def _spool_sample(self, sample: Sample) -> None:
        if self._spool is None:
            self._spool = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the samples
            weakref.finalize(self, _close, self._spool)
        self._spool.seek(0, 2)
        np.save(self._spool, np.array([name in sample for name, _, _ in self.signature]))
        for array in sample.values():
            np.save(self._spool, array.astype(str) if array.dtype.kind == "O" else array, allow_pickle=False)
        self._spooled += 1

    def _read(self, position: int) -> tuple[Sample, int]:
        """The sample spooled at `position`, and where the next one is."""
        assert self._spool is not None
        self._spool.seek(position)
        given = np.load(self._spool)
        sample = {
            name: _restored(np.load(self._spool), type)
            for (name, type, _), there in zip(self.signature, given, strict=True)
            if there
        }
        return sample, self._spool.tell()


def _close(spool: IO[bytes]) -> None:
    """Close it; a full disk, told of already, says so again when what is buffered goes out."""
    with suppress(OSError):
        spool.close()


def _restored(array: Array, type: TensorType | None) -> Array:
    """An array of the input's dtype from what a .npy file, which knows neither objects nor `ml_dtypes`, made of it."""
    if type is None or array.dtype == type.dtype.numpy:
        return array
    return array.view(type.dtype.numpy) if array.dtype.kind == "V" else array.astype(type.dtype.numpy)


def input_signature(graph: Graph) -> Signature:
    """Of each input its name, its type, and whether it may be left out."""
    return [(v.name, v.tensor_type, v in graph.defaults) for v in graph.inputs]


def random_sample(graph: Graph, seed: int = 0, symbol: int = 2) -> Sample:
    """A made-up sample: floats drawn from a normal distribution, integers 0, symbolic dimensions as `symbol`.

    Raises
    ------
    DataError : an input's rank is unknown, or it is not a tensor.
    """
    random = np.random.default_rng(seed)
    sample: Sample = {}
    for value in graph.inputs:
        type = value.tensor_type
        if type is None or type.shape is None:
            raise DataError(f"input '{value.name}' has no known shape; give example inputs")
        shape = [d if isinstance(d, int) else symbol for d in type.shape]
        if type.dtype.is_float:
            sample[value.name] = random.standard_normal(shape).astype(type.dtype.numpy)
        else:
            sample[value.name] = np.zeros(shape, type.dtype.numpy)
    return sample

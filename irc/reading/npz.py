"""An .npz file as a stream of samples, one in memory at a time, and the writing of one from a stream.

file ::= for each input an array of shape (samples, *shape of the input), stored or compressed
"""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np

from irc.errors import DataError
from irc.types import AnyDType, Array

_COPY = 1 << 22  # bytes at a time
_BROKEN = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)


class NpzSamples:
    """The samples of an .npz file, each a dict by input name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with ExitStack() as stack:
            members = self._open(stack)
            counts = {name: member.count for name, member in members.items()}
        if not counts:
            raise DataError(f"'{path}' holds no array; save one for each input, samples along its first axis")
        if len(set(counts.values())) > 1:
            shown = ", ".join(f"'{name}' {count}" for name, count in counts.items())
            raise DataError(f"'{path}': the arrays hold different numbers of samples: {shown}")
        self.count = next(iter(counts.values()))

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[dict[str, Array]]:
        with ExitStack() as stack:
            members = self._open(stack)
            for _ in range(self.count):
                try:
                    sample = {name: member.next() for name, member in members.items()}
                except _BROKEN as error:
                    raise self._error(error) from None
                yield sample

    def _open(self, stack: ExitStack) -> dict[str, _Member]:
        try:
            archive = stack.enter_context(zipfile.ZipFile(self.path))
            names = [n for n in archive.namelist() if n.endswith(".npy")]
            return {n.removesuffix(".npy"): _Member(stack.enter_context(archive.open(n)), n) for n in names}
        except _BROKEN as error:
            raise self._error(error) from None

    def _error(self, error: Exception) -> DataError:
        if isinstance(error, FileNotFoundError):
            return DataError(f"there is no file '{self.path}'")
        return DataError(f"'{self.path}' is not a whole .npz file ({str(error) or type(error).__name__})")


class _Member:
    """One array of the archive, read sample by sample."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self.file = file
        shape, fortran, self.dtype = _header(file)
        if self.dtype.hasobject:
            raise ValueError(f"array '{name}' holds Python objects, and no pickle is ever loaded")
        if not shape:
            raise ValueError(f"array '{name}' is a single number; stack the samples along a new first axis")
        self.count, self.shape = shape[0], shape[1:]
        self.whole: Iterator[Array] | None = None
        if fortran and len(shape) > 1:  # a sample is then not in one piece
            data = file.read()
            self.whole = iter(np.frombuffer(data, self.dtype).reshape(shape, order="F"))

    def next(self) -> Array:
        if self.whole is not None:
            return np.ascontiguousarray(next(self.whole))
        size = self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))
        data = self.file.read(size)
        if len(data) != size:
            raise ValueError("it ends in the middle of an array")
        return np.frombuffer(bytearray(data), self.dtype).reshape(self.shape)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, AnyDType]:
    version = np.lib.format.read_magic(file)
    read: Any = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return tuple(shape), bool(fortran), np.dtype(dtype)


class NpzWriter:
    """Collects samples on disk, then writes them stacked as an .npz file. A context manager: its end frees the disk."""

    def __init__(self) -> None:
        self.count = 0
        self.types: dict[str, tuple[AnyDType, tuple[int, ...]]] = {}
        self.files: dict[str, IO[bytes]] = {}
        self.stack = ExitStack()

    def __enter__(self) -> NpzWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def add(self, sample: Mapping[str, Any]) -> None:
        """Add one sample.

        Raises
        ------
        DataError : an array is of another shape or dtype than in the samples before, or is none that a file can hold.
        """
        for name, value in sample.items():
            array = np.asarray(value)
            if array.dtype.kind not in "biufcSU":
                raise DataError(f"output '{name}' is {array.dtype}, which an .npz file cannot hold; leave out -o")
            found = (array.dtype, array.shape)
            if self.types.setdefault(name, found) != found:
                was = self.types[name]
                raise DataError(
                    f"output '{name}' is {array.dtype}{list(array.shape)} in sample {self.count} and "
                    f"{was[0]}{list(was[1])} before; only equal shapes can be stacked, so leave out -o"
                )
            if name not in self.files:
                self.files[name] = self.stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  # the stack
            self.files[name].write(np.ascontiguousarray(array).tobytes())
        self.count += 1

    def write(self, file: IO[bytes]) -> None:
        """Write the archive."""
        with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
            for name, (dtype, shape) in self.types.items():
                header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                    np.lib.format.write_array_header_2_0(member, {**header, "shape": (self.count, *shape)})
                    self.files[name].seek(0)
                    while block := self.files[name].read(_COPY):
                        member.write(block)

"""Samples and labels for training, epoch by epoch, in batches.

    source ──items──> Item (checked arrays, label, rows) ──batches──> [Item] ──chunks──> Chunk (tensors of many rows)

A source is iterated anew for each epoch. One with numbered items, as a list, is read in a drawn order; any other is
shuffled within what fits _BUFFER; a torch DataLoader is left to shuffle by itself. What is drawn depends on the seed
and the epoch alone, so that a training that goes on in the middle sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from irc.arrays import without_tensors
from irc.errors import DataError
from irc.execution.samples import Sample, Samples, check_sample, input_signature
from irc.execution.training.randomness import generator, seed_epoch
from irc.graph import Graph
from irc.names import call
from irc.types import Array
from irc.user_code import user_code

_BUFFER = 256 << 20  # bytes of a stream that are held to shuffle them
_LABEL_KEYS = ("label", "labels")
Label = Array | dict[str, Array]


class Numbered(Protocol):
    """Samples by number, as torch's data sets have them."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Any: ...


@dataclass(frozen=True)
class Item:
    """One sample: arrays by input name, its label or labels by output name, and how many rows it has."""

    sample: Sample
    label: Label | None
    rows: int

    @property
    def nbytes(self) -> int:
        """Of its arrays."""
        return sum(array.nbytes for array in self.sample.values())


class TrainingData:
    """A source of samples for a graph.

    labelled : every item must have a label
    name : of the pass, in messages
    """

    def __init__(
        self, source: Any, graph: Graph, *, batch: int, seed: int, shuffle: bool, labelled: bool, name: str
    ) -> None:
        single = isinstance(source, bytes | Mapping) or getattr(source, "ndim", 1) == 0
        if single or not (isinstance(source, str) or _is_read(source) or callable(source)):
            raise DataError(f"{name}: data must be an iterable of samples, such as a list, or package.module:function")
        if isinstance(source, Iterator):
            raise DataError(
                f"{name}: data is an iterator, which can be read once only; every epoch reads it anew: give a list, or "
                "a function that returns a new iterator"
            )
        self.source = source
        self.name = name
        self.batch = batch
        self.seed = seed
        self.shuffle = shuffle
        self.labelled = labelled
        self.graph = graph
        self.names = [v.name for v in graph.inputs]
        self.defaults = {v.name: data for v, data in graph.defaults.items()}
        self.signature = [
            (n, replace(t, shape=(None, *t.shape[1:])) if t is not None and t.shape else t, optional)
            for n, t, optional in input_signature(graph)
        ]

    # ---- items

    def items(self, epoch: int, *, shuffle: bool | None = None) -> Iterator[Item]:
        """The items of an epoch in their order.

        Raises
        ------
        DataError : one does not fit the model or has no label; the user's code fails; there is not a single one.
        """
        seed_epoch(self.seed, epoch)
        opened = self._guarded(self._open)
        shuffle = self.shuffle if shuffle is None else shuffle
        if not _is_read(opened) or isinstance(opened, str | Mapping):
            raise DataError(f"{self.name}: data gave a {type(opened).__name__}, not an iterable of samples")
        if _is_numbered(opened):
            order = np.arange(len(opened))
            if shuffle:
                order = generator(self.seed, epoch, 0).permutation(order)
            read = iter(order.tolist())
            found = self._checked(lambda: _numbered(opened, next(read)))
        else:
            iterator = self._guarded(lambda: iter(opened))
            found = self._checked(lambda: (-1, next(iterator)))
            if shuffle and not _shuffles_itself(opened):
                found = _shuffled(found, generator(self.seed, epoch, 0))
        first = next(found, None)
        if first is None:
            raise DataError(f"{self.name}: data holds not a single sample")
        yield first
        yield from found

    def _open(self) -> Any:
        if isinstance(self.source, str):
            return call(self.source, DataError)
        return self.source if _is_read(self.source) else self.source()

    def _guarded(self, read: Callable[[], Any], number: int = 0) -> Any:
        with user_code(f"{self.name}: data failed at sample {number}", DataError):
            return read()

    def _checked(self, read: Callable[[], tuple[int, Any]]) -> Iterator[Item]:
        count = 0
        while True:
            try:
                number, raw = self._guarded(read, count)
            except StopIteration:
                return
            yield self._item(raw, count if number < 0 else number)
            count += 1

    def _item(self, raw: Any, number: int) -> Item:
        given, label = self._split(raw, number)
        try:
            sample = check_sample(self._with_rows(given), self.signature, number)
        except DataError as error:
            raise DataError(f"{self.name}: {error}") from None
        rows = next((len(array) for array in sample.values() if array.ndim), 1)
        if not rows:
            raise DataError(f"{self.name}: sample {number} has no rows; leave it out")
        sample = {n: sample[n] if n in sample else self.defaults[n] for n in self.names}
        return Item(sample, None if label is None else self._label(label, rows, number), rows)

    def _split(self, raw: Any, number: int) -> tuple[Any, Any]:
        """The sample and its label."""
        if isinstance(raw, Mapping):
            keys = [k for k in _LABEL_KEYS if k in raw and k not in self.names]
            if keys:
                return {k: v for k, v in raw.items() if k != keys[0]}, raw[keys[0]]
        elif isinstance(raw, tuple | list) and len(raw) == 2:
            nested = isinstance(raw[0], Mapping | tuple | list)
            if self.labelled or nested or len(self.names) == 1:
                return raw[0], raw[1]
        if self.labelled:
            raise DataError(
                f"{self.name}: sample {number} has no label, which the loss needs; give pairs (sample, label), or "
                "dicts with 'label' beside the inputs"
            )
        return raw, None

    def _with_rows(self, given: Any) -> Any:
        """The sample with an axis of rows, where its arrays have all axes but that."""
        ranks = {n: t.rank for n, t, _ in self.signature if t is not None}

        def rowed(name: str, value: Any) -> Any:
            is_row = isinstance(value, np.ndarray | torch.Tensor) and ranks.get(name) == value.ndim + 1
            return value[None] if is_row else value

        if isinstance(given, Mapping):
            return {k: rowed(k, v) for k, v in given.items()}
        if isinstance(given, tuple | list):
            return [rowed(n, v) for n, v in zip(self.names, given, strict=False)] + list(given[len(self.names) :])
        return rowed(self.names[0], given) if self.names else given

    def _label(self, label: Any, rows: int, number: int) -> Label:
        if isinstance(label, Mapping):
            return {str(k): self._label_array(v, rows, number) for k, v in label.items()}
        return self._label_array(label, rows, number)

    def _label_array(self, label: Any, rows: int, number: int) -> Array:
        try:
            array = np.asarray(without_tensors(label))
        except ValueError:
            array = np.asarray(None)
        if array.dtype.kind not in "fiub":
            raise DataError(f"{self.name}: the label of sample {number} is no number or array of numbers: {label!r}")
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        if array.ndim == 0 or (rows == 1 and len(array) != 1):
            array = array[None]
        if len(array) != rows:
            raise DataError(f"{self.name}: sample {number} has {rows} rows and {len(array)} labels")
        return array

    # ---- batches

    def batches(self, epoch: int) -> Iterator[list[Item]]:
        """Items in steps of `batch` rows, or more where an item has more; the last has what is left."""
        held: list[Item] = []
        for item in self.items(epoch):
            held.append(item)
            if sum(each.rows for each in held) >= self.batch:
                yield held
                held = []
        if held:
            yield held

    def head(self, count: int) -> list[Item]:
        """The first items as they come, not shuffled."""
        found = []
        for item in self.items(0, shuffle=False):
            found.append(item)
            if len(found) == count:
                break
        return found

    def steps_per_epoch(self) -> int:
        """How many batches there are, by the length where there is one, else by reading all once."""
        opened = self._guarded(self._open)
        known = opened.count if isinstance(opened, Samples) else _length(opened)
        if known is None:
            return sum(1 for _ in self.batches(0))
        items = -(-self.batch // self.head(1)[0].rows)  # in a step
        return -(-known // items)

    @property
    def length(self) -> int | None:
        """How many items there are, where the source knows."""
        return _length(self.source)


def _is_read(source: Any) -> bool:
    """Whether samples come out of it by iterating or by number."""
    return isinstance(source, Iterable) or _is_numbered(source)


def _is_numbered(source: Any) -> bool:
    return hasattr(source, "__getitem__") and isinstance(source, Sized)


def _length(source: Any) -> int | None:
    if isinstance(source, str) or not isinstance(source, Sized):
        return None
    try:
        return len(source)
    except (TypeError, NotImplementedError):  # as of a DataLoader of a stream
        return None


def _numbered(source: Any, number: int) -> tuple[int, Any]:
    return number, source[number]


def _shuffles_itself(source: Any) -> bool:
    return isinstance(source, torch.utils.data.DataLoader)


def _shuffled(items: Iterator[Item], random: np.random.Generator) -> Iterator[Item]:
    """The items in an order that is drawn from a buffer."""
    held: list[Item] = []
    size = 0
    for item in items:
        held.append(item)
        size += item.nbytes
        if size > _BUFFER:
            place = int(random.integers(len(held)))
            held[place], held[-1] = held[-1], held[place]
            size -= held[-1].nbytes
            yield held.pop()
    yield from (held[i] for i in random.permutation(len(held)))

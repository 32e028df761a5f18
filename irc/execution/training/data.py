"""Samples and labels for training, epoch by epoch, in batches.

    source ──items──> Item (checked arrays, label, rows) ──batches──> [Item] ──chunks──> Chunk (tensors of many rows)

A source is iterated anew for each epoch. One with numbered items, as a list, is read in a drawn order; any other is
shuffled within what fits _BUFFER; a torch DataLoader is left to shuffle by itself. What is drawn depends on the seed and
the epoch alone, so that a training that goes on in the middle sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from irc.arrays import without_tensors
from irc.errors import DataError, IrcError
from irc.execution.convert import to_torch
from irc.execution.samples import Sample, Samples, check_sample, input_signature
from irc.execution.training.distributed import World
from irc.execution.training.randomness import generator, seed_epoch
from irc.graph import Graph
from irc.names import call
from irc.types import Array

_BUFFER = 256 << 20  # bytes of a stream that are held to shuffle them
_LABEL_KEYS = ("label", "labels")
Label = Array | dict[str, Array]


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


@dataclass(frozen=True)
class Chunk:
    """Rows that run at once.

    inputs : tensors in the order of the model's inputs
    labels : a tensor, or tensors by output name, or None
    share : the part of the batch's rows, over all processes, that these are; what their loss counts
    """

    inputs: list[torch.Tensor]
    labels: Any
    rows: int
    share: float = 1.0


class TrainingData:
    """A source of samples for a graph.

    labelled : every item must have a label
    name : of the pass, in messages
    """

    def __init__(
        self, source: Any, graph: Graph, *, batch: int, seed: int, shuffle: bool, labelled: bool, name: str
    ) -> None:
        single = isinstance(source, bytes | Mapping) or getattr(source, "ndim", 1) == 0
        if single or not (isinstance(source, str | Iterable) or callable(source)):
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
        if hasattr(opened, "__getitem__") and isinstance(opened, Sized):
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
        if callable(self.source) and not isinstance(self.source, Iterable):
            return self.source()
        return self.source

    def _guarded(self, read: Callable[[], Any], number: int = 0) -> Any:
        """What `read` gives; what goes wrong in the user's code is told as the user's."""
        try:
            return read()
        except (IrcError, StopIteration):
            raise
        except Exception as error:  # whatever the user's iterable raises
            raise DataError(f"{self.name}: data failed at sample {number}: {type(error).__name__}: {error}") from error

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
                f"{self.name}: sample {number} has no label, which the loss needs; give pairs (sample, label), or dicts "
                "with 'label' beside the inputs"
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
        known = len(opened) if isinstance(opened, Sized) else getattr(opened, "count", None)
        if not isinstance(known, int) or isinstance(opened, str):
            return sum(1 for _ in self.batches(0))
        items = -(-self.batch // self.head(1)[0].rows)  # in a step
        return -(-known // items)

    @property
    def length(self) -> int:
        """How many items there are, where that is known without reading; else -1."""
        return len(self.source) if isinstance(self.source, Sized) and not isinstance(self.source, str) else -1


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


# ---- chunks


def chunks_of(items: list[Item], names: list[str], *, stacked: bool) -> list[Chunk]:
    """The items as tensors: those of like shapes as one chunk, or each on its own."""
    groups: dict[Any, list[Item]] = {}
    for number, item in enumerate(items):
        groups.setdefault(_shapes(item) if stacked else number, []).append(item)
    return [_stack(group, names) for group in groups.values()]


def _shapes(item: Item) -> Any:
    labels = item.label if isinstance(item.label, dict) else {"": item.label}
    key = [(n, a.shape[1:]) for n, a in item.sample.items()]
    return tuple(key), tuple((n, None if a is None else (a.shape[1:], a.dtype)) for n, a in labels.items())


def _stack(items: list[Item], names: list[str]) -> Chunk:
    inputs = [_tensor([item.sample[name] for item in items]) for name in names if name in items[0].sample]
    first = items[0].label
    labels: Any = None
    if isinstance(first, dict):
        labels = {n: _tensor([item.label[n] for item in items if isinstance(item.label, dict)]) for n in first}
    elif first is not None:
        labels = _tensor([item.label for item in items if isinstance(item.label, np.ndarray)])
    return Chunk(inputs, labels, sum(item.rows for item in items))


def _tensor(arrays: list[Array]) -> Any:
    """The arrays along one another, in memory of its own (so that its alignment does not depend on who made it)."""
    return to_torch(np.array(arrays[0], order="C") if len(arrays) == 1 else np.concatenate(arrays), copy=True)


def shared_out(chunks: list[Chunk], world: World, *, stacked: bool) -> list[Chunk]:
    """What this process runs of a batch: its rows of each chunk, or its chunks; `share` says what they count.

    A process that there is nothing for runs something that counts nothing, since all must take part in every step.
    """
    total = sum(chunk.rows for chunk in chunks)
    if not stacked:
        mine = chunks[world.rank :: world.size]
        return [replace(c, share=c.rows / total) for c in mine] or [replace(chunks[0], share=0.0)]
    found = []
    for chunk in chunks:
        start, stop = (chunk.rows * i // world.size for i in (world.rank, world.rank + 1))
        part = slice(start, stop) if stop > start else slice(0, 1)
        labels = {n: v[part] for n, v in chunk.labels.items()} if isinstance(chunk.labels, dict) else chunk.labels
        if isinstance(labels, torch.Tensor):
            labels = labels[part]
        rows = stop - start
        found.append(Chunk([x[part] for x in chunk.inputs], labels, max(rows, 1), rows / total))
    return found


__all__ = ["Chunk", "Item", "Samples", "TrainingData", "chunks_of", "shared_out"]

"""Batches as tensors: rows that run at once, and what each of several processes runs of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from irc.execution.convert import to_torch
from irc.execution.training.data import Item
from irc.execution.training.distributed import World
from irc.types import Array


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
    arrays = [[item.sample[name] for item in items] for name in names if name in items[0].sample]
    inputs = [_channels_last(_tensor(each)) for each in arrays]
    first = items[0].label
    labels: Any = None
    if isinstance(first, dict):
        labels = {n: _tensor([item.label[n] for item in items if isinstance(item.label, dict)]) for n in first}
    elif first is not None:
        labels = _tensor([item.label for item in items if isinstance(item.label, np.ndarray)])
    return Chunk(inputs, labels, sum(item.rows for item in items))


def _tensor(arrays: list[Array]) -> Any:
    """The arrays along one another, in memory of its own (so that its alignment does not depend on who made it)."""
    return to_torch(np.array(arrays[0], order="C") if len(arrays) == 1 else np.concatenate(arrays))


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """Images with their channels next to one another, as convolutions, which keep to that, are fastest."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


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

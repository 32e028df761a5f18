"""What goes when some labels go: rows that lost everything, columns that aligned rows share."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from irc.analysis.channels.arrays import Mask
from irc.analysis.channels.labels import Block, Labels
from irc.types import Array


class Closure:
    """Closes sets of classes under the blocks of a trace.

    labels : of the finished trace
    """

    def __init__(self, labels: Labels) -> None:
        roots = labels.roots
        self.size = len(labels)
        self.blocks = [
            Block(
                roots[b.matrix],
                None if b.rows is None else roots[b.rows],
                None if b.columns is None else roots[b.columns],
                b.aligned,
            )
            for b in labels.blocks
        ]
        self._touching: dict[int, list[int]] = {}
        for number, block in enumerate(self.blocks):
            parts = [part.reshape(-1) for part in (block.matrix, block.rows, block.columns) if part is not None]
            for label in np.unique(np.concatenate(parts)).tolist():
                self._touching.setdefault(label, []).append(number)

    def close(self, seeds: Iterable[int]) -> frozenset[int]:
        """The classes that go when `seeds` do, those included; 0 among them means that they cannot."""
        gone = np.zeros(self.size, bool)
        self.close_mask(gone, seeds)
        return frozenset(gone.nonzero()[0].tolist())

    def close_mask(self, gone: Mask, seeds: Iterable[int]) -> None:
        """As `close`, in place: `gone` says of every class whether it goes."""
        fresh = list(seeds)
        gone[fresh] = True
        while fresh:
            pending = sorted({number for label in fresh for number in self._touching.get(label, ())})
            fresh = [label for number in pending for label in self._spread(self.blocks[number], gone)]

    def _spread(self, block: Block, gone: Mask) -> list[int]:
        """The labels that newly go because of one block."""
        added: list[int] = []

        def remove(labels: Array) -> None:
            new = np.unique(labels[~gone[labels]])
            gone[new] = True
            added.extend(new.tolist())

        whole = gone[block.matrix].all(1)
        if block.rows is not None:
            whole |= gone[block.rows]
            remove(block.matrix[whole].reshape(-1))
            remove(block.rows[whole])
        if block.columns is not None and not whole.all():
            left = gone[block.matrix[~whole]]
            columns = gone[block.columns] | (left.any(0) if block.aligned else left.all(0))
            remove(block.matrix[:, columns].reshape(-1))
            remove(block.columns[columns])
        return added

"""Labels: which prunable unit an element belongs to, kept in classes by union-find.

    label 0   is frozen: what carries it is never removed
    origin    the place in the graph that made the label; of a class, of its smallest label
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from irc.analysis.channels.arrays import core, spread, tighten, varying, zeros
from irc.types import Array


@dataclass(frozen=True)
class Block:
    """An axis that splits in two: heads and the dimensions of each, the groups of a convolution and their channels.

    Rows may lose different elements but equally many; a row may go as a whole.

    matrix : labels, shape (outer, inner)
    rows : a label for each row, removed when its whole row is and the other way round; or None
    columns : a label for each column; when it is removed the column is; or None
    aligned : an element of a surviving row goes with its whole column, whose label goes too
    """

    matrix: Array
    rows: Array | None = None
    columns: Array | None = None
    aligned: bool = False


class Labels:
    """All labels of a trace, their classes, and the blocks that bind them."""

    def __init__(self) -> None:
        self._parent: list[int] = [0]
        self._origin: list[int] = [-1]
        self._roots: Array | None = None
        self._collapsed: dict[tuple[bytes, tuple[int, ...], tuple[int, ...]], Array] = {}
        self.blocks: list[Block] = []

    def __len__(self) -> int:
        return len(self._parent)

    # ---- classes

    def fresh(self, shape: tuple[int, ...], origin: int) -> Array:
        """An array of new labels; of a single element, which cannot be removed, it is the frozen one."""
        count = int(np.prod(shape, dtype=np.int64))
        if count <= 1:
            return np.zeros(shape, np.int64)
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        self._origin.extend([origin] * count)
        self._roots = None
        return np.arange(first, first + count, dtype=np.int64).reshape(shape)

    def find(self, label: int) -> int:
        """The class of a label: the smallest label in it."""
        parent = self._parent
        while parent[label] != label:
            parent[label] = parent[parent[label]]
            label = parent[label]
        return label

    def origin(self, label: int) -> int:
        """The place that made a label."""
        return self._origin[label]

    @property
    def roots(self) -> Array:
        """The class of every label."""
        if self._roots is None:
            roots = np.array(self._parent, np.int64)
            while not np.array_equal(up := roots[roots], roots):
                roots = up
            self._roots = roots
        return self._roots

    def canonical(self, array: Array) -> Array:
        """The array with every label replaced by its class."""
        return tighten(spread(self.roots[core(array)], array.shape))

    def unify(self, a: Array, b: Array) -> None:
        """Put the labels that stand at the same places, after broadcasting, in one class."""
        left, right = np.broadcast_arrays(self.roots[core(a)], self.roots[core(b)])
        apart = left != right
        if not apart.any():
            return
        for x, y in np.unique(np.stack([left[apart], right[apart]], 1), axis=0).tolist():
            x, y = self.find(x), self.find(y)
            if x != y:
                self._parent[max(x, y)] = min(x, y)
        self._roots = None

    def freeze(self, array: Array) -> None:
        """Never remove what carries these labels."""
        self.unify(array, np.zeros((1,) * array.ndim, np.int64))

    # ---- axes that go

    def uniform(self, array: Array, axes: tuple[int, ...]) -> Array:
        """One label along `axes`, of which size 1 is left: everything along them goes together."""
        array = self.canonical(array)
        one = array[tuple(slice(0, 1) if k in axes else slice(None) for k in range(array.ndim))]
        if any(k in axes for k in varying(array)):
            self.unify(array, one)
        return self.canonical(one)

    def collapse(self, array: Array, axes: tuple[int, ...], *, force: bool) -> Array:
        """What is left of the labels when `axes` are summed over or shared; they stay with size 1.

        Where the rest varies too, an inner axis leaves a label for each row (heads), an outer one a label for each
        column (what all heads share). Without `force`, rows that are not clearly apart count as the same thing at
        several places (tokens), and unify.
        """
        array = self.canonical(array)
        one = array[tuple(slice(0, 1) if k in axes else slice(None) for k in range(array.ndim))]
        gone = [k for k in varying(array) if k in axes]
        rest = [k for k in varying(array) if k not in axes]
        if not gone:
            return one
        if not rest:
            return zeros(one.shape)
        if (not force and not self._apart(array)) or not (gone[0] > rest[-1] or gone[-1] < rest[0]):
            return self.uniform(array, axes)
        held = core(array)
        key = held.tobytes(), held.shape, tuple(gone)
        if key not in self._collapsed:
            outer, inner = (rest, gone) if gone[0] > rest[-1] else (gone, rest)
            matrix = held.transpose([*outer, *inner, *(k for k in range(held.ndim) if k not in (*outer, *inner))])
            matrix = matrix.reshape(int(np.prod([held.shape[k] for k in outer])), -1)
            self._collapsed[key] = self._rows(matrix) if outer is rest else self._columns(matrix)
        labels = self._collapsed[key].reshape([held.shape[k] if k in rest else 1 for k in range(held.ndim)])
        return self.canonical(spread(labels, one.shape))

    def _rows(self, matrix: Array) -> Array:
        distinct, which = np.unique(matrix, axis=0, return_inverse=True)
        rows = self.fresh((len(distinct),), self._origin[int(matrix[0, 0])])
        self.blocks.append(Block(distinct, rows=rows))
        return rows[which.reshape(-1)]

    def _columns(self, matrix: Array) -> Array:
        distinct, which = np.unique(matrix, axis=1, return_inverse=True)
        columns = self.fresh((distinct.shape[1],), self._origin[int(matrix[0, 0])])
        self.blocks.append(Block(distinct, columns=columns, aligned=True))
        return columns[which.reshape(-1)]

    def _apart(self, array: Array) -> bool:
        """Whether the slices along the outermost varying axis share no label, come from one place, and can go."""
        held = core(array)
        if not held.all() or len({self._origin[k] for k in np.unique(held).tolist()}) > 1:
            return False
        slices = np.unique(np.moveaxis(held, varying(array)[0], 0).reshape(held.shape[varying(array)[0]], -1), axis=0)
        return sum(np.unique(each).size for each in slices) == np.unique(held).size

    def outer(self, rows: Array, columns: Array, origin: int) -> Array:
        """Labels for every pair of a row and a column: a weight that makes `columns` out of each of `rows`.

        Both arrays have the same rank and vary along different axes.
        """
        rows, columns = self.canonical(rows), self.canonical(columns)
        held_rows, held_columns = core(rows), core(columns)
        if not varying(rows):
            return columns
        if not varying(columns):
            return rows
        shape = np.broadcast_shapes(held_rows.shape, held_columns.shape)
        made = self.fresh((held_rows.size, held_columns.size), origin)
        self.blocks.append(Block(made, held_rows.reshape(-1), held_columns.reshape(-1), aligned=True))
        order = [*varying(rows), *varying(columns)]
        grid = made.reshape([shape[k] for k in order])
        placed = grid.transpose(np.argsort(order)).reshape([n if k in order else 1 for k, n in enumerate(shape)])
        return spread(placed, np.broadcast_shapes(rows.shape, columns.shape))

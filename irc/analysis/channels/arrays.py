"""Label arrays: a label for each element of a tensor, held as a view of the axes along which labels differ.

    array   ::= int64, of the tensor's shape; along a uniform axis the stride is 0
    core    ::= the array with size 1 along those axes: what is stored and worked on
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from irc.types import Array

Mask = npt.NDArray[np.bool_]


def core(array: Array) -> Array:
    """The array with size 1 along every axis of stride 0."""
    return array[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in array.strides)]


def spread(held: Array, shape: Sequence[int]) -> Array:
    """The array of `shape` whose elements are those of `held`, along axes of size 1 the same everywhere."""
    squeezed = held[tuple(slice(0, 1) if size == 1 else slice(None) for size in held.shape)]
    return np.broadcast_to(squeezed, tuple(shape))


def tighten(array: Array) -> Array:
    """The same array with stride 0 along all axes along which it is uniform."""
    held = core(array)
    for axis, size in enumerate(held.shape):
        if size > 1:
            first = held.take([0], axis)
            if (held == first).all():
                held = first
    return spread(held, array.shape)


def varying(array: Array) -> tuple[int, ...]:
    """The axes along which a tightened array is not uniform."""
    both = enumerate(zip(array.shape, array.strides, strict=True))
    return tuple(axis for axis, (size, stride) in both if size > 1 and stride)


def zeros(shape: Sequence[int]) -> Array:
    """The label 0 everywhere: never removed."""
    return np.broadcast_to(np.zeros((1,) * len(shape), np.int64), tuple(shape))


def padded(array: Array, rank: int) -> Array:
    """The array with axes of size 1 put before its own, up to `rank`."""
    return array[(None,) * (rank - array.ndim)]


def along(labels: Array, axis: int, shape: Sequence[int]) -> Array:
    """A vector of labels laid along one axis of `shape`."""
    place = [1] * len(shape)
    place[axis] = labels.size
    return spread(labels.reshape(place), shape)


def survivors(keep: Mask) -> Array | None:
    """Where the survivors stand, as flat indices in the shape that is left; None if that is no rectangle, or nothing.

    keep : True for an element that survives
    """
    alive = [np.flatnonzero(keep.any(tuple(a for a in range(keep.ndim) if a != axis))) for axis in range(keep.ndim)]
    if any(each.size == 0 for each in alive):
        return None
    where = np.arange(keep.size, dtype=np.int64).reshape(keep.shape)
    box = np.ix_(*alive) if alive else ()
    if keep[box].all():
        return np.asarray(where[box])
    if keep.ndim == 1:
        return np.asarray(where[keep])
    rows: list[Array] = []
    for index in alive[0]:
        row = survivors(keep[index])
        if row is None or (rows and row.shape != rows[0].shape):
            return None
        rows.append(row + int(index) * keep[index].size)
    return np.stack(rows)


def compact(array: Array, keep: Mask) -> Array | None:
    """The label array without the labels that `keep` says False of; None if what is left is no rectangle."""
    held = core(array)
    where = survivors(keep[held])
    if where is None:
        return None
    left = held.reshape(-1)[where]
    sizes = zip(array.shape, left.shape, array.strides, strict=True)
    return spread(left, [n if stride == 0 else m for n, m, stride in sizes])


def select(data: Array, where: Array, shape: Sequence[int]) -> Array:
    """The elements of `data` at flat indices into a core of `shape`, all of them along axes of size 1 there."""
    # not of `where` as it is: numpy 2.4 unravels arrays of several axes wrongly past its buffer of 8192 elements
    index = [each.reshape(where.shape) for each in np.unravel_index(where.reshape(-1), tuple(shape))]
    for axis, size in enumerate(data.shape):
        if shape[axis] == 1 and size > 1:
            place = [1] * data.ndim
            place[axis] = size
            index[axis] = np.arange(size).reshape(place)
    return np.ascontiguousarray(data[tuple(index)])

"""How a weight with few different numbers is stored: zeros as a bitmap, clustered elements as codes and a codebook.

    Encoding ::= Dense(values)
               | Codebook(planes, book)      element = book[row, code], codes of 1 to 8 bits in planes of 1, 2, 4 or 8
               | Sparse(mask, values)        mask: a bit an element; values: an Encoding of those that are not zero

Structure is read off the numbers, not declared: a weight is sparse if elements are zero, and clustered if they are few.
So it survives every pass that keeps it, files of other tools, and reading back. Elements are compared by their bits
(-0.0 is not 0.0), and decoding gives the same bits. Source of the two forms: Han et al. 2016, "Deep Compression".
"""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass

import numpy as np

from irc.bit_codes import joined_codes, pack_codes, plane_widths, split_codes, unpack_codes
from irc.types import Array

MAX_BITS = 8
_SAMPLES = 2048
LEAST_ZEROS = 0.1  # of the elements, for a bitmap to pay; fewer are chance
_LEAST_SHARING = 2  # elements of an entry of a codebook, on average
_WORTH = 0.8  # of the dense bytes, above which nothing is gained that the trouble is worth
_LEAST_SAVED = 512  # bytes, about what the nodes that unpack a weight take in a file


@dataclass(frozen=True)
class Dense:
    """The array itself."""

    values: Array

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return int(self.values.nbytes)


@dataclass(frozen=True)
class Codebook:
    """Codes of `bits` bits, and what they stand for.

    shape : of the array
    axis : along which each slice has a book of its own; None for one book
    bits : of a code
    planes : uint8, the codes' bits, the highest plane first, as `pack_codes` makes them
    book : (slices or 1, entries), of the array's dtype
    """

    shape: tuple[int, ...]
    axis: int | None
    bits: int
    planes: tuple[Array, ...]
    book: Array

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return int(sum(plane.nbytes for plane in self.planes) + self.book.nbytes)


@dataclass(frozen=True)
class Sparse:
    """Which elements are not zero, and those.

    shape : of the array
    mask : uint8, a bit an element in row-major order, the first in the lowest bit
    values : of the elements that are not zero, in one row
    """

    shape: tuple[int, ...]
    mask: Array
    values: Dense | Codebook

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return int(self.mask.nbytes) + self.values.nbytes


Encoding = Dense | Codebook | Sparse


def encode(array: Array) -> Encoding:
    """The smallest encoding of an array of floats or bytes; dense unless another is smaller by a fifth and some."""
    if array.nbytes <= _LEAST_SAVED or not _is_weight(array):
        return Dense(array)
    found: list[Encoding] = [Dense(array)]
    sizes = {axis: _book_bytes(array, axis, sharing=_LEAST_SHARING) for axis in (None, 0, 1)}
    axis = min(sizes, key=lambda each: sizes[each])
    if sizes[axis] < array.nbytes:
        found.append(_codebook(array, axis))
    if _zeros(array) >= LEAST_ZEROS:
        found.append(_sparse(array))
    best = min(found, key=lambda each: each.nbytes)
    return best if best.nbytes <= min(_WORTH * array.nbytes, array.nbytes - _LEAST_SAVED) else found[0]


def decode(encoding: Encoding) -> Array:
    """The array, bit for bit."""
    if isinstance(encoding, Dense):
        return encoding.values
    size = math.prod(encoding.shape)
    if isinstance(encoding, Sparse):
        values = decode(encoding.values)
        made: Array = np.zeros(size, values.dtype)
        made[unpack_codes(encoding.mask, 1, size).astype(bool)] = values
        return made.reshape(encoding.shape)
    codes = joined_codes(encoding.planes, encoding.bits, size)
    if encoding.axis is None:
        return np.asarray(encoding.book[0][codes].reshape(encoding.shape))
    rows = codes.reshape(encoding.book.shape[0], -1)
    moved = np.take_along_axis(encoding.book, rows.astype(np.int64), 1)
    sizes = [n for k, n in enumerate(encoding.shape) if k != encoding.axis]
    return np.ascontiguousarray(np.moveaxis(moved.reshape(-1, *sizes), 0, encoding.axis))


_sizes: dict[int, tuple[weakref.ref[Array], int]] = {}  # of the arrays that are alive; constants are never written to


def encoded_bytes(array: Array) -> int:
    """Bytes of the smallest encoding."""
    known = _sizes.get(id(array))
    if known is not None and known[0]() is array:
        return known[1]
    size, key = encode(array).nbytes, id(array)
    _sizes[key] = weakref.ref(array, lambda _: _sizes.pop(key, None)), size
    return size


# ---- looking


def bits_of(array: Array) -> Array:
    """The array's elements as unsigned integers of their width, which tell -0.0 from 0.0 and NaNs apart."""
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


def distinct_along(array: Array, axis: int | None, *, sharing: int) -> int:
    """How many different elements a slice along the axis has at most, all of the array for None; 0 if it is no cluster.

    It is one if there are no more than 256, each of which is there `sharing` times on average. Some elements are looked
    at first: most weights have no structure.
    """
    if axis is not None and not (array.ndim > 1 and axis < array.ndim):
        return 0
    first = array if axis is None else np.take(array, 0, axis)
    limit = min(1 << MAX_BITS, first.size // sharing)
    if np.unique(_sample(first)).size > limit:
        return 0
    most = int(np.unique(bits_of(array)).size if axis is None else _counts(_rows(array, axis)).max())
    return most if most <= limit else 0


def _sample(array: Array) -> Array:
    return bits_of(array.reshape(-1)[:: max(array.size // _SAMPLES, 1)])


def _zeros(array: Array) -> float:
    """Part of the elements that are zero."""
    return 1 - np.count_nonzero(bits_of(array)) / array.size


def _counts(rows: Array) -> Array:
    """How many different elements each row has."""
    ordered = np.sort(rows, axis=1)
    return np.asarray(1 + (ordered[:, 1:] != ordered[:, :-1]).sum(1))


def _rows(array: Array, axis: int) -> Array:
    """The bits of the array, a row for each place along the axis."""
    return bits_of(np.moveaxis(array, axis, 0)).reshape(array.shape[axis], -1)


def _is_weight(array: Array) -> bool:
    """Whether it is of floats, or of the bytes that quantized weights are; other integers are shapes and places."""
    dtype = array.dtype
    return dtype.kind == "f" or dtype.name == "bfloat16" or dtype in (np.int8, np.uint8)


def _code_bits(entries: int) -> int:
    """Bits of a code for so many entries."""
    return max((entries - 1).bit_length(), 1)


def _book_bytes(array: Array, axis: int | None, *, sharing: int) -> float:
    """Bytes of a codebook and codes for the array, infinite if it is no cluster; found without making them."""
    entries = distinct_along(array, axis, sharing=sharing)
    if not entries:
        return math.inf
    planes = sum(-(-array.size // (8 // width)) for width in plane_widths(_code_bits(entries)))
    return planes + (1 if axis is None else array.shape[axis]) * entries * array.dtype.itemsize


def _codebook(array: Array, axis: int | None) -> Codebook:
    book, codes = clusters(array, axis)
    bits = _code_bits(book.shape[1])
    return Codebook(array.shape, axis, bits, split_codes(codes.astype(np.uint8).reshape(-1), bits), book)


def clusters(array: Array, axis: int | None) -> tuple[Array, Array]:
    """The different elements of each slice along the axis, of all of the array for None, and which of them each is.

    Returns
    -------
    (slices or 1, entries), of the array's dtype, filled up with zeros; int64, (slices or 1, elements of a slice).
    """
    rows = _rows(array, axis) if axis is not None else bits_of(array).reshape(1, -1)
    found = [np.unique(each) for each in rows]
    book: Array = np.zeros((len(rows), max(own.size for own in found)), rows.dtype)
    for row, own in enumerate(found):
        book[row, : own.size] = own
    codes = np.stack([np.searchsorted(own, each) for own, each in zip(found, rows, strict=True)])
    return book.view(array.dtype), codes


def _sparse(array: Array) -> Sparse:
    flat = np.ascontiguousarray(array).reshape(-1)
    alive = bits_of(flat) != 0
    mask, left = pack_codes(alive.astype(np.uint8), 1), flat[alive]
    if left.size and _book_bytes(left, None, sharing=1) < left.nbytes:
        return Sparse(array.shape, mask, _codebook(left, None))
    return Sparse(array.shape, mask, Dense(left))

"""An encoded weight as bytes, with a description by which they are read: `f32 sparse 16,3,3 29 4 9`.

    description ::= dtype " codebook " shape axis bits entries      planes, then the book
                  | dtype " sparse " shape count                    the mask, then the values
                  | dtype " sparse " shape count bits entries       the mask, then the values' planes and book

Shapes are numbers with commas; axis is "-" for one book.
"""

from __future__ import annotations

import math

import numpy as np

from irc.bit_codes import plane_widths, unpack_codes
from irc.encoding import Codebook, Dense, Encoding, Sparse, decode
from irc.types import AnyDType, Array, DType


def to_bytes(encoding: Codebook | Sparse) -> tuple[Array, str]:
    """The bytes of an encoding and their description."""
    parts = [part.reshape(-1).view(np.uint8) for part in _parts(encoding)]
    shape = ",".join(map(str, encoding.shape))
    book = encoding if isinstance(encoding, Codebook) else encoding.values
    dtype = DType.of_numpy((book.values if isinstance(book, Dense) else book.book).dtype).text
    if isinstance(encoding, Codebook):
        axis = "-" if encoding.axis is None else str(encoding.axis)
        said = f"{dtype} codebook {shape} {axis} {encoding.bits} {encoding.book.shape[1]}"
    elif isinstance(encoding.values, Dense):
        said = f"{dtype} sparse {shape} {encoding.values.values.size}"
    else:
        values = encoding.values
        said = f"{dtype} sparse {shape} {values.shape[0]} {values.bits} {values.book.shape[1]}"
    return np.concatenate(parts), said


def _parts(encoding: Encoding) -> list[Array]:
    if isinstance(encoding, Dense):
        return [np.ascontiguousarray(encoding.values)]
    if isinstance(encoding, Codebook):
        return [*encoding.planes, np.ascontiguousarray(encoding.book)]
    return [encoding.mask, *_parts(encoding.values)]


def is_description(text: str) -> bool:
    """Whether the text describes an encoded weight, and not a type."""
    return " codebook " in text or " sparse " in text


def from_bytes(data: Array, text: str) -> Array:
    """The weight that the bytes, one axis of uint8, hold.

    Raises
    ------
    ValueError, KeyError, IndexError : they do not fit the description.
    """
    dtype_text, form, dims, *numbers = text.split(" ")
    dtype, shape = DType.of_text(dtype_text).numpy, tuple(int(d) for d in dims.split(",") if d)
    if dtype.kind == "O" or not all(size > 0 for size in shape):
        raise ValueError("no such array is encoded")
    reader = _Reader(data)
    encoding: Codebook | Sparse
    match form, numbers:
        case "codebook", [axis, bits, entries]:
            encoding = reader.codebook(shape, None if axis == "-" else int(axis), int(bits), int(entries), dtype)
        case "sparse", [count]:
            encoding = Sparse(shape, reader.mask(shape, int(count)), Dense(reader.take(int(count), dtype)))
        case "sparse", [count, bits, entries]:
            mask = reader.mask(shape, int(count))
            encoding = Sparse(shape, mask, reader.codebook((int(count),), None, int(bits), int(entries), dtype))
        case _:
            raise ValueError("no such encoding")
    if reader.position != data.size:
        raise ValueError(f"{data.size - reader.position} bytes too many")
    return decode(encoding)


class _Reader:
    """Takes arrays off the front of bytes."""

    def __init__(self, data: Array) -> None:
        self.data = data
        self.position = 0

    def take(self, count: int, dtype: AnyDType) -> Array:
        """The next `count` elements."""
        size = count * dtype.itemsize
        if count < 0 or self.position + size > self.data.size:
            raise ValueError("the bytes end too early")
        part = self.data[self.position : self.position + size]
        self.position += size
        return np.ascontiguousarray(part).view(dtype)

    def mask(self, shape: tuple[int, ...], count: int) -> Array:
        """A bit an element, of which so many are set."""
        size = math.prod(shape)
        mask = self.take(-(-size // 8), np.dtype(np.uint8))
        if int(unpack_codes(mask, 1, size).sum(dtype=np.int64)) != count:
            raise ValueError(f"the mask has another number of bits than {count}")
        return mask

    def codebook(self, shape: tuple[int, ...], axis: int | None, bits: int, entries: int, dtype: AnyDType) -> Codebook:
        """Planes of codes and their book."""
        if not 1 <= bits <= 8 or (axis is not None and not 0 <= axis < len(shape)):
            raise ValueError("no such codes")
        size, rows = math.prod(shape), 1 if axis is None else shape[axis]
        planes = tuple(self.take(-(-size // (8 // width)), np.dtype(np.uint8)) for width in plane_widths(bits))
        return Codebook(shape, axis, bits, planes, self.take(rows * entries, dtype).reshape(rows, entries))

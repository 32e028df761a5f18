"""Small codes as bytes, eight, four, two or one to a byte, and codes of other widths as planes of those.

    7 bits  =  a plane of 4, one of 2 and one of 1
"""

from __future__ import annotations

import numpy as np

from irc.types import Array

_WIDTHS = (8, 4, 2, 1)  # of which a byte holds a whole number


def plane_widths(bits: int) -> tuple[int, ...]:
    """The widths of the planes that hold codes of so many bits, the highest first: 7 as 4, 2 and 1."""
    return tuple(width for width in _WIDTHS if bits & width)


def pack_codes(codes: Array, width: int) -> Array:
    """Codes of `width` bits (1, 2, 4 or 8) as bytes, the first in the lowest bits."""
    each = 8 // width
    padded = np.zeros(-(-codes.size // each) * each, np.uint8)
    padded[: codes.size] = codes.reshape(-1)
    made: Array = np.zeros(padded.size // each, np.uint8)
    for place in range(each):
        made |= padded[place::each] << (place * width)
    return made


def unpack_codes(packed: Array, width: int, size: int) -> Array:
    """The first `size` codes that `pack_codes` packed, uint8."""
    shifts = np.arange(0, 8, width, dtype=np.uint8)
    codes = (packed[:, None] >> shifts) & np.uint8((1 << width) - 1)
    return np.asarray(codes.reshape(-1)[:size])


def joined_codes(planes: tuple[Array, ...], bits: int, size: int) -> Array:
    """The codes that the planes hold, uint8."""
    codes: Array = np.zeros(size, np.uint8)
    for width, plane in zip(plane_widths(bits), planes, strict=True):
        codes = (codes << width if width < 8 else codes) | unpack_codes(plane, width, size)
    return codes


def split_codes(codes: Array, bits: int) -> tuple[Array, ...]:
    """The planes of codes of `bits` bits, as `joined_codes` takes them."""
    left, planes = bits, []
    for width in plane_widths(bits):
        left -= width
        planes.append(pack_codes((codes >> left) & np.uint8((1 << width) - 1), width))
    return tuple(planes)

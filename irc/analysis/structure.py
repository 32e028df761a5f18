"""What is pruned and what is clustered in a weight, as its numbers show it: see `irc.encoding`."""

from __future__ import annotations

import numpy as np

from irc.encoding import LEAST_ZEROS, clusters, distinct_along
from irc.types import Array

_LEAST_SHARING = 4  # elements of a centroid, on average


def pruned(data: Array) -> Array | None:
    """Which elements have been pruned, bool; None if the zeros are so few that they are chance, or are all there is."""
    if not _has_two_axes(data):
        return None
    zeros: Array = data == 0  # of either sign: W * M, as many tools prune, leaves both
    return zeros if LEAST_ZEROS <= zeros.mean() < 1 else None


def clustered(data: Array) -> Array | None:
    """Which elements are one, as numbers from 0, int64; None if the weight is not clustered."""
    if not _has_two_axes(data):
        return None
    for axis in (None, 0, 1):
        if not distinct_along(data, axis, sharing=_LEAST_SHARING):
            continue
        book, codes = clusters(data, axis)
        if axis is None:
            return codes.reshape(data.shape) if book.size > 1 else None
        numbered = codes + book.shape[1] * np.arange(len(book))[:, None]
        sizes = [n for k, n in enumerate(data.shape) if k != axis]
        return np.ascontiguousarray(np.moveaxis(numbered.reshape(-1, *sizes), 0, axis))
    return None


def _has_two_axes(data: Array) -> bool:
    """Whether two axes or more are longer than 1; biases and scales have no structure."""
    return data.size > 0 and sum(size != 1 for size in data.shape) >= 2

"""How far one tensor is from another: of two arrays, or of a stream of pairs in constant memory.

    SQNR = 10 log10(sum r^2 / sum (r - a)^2)        cosine = sum r a / sqrt(sum r^2 sum a^2)
    max abs = max |r - a|                           relative = max |r - a| / max |r|

Elements that are equal differ by 0 even where they are not finite (NaN equals NaN here) and then say nothing about the
signal; one that is finite on one side only is infinitely far off. Strings are equal or infinitely far off.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from irc.errors import DataError
from irc.types import Array

_CHUNK = 1 << 20  # elements that are widened to float64 at a time


class ErrorMeter:
    """Errors over all pairs that `update` was given; its memory does not grow with them."""

    def __init__(self) -> None:
        self.elements = 0
        self._signal = self._noise = self._dot = self._energy = 0.0
        self._largest = self._farthest = 0.0

    def update(self, reference: Array, actual: Array) -> None:
        """Take a pair in.

        reference, actual : any dtype, of one shape

        Raises
        ------
        DataError : the shapes differ.
        """
        if reference.shape != actual.shape:
            raise DataError(f"cannot compare: the reference has shape {reference.shape}, the other {actual.shape}")
        self.elements += reference.size
        if reference.dtype.kind in "OUS" or actual.dtype.kind in "OUS":
            if not np.array_equal(reference, actual):
                self._noise = self._farthest = math.inf
            return
        left, right = reference.reshape(-1), actual.reshape(-1)
        for start in range(0, left.size, _CHUNK):
            self._take(_wide(left[start : start + _CHUNK]), _wide(right[start : start + _CHUNK]))

    def _take(self, reference: npt.NDArray[np.float64], actual: npt.NDArray[np.float64]) -> None:
        finite = np.isfinite(reference) & np.isfinite(actual)
        if not finite.all():
            r, a = reference[~finite], actual[~finite]
            if not ((r == a) | (np.isnan(r) & np.isnan(a))).all():
                self._noise = self._farthest = math.inf
            reference, actual = reference[finite], actual[finite]
        difference = np.abs(reference - actual)
        self._signal += float(np.dot(reference, reference))
        self._noise += float(np.dot(difference, difference))
        self._dot += float(np.dot(reference, actual))
        self._energy += float(np.dot(actual, actual))
        self._largest = max(self._largest, float(np.max(np.abs(reference), initial=0.0)))
        self._farthest = max(self._farthest, float(np.max(difference, initial=0.0)))

    @property
    def sqnr_db(self) -> float:
        """Signal to quantization noise in dB: inf if all is equal, -inf if there is noise and no signal."""
        if self._noise == 0:
            return math.inf
        if self._signal == 0 or math.isinf(self._noise):
            return -math.inf
        return 10 * (math.log10(self._signal) - math.log10(self._noise))

    @property
    def cosine(self) -> float:
        """Cosine of the angle between the two; 1 if all is equal, 0 if one of them is zero."""
        if self._noise == 0:
            return 1.0
        norm = math.sqrt(self._signal) * math.sqrt(self._energy)
        return self._dot / norm if norm and math.isfinite(self._noise) else 0.0

    @property
    def max_abs_error(self) -> float:
        """The largest difference of two elements."""
        return self._farthest

    @property
    def relative_error(self) -> float:
        """The largest difference over the largest magnitude of the reference; inf if that is 0 and they differ."""
        if self._farthest == 0:
            return 0.0
        return self._farthest / self._largest if self._largest else math.inf


class SqnrMeter(ErrorMeter):
    """The SQNR of a stream of pairs."""

    @property
    def value(self) -> float | None:
        """dB over all elements so far; None if there were none."""
        return self.sqnr_db if self.elements else None


def _wide(array: Array) -> npt.NDArray[np.float64]:
    if array.dtype.kind == "c":
        return np.stack([array.real, array.imag]).reshape(-1).astype(np.float64)
    return array.astype(np.float64)


def _measured(reference: Array, actual: Array) -> ErrorMeter:
    meter = ErrorMeter()
    meter.update(reference, actual)
    return meter


def sqnr_db(reference: Array, actual: Array) -> float:
    """Signal to quantization noise over all elements, dB; inf if they are equal."""
    return _measured(reference, actual).sqnr_db


def cosine(reference: Array, actual: Array) -> float:
    """Cosine of the angle between the two, flattened."""
    return _measured(reference, actual).cosine


def max_abs_error(reference: Array, actual: Array) -> float:
    """The largest difference of two elements."""
    return _measured(reference, actual).max_abs_error


def relative_error(reference: Array, actual: Array) -> float:
    """max |reference - actual| / max |reference|: what `Numerics.tolerance` of a pass bounds."""
    return _measured(reference, actual).relative_error

"""The error measures are their definitions, whether of two arrays or of a stream, for any dtype and any values."""

from __future__ import annotations

import math
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from irc.analysis.error import ErrorMeter, SqnrMeter, cosine, max_abs_error, relative_error, sqnr_db
from irc.errors import DataError
from irc.types import Array

floats = arrays.arrays(np.float64, 7, elements=st.floats(-1e3, 1e3).map(lambda v: round(v, 3)))


@given(floats, floats)
def test_definitions(reference: Array, actual: Array) -> None:
    noise = reference - actual
    signal, power = math.fsum(v * v for v in reference), math.fsum(v * v for v in noise)
    if signal and power:
        assert sqnr_db(reference, actual) == pytest.approx(10 * math.log10(signal / power), rel=1e-9, abs=1e-9)
        assert relative_error(reference, actual) == max(map(abs, noise)) / max(map(abs, reference))
        length = math.hypot(*reference) * math.hypot(*actual)
        assert cosine(reference, actual) * length == pytest.approx(math.fsum(reference * actual), rel=1e-9, abs=1e-6)
    assert max_abs_error(reference, actual) == max(map(abs, noise))


def test_known_values() -> None:
    reference = np.array([1.0, -1.0, 1.0, -1.0], np.float32)
    assert sqnr_db(reference, reference * 0.9) == pytest.approx(20, abs=1e-5)
    assert cosine(reference, reference * 0.5) == pytest.approx(1)
    assert cosine(reference, -reference) == pytest.approx(-1)
    assert cosine(reference, np.abs(reference)) == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.int8, np.uint8, np.int64, np.bool_])
def test_any_dtype(dtype: type) -> None:
    reference: Array = np.array([1, 1, 1, 0]).astype(dtype)
    actual: Array = np.array([1, 1, 0, 0]).astype(dtype)
    assert sqnr_db(reference, actual) == pytest.approx(10 * math.log10(3))
    assert max_abs_error(reference, actual) == 1


def test_unsigned_differences_do_not_wrap() -> None:
    assert max_abs_error(np.array([0], np.uint8), np.array([255], np.uint8)) == 255


def test_complex() -> None:
    assert sqnr_db(np.array([3 + 4j]), np.array([3 + 3j])) == pytest.approx(10 * math.log10(25))


def test_equal_arrays() -> None:
    for array in (np.zeros(3), np.array([1.0, math.inf, -math.inf, math.nan]), np.zeros(0)):
        assert sqnr_db(array, array.copy()) == math.inf
        assert (cosine(array, array), max_abs_error(array, array), relative_error(array, array)) == (1, 0, 0)


def test_noise_without_signal() -> None:
    assert sqnr_db(np.zeros(2), np.ones(2)) == -math.inf
    assert relative_error(np.zeros(2), np.ones(2)) == math.inf
    assert cosine(np.zeros(2), np.ones(2)) == 0


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_one_value_that_is_not_finite_is_infinitely_far_off(wrong: float) -> None:
    reference, actual = np.array([1.0, 2.0]), np.array([1.0, wrong])
    for left, right in ((reference, actual), (actual, reference)):
        assert sqnr_db(left, right) == -math.inf
        assert max_abs_error(left, right) == relative_error(left, right) == math.inf
        assert cosine(left, right) == 0
    assert max_abs_error(np.array([math.inf]), np.array([-math.inf])) == math.inf


def test_strings_are_equal_or_infinitely_far_off() -> None:
    words = np.array(["a", "b"], object)
    assert relative_error(words, words.copy()) == 0
    assert sqnr_db(words, np.array(["a", "c"], object)) == -math.inf
    assert relative_error(words, np.array(["a", "c"], object)) == math.inf


def test_shapes_must_agree() -> None:
    with pytest.raises(DataError, match=r"reference has shape \(2,\), the other \(1, 2\)"):
        sqnr_db(np.zeros(2), np.zeros((1, 2)))


def test_a_stream_measures_as_one_array_does() -> None:
    draw = np.random.default_rng(0)
    pairs = [(draw.normal(size=n), draw.normal(size=n)) for n in (5, 1, 0, 100)]
    whole = [np.concatenate(side) for side in zip(*pairs, strict=True)]
    meter, errors = SqnrMeter(), ErrorMeter()
    assert meter.value is None
    for reference, actual in pairs:
        meter.update(reference, actual)
        errors.update(reference, actual)
    assert meter.value == pytest.approx(sqnr_db(whole[0], whole[1]), rel=1e-12)
    assert errors.cosine == pytest.approx(cosine(whole[0], whole[1]), rel=1e-12)
    assert errors.max_abs_error == max_abs_error(whole[0], whole[1])
    assert errors.relative_error == relative_error(whole[0], whole[1])


def test_a_large_pair_is_the_same_in_pieces_and_memory_stays_flat() -> None:
    reference = np.arange(3_000_000, dtype=np.float32) % 1000
    actual = reference + np.float32(1)
    expected = 10 * math.log10(float(np.mean(np.square(reference, dtype=np.float64))))
    meter = SqnrMeter()
    meter.update(reference, actual)
    tracemalloc.start()
    for _ in range(3):
        meter.update(reference, actual)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert meter.value == pytest.approx(expected, rel=1e-9)
    assert held < 10_000
    assert peak < 100e6  # a piece is 2^20 elements, 8 MB each time it is copied; the pair widened would be 72 MB a copy

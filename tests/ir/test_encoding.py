"""An encoded array is the array bit for bit, as small as one counts by hand, and encoded only if it gets smaller."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irc import encoding as encoding_module
from irc.bit_codes import joined_codes, pack_codes, plane_widths, split_codes, unpack_codes
from irc.encoding import Codebook, Dense, Sparse, decode, encode, encoded_bytes
from irc.types import Array

DTYPES = [np.dtype(d) for d in ("f2", "f4", "f8", "i1", "u1", ml_dtypes.bfloat16)]


def same_bits(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def numbers(count: int, dtype: Any, rng: np.random.Generator) -> Array:
    """So many different bit patterns of a dtype, NaNs, infinities and -0.0 among them, 0.0 not."""
    width = np.dtype(dtype).itemsize
    wide = rng.integers(0, 1 << (8 * width - 1), 4 * count, np.uint64) * np.uint64(2) + np.uint64(1)
    bits = np.unique(wide.astype(f"u{width}"))
    if width == 1:
        bits = rng.permutation(np.arange(1, 256, 2).astype(np.uint8))
    else:
        special = np.array([-0.0, np.inf, -np.inf, np.nan]).astype(dtype).view(bits.dtype)
        bits = np.concatenate([special, bits])
    bits = bits[:count]
    assert len(bits) == count
    return bits.view(dtype)


@st.composite
def arrays(draw: st.DrawFn) -> Array:
    """Arrays of all kinds of structure: few numbers in all or a slice, zeros, both, and neither."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    shape = tuple(draw(st.lists(st.sampled_from([0, 1, 2, 3, 8, 17, 33]), max_size=4)))
    dtype = draw(st.sampled_from(DTYPES))
    size = int(np.prod(shape))
    count = min(draw(st.sampled_from([1, 2, 3, 5, 16, 100, 128])), 100 if dtype.itemsize == 1 else 128)
    kind = draw(st.sampled_from(["layer", "axis", "free"]))
    if kind == "layer" or not shape:
        made = numbers(count, dtype, rng)[rng.integers(0, count, size)].reshape(shape)
    elif kind == "axis":
        axis = draw(st.integers(0, len(shape) - 1))
        slices = [s for k, s in enumerate(shape) if k != axis]
        rows = [numbers(count, dtype, rng)[rng.integers(0, count, slices)] for _ in range(shape[axis])]
        made = np.stack(rows, axis) if rows else np.zeros(shape, dtype)
    else:
        made = np.frombuffer(rng.bytes(size * dtype.itemsize), dtype).reshape(shape)
    made = np.array(made)
    if draw(st.booleans()):
        made[rng.random(shape) < draw(st.sampled_from([0.05, 0.3, 0.9, 1.0]))] = 0
    view = draw(st.sampled_from(["whole", "transposed", "strided", "reversed", "fortran", "read-only"]))
    if view == "transposed":
        made = made.T
    elif view == "strided" and shape:
        made = made[::2]
    elif view == "reversed" and shape:
        made = made[..., ::-1]
    elif view == "fortran":
        made = np.asfortranarray(made)
    elif view == "read-only":
        made.setflags(write=False)
    return made


@settings(deadline=None, max_examples=400)
@given(arrays())
def test_decoding_gives_the_array_bit_for_bit(array: Array) -> None:
    encoding = encode(array)
    assert same_bits(decode(encoding), array)
    assert encoding.nbytes <= array.nbytes
    assert encoded_bytes(array) == encoding.nbytes


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("axis", [None, 0, 1, 2])
@pytest.mark.parametrize("bits", range(1, 9))
def test_codebooks(dtype: Any, axis: int | None, bits: int) -> None:
    """The bytes are the codes', `bits` an element, and the books'; an axis past the second has no book of its own."""
    rng, shape = np.random.default_rng(bits), (5, 7, 1003)
    count = 100 if bits == 8 else 1 << bits
    bits = 7 if bits == 8 else bits  # a hundred need seven
    if axis is None:
        array = numbers(count, dtype, rng)[np.arange(np.prod(shape)) % count].reshape(shape)
        rows = 1
    else:
        rows = shape[axis]
        length = int(np.prod(shape)) // rows
        slices = [
            numbers(count, dtype, np.random.default_rng((bits, k)))[np.arange(length) % count] for k in range(rows)
        ]
        sizes = [n for k, n in enumerate(shape) if k != axis]
        array = np.stack([each.reshape(sizes) for each in slices], axis)
    encoding = encode(array)
    assert same_bits(decode(encoding), array)
    if np.dtype(dtype).itemsize == 1 and bits == 7:
        assert isinstance(encoding, Dense)  # seven bits of eight save less than a fifth
    elif axis is None:
        assert isinstance(encoding, Codebook)
        planes = sum(-(-array.size * width // 8) for width in plane_widths(bits))
        assert array.size * bits / 8 <= planes < array.size * bits / 8 + 3
        assert encoding.nbytes == planes + count * np.dtype(dtype).itemsize
    elif axis == 2 or np.dtype(dtype).itemsize == 1:
        assert encoding.nbytes <= array.nbytes
    elif count * rows > 256 or bits <= 5:
        planes = sum(-(-array.size * width // 8) for width in plane_widths(bits))
        assert encoding.nbytes <= planes + rows * count * np.dtype(dtype).itemsize


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_codes_that_would_save_nothing_are_not_made(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes of a quantized weight are few numbers, and codes of eight bits no smaller: they stay unsorted."""
    array = np.random.default_rng(0).integers(1, 256, (200, 300)).astype(np.uint8)
    array[np.random.default_rng(1).random(array.shape) < share] = 0
    monkeypatch.setattr(encoding_module, "clusters", None)
    assert isinstance(encode(array), Dense if not share else Sparse)


def test_two_hundred_and_fifty_six_numbers_but_no_more() -> None:
    array = np.tile(np.arange(256, dtype=np.float32), 100)
    assert encode(array).nbytes == 25600 + 1024
    array[7] = 0.5
    assert isinstance(encode(array), Dense)


def test_a_book_for_each_channel_is_chosen_where_it_is_smaller() -> None:
    """Four numbers a row, all different: 2 bits an element and 4 floats a row, against 8 bits and 128 floats."""
    rows = (np.arange(1000) % 4)[None] + 4 * np.arange(32)[:, None] + 1
    for array, axis in ((rows, 0), (rows.T, 1)):
        encoding = encode(np.ascontiguousarray(array, np.float32))
        assert isinstance(encoding, Codebook)
        assert encoding.axis == axis
        assert encoding.nbytes == 32000 * 2 // 8 + 32 * 4 * 4


def test_one_book_is_chosen_where_that_is_smaller() -> None:
    array = np.random.default_rng(0).integers(1, 5, (32, 1000)).astype(np.float32)
    encoding = encode(array)
    assert isinstance(encoding, Codebook)
    assert encoding.axis is None
    assert encoding.nbytes == 32000 // 4 + 4 * 4


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_zeros_take_a_bit_and_the_others_a_bit_more(dtype: Any) -> None:
    """Of 9,003 elements every fourth is not zero, none like another but for their number."""
    array = np.zeros(9003, dtype)
    width = array.dtype.itemsize
    rng = np.random.default_rng(0)
    alive = array[::4]
    drawn = rng.integers(0, 1 << min(8 * width, 63), alive.size, np.uint64) | np.uint64(1)
    array[::4] = drawn.astype(f"u{width}").view(dtype)
    encoding = encode(array)
    assert isinstance(encoding, Sparse)
    assert encoding.nbytes <= 1126 + 2251 * width  # ceil(9003 / 8) and ceil(9003 / 4)
    assert encoding.nbytes == 1126 + 2251 * width or width == 1
    assert same_bits(decode(encoding), array)


def test_zeros_and_few_numbers() -> None:
    """Of 8,000 elements 2,000 are one of sixteen: a bit for each, and four for each of those; a zero costs no code."""
    array = np.zeros((8, 1000), np.float32)
    array.reshape(-1)[::4] = np.arange(2000) % 16 + 1
    encoding = encode(array)
    assert isinstance(encoding, Sparse)
    assert isinstance(encoding.values, Codebook)
    assert encoding.nbytes == 1000 + 1000 + 64
    assert same_bits(decode(encoding), array)


def test_minus_zero_is_not_zero() -> None:
    array = np.zeros(4096, np.float32)
    array[::2] = -0.0
    made = decode(encode(array))
    assert (np.signbit(made) == np.signbit(array)).all()
    assert encode(array).nbytes == 512 + 8
    assert encode(np.full(4096, -0.0, np.float32)).nbytes == 512 + 4


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_all_zeros(dtype: Any) -> None:
    array = np.zeros((64, 128), dtype)
    assert encode(array).nbytes <= 64 * 128 // 8 + array.dtype.itemsize
    assert same_bits(decode(encode(array)), array)


@pytest.mark.parametrize("array", [np.zeros((0, 7), np.float32), np.array(3.0), np.zeros((1, 1), np.float16)], ids=str)
def test_the_small_stay_as_they_are(array: Array) -> None:
    encoding = encode(array)
    assert isinstance(encoding, Dense)
    assert encoding.values is array


def test_what_saves_too_little_stays_as_it_is() -> None:
    """Of two numbers, 256 floats save 984 of 1024 bytes, 136 save 519 of 544; 128 save less than the nodes take."""
    for size, kind in ((256, Codebook), (136, Codebook), (128, Dense), (100, Dense)):
        assert isinstance(encode(np.arange(size, dtype=np.float32) % 2), kind), size


@pytest.mark.parametrize("dtype", ["i8", "u8", "i4", "u2", "i2", "?", ml_dtypes.int4, "c8"], ids=str)
def test_shapes_and_places_are_never_encoded(dtype: Any) -> None:
    assert isinstance(encode(np.zeros(10000, dtype)), Dense)


@pytest.mark.parametrize("few", [False, True])
def test_a_memory_map_that_cannot_be_written(few: bool, tmp_path: Path) -> None:
    data = np.random.default_rng(0).standard_normal((100, 100)).astype(np.float32)
    data = np.sign(data) if few else data
    data.tofile(tmp_path / "weights")
    array = np.memmap(tmp_path / "weights", np.float32, "r", shape=(100, 100))
    encoding = encode(array)
    assert isinstance(encoding, Codebook) == few
    assert decode(encoding).tobytes() == data.tobytes()


def test_a_decoded_array_is_in_order_in_memory() -> None:
    """What is written to a file is the memory."""
    array = np.asfortranarray(np.arange(32)[None] * 1.0 + (np.arange(1000) % 4)[:, None] * 100, np.float32)
    encoding = encode(array)
    assert isinstance(encoding, Codebook)
    assert decode(encoding).flags.c_contiguous


def test_the_size_that_is_remembered_goes_with_the_array() -> None:
    """Arrays that come and go take each other's place in memory; each has its own size."""
    for size in (1000, 8000, 1000, 64, 8000) * 20:
        array = np.zeros(size, np.float32)
        assert encoded_bytes(array) == encode(array).nbytes == encoded_bytes(array)
        del array
        gc.collect(0)


@given(st.integers(1, 8), st.lists(st.integers(0, 255), max_size=40))
def test_planes_hold_codes(bits: int, drawn: list[int]) -> None:
    codes = np.array(drawn, np.uint8) & np.uint8((1 << bits) - 1)
    planes = split_codes(codes, bits)
    assert len(planes) == bin(bits).count("1")
    assert (joined_codes(planes, bits, codes.size) == codes).all()


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_the_first_code_is_in_the_lowest_bits(width: int) -> None:
    codes = np.array([1, 0, 0, 1, 1], np.uint8)
    packed = pack_codes(codes, width)
    value = sum(int(byte) << (8 * k) for k, byte in enumerate(packed))
    assert value == sum(int(code) << (width * k) for k, code in enumerate(codes))
    assert (unpack_codes(packed, width, 5) == codes).all()

"""DATA is read as a stream, one sample in memory at a time, and means what its description says."""

from __future__ import annotations

import io
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from irc.errors import DataError, OptionError
from irc.reading.data import open_data
from irc.reading.images import Preprocess, parse_preprocess
from irc.reading.labels import labelled
from irc.reading.npz import NpzSamples, NpzWriter
from irc.types import Array

RANDOM = np.random.default_rng(0)
ARRAYS: dict[str, Array] = {
    "floats": RANDOM.normal(size=(5, 2, 3)).astype(np.float32),
    "numbers": RANDOM.integers(0, 9, (5,)),
    "fortran": np.asfortranarray(RANDOM.normal(size=(5, 4, 2))),
    "words": np.array([["a"], ["bc"], ["d"], ["e"], ["fgh"]]),
    "empty": np.zeros((5, 0, 3), np.uint8),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_samples_are_the_rows(tmp_path: Path, save: Callable[..., None]) -> None:
    save(tmp_path / "d.npz", **ARRAYS)
    samples = NpzSamples(tmp_path / "d.npz")
    assert len(samples) == 5
    for _ in range(2):  # they can be read again
        read = list(samples)
        for name, array in ARRAYS.items():
            assert all(sample[name].dtype == array.dtype for sample in read)
            np.testing.assert_array_equal(np.stack([sample[name] for sample in read]), array)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_memory_holds_one_sample(tmp_path: Path, save: Callable[..., None]) -> None:
    save(tmp_path / "d.npz", x=np.ones((64, 1 << 18), np.float32))  # 64 samples of 1 MiB
    samples = NpzSamples(tmp_path / "d.npz")
    tracemalloc.start()
    count = sum(1 for _ in samples)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 64
    assert peak < 6 << 20  # the sample before, this one, and its bytes twice


def test_writer_stacks(tmp_path: Path) -> None:
    file = io.BytesIO()
    with NpzWriter() as writer:
        for row in range(5):
            writer.add({name: array[row] for name, array in ARRAYS.items()})
        writer.write(file)
    with np.load(io.BytesIO(file.getvalue())) as read:
        assert list(read) == list(ARRAYS)
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(read[name], array)


def test_writer_gives_equal_bytes() -> None:
    files = []
    for _ in range(2):
        files.append(io.BytesIO())
        with NpzWriter() as writer:
            writer.add({"y": np.arange(3)})
            writer.write(files[-1])
    assert files[0].getvalue() == files[1].getvalue()


def _image(width: int, height: int) -> Image.Image:
    """Red grows to the right, green downwards, blue is 7."""
    pixels = np.full((height, width, 3), 7, np.uint8)
    pixels[..., 0] = np.arange(width)
    pixels[..., 1] = np.arange(height)[:, None]
    return Image.fromarray(pixels)


def test_preprocess_takes_the_middle() -> None:
    made = Preprocess(size=(4, 4), crop=0.5, resample="nearest")(_image(16, 8))
    assert made.shape == (1, 3, 4, 4)
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made[0, 0, 0], [6, 7, 8, 9])  # 4 of the 8 columns in the middle of 16
    np.testing.assert_array_equal(made[0, 1, :, 0], [2, 3, 4, 5])
    np.testing.assert_array_equal(made[0, 2], np.full((4, 4), 7))


def test_preprocess_keeps_proportions() -> None:
    made = Preprocess(size=(4, 8), resample="nearest")(_image(8, 8))
    np.testing.assert_array_equal(made[0, 0, 0], np.arange(8))
    np.testing.assert_array_equal(made[0, 1, :, 0], [2, 3, 4, 5])


@pytest.mark.parametrize(
    ("text", "pixel"),
    [
        ("size=1,resample=nearest", [3, 5, 7]),
        ("size=1,resample=nearest,mean=1,std=2", [1, 2, 3]),
        ("size=1,resample=nearest,mean=1:2:3,std=2:3:4", [1, 1, 1]),
        ("size=1,resample=nearest,color=bgr", [7, 5, 3]),
        ("size=1,resample=nearest,dtype=uint8", [3, 5, 7]),
    ],
)
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_preprocess_of_one_pixel(text: str, pixel: list[float], layout: str) -> None:
    image = Image.fromarray(np.array([[[3, 5, 7]]], np.uint8))
    made = parse_preprocess(f"{text},layout={layout}")(image)
    assert made.shape == ((1, 3, 1, 1) if layout == "nchw" else (1, 1, 1, 3))
    assert made.dtype == (np.uint8 if "uint8" in text else np.float32)
    np.testing.assert_array_equal(made.reshape(-1), pixel)


def test_gray_has_one_channel() -> None:
    made = parse_preprocess("size=2x3,color=gray,mean=127,std=128")(_image(8, 8))
    assert made.shape == (1, 1, 2, 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("crop=1", "needs the size"),
        ("size=0", "size=0 must be"),
        ("size=ax3", "must be a height"),
        ("size=8,crop=1.5", "at most 1"),
        ("size=8,std=0", "not 0"),
        ("size=8,std=nan", "std=nan"),
        ("size=8,mean=1:2", "one for each of 3"),
        ("size=8,layout=chw", "not one of nchw, nhwc"),
        ("size=8,scale=2", "'scale=2' is not known"),
        ("size", "'size' is not known"),
    ],
)
def test_preprocess_refuses(text: str, said: str) -> None:
    with pytest.raises(OptionError, match="preprocess") as error:
        parse_preprocess(text)
    assert said in str(error.value)


def test_folder_of_images(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    _image(9, 9).save(tmp_path / "b" / "1.png")
    _image(5, 5).save(tmp_path / "c.bmp")
    (tmp_path / "labels.txt").write_text("no image")
    samples = list(open_data(str(tmp_path), "size=3,resample=nearest"))
    assert [s.shape for s in samples] == [(1, 3, 3, 3)] * 2
    np.testing.assert_array_equal(samples[0][0, 0, 0], [1, 4, 7])  # in the order of the names
    np.testing.assert_array_equal(samples[1][0, 0, 0], [0, 2, 4])


def test_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no image"):
        open_data(str(tmp_path), "size=3")


def test_broken_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG but no more")
    with pytest.raises(DataError, match=r"a\.png' cannot be read"):
        list(open_data(str(tmp_path), "size=3"))


def test_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _image(5, 5).save(tmp_path / "c.bmp")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match="pip install pillow"):
        open_data(str(tmp_path), "size=3")


def test_labels_are_taken_out_of_the_samples() -> None:
    samples = [{"x": 1, "y": 2}, {"x": 3, "y": 4}]
    others, labels = labelled(samples, "y")
    assert (list(others), list(labels)) == ([{"x": 1}, {"x": 3}], [2, 4])
    with pytest.raises(DataError, match="can be read once only; give a list"):
        labelled(iter(samples), "y")

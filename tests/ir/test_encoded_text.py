"""Encoded weights of an .irc file come back bit for bit; bytes or descriptions that do not fit are a ModelError."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from safetensors import safe_open

from irc.errors import IrcError, ModelError
from irc.graph import Graph
from irc.ops.shape import Identity
from irc.text import load_text, save_text
from irc.types import Array, tensor

RNG = np.random.default_rng(0)
ROWS = (RNG.integers(1, 5, (20, 300)) + 10 * np.arange(20)[:, None]).astype(np.float32)
SPARSE = np.where(RNG.random((60, 70)) < 0.8, 0, RNG.standard_normal((60, 70))).astype(np.float32)
FEW = (RNG.permutation(4200) % 16 + 1).reshape(60, 70).astype(np.float32)
FORMS: dict[str, tuple[Array, str]] = {
    "one": (np.full((31, 47), 2, np.float32), "f32 codebook 31,47 - 1 1"),
    "book": (RNG.integers(1, 12, (31, 47)).astype(np.float32), "f32 codebook 31,47 - 4 11"),
    "rows": (ROWS, "f32 codebook 20,300 0 2 4"),
    "columns": (np.ascontiguousarray(ROWS.T), "f32 codebook 300,20 1 2 4"),
    "sparse": (SPARSE, f"f32 sparse 60,70 {np.count_nonzero(SPARSE)}"),
    "both": (np.where(SPARSE, FEW, np.float32(0)), f"f32 sparse 60,70 {np.count_nonzero(SPARSE)} 4 16"),
    "zeros": (np.zeros((60, 70), np.float64), "f64 sparse 60,70 0"),
    "half": (RNG.integers(1, 8, (40, 50)).astype(np.float16), "f16 codebook 40,50 - 3 7"),
    "bfloat": (RNG.integers(1, 8, (40, 50)).astype(ml_dtypes.bfloat16), "bf16 codebook 40,50 - 3 7"),
    "bytes": (RNG.integers(1, 5, (40, 50)).astype(np.int8), "i8 codebook 40,50 - 2 4"),
    "dense": (RNG.standard_normal((40, 50)).astype(np.float32), ""),
}


def save(arrays: dict[str, Array], folder: Path) -> Path:
    """The .irc file of a graph with these constants."""
    graph = Graph()
    graph.info.opsets = {"": 21}
    graph.add_output(graph.insert(Identity(), [graph.add_input("x", tensor("f32", 1))]).output, "y")
    for name, array in arrays.items():
        graph.add_output(graph.insert(Identity(), [graph.add_constant(array, name)]).output, f"{name}.out")
    save_text(graph, folder / "m.irc")
    return folder / "m.irc"


def stored(folder: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays of the weights file, and what it says of them."""
    with safe_open(folder / "m.safetensors", framework="numpy") as file:
        said = (file.metadata() or {}).get("irc.types", "{}")
        return {key: file.get_tensor(key) for key in file.keys()}, json.loads(said)  # noqa: SIM118  # no mapping


def rewrite(folder: Path, data: Array, text: str) -> Path:
    """Another weights file, with these bytes for the one weight."""
    safetensors.numpy.save_file(
        {"w": np.ascontiguousarray(data)}, folder / "m.safetensors", {"irc.types": json.dumps({"w": text})}
    )
    return folder / "m.irc"


def test_all_forms_come_back(tmp_path: Path) -> None:
    path = save({name: array for name, (array, _) in FORMS.items()}, tmp_path)
    back = load_text(path)
    for name, (array, _) in FORMS.items():
        data = back.value(name).data
        assert data is not None
        assert (data.dtype, data.shape, data.tobytes()) == (array.dtype, array.shape, array.tobytes()), name
    first = (tmp_path / "m.safetensors").read_bytes(), path.read_bytes()
    save_text(back, path)
    assert ((tmp_path / "m.safetensors").read_bytes(), path.read_bytes()) == first


@pytest.mark.parametrize("name", [name for name in FORMS if name not in ("one", "zeros")])
def test_what_the_file_says(name: str, tmp_path: Path) -> None:
    array, said = FORMS[name]
    save({"w": array}, tmp_path)
    held, texts = stored(tmp_path)
    assert texts.get("w", "") == said
    assert (held["w"].nbytes < 0.8 * array.nbytes) == bool(said)


ENCODED = [name for name in FORMS if name not in ("one", "zeros", "dense")]


@pytest.mark.parametrize("name", ENCODED)
@pytest.mark.parametrize("change", ["shorter", "longer", "empty", "floats", "matrix"])
def test_other_bytes(name: str, change: str, tmp_path: Path) -> None:
    save({"w": FORMS[name][0]}, tmp_path)
    data = stored(tmp_path)[0]["w"]
    made: Array = {
        "shorter": data[:-1],
        "longer": np.append(data, np.uint8(0)),
        "empty": data[:0],
        "floats": data.astype(np.float32),
        "matrix": np.stack([data, data]),
    }[change]
    with pytest.raises(ModelError, match=r"the weights of 'w' do not fit their type"):
        load_text(rewrite(tmp_path, made, FORMS[name][1]))


@pytest.mark.parametrize("made", [np.zeros(4, np.float32), np.zeros((4, 1), np.uint8), np.zeros(3, np.uint8)])
def test_other_bytes_than_those_of_four_bits(made: Array, tmp_path: Path) -> None:
    save({"w": np.arange(1000, dtype=np.float32)}, tmp_path)
    with pytest.raises(ModelError, match=r"the weights of 'w' do not fit their type i4\[8\]"):
        load_text(rewrite(tmp_path, made, "i4[8]"))


@pytest.mark.parametrize("name", ["book", "rows", "columns"])
def test_codes_that_stand_for_nothing(name: str, tmp_path: Path) -> None:
    """Four entries of which there are three."""
    save({"w": FORMS[name][0]}, tmp_path)
    data = stored(tmp_path)[0]["w"]
    said = FORMS[name][1].rsplit(" ", 1)
    rows = {"book": 1, "rows": 20, "columns": 20}[name]
    with pytest.raises(ModelError):
        load_text(rewrite(tmp_path, data[: data.size - 4 * rows], f"{said[0]} {int(said[1]) - 1}"))


def test_a_mask_of_other_bits(tmp_path: Path) -> None:
    save({"w": SPARSE}, tmp_path)
    data = stored(tmp_path)[0]["w"].copy()
    data[0] ^= 1
    with pytest.raises(ModelError):
        load_text(rewrite(tmp_path, data, FORMS["sparse"][1]))


WORDS: list[Any] = [
    "f32 codebook",
    "f32 codebook ",
    " codebook ",
    "f32 sparse ",
    " sparse ",
    "f32 codebook 31,47 - 4",
    "f32 codebook 31,47 - 4 11 7",
    "f32 codebook 31,47 2 4 11",
    "f32 codebook 31,47 -1 4 11",
    "f32 codebook 31,47 x 4 11",
    "f32 codebook 31,47 - 0 11",
    "f32 codebook 31,47 - 9 11",
    "f32 codebook 31,47 - -4 11",
    "f32 codebook 31,47 - 4 -11",
    "f32 codebook 31,47 - 4 0",
    "f32 codebook -31,-47 - 4 11",
    "f32 codebook 31,-47 - 4 11",
    "f32 codebook 47,31 - 4 11",
    "f32 codebook 1457 - 4 11",
    "f32 codebook 1000000000000,0 0 1 0",
    "f32 codebook 1000000000000,1000000000000 - 1 1",
    "f32 codebook 31,4.7 - 4 11",
    "f32 codebook 31,47 - 1e9 11",
    "f32 codebook " + "9" * 5000 + " - 4 11",
    "f32 codebook " + "1," * 100 + "1457 - 4 11",
    "f33 codebook 31,47 - 4 11",
    "string codebook 31,47 - 4 11",
    "i64 codebook 31,47 - 4 11",
    "f16 codebook 31,47 - 4 11",
    "f32 sparse 31,47 5",
    "f32 sparse 31,47 -5",
    "f32 sparse 31,47 999999999999",
    "f32 sparse 31,47 5 1",
    "f32 sparse 1000000000000,0 0",
    "f32 sparse 1000000000000,1000000000000 0",
    "f32 huffman codebook 31,47",
    "f32[31, 47]",
    "f32[",
    "[]",
    "",
    "string[1]",
    "f32[-1]",
    "f32[31, 47] codebook ",
]


@pytest.mark.parametrize("text", WORDS, ids=range(len(WORDS)))
def test_other_descriptions(text: str, tmp_path: Path) -> None:
    save({"w": FORMS["book"][0]}, tmp_path)
    data = stored(tmp_path)[0]["w"]
    with pytest.raises(IrcError) as caught:
        load_text(rewrite(tmp_path, data, text))
    assert "'w'" in str(caught.value) or "'%w'" in str(caught.value)


def test_a_description_with_a_number_too_many(tmp_path: Path) -> None:
    save({"w": FORMS["both"][0]}, tmp_path)
    data = stored(tmp_path)[0]["w"]
    with pytest.raises(ModelError, match="no such encoding"):
        load_text(rewrite(tmp_path, data, FORMS["both"][1] + " 7"))


@pytest.mark.parametrize("said", ["", "{", "[]", "3", '{"w": 3}', "[" * 100_000], ids=range(6))
def test_metadata_that_says_nothing(said: str, tmp_path: Path) -> None:
    path = save({"w": FORMS["book"][0]}, tmp_path)
    data = stored(tmp_path)[0]["w"]
    safetensors.numpy.save_file({"w": data}, tmp_path / "m.safetensors", {"irc.types": said})
    with pytest.raises(ModelError, match="does not say what it holds"):
        load_text(path)

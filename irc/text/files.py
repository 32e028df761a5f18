"""A graph as two files: `x.irc`, its text, and `x.safetensors` beside it, the constants that the text only names."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  # numpy then knows bfloat16 and the rest by name
import numpy as np
import safetensors
import safetensors.numpy

from irc.atomic import atomic_files
from irc.bit_codes import pack_codes, unpack_codes
from irc.encoding import Dense, encode
from irc.errors import ModelError, OutputError
from irc.graph import Graph
from irc.text.encoded import from_bytes, is_description, to_bytes
from irc.text.literals import array_text
from irc.text.names import name_text, quoted
from irc.text.parser import parse_graph
from irc.text.printer import print_graph
from irc.types import Array, DType

_TYPES = "irc.types"  # metadata, one entry as safetensors orders several at random: JSON, text by key
# what safetensors stores by itself; anything else goes in as bytes, with its type in the file's metadata
_PLAIN = {"f64", "f32", "f16", "i64", "u64", "i32", "u32", "i16", "u16", "i8", "u8", "bool"}


def save_text(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Write the graph's text to `path` and its long constants beside it, whole or not at all.

    Raises
    ------
    OutputError : a file cannot be written there.
    """
    target = Path(path)
    tensors, packed = {}, {}
    for name, array in _stored(graph):
        key, dtype, encoding = _key(name), DType.of_numpy(array.dtype), encode(array)
        if not isinstance(encoding, Dense):
            array, packed[key] = to_bytes(encoding)
        elif dtype.text not in _PLAIN:
            packed[key] = f"{dtype.text}[{', '.join(map(str, array.shape))}]"
            array = _pack(array, dtype)
        tensors[key] = np.ascontiguousarray(array)
    paths = [_weights_path(target), target] if tensors else [target]
    with atomic_files(*paths) as files:
        if tensors:
            try:
                safetensors.numpy.save_file(tensors, files[0].name, {_TYPES: json.dumps(packed)} if packed else None)
            except safetensors.SafetensorError as error:
                raise OutputError(f"cannot write '{paths[0]}': {error}") from None
        files[-1].write(print_graph(graph).encode())


def load_text(path: str | os.PathLike[str]) -> Graph:
    """The graph that `save_text` wrote.

    Raises
    ------
    ModelError : a file is missing or broken.
    TextError : the text is no graph.
    """
    source = Path(path)
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read '{source}': {error}") from None
    weights = _weights_path(source)
    if not weights.exists():
        return parse_graph(text)
    try:
        with safetensors.safe_open(weights, framework="numpy") as file:
            return parse_graph(text, _Weights(file))
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(f"cannot read '{weights}': {error}") from None


def _weights_path(path: Path) -> Path:
    return path.with_name(path.stem + ".safetensors")


def _stored(graph: Graph) -> Iterator[tuple[str, Array]]:
    """The arrays that the text leaves to the weights file, by value name."""
    for inner in graph.graphs():
        arrays = [(value.name, value.data) for value in inner.constants]
        arrays += [(value.name, array) for value, array in inner.defaults.items()]
        for name, array in arrays:
            if array is not None and array_text(array) is None:
                yield name, array


def _key(name: str) -> str:
    """The name in the file: escaped, since a name of a model can hold anything; that of the metadata is not free."""
    return quoted(name) if name == "__metadata__" else name_text(name)


def _pack(array: Array, dtype: DType) -> Array:
    """The array as bytes: 2- and 4-bit elements packed, the first in the lowest bits."""
    codes = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    if dtype.bits >= 8:
        return codes
    return pack_codes(codes & np.uint8((1 << dtype.bits) - 1), dtype.bits)


def _unpack(data: Array, text: str) -> Array:
    """The array that `_pack` made bytes of; `text` is its type, or describes its encoding."""
    if data.dtype != np.uint8 or data.ndim != 1:
        raise ValueError("they are no bytes")
    if is_description(text):
        return from_bytes(data, text)
    name, _, dims = text.rstrip("]").partition("[")
    dtype, shape = DType.of_text(name), tuple(int(d) for d in dims.split(",") if d)
    if not dtype.bits:
        raise ValueError("such arrays are not stored")
    if dtype.bits >= 8:
        return data.view(dtype.numpy).reshape(shape)
    codes = unpack_codes(data, dtype.bits, int(np.prod(shape)))
    return codes.view(dtype.numpy).reshape(shape)


def _types(text: str) -> dict[str, str]:
    try:
        held = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"the weights file does not say what it holds: {error}") from None
    if not isinstance(held, dict) or not all(isinstance(each, str) for each in held.values()):
        raise ModelError("the weights file does not say what it holds: no JSON object of texts")
    return held


class _Weights(Mapping[str, Array]):
    """The arrays of an open weights file by value name, read when asked for."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.keys_there = set(file.keys())
        self.packed = _types((file.metadata() or {}).get(_TYPES, "{}"))

    def __getitem__(self, name: str) -> Array:
        key = _key(name)
        if key not in self.keys_there:
            raise KeyError(name)
        array: Array = self.file.get_tensor(key)
        if key not in self.packed:
            return array
        try:
            return _unpack(array, self.packed[key])
        except (ValueError, KeyError, IndexError) as error:
            raise ModelError(f"the weights of '{name}' do not fit their type {self.packed[key]}: {error}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys_there)

    def __len__(self) -> int:
        return len(self.keys_there)

"""What a stored model takes: the bytes of its files, and of the constants in them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto

from irc.analysis.cost import cost
from irc.graph import Graph
from irc.types import DType


@dataclass(frozen=True)
class Stored:
    """Bytes of a model.

    files : of its file and the files of weights that it names, or of all files of a folder
    constants : of all tensors in them
    sha256 : of what an artifact writes (of several files, of their names, sizes and bytes); empty for what lay there
    """

    files: int
    constants: int
    sha256: str = ""


def of_onnx(path: Path) -> Stored:
    """Of an ONNX file, which irc has read already, so that its external data lie where they may."""
    tensors = list(_tensors(onnx.load(path, load_external_data=False)))
    files = {path, *(path.parent / name for tensor in tensors for name in _external_files(tensor))}
    return Stored(sum(file.stat().st_size for file in files), sum(map(tensor_bytes, tensors)))


def of_text(path: Path, graph: Graph) -> Stored:
    """Of an .irc file with its weights beside it, and of the graph in it."""
    beside = path.with_name(path.stem + ".safetensors")
    size = path.stat().st_size + (beside.stat().st_size if beside.is_file() else 0)
    return Stored(size, cost(graph).bytes)


def of_folder(folder: Path, model: Path) -> Stored:
    """Of a folder, and of the ONNX file in it."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Stored(size, of_onnx(model).constants)


def sha256_of(folder: Path) -> str:
    """The digest of the one file in a folder, or of the names, sizes and bytes of all of them."""
    digest = hashlib.sha256()
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in paths:
        if len(paths) > 1:
            digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def tensor_bytes(tensor: TensorProto) -> int:
    """Bytes of the elements, those of fewer than 8 bits packed."""
    if tensor.data_type == TensorProto.STRING:
        return sum(map(len, tensor.string_data))
    elements: int = math.prod(tensor.dims)
    return (elements * DType.of_onnx(tensor.data_type).bits + 7) // 8


def _tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """All tensors of the model: of its graph, of bodies, and in attributes, those of its own functions too."""
    yield from _of_graph(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _of_node(node)


def _of_graph(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _of_node(node)


def _of_node(node: onnx.NodeProto) -> Iterator[TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        if attribute.HasField("g"):
            yield from _of_graph(attribute.g)
        for body in attribute.graphs:
            yield from _of_graph(body)


def _external_files(tensor: TensorProto) -> list[str]:
    if tensor.data_location != TensorProto.EXTERNAL:
        return []
    return [entry.value for entry in tensor.external_data if entry.key == "location"]

"""What a checkpoint is of: digests of the model, the teacher and the data, and the options in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b

from irc.errors import DataError
from irc.execution.training.data import Item, TrainingData
from irc.graph import Graph
from irc.types import Array

_SAMPLES = 4  # whose digest stands for the data


def graph_digest(graph: Graph) -> str:
    """Of the nodes, how they hang together, and the constants."""
    digest = blake2b(digest_size=16)
    for inner in graph.graphs():
        digest.update(repr([v.name for v in inner.inputs]).encode())
        for node in inner:
            names = [None if v is None else v.name for v in (*node.inputs, *node.outputs)]
            digest.update(repr((node.name, node.op, names)).encode())
        for value in inner.constants:
            data = value.data
            assert data is not None
            digest.update(value.name.encode())
            _update(digest, data)
        digest.update(repr(inner.output_names).encode())
    return digest.hexdigest()


def data_digest(data: TrainingData) -> str:
    """Of the first samples with their labels, and the number of all where that is known."""
    digest = blake2b(repr(data.length).encode(), digest_size=16)
    for item in data.head(_SAMPLES):
        for array in _arrays(item):
            _update(digest, array)
    return digest.hexdigest()


def _update(digest: blake2b, array: Array) -> None:
    digest.update(repr((array.shape, array.dtype.name)).encode())
    digest.update(repr(array.tolist()).encode() if array.dtype.kind == "O" else array.tobytes())  # texts are objects


def _arrays(item: Item) -> Iterable[Array]:
    yield from item.sample.values()
    if isinstance(item.label, dict):
        yield from item.label.values()
    elif item.label is not None:
        yield item.label


def check_identity(found: Mapping[str, str], wanted: Mapping[str, str], folder: str, name: str) -> None:
    """DataError that says in what a checkpoint differs from the training that would go on from it."""
    differing = [key for key in wanted if found.get(key) != wanted[key]]
    if not differing:
        return
    key = differing[0]
    what = {"model": "of another model", "teacher": "with another teacher", "data": "with other data"}.get(
        key, f"with {key}={found.get(key, 'none')}, not {wanted[key]}"
    )
    raise DataError(
        f"{name}: the checkpoint in '{folder}' is of a training {what}; give another checkpoint folder, or remove "
        "this one to start anew"
    )

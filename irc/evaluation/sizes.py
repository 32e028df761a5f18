"""Sizes of symbolic dimensions: those that a sample has, and graphs and samples of given sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from irc.errors import DataError, IrcError

if TYPE_CHECKING:
    from irc.execution.samples import Sample
    from irc.graph import Graph, Value


def bind(graph: Graph, dims: Mapping[str, int]) -> None:
    """Give the symbolic dimensions of all values of the nest their sizes, 1 if they are not in `dims`, in place."""
    from irc.backends.c.dimensions import size_of
    from irc.backends.c.specialize import symbols
    from irc.types import TensorType

    sizes = dict.fromkeys(symbols(graph), 1) | dict(dims)
    for inner in graph.graphs():
        for value in inner.values:
            type = value.tensor_type
            if type is not None and type.shape is not None and not type.is_static:
                shape = (size_of(d, sizes) if isinstance(d, str) else d for d in type.shape)
                value.type = TensorType(type.dtype, tuple(shape))


def vague(graph: Graph) -> list[Value]:
    """The values of the nest that nodes make, that are read, and whose shapes are not known to the last dimension."""
    from irc.types import TensorType

    made = [value for node in graph.walk() for value in node.outputs if value.uses]
    return [value for value in made if isinstance(value.type, TensorType) and not value.type.is_static]


def observe(graph: Graph, sample: Sample) -> None:
    """Give values that are vague the shapes that they have when the graph runs on a sample, in place.

    A branch that the sample does not take stays as it is, and all if the graph cannot be run.
    """
    from irc.execution import Executable
    from irc.types import TensorType

    shapes: dict[Value, tuple[int, ...]] = {}
    with suppress(IrcError):
        Executable(graph).observe(sample, vague(graph), lambda value, made: shapes.update({value: tuple(made.shape)}))
    for value, shape in shapes.items():
        assert isinstance(value.type, TensorType)
        value.type = TensorType(value.type.dtype, shape)


def sample_dims(graph: Graph, sample: Sample) -> dict[str, int]:
    """The sizes that a sample gives to the symbols of the graph's inputs.

    Raises
    ------
    DataError : it gives two sizes to one symbol.
    """
    from irc.backends.c.specialize import symbols

    known = symbols(graph)
    found: dict[str, tuple[int, str]] = {}
    for name, axis, dim in _symbolic(graph):
        number, names = _factors(dim)
        if name not in sample or len(names) != 1 or names[0] not in known or sample[name].shape[axis] % number:
            continue
        size = sample[name].shape[axis] // number
        before, other = found.setdefault(names[0], (size, name))
        if size != before:
            raise DataError(f"dimension '{names[0]}' is {before} in input '{other}' and {size} in input '{name}'")
    return {symbol: size for symbol, (size, _) in found.items()}


def fitted(graph: Graph, sample: Sample, dims: Mapping[str, int]) -> Sample:
    """The sample, repeated or cut along each dimension that has a size in `dims`.

    Raises
    ------
    DataError : there is nothing to repeat.
    """
    import numpy as np

    from irc.backends.c.dimensions import size_of

    made = dict(sample)
    for name, axis, dim in _symbolic(graph):
        size = size_of(dim, dims)
        if name not in made or size is None or size == made[name].shape[axis]:
            continue
        if not made[name].shape[axis]:
            raise DataError(f"input '{name}' is empty, so that it cannot be repeated to {dim} = {size}")
        made[name] = np.take(made[name], np.arange(size) % made[name].shape[axis], axis)
    return made


def made_up_sample(graph: Graph, dims: Mapping[str, int], *, seed: int = 0, other: int) -> Sample:
    """A random sample of these sizes; symbols that are not in `dims` are `other`."""
    from irc.backends.c.dimensions import size_of
    from irc.backends.c.specialize import symbols
    from irc.execution.samples import random_sample
    from irc.graph import Graph
    from irc.types import TensorType

    sizes = dict.fromkeys(symbols(graph), other) | dict(dims)
    shaped = Graph()
    for value in graph.inputs:
        type = value.type
        if isinstance(type, TensorType) and type.shape is not None:
            shape = (size_of(d, sizes) if isinstance(d, str) else d for d in type.shape)
            type = TensorType(type.dtype, tuple(shape))
        shaped.add_input(value.name, type)
    return random_sample(shaped, seed, other)


def _symbolic(graph: Graph) -> Iterator[tuple[str, int, str]]:
    """Input, axis and text of every dimension that is not a number."""
    for value in graph.inputs:
        type = value.tensor_type
        for axis, dim in enumerate((type.shape if type is not None else None) or ()):
            if isinstance(dim, str):
                yield value.name, axis, dim


def _factors(dim: str) -> tuple[int, list[str]]:
    """A product such as 2*N as its number and its names."""
    parts = dim.replace(" ", "").split("*")
    return math.prod(int(p) for p in parts if p.isdecimal()) or 1, [p for p in parts if not p.isdecimal()]

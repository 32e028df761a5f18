"""--dims on the command line, and the sizes that samples give to the symbolic dimensions of a model's inputs.

dims ::= name=size ("," name=size)*       N=8,T=128
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from irc.errors import DataError, IrcError, OptionError

if TYPE_CHECKING:
    from irc.execution.samples import Sample
    from irc.graph import Graph

HELP = "Sizes of the inputs' symbolic dimensions, as N=8,T=128"


def parse_dims(text: str) -> dict[str, int]:
    """The size of each dimension that the text names.

    Raises
    ------
    OptionError : the text is not of the form above, or names a dimension twice.
    """
    dims: dict[str, int] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, _, size = (p.strip() for p in part.partition("="))
        if not name or not size.isdecimal() or int(size) < 1:
            raise OptionError(f"--dims: '{part}' must be a name and a size, 1 or more, such as N=8")
        if name in dims:
            raise OptionError(f"--dims: '{name}' is given twice")
        dims[name] = int(size)
    return dims


def check_dims(graph: Graph, dims: Mapping[str, int]) -> None:
    """OptionError if the graph's inputs do not have one of the dimensions."""
    from irc.backends.c.specialize import symbols

    known = symbols(graph)
    for name in dims:
        if name not in known:
            have = f"they have {', '.join(known)}" if known else "all of theirs are numbers"
            raise OptionError(f"--dims: the model's inputs have no dimension '{name}'; {have}")


def stored_dims(graph: Graph) -> dict[str, int]:
    """What a saved C model was compiled for; empty for other models."""
    from irc.backends.c.artifact import CArtifact
    from irc.backends.c.specialize import symbols
    from irc.backends.registry import target_of
    from irc.report.ledger import Ledger
    from irc.report.report import Report

    target = target_of(graph)
    if target.kind == "c" and symbols(graph):
        with suppress(IrcError):  # it may be text that was never compiled
            return CArtifact(graph, target, Report(Ledger())).dims
    return {}


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

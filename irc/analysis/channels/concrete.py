"""A graph with numbers for its symbolic dimensions: the shape of every value, and what is known of integer values.

The graph is run once on made-up inputs, so that whatever computes shapes in it has been computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from irc.errors import DataError, IrcError
from irc.execution import Executable
from irc.execution.convert import to_numpy
from irc.graph import Graph, Node, Value
from irc.ops.shape import Shape, Size
from irc.types import Array

_SIZES = (2, 8, 32, 64, 1)  # to try for symbolic dimensions; 2 tells a batch from an axis that broadcasts
_LONG = (128, 256, 512, 1024)  # and then, with the batch, if it has a name of its own, at 2: signals that are filtered
_SMALL = 1 << 16  # elements of a value that may be a shape, an index or a position


@dataclass
class Concrete:
    """Shapes and settled values.

    dims : what the symbols of the inputs are bound to
    shapes : of every tensor of the root graph
    static : the values that depend on shapes and constants only, if small
    """

    dims: dict[str, int]
    shapes: dict[Value, tuple[int, ...]] = field(default_factory=dict)
    static: dict[Value, Array] = field(default_factory=dict)


def concretize(graph: Graph, dims: Mapping[str, int] | None = None) -> Concrete:
    """Run the graph once and note its shapes.

    dims : sizes of symbolic dimensions; sizes with which the graph runs are sought for those not given

    Raises
    ------
    DataError : it runs with none of the sizes tried, or an input has no known rank.
    """
    tried: IrcError | None = None
    for bound in _bindings(graph, dims or {}):
        try:
            return _run(graph, bound)
        except DataError:
            raise
        except IrcError as error:
            tried = tried or error
    way_out = "; give sizes of its symbolic dimensions: --dims of irc show, or calibration samples to prune-channels"
    end = way_out if symbols(graph) else ""
    raise DataError(f"the model does not run on made-up inputs of shapes {_shown(graph)}: {tried}{end}")


def sizes_in(sample: Mapping[str, Array], graph: Graph) -> dict[str, int]:
    """The sizes that the named dimensions have in a sample, but for those of the batch, which may be any."""
    found: dict[str, int] = {}
    for value in graph.inputs:
        type = value.tensor_type
        if type is None or type.shape is None or value.name not in sample:
            continue
        sizes = zip(type.shape, np.shape(sample[value.name]), strict=True)
        found.update({dim: size for dim, size in sizes if isinstance(dim, str)})
    batch = _batch(set(found), graph)
    return {name: size for name, size in found.items() if name not in batch}


def _bindings(graph: Graph, given: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Sizes of all symbols, one choice after the other, those that are given in each of them."""
    free = symbols(graph) - set(given)
    if not free:
        yield dict(given)
        return
    batch = _batch(free, graph)
    for size in _SIZES:
        yield {**dict.fromkeys(free, size), **given}
    for size in _LONG:
        yield {**{name: 2 if name in batch else size for name in free}, **given}


def _run(graph: Graph, bound: Mapping[str, int]) -> Concrete:
    made = Concrete(dict(bound))
    wanted = [value for value in graph.values if not value.is_constant]
    settled = _settled(graph)

    def note(value: Value, tensor: Any) -> None:
        made.shapes[value] = tuple(int(n) for n in tensor.shape)
        if value in settled and tensor.numel() <= _SMALL:
            made.static[value] = to_numpy(tensor).copy()

    Executable(graph).observe(_inputs(graph, bound), wanted, note)
    for value in graph.constants:
        assert value.data is not None
        made.shapes[value] = value.data.shape
        if value.data.size <= _SMALL:
            made.static[value] = value.data
    return made


def _settled(graph: Graph) -> set[Value]:
    """The values that are known from constants and the inputs' shapes."""
    settled = set(graph.constants)
    for node in graph:
        if isinstance(node.op, Shape | Size) or _reads_settled(node, settled):
            settled.update(node.outputs)
    return settled


def _reads_settled(node: Node, settled: set[Value]) -> bool:
    return (
        node.op.deterministic
        and not node.bodies
        and any(v is not None for v in node.inputs)
        and all(v is None or v in settled for v in node.inputs)
    )


def _inputs(graph: Graph, bound: Mapping[str, int]) -> dict[str, Array]:
    random = np.random.default_rng(0)
    made: dict[str, Array] = {}
    for value in graph.inputs:
        if value in graph.defaults:
            continue
        type = value.tensor_type
        if type is None or type.shape is None:
            raise DataError(f"input '{value.name}' has no known shape, so its channels cannot be told apart")
        shape = [d if isinstance(d, int) else bound[_named(d)] for d in type.shape]
        drawn = random.standard_normal(shape) if type.dtype.is_float else np.zeros(shape)
        made[value.name] = drawn.astype(type.dtype.numpy)
    return made


def symbols(graph: Graph) -> set[str]:
    """The names of the inputs' symbolic dimensions, `?` for those without one."""
    return {_named(d) for shape in _shapes(graph) for d in shape if not isinstance(d, int)}


def _batch(names: set[str], graph: Graph) -> set[str]:
    """Those of the symbols that are the first axis of an input; none if all are, as of signals without a batch."""
    leading = {_named(shape[0]) for shape in _shapes(graph) if shape and not isinstance(shape[0], int)}
    return names & leading if names - leading else set()


def _shapes(graph: Graph) -> list[tuple[Any, ...]]:
    types = [v.tensor_type for v in graph.inputs if v not in graph.defaults]
    return [t.shape for t in types if t is not None and t.shape is not None]


def _named(dim: Any) -> str:
    return "?" if dim is None else str(dim)


def _shown(graph: Graph) -> str:
    return ", ".join(f"{v.name}: {v.type}" for v in graph.inputs)

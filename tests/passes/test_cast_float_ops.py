"""Whatever op a model has: behind `cast-float` it still runs, in onnxruntime and here, and computes nearly the same."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnxruntime
import pytest

import irc.ops  # noqa: F401  # which registers the ops
from irc.errors import GraphError
from irc.execution import Executable
from irc.graph import Graph, Value
from irc.op import Example, Op
from irc.passes import CastFloat
from irc.passes.context import plain_context
from irc.proto.writer import model_proto
from irc.signature import OWN_DOMAIN
from irc.types import Array, type_of_array
from irc.verify import verify

# float16 has 11 bits; inputs and outputs are rounded, and the worst of the ops doubles that on its example
TOLERANCE = 2.0**-8
OPS = sorted({cls.__name__: cls for (domain, _), cls in Op.registry.items() if domain != OWN_DOMAIN})


def _examples(name: str) -> Iterator[Example]:
    for example in Op.registry["", name].examples():
        if any(a is not None and a.dtype == np.float32 for a in example.inputs):
            yield example


def _graph(example: Example) -> tuple[Graph, dict[str, Array]]:
    """The op on inputs, and on constants for its settings; and what the inputs are."""
    graph, given = Graph(), {}
    values: list[Value | None] = []
    graph.info.opsets[""] = 21
    for index, array in enumerate(example.inputs):
        if array is None:
            values.append(None)
        elif index == 0 or (array.dtype == np.float32 and array.ndim > 1):
            values.append(graph.add_input(f"x{index}", type_of_array(array)))
            given[f"x{index}"] = array
        else:
            values.append(graph.add_constant(array, f"c{index}"))
    for value in graph.insert(example.op, values, name="node", outputs=example.outputs).outputs:
        graph.add_output(value)
    return graph, given


def _run(graph: Graph, given: dict[str, Array]) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    proto = model_proto(graph).SerializeToString()
    session = onnxruntime.InferenceSession(proto, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, given))


def _plain(array: Array) -> Array:
    """float8 as the bytes that onnxruntime gives out."""
    return array.view(np.uint8) if array.dtype.name.startswith("float8") else array


def _wanted(graph: Graph, given: dict[str, Array]) -> list[Array] | None:
    """What onnxruntime makes of the op in float32; None if it has no kernel for it or for these inputs."""
    try:
        return _run(graph, given)
    except Exception:  # onnxruntime's own classes, of which it has many
        return None


@pytest.mark.slow
@pytest.mark.parametrize("compute", [True, False])
def test_every_op_runs(compute: bool) -> None:
    tried = set()
    for name in OPS:
        for example in _examples(name) if ("", name) in Op.registry else ():
            try:
                graph, given = _graph(example)
            except GraphError:
                continue  # an op that opset 21 does not have yet
            wanted = _wanted(graph, given)
            if wanted is None:
                continue
            CastFloat("float16", compute=compute).run(graph, plain_context(graph))
            verify(graph)
            for got in (_run(graph, given), list(Executable(graph).run_numpy(given).values())):
                for before, after in zip(wanted, map(_plain, got), strict=True):
                    assert (after.dtype, after.shape) == (before.dtype, before.shape), name
                    if before.dtype == np.float32 and before.size:
                        error = np.abs(after - before).max() / max(np.abs(before).max(), 1e-6)
                        assert error < TOLERANCE, (name, example.op)
            tried.add(name)
    assert len(tried) > 100

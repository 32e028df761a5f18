"""Graphs of one or two layers, their weights of a chosen rank, for the tests of `low-rank`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest

from irc.execution import Executable
from irc.graph import Graph
from irc.op import Op
from irc.passes.context import Context, plain_context
from irc.passes.low_rank import LowRank
from irc.proto.writer import model_proto
from irc.types import Array, tensor
from irc.verify import verify

_RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """Let each test draw what it draws alone; a module of tests imports this."""
    _RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state


def floats(*shape: int) -> Array:
    """Normally distributed numbers."""
    return np.asarray(_RNG.normal(size=shape), np.float32)


def of_rank(rank: int, rows: int, columns: int) -> Array:
    """A matrix of exactly this rank, up to rounding."""
    return np.asarray(floats(rows, rank) @ floats(rank, columns), np.float32)


def kernel_of_rank(ranks: tuple[int, int], outputs: int, inputs: int, *taps: int) -> Array:
    """A kernel of exactly these Tucker ranks, up to rounding."""
    core = floats(*ranks, *taps)
    made = np.einsum("oa,ab...,bi->oi...", floats(outputs, ranks[0]), core, floats(ranks[1], inputs))
    return np.asarray(made, np.float32)


def layer(op: Op, dims: Sequence[int | str], *inputs: Array | None) -> Graph:
    """One node of the input x, where `inputs` has None, and constants."""
    graph = Graph()
    x = graph.add_input("x", tensor("f32", *dims))
    names = iter(("layer.weight", "layer.bias"))
    values = [x if each is None else graph.add_constant(each, next(names)) for each in inputs]
    graph.add_output(graph.insert(op, values, name="layer").output, "y")
    return graph


def factored(graph: Graph, step: LowRank, calibration: list[Array] | None = None) -> tuple[Graph, Context]:
    """A copy of the graph behind the pass, valid here and as ONNX, and the context it ran in."""
    made = graph.copy()
    context = plain_context(made, calibration=calibration)
    step.run(made, context)
    verify(made)
    onnx.checker.check_model(model_proto(made), full_check=True)
    return made, context


def output(graph: Graph, **inputs: Array) -> Array:
    """The first output."""
    made: Array = next(iter(Executable(graph).run_numpy(inputs).values()))
    return made


def declined(context: Context) -> dict[str, str]:
    """Reason by node."""
    return {site.node: site.reason for site in context.row.declined}

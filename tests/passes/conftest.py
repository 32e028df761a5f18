"""How the tests of passes run one: on a graph in text, checked for its structure, its rules and its meaning."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

from irc.analysis.error import relative_error
from irc.execution import Executable
from irc.execution.samples import random_sample
from irc.graph import Graph
from irc.passes.base import Pass
from irc.passes.context import Context, plain_context
from irc.passes.eliminate_dead import EliminateDead
from irc.passes.numerics import noise
from irc.text import parse_graph, print_graph
from irc.verify import verify


class Transformed:
    """A graph before and after a pass.

    graph : after
    declined : reason by node name
    """

    def __init__(self, graph: Graph, context: Context, original: Graph, sample: dict[str, Any]) -> None:
        self.graph = graph
        self.original = original
        self.sample = sample
        self.declined = {site.node: site.reason for site in context.row.declined}

    def is_text(self, text: str) -> None:
        """Assert that the graph, without what is dead, reads as `text`."""
        EliminateDead().run(self.graph, plain_context(self.graph))
        wanted = parse_graph(dedent(text).strip() + "\n")
        assert print_graph(self.graph) == print_graph(wanted)

    def ops(self) -> list[str]:
        """The op names of the nodes that are not dead, bodies' included."""
        EliminateDead().run(self.graph, plain_context(self.graph))
        return [node.op.name for node in self.graph.walk()]

    def is_equal(self, tolerance: float) -> None:
        """Assert that the outputs are the same up to `tolerance` and rounding, on random inputs."""
        wanted = Executable(self.original).run_numpy(self.sample)
        got = Executable(self.graph).run_numpy(self.sample)
        assert list(got) == list(wanted)
        for name, array in wanted.items():
            assert got[name].shape == array.shape
            assert got[name].dtype == array.dtype
            assert relative_error(array, got[name]) <= tolerance + noise(array)


@pytest.fixture
def transform() -> Callable[..., Transformed]:
    """Run a pass on a graph or its text: the result is verified and computes the same as before."""

    def run(each: Pass, graph: Graph | str, **sample: Any) -> Transformed:
        if isinstance(graph, str):
            graph = parse_graph(dedent(graph).strip() + "\n")
        verify(graph)
        original = graph.copy()
        context = plain_context(graph)
        each.run(graph, context)
        verify(graph)
        inputs = random_sample(original, 0) | {name: np.asarray(data) for name, data in sample.items()}
        made = Transformed(graph, context, original, inputs)
        assert each.numerics.tolerance is not None
        made.is_equal(each.numerics.tolerance)
        return made

    return run

"""What the tests of the front ends share: running a graph in both of the ways there are, against torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch.utils import _pytree as pytree

from irc.execution import Executable
from irc.frontends.torch import read_torch
from irc.graph import Graph
from irc.proto.writer import model_proto
from irc.types import Array

_TOLERANCE = 1e-4  # of the largest magnitude of an output: float32 rounding of a few hundred layers stays below it


def run_in_onnxruntime(graph: Graph, inputs: Mapping[str, Array]) -> list[Array]:
    """The graph's outputs, computed by onnxruntime from the ONNX model that it is."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model_proto(graph).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(list(graph.output_names), dict(inputs)))


def tensors_of(tree: Any) -> list[torch.Tensor]:
    """The tensors in what a model takes or gives, in order."""
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def assert_same(graph: Graph, model: torch.nn.Module, inputs: Any) -> None:
    """The graph gives what the model gives, run by torch and by onnxruntime."""
    with torch.no_grad():
        made = model(**inputs) if isinstance(inputs, dict) else model(*inputs)
    expected = [t.numpy() for t in tensors_of(made)]
    feed = {v.name: t.numpy() for v, t in zip(graph.inputs, tensors_of(inputs), strict=True)}
    by_torch = list(Executable(graph).run_numpy(feed).values())
    by_onnxruntime = run_in_onnxruntime(graph, feed)
    for runner, given in (("torch", by_torch), ("onnxruntime", by_onnxruntime)):
        assert len(given) == len(expected)
        for name, have, want in zip(graph.output_names, given, expected, strict=True):
            assert (have.dtype, have.shape) == (want.dtype, want.shape), f"{name} by {runner}"
            finite = np.abs(want[np.isfinite(want)]).astype(np.float64)
            scale = float(finite.max(initial=0.0)) if want.dtype.kind == "f" else 0.0
            np.testing.assert_allclose(have, want, rtol=0, atol=_TOLERANCE * scale, err_msg=f"{name} by {runner}")


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    """Small tensors: threads cost more than they give."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class _Calls(torch.nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


@pytest.fixture
def check() -> Callable[..., Graph]:
    """Read a model or function by the rules (not by way of torch.onnx), and compare the two at every given input."""

    def run(model: Callable[..., Any], inputs: Any, *others: Any, dynamic_shapes: Any = None) -> Graph:
        if not isinstance(model, torch.nn.Module):
            model(*inputs)
            model = _Calls(model)
        graph = read_torch(model, inputs, dynamic_shapes)
        assert graph.info.notes == ()
        model.eval()
        for each in (inputs, *others):
            assert_same(graph, model, each)
        return graph

    return run


@pytest.fixture
def check_program() -> Callable[..., None]:
    """Read an exported program by the rules, and compare it with the module that it was exported from."""

    def run(program: torch.export.ExportedProgram, model: torch.nn.Module, inputs: Any) -> None:
        graph = read_torch(program)
        assert graph.info.notes == ()
        assert_same(graph, model, inputs)

    return run

"""A model with symbolic dimensions is compiled for one size of each, which errors and saved models know."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import irc
from irc.backends.c import compilation
from irc.backends.c.artifact import CArtifact
from irc.backends.c.specialize import specialize, symbols
from irc.errors import BackendError, DataError, GraphError, IrcError, OptionError, VerifyError
from irc.execution import Executable
from irc.graph import Graph
from irc.ops.binary import Mul
from irc.ops.unary import Neg
from irc.types import DType, TensorType

SIZES = {"N": 3, "T": 6}


class Net(nn.Module):
    """Reshapes by sizes that it reads from its input."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, c = x.shape
        y = self.linear(x).view(n, t, 2, c // 2).transpose(1, 2).reshape(n * 2, t, c // 2)
        made: torch.Tensor = y.softmax(-1).sum(1).view(n, c)
        return made


@pytest.fixture(scope="module")
def graph() -> Graph:
    torch.manual_seed(0)
    dims = {0: torch.export.Dim("N", min=1, max=9), 1: torch.export.Dim("T", min=2, max=9)}
    return irc.load(Net().eval(), torch.zeros(2, 5, 8), dynamic_shapes=(dims,))


def test_sizes_that_are_asked_for(graph: Graph) -> None:
    given = dict(zip(symbols(graph), (3, 6), strict=True))
    artifact = irc.compile(graph, target="c:host", dims=given)
    assert isinstance(artifact, CArtifact)
    assert artifact.dims == given
    x = np.random.default_rng(0).standard_normal((3, 6, 8)).astype(np.float32)
    (want,) = Executable(graph).run_numpy({graph.inputs[0].name: x}).values()
    np.testing.assert_allclose(artifact(x), want, rtol=1e-6, atol=1e-6)  # float32 sums in another order


def test_every_type_is_known_afterwards(graph: Graph) -> None:
    made = graph.copy()
    bound = specialize(made, {symbols(graph)[0]: 4})
    assert list(bound.values()) == [4, 1]
    for value in made.values:
        assert value.tensor_type is not None
        assert value.tensor_type.is_static
    assert not {n.op.name for n in made} & {"Shape", "Size"}


def test_another_size_is_refused_with_what_it_was_compiled_for(graph: Graph) -> None:
    first, second = symbols(graph)
    artifact = irc.compile(graph, target="c:host", dims={second: 6})
    with pytest.raises(DataError, match=rf"shape \[2, 6, 8\].*compiled for {first} = 1, {second} = 6"):
        artifact(np.zeros((2, 6, 8), np.float32))


def test_saved_sizes_come_back(graph: Graph, tmp_path: Path) -> None:
    given = dict(zip(symbols(graph), (2, 4), strict=True))
    irc.compile(graph, target="c:host", dims=given).save(tmp_path / "net")
    opened = irc.open(tmp_path / "net")
    assert isinstance(opened, CArtifact)
    assert list(opened.dims.values()) == [2, 4]


@pytest.mark.parametrize(
    ("dims", "said"), [({"Q": 2}, "no dimension 'Q'; it has"), ({"first": 0}, "cannot be 0; it must be 1 or more")]
)
def test_wrong_sizes_are_refused(graph: Graph, dims: dict[str, int], said: str) -> None:
    named = {symbols(graph)[0] if k == "first" else k: v for k, v in dims.items()}
    with pytest.raises(OptionError, match=said):
        irc.compile(graph, target="c:host", dims=named)


@pytest.mark.parametrize("kind", [BackendError, GraphError, VerifyError])
def test_what_goes_wrong_says_which_sizes_it_was_for(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, kind: type[IrcError]
) -> None:
    def fail(*arguments: object) -> None:
        raise kind("Gemm 'a': something does not fit")

    monkeypatch.setattr(compilation, "legalize_and_report", fail)
    first, second = symbols(graph)
    with pytest.raises(kind, match=rf"does not fit \(compiled for {first} = 1, {second} = 6; for another size"):
        irc.compile(graph, target="c:host", dims={second: 6})


def test_unknown_rank_is_refused() -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, None))
    graph.add_output(graph.insert(Neg(), [x]).output)
    with pytest.raises(BackendError, match="input 'x' is of unknown rank"):
        irc.compile(graph, [], target="c:host")


def test_window_larger_than_its_input_is_refused() -> None:
    net = nn.Sequential(nn.Conv1d(1, 2, 5, stride=2), nn.ReLU()).eval()
    long = irc.load(net, torch.zeros(1, 1, 9), dynamic_shapes=({2: torch.export.Dim("L", min=5, max=99)},))
    with pytest.raises(BackendError, match=r"window is larger than its input of shape \[1, 1, 1\].*compiled for"):
        irc.compile(long, target="c:host")


def test_products_of_symbols() -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, ("2*N", "N*T", "T", None)))
    graph.add_output(graph.insert(Neg(), [x]).output)
    assert specialize(graph, SIZES) == SIZES
    assert str(graph.outputs[0].type) == "f32[6, 18, 6, 1]"


def sized(*shape: str | int | None, dims: dict[str, int] | None = None) -> list[int]:
    """The shape of a negated input, as it is compiled."""
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, shape))
    graph.add_output(graph.insert(Neg(), [x]).output)
    specialize(graph, dims or {})
    assert graph.outputs[0].tensor_type is not None
    return list(graph.outputs[0].tensor_type.static_shape)


def test_sums_of_symbols() -> None:
    total = "past_sequence_length + sequence_length"
    assert sized("past_sequence_length", "sequence_length", total) == [1, 1, 2]
    assert sized(total, dims={"past_sequence_length": 5, "sequence_length": 3}) == [8]
    assert sized("N", "N - 1", "2*(N+1)", "(N + 3)//2", dims={"N": 4}) == [4, 3, 10, 3]


@pytest.mark.parametrize("name", ["batch-size", "batch size", "größe", "x.1", "?", "a/b", "1st", "007", "-N", "N**2"])
def test_a_symbol_may_contain_any_characters(name: str) -> None:
    graph = Graph()
    graph.add_output(graph.insert(Neg(), [graph.add_input("x", TensorType(DType.F32, (name, 2)))]).output)
    assert symbols(graph) == [name]
    assert sized(name, 2, dims={name: 7}) == [7, 2]
    assert sized(name, 2) == [1, 2]


def test_a_hyphen_between_two_symbols_is_a_difference() -> None:
    assert sized("total", "past", "total-past", dims={"total": 9, "past": 2}) == [9, 2, 7]
    assert sized("total-past", "total", dims={"total-past": 4}) == [4, 1]


@pytest.mark.parametrize("size", ["ceil(N/2)", "N/2", "max(N, 8)"])
def test_what_cannot_be_computed_is_refused(size: str) -> None:
    with pytest.raises(BackendError, match=r"input 'x': its dimension .* depends on 'N' .*dims=\{'" + re.escape(size)):
        sized("N", size)
    assert sized("N", size, dims={"N": 6, size: 3}) == [6, 3]


@pytest.mark.parametrize(("size", "made"), [("N - 2", "-1"), ("N - 1", "0"), ("8//(N-1)", "no number")])
def test_sizes_below_one_are_refused(size: str, made: str) -> None:
    with pytest.raises(BackendError, match=rf"input 'x': its dimension .* is {made} with dims=\{{'N': 1\}}"):
        sized(size)


def test_deep_and_long_texts_are_symbols() -> None:
    for name in ("(" * 100_000, "(" * 100 + "N" + ")" * 100, "+".join(["N"] * 1000)):
        assert sized(name, dims={} if "N" in name else {name: 3})


def test_default_inputs_may_be_left_out() -> None:
    """As onnxruntime does: an initializer of the name of an input."""
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, (2, "N")))
    scale = graph.add_input("scale", TensorType(DType.F32, ("N",)), np.full(3, 2, np.float32))
    graph.add_output(graph.insert(Mul(), [x, scale]).output)
    artifact = irc.compile(graph, [], target="c:portable", dims={"N": 3})
    given = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(artifact(given), 2 * given)
    np.testing.assert_array_equal(artifact({"x": given, "scale": np.ones(3, np.float32)}), given)
    other = irc.compile(graph, [], target="c:portable", dims={"N": 4})
    with pytest.raises(DataError, match=r"input 'scale' has shape \[3\]"):
        other(np.ones((2, 4), np.float32))

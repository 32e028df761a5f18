"""Training leaves the zeros of pruned weights zero and the elements of a cluster equal, and trains everything else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from irc.backends.registry import find_target
from irc.execution.samples import Samples
from irc.graph import Graph
from irc.passes import Calibrate, ClusterWeights, FineTune, InsertFakeQuant, PruneWeights
from irc.passes.context import Context
from irc.text import parse_graph
from irc.types import Array
from tests.training.nets import CLASSES, constants, graph_of, network, pairs, run_pass, trained

OPTIMIZERS = [
    {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.01},
    {"optimizer": "sgd", "nesterov": True, "weight_decay": 0.01},
    {"optimizer": "adamw", "weight_decay": 0.1},
    {"optimizer": "adamw", "weight_decay": 0.1, "clip": 0.5},
    {"optimizer": lambda groups: torch.optim.RMSprop(groups, momentum=0.5), "weight_decay": 0.01},
]


def prepared(*passes: Any) -> Graph:
    """The network after some passes."""
    graph = graph_of(network(width=16))
    for each in passes:
        run_pass(each, graph)
    return graph


def tune(graph: Graph, **options: Any) -> dict[str, Array]:
    """The constants after some steps."""
    return trained(FineTune(**{"data": pairs(), "steps": 7, "batch": 8, "lr": 0.01, **options}), graph)


def kernels(arrays: dict[str, Array]) -> dict[str, Array]:
    return {name: array for name, array in arrays.items() if array.ndim > 1}


def clusters(before: Array, after: Array) -> list[Array]:
    """What became of the elements that were equal."""
    return [after[before == each] for each in np.unique(before)]


@pytest.mark.parametrize("options", OPTIMIZERS, ids=["sgd", "nesterov", "adamw", "clipped", "rmsprop"])
def test_zeros_stay_zero_and_the_rest_moves(options: dict[str, Any]) -> None:
    graph = prepared(PruneWeights(sparsity=0.8))
    before, after = constants(graph), tune(graph, **options)
    assert len(kernels(before)) == 3
    for name, array in kernels(before).items():
        np.testing.assert_array_equal(after[name] == 0, array == 0)
        assert (after[name] != array)[array != 0].mean() > 0.95
    assert all((after[name] != array).any() for name, array in before.items() if "weight" in name or "bias" in name)


@pytest.mark.parametrize("options", OPTIMIZERS, ids=["sgd", "nesterov", "adamw", "clipped", "rmsprop"])
@pytest.mark.parametrize("per", ["layer", "channel"])
def test_elements_of_a_cluster_stay_equal_and_move(options: dict[str, Any], per: str) -> None:
    graph = prepared(ClusterWeights(bits=2, per=per))
    before, after = constants(graph), tune(graph, **options)
    for name, array in kernels(before).items():
        held = list(zip(array, after[name], strict=True)) if per == "channel" else [(array, after[name])]
        for old, new in held:
            assert all((each == each.flat[0]).all() for each in clusters(old, new))
        assert (after[name] != array).mean() > 0.95


def test_zeros_and_clusters_together() -> None:
    graph = prepared(PruneWeights(sparsity=0.6), ClusterWeights(bits=3))
    before, after = constants(graph), tune(graph, optimizer="adamw", weight_decay=0.1)
    for name, array in kernels(before).items():
        np.testing.assert_array_equal(after[name] == 0, array == 0)
        assert all((each == each.flat[0]).all() for each in clusters(array, after[name]))
        assert np.unique(after[name]).size == np.unique(array).size


def test_zeros_of_both_signs_stay_zero() -> None:
    """W * M of another tool leaves -0.0 where W was negative."""
    graph = prepared()
    value = next(v for v in graph.constants if v.data is not None and v.data.ndim == 4)
    assert value.data is not None
    value.data = value.data * (np.random.default_rng(0).random(value.data.shape) < 0.3).astype(np.float32)
    before, after = constants(graph), tune(graph)
    assert np.signbit(before[value.name][before[value.name] == 0]).any()
    np.testing.assert_array_equal(after[value.name] == 0, before[value.name] == 0)


def test_without_keep_structure_they_go() -> None:
    for each in (PruneWeights(sparsity=0.8), ClusterWeights(bits=2)):
        graph = prepared(each)
        before, after = constants(graph), tune(graph, keep_structure=False)
        for name, array in kernels(before).items():
            assert (after[name] == 0).mean() < 0.1
            assert np.unique(after[name]).size > 0.5 * array.size


class Codebook(nn.Module):
    """A linear layer whose weight is book[codes]."""

    def __init__(self, book: Array, codes: Array) -> None:
        super().__init__()
        self.book = nn.Parameter(torch.from_numpy(book.copy()))
        self.codes = torch.from_numpy(codes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.book[self.codes]


LINEAR = """
graph main(opset = 21) {
  input %x: f32[1, 12]
  weight %w: f32[12, 5] = splat(1)
  %y: f32[1, 5] = MatMul(%x, %w)
  return %y
}
"""


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_centroid_trains_as_a_parameter_does(optimizer: str) -> None:
    """As torch trains an explicit codebook, from which the weight is gathered: the gradients of a cluster add up."""
    rng = np.random.default_rng(0)
    codes, book = rng.permutation(np.arange(60) % 4).reshape(12, 5), np.array([-0.4, -0.1, 0.2, 0.5], np.float32)
    graph = parse_graph(LINEAR)
    graph.value("w").data = book[codes]
    data = [(rng.standard_normal((1, 12)).astype(np.float32), int(rng.integers(CLASSES))) for _ in range(8)]
    options: dict[str, Any] = {"optimizer": optimizer, "lr": 0.05, "weight_decay": 0.0, "momentum": 0.9}
    options |= {"steps": 6, "batch": 8, "shuffle": False, "schedule": "constant", "warmup": 0.0}
    found = trained(FineTune(data=data, **options), graph)["w"]
    module = Codebook(book, codes)
    made: torch.optim.Optimizer = (
        torch.optim.SGD(module.parameters(), 0.05, momentum=0.9)
        if optimizer == "sgd"
        else torch.optim.AdamW(module.parameters(), 0.05, weight_decay=0.0)
    )
    x, labels = torch.from_numpy(np.concatenate([a for a, _ in data])), torch.tensor([b for _, b in data])
    for _ in range(6):
        made.zero_grad()
        nn.functional.cross_entropy(module(x), labels).backward()  # type: ignore[no-untyped-call]  # torch
        made.step()
    np.testing.assert_allclose(found, module.book.detach().numpy()[codes], atol=1e-5)
    assert np.abs(found - book[codes]).max() > 0.01


def test_quantization_aware_training_keeps_zeros() -> None:
    graph = prepared(PruneWeights(sparsity=0.8), InsertFakeQuant(weight_bits=8))
    run_calibrated(graph)
    before, after = constants(graph), tune(graph)
    seen = 0
    for name, array in kernels(before).items():
        np.testing.assert_array_equal(after[name] == 0, array == 0)
        assert (after[name] != array).any()
        seen += 1
    assert seen == 3


def run_calibrated(graph: Graph) -> None:
    """Give the FakeQuants scales."""
    context = Context(find_target("onnx"), graph.copy(), calibration=Samples([image for image, _ in pairs(8)], graph))
    Calibrate().run(graph, context)


@pytest.mark.parametrize("fill", [0.0, 0.25])
def test_weights_of_one_number_train_as_ever(fill: float) -> None:
    """A layer that starts at zero, or at one number, is not pruned nor clustered, but fresh."""
    graph = parse_graph(LINEAR)
    graph.value("w").data = np.full((12, 5), fill, np.float32)
    rng = np.random.default_rng(0)
    data = [(rng.standard_normal((1, 12)).astype(np.float32), int(rng.integers(CLASSES))) for _ in range(8)]
    found = [trained(FineTune(data=data, steps=3, batch=4, keep_structure=keep), graph)["w"] for keep in (True, False)]
    np.testing.assert_array_equal(found[0], found[1])
    assert np.unique(found[0]).size > 50


def test_vectors_train_as_ever() -> None:
    """Biases and norms start at zeros and ones."""
    module = network(width=16)
    for layer in module:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
    graph = graph_of(module)
    kept, free = tune(graph), tune(graph, keep_structure=False)
    assert all((kept[name] == free[name]).all() for name in kept)
    vectors = [kept[name] for name in kept if name.endswith(("1.weight", "1.bias"))]
    assert vectors
    assert all(np.unique(array).size > 1 for array in vectors)


def test_weights_without_structure_train_as_without_the_option() -> None:
    graph = prepared()
    kept, free = tune(graph), tune(graph, keep_structure=False)
    assert all((kept[name] == free[name]).all() for name in kept)

"""`fine-tune` takes the steps that a training loop written in PyTorch takes: weights and running statistics agree."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import irc.api
from irc.execution.training.batch_norm import TrainedBatchNorm
from irc.execution.training.data import TrainingData
from irc.execution.training.distributed import World
from irc.execution.training.optimizers import learning_rate_factor
from irc.graph import Graph
from irc.ops.norm import BatchNormalization
from irc.passes.fine_tune import FineTune
from irc.text import parse_graph
from irc.types import Array
from tests.training import worker
from tests.training.nets import Pair, constants, graph_of, largest_difference, network, pairs, run_pass, trained

# float32 sums in another order move a weight by some 1e-7 a step; Adam divides small gradients by small ones
TOLERANCE = {"sgd": 2e-6, "adamw": 2e-4}
EPOCHS, BATCH, LR, DECAY = 2, 8, 0.05, 0.01


def steps(graph: Graph, data: list[Pair]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The batches in the order in which the pass takes them."""
    source = TrainingData(data, graph, batch=BATCH, seed=0, shuffle=True, labelled=True, name="test")
    found = []
    for epoch in range(EPOCHS):
        for items in source.batches(epoch):
            images = np.concatenate([next(iter(item.sample.values())) for item in items])
            labels = np.concatenate([np.asarray(item.label) for item in items])
            found.append((torch.from_numpy(images), torch.from_numpy(labels)))
    return found


def by_hand(module: nn.Module, batches: list[tuple[torch.Tensor, torch.Tensor]], optimizer: str) -> dict[str, Array]:
    """A training loop as one writes it; the state of the module after it."""
    matrices = [p for p in module.parameters() if p.ndim > 1 and p.requires_grad]
    others = [p for p in module.parameters() if p.ndim == 1 and p.requires_grad]
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    chosen: torch.optim.Optimizer = (
        torch.optim.SGD(groups, LR, momentum=0.9) if optimizer == "sgd" else torch.optim.AdamW(groups, LR)
    )
    warm = math.ceil(0.05 * len(batches))
    for step, (images, labels) in enumerate(batches):
        part = (step - warm) / (len(batches) - warm)
        factor = (step + 1) / (warm + 1) if step < warm else (1 + math.cos(math.pi * part)) / 2
        for group in chosen.param_groups:
            group["lr"] = LR * factor
        chosen.zero_grad()
        torch.autograd.backward(F.cross_entropy(module(images), labels))
        chosen.step()
    return {name: value.numpy() for name, value in module.state_dict().items() if value.is_floating_point()}


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_weights_and_statistics_are_those_of_torch(optimizer: str, symbolic: bool) -> None:
    module, data = network(), pairs()
    graph = graph_of(module, symbolic=symbolic)
    tune = FineTune(data=data, epochs=EPOCHS, batch=BATCH, lr=LR, weight_decay=DECAY, optimizer=optimizer)
    before, made = constants(graph), trained(tune, graph)
    wanted = by_hand(module.train(), steps(graph, data), optimizer)
    assert made.keys() == wanted.keys()
    for name, array in wanted.items():
        assert np.abs(array - before[name]).max() > 1e-3, f"{name} did not move, so that its equality says nothing"
        np.testing.assert_allclose(made[name], array, atol=TOLERANCE[optimizer], rtol=0, err_msg=name)


def test_batch_norms_can_keep_their_statistics() -> None:
    module, data = network(), pairs()
    graph = graph_of(module)
    tune = FineTune(data=data, epochs=EPOCHS, batch=BATCH, lr=LR, weight_decay=DECAY, batch_norm="freeze")
    before, made = constants(graph), trained(tune, graph)
    wanted = by_hand(module.eval(), steps(graph, data), "sgd")
    for name, array in wanted.items():
        np.testing.assert_allclose(made[name], array, atol=TOLERANCE["sgd"], rtol=0, err_msg=name)
    assert (made["1.running_var"] == before["1.running_var"]).all()


def test_the_batch_norms_of_frozen_layers_keep_their_statistics() -> None:
    module, data = network(), pairs()
    graph = graph_of(module)
    tune = FineTune(data=data, epochs=EPOCHS, batch=BATCH, lr=LR, weight_decay=DECAY, freeze=("[01]",))
    before, made = constants(graph), trained(tune, graph)
    module.train()
    for layer in (module[0], module[1]):
        layer.eval().requires_grad_(False)
    wanted = by_hand(module, steps(graph, data), "sgd")
    for name, array in wanted.items():
        np.testing.assert_allclose(made[name], array, atol=TOLERANCE["sgd"], rtol=0, err_msg=name)
    frozen = [name for name in made if name.startswith(("0.", "1."))]
    assert len(frozen) == 5
    assert all((made[name] == before[name]).all() for name in frozen)


def test_train_names_what_alone_is_trained() -> None:
    graph = graph_of(network())
    made = trained(FineTune(data=pairs(), batch=BATCH, train=("8", "4.weight")), graph)
    moved = {name for name, array in constants(graph).items() if (made[name] != array).any()}
    assert moved == {"8.weight", "8.bias", "4.weight", "4.running_mean", "4.running_var"}


def test_two_norms_with_one_constant_for_their_means_get_each_their_own() -> None:
    graph = graph_of(network())
    nodes = [n for n in graph if n.op.name == "BatchNormalization"]
    shared = nodes[0].inputs[3]
    assert shared is not None
    nodes[1].set_input(3, shared)
    held = graph.copy()
    run_pass(FineTune(data=pairs(), batch=BATCH), held)
    means = [n.constant(3) for n in held if n.op.name == "BatchNormalization"]
    assert means[0] is not None
    assert means[1] is not None
    assert np.abs(means[0] - means[1]).max() > 1e-3


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    graph, tune = graph_of(network()), FineTune(data=pairs(), batch=BATCH)
    first, again, other = (trained(tune, graph, seed=seed) for seed in (0, 0, 1))
    assert all((first[name] == again[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)


def test_an_optimizer_of_the_users_is_taken_as_it_is() -> None:
    graph, data = graph_of(network()), pairs()

    def make(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, LR, momentum=0.9, nesterov=True)

    made = trained(FineTune(data=data, batch=BATCH, optimizer=make), graph)
    named = trained(FineTune(data=data, batch=BATCH, lr=LR, nesterov=True), graph)
    assert largest_difference(made, named) == 0
    assert largest_difference(made, trained(FineTune(data=data, batch=BATCH, lr=LR), graph)) > 1e-4


def test_the_gradient_is_clipped() -> None:
    graph, data = graph_of(network()), pairs()
    before = constants(graph)
    options: dict[str, Any] = {"data": data, "batch": 64, "momentum": 0.0, "weight_decay": 0.0, "warmup": 0.0}
    made = trained(FineTune(lr=1.0, clip=0.01, **options), graph)
    moved = [made[name] - before[name] for name in made if "running" not in name]
    assert sum(float((array**2).sum()) for array in moved) ** 0.5 == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ("constant", [1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1, 1, 1]),
        ("cosine", [1 / 3, 2 / 3, *((1 + math.cos(math.pi * k / 8)) / 2 for k in range(8))]),
        ("step", [1 / 3, 2 / 3, 1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]),
    ],
)
def test_learning_rates(shape: str, wanted: list[float]) -> None:
    assert [learning_rate_factor(shape, step, 10, 0.2) for step in range(10)] == pytest.approx(wanted)


class Tied(nn.Module):
    """Tokens (n, length) to the next ones, by one matrix in and out, as language models have it."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.inner, self.head = nn.Embedding(9, 6), nn.Linear(6, 6), nn.Linear(6, 9, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.head(torch.relu(self.inner(self.embed(tokens))))
        return made


def test_a_matrix_that_two_layers_share_is_trained_once() -> None:
    torch.manual_seed(0)
    module, random = Tied().eval(), np.random.default_rng(0)
    graph = irc.api.load(module, (torch.zeros(1, 4, dtype=torch.long),))
    data = [(random.integers(0, 9, (1, 4)), random.integers(0, 9, (1, 4))) for _ in range(16)]
    options: dict[str, Any] = {"data": data, "epochs": 3, "batch": 16, "lr": LR, "schedule": "constant", "warmup": 0.0}
    made = trained(FineTune(weight_decay=DECAY, **options), graph)
    frozen = trained(FineTune(freeze=("head",), **options), graph)
    np.testing.assert_array_equal(frozen["embed.weight"], constants(graph)["embed.weight"])
    tokens, labels = (torch.from_numpy(np.concatenate(each)) for each in zip(*data, strict=True))
    groups: list[dict[str, Any]] = [
        {"params": [module.embed.weight, module.inner.weight], "weight_decay": DECAY},
        {"params": [module.inner.bias]},
    ]
    before, optimizer = module.embed.weight.detach().clone(), torch.optim.SGD(groups, LR, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(module(tokens).transpose(1, 2), labels))
        optimizer.step()
    wanted = module.embed.weight.detach()
    assert (wanted - before).abs().max() > 1e-3
    np.testing.assert_allclose(made["embed.weight"], wanted.numpy(), atol=TOLERANCE["sgd"], rtol=0)
    np.testing.assert_array_equal(made["embed.weight.T"], made["embed.weight"].T)


class Second(World):
    """The second of two processes, whose first has nothing to say."""

    def gathered(self, row: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.zeros_like(row), row])


def test_one_number_has_no_variance_in_two_processes_either() -> None:
    graph = graph_of(nn.BatchNorm1d(3).eval(), (1, 3))
    (node,) = graph
    assert isinstance(node.op, BatchNormalization)
    norm = TrainedBatchNorm(node, node.op, Second(1, 2)).train()
    x, scale, b = torch.randn(1, 3), torch.full((3,), 2.0), torch.ones(3)
    torch.testing.assert_close(norm.run(x, scale, b), 2 * x + 1, atol=1e-4, rtol=0)  # epsilon
    assert not norm.mean.any()


def test_a_branch_without_weights_is_no_error() -> None:
    text = worker.BRANCHES.replace("MatMul(%a, %v)", "Neg(%x)")
    graph = parse_graph(text.replace("[4, 5]", "[4, 4]").replace("[1, 5]", "[1, 4]"))
    run_pass(FineTune(data=[(x, y % 4) for x, y in worker.branching(8)], batch=1, lr=0.1), graph)
    data = graph.value("u").data
    assert data is not None
    assert np.abs(data - 0.2).max() > 1e-4


def test_the_weights_of_both_branches_of_an_if_train() -> None:
    graph = parse_graph(worker.BRANCHES)
    run_pass(FineTune(data=worker.branching(8), batch=4, lr=0.1), graph)
    for name, value in (("w", 0.1), ("u", 0.2), ("v", 0.3)):
        data = graph.value(name).data
        assert data is not None
        assert np.abs(data - value).max() > 1e-4

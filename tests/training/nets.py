"""Small networks, data and runs of a pass, which the tests of training share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

import irc.api
from irc.execution import Executable
from irc.graph import Graph
from irc.passes.base import Pass
from irc.passes.context import Context, Evaluate
from irc.passes.training import Training
from irc.target import Target
from irc.types import Array
from irc.verify import verify

Pair = tuple[Array, int]
CLASSES = 5


def network(seed: int = 0, *, width: int = 8) -> nn.Sequential:
    """Conv-BatchNorm-ReLU twice, pooled, one Linear: images (n, 3, 8, 8) to 5 classes; in eval mode."""
    torch.manual_seed(seed)
    made = nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1, stride=2, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, CLASSES),
    )
    for norm in (made[1], made[4]):  # as after some training
        assert isinstance(norm, nn.BatchNorm2d)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.2)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        nn.init.normal_(norm.running_mean, std=0.2)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return made.eval()


def graph_of(module: nn.Module, shape: tuple[int, ...] = (1, 3, 8, 8), *, symbolic: bool = False) -> Graph:
    """The graph of a module of one input; its batch as given, or symbolic."""
    example = torch.zeros(2 if symbolic else shape[0], *shape[1:])
    shapes = ({0: torch.export.Dim("n")},) if symbolic else None
    return irc.api.load(module, (example,), dynamic_shapes=shapes)


def pairs(count: int = 37, seed: int = 0, shape: tuple[int, ...] = (3, 8, 8)) -> list[Pair]:
    """Images of one row with labels that can be learned: which fifth of a projection they are in."""
    random = np.random.default_rng(seed)
    images = random.normal(size=(count, 1, *shape)).astype(np.float32)
    score = images.reshape(count, -1) @ np.random.default_rng(99).normal(size=images[0].size)
    labels = np.clip(np.floor(score / score.std() * 1.2 + CLASSES / 2), 0, CLASSES - 1).astype(int)
    return [(image, int(label)) for image, label in zip(images, labels, strict=True)]


def run_pass(
    each: Pass, graph: Graph, *, teacher: Graph | None = None, evaluate: Evaluate | None = None, seed: int = 0
) -> Context:
    """Run a pass on a graph in place; the context, whose row has the notes."""
    target = Target("none", "none", "no target")
    context = Context(target, (teacher or graph).copy(), evaluate=evaluate, seed=seed)
    each.run(graph, context)
    verify(graph)
    return context


def trained(each: Training, graph: Graph, **options: Any) -> dict[str, Array]:
    """The float constants of a copy of the graph after the pass, by name."""
    held = graph.copy()
    run_pass(each, held, **options)
    return constants(held)


def constants(graph: Graph) -> dict[str, Array]:
    """Copies of the float constants by name; the graph of a module shares the module's memory."""
    return {v.name: v.data.copy() for v in graph.constants if v.data is not None and v.data.dtype.kind == "f"}


def largest_difference(a: dict[str, Array], b: dict[str, Array]) -> float:
    """Over all constants."""
    assert a.keys() == b.keys()
    return max(float(np.abs(a[name] - b[name]).max(initial=0)) for name in a)


def accuracy(data: list[Pair]) -> Evaluate:
    """The part of the pairs whose largest output is at the label."""
    return lambda run: float(np.mean([int(run(x)[0].argmax()) == y for x, y in data]))


def outputs(graph: Graph, *inputs: Array) -> Array:
    """The first output."""
    run = Executable(graph)
    names = [v.name for v in graph.inputs]
    made: Array = next(iter(run.run_numpy(dict(zip(names, inputs, strict=True))).values()))
    return made

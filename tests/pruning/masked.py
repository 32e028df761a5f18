"""What pruning has to equal: the original graph, its weights whole, with the removed elements of activations at zero.

    y = where(mask, op(x, w), 0)      at every labelled activation
    statistics                        over the survivors only: norms, means, extremes

It knows nothing of how channels are removed: of `irc.analysis.channels` it uses the label arrays alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from irc.execution.convert import to_numpy, to_torch
from irc.execution.modules import OnnxModule, OpModule
from irc.graph import Graph, Node, Value
from irc.ops.index import Gather
from irc.ops.onnx_op import OnnxOp
from irc.ops.tensors import axes_of
from irc.types import Array

GATES = {"LSTM": 4, "GRU": 3}


class Labelled(Protocol):
    """What is used of `irc.analysis.channels.Channels`."""

    labels: dict[Value, Array]
    shapes: dict[Value, tuple[int, ...]]

    def mask(self, value: Value, keep: Any, /) -> Any:
        """Which elements of an activation survive."""


def run_masked(graph: Graph, channels: Labelled, keep: Array, inputs: Mapping[str, Any]) -> dict[str, Array]:
    """Outputs by name of the original graph with what `keep` says False of at zero.

    keep : of every label whether it survives
    """
    given = {**{v.name: data for v, data in graph.defaults.items()}, **inputs}
    run = _Run(channels, keep)
    with torch.inference_mode():
        for value in graph.inputs:
            run.give(value, to_torch(np.asarray(given[value.name]), copy=True))
        for node in graph:
            run.node(node)
    return {name: to_numpy(run.read(value)) for name, value in zip(graph.output_names, graph.outputs, strict=True)}


class _Run:
    """The activations so far, removed elements at zero, and where the survivors are."""

    def __init__(self, channels: Labelled, keep: Array) -> None:
        self.channels = channels
        self.keep = keep
        self.of: dict[Value, Any] = {}

    def alive(self, value: Value | None) -> Tensor | None:
        """Where a labelled activation survives; None for any other value."""
        if value is None or value not in self.channels.labels:
            return None
        return torch.from_numpy(np.array(self.channels.mask(value, self.keep)))

    def read(self, value: Value | None) -> Any:
        if value is not None and value not in self.of and value.data is not None:
            return to_torch(value.data)
        return None if value is None else self.of[value]

    def give(self, value: Value, made: Any) -> None:
        alive = self.alive(value)
        self.of[value] = made if alive is None else torch.where(alive, made, torch.zeros_like(made))

    def node(self, node: Node) -> None:
        alive = self.alive(node.input(0))
        own = None if node.op.domain or alive is None else STATISTICS.get(node.op.name)
        if own is not None:
            made = own(node.op, alive, *(self.read(v) for v in node.inputs))
        elif node.op.name in GATES and not node.op.domain:
            made = self.recurrent(node)
        elif isinstance(node.op, OnnxOp):
            module: nn.Module = OnnxModule(node)
            made = module(*(self.read(v) for v in dict.fromkeys([*filter(None, node.inputs), *node.captures()])))
        else:
            made = OpModule(node)(*(self.read(v) for v in node.inputs))
        for value, each in zip(node.outputs, made if isinstance(made, tuple | list) else (made,), strict=False):
            if each is not None:
                self.give(value, each)

    def recurrent(self, node: Node) -> Any:
        """A recurrence whose removed units have no weights: their candidate tanh(0) is 0, and so their state."""
        reads = {v: self.read(v) for v in node.inputs if v is not None}
        alive = self._units(node)
        if alive is not None:
            gates = GATES[node.op.name]
            for index, rows in ((1, gates), (2, gates), (3, 2 * gates), (7, 3)):
                value = node.input(index)
                if value is not None:
                    held = reads[value]
                    kept = alive.repeat(1, rows)
                    reads[value] = torch.where(kept.reshape(*kept.shape, *(1,) * (held.ndim - 2)), held, 0.0)
            for index in (5, 6):
                value = node.input(index)
                if value is not None:
                    reads[value] = torch.where(alive[:, None], reads[value], 0.0)
        return OnnxModule(node)(*reads.values())

    def _units(self, node: Node) -> Tensor | None:
        """Which hidden units survive, (directions, hidden)."""
        masks = [(k, m) for k, v in enumerate(node.outputs) if (m := self.alive(v)) is not None]
        units = None
        for k, mask in masks:
            mine = mask.any(0).any(1) if k == 0 else mask.any(1)  # (sequence, directions, batch, hidden); no sequence
            units = mine if units is None else units & mine
        return units


# ---- statistics over the survivors; x has zeros where it was removed


def _moments(x: Tensor, alive: Tensor, over: list[int]) -> tuple[Tensor, Tensor]:
    """x less its mean, and its variance, both of the survivors along the axes."""
    count = alive.sum(over, keepdim=True).clamp(min=1)
    centred = torch.where(alive, x - x.sum(over, keepdim=True) / count, 0.0)
    return centred, (centred * centred).sum(over, keepdim=True) / count


def layer_normalization(op: Any, alive: Tensor, x: Tensor, scale: Tensor, b: Tensor | None = None) -> Tensor:
    centred, variance = _moments(x, alive, list(range(op.axis % x.ndim, x.ndim)))
    y = centred * torch.rsqrt(variance + op.epsilon) * scale
    return y if b is None else y + b


def rms_normalization(op: Any, alive: Tensor, x: Tensor, scale: Tensor) -> Tensor:
    over = list(range(op.axis % x.ndim, x.ndim))
    square = (x * x).sum(over, keepdim=True) / alive.sum(over, keepdim=True).clamp(min=1)
    return x * torch.rsqrt(square + op.epsilon) * scale


def group_normalization(op: Any, alive: Tensor, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    groups = (x.shape[0], op.num_groups, -1)
    centred, variance = _moments(x.reshape(groups), alive.reshape(groups), [2])
    return _affine((centred * torch.rsqrt(variance + op.epsilon)).reshape(x.shape), scale, bias)


def instance_normalization(op: Any, alive: Tensor, x: Tensor, scale: Tensor, b: Tensor) -> Tensor:
    centred, variance = _moments(x, alive, list(range(2, x.ndim)))
    return _affine(centred * torch.rsqrt(variance + op.epsilon), scale, b)


def _affine(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    shape = (-1, *(1,) * (x.ndim - 2))
    return x * scale.reshape(shape) + bias.reshape(shape)


def mean_variance_normalization(op: Any, alive: Tensor, x: Tensor) -> Tensor:
    centred, variance = _moments(x, alive, list(op.axes))
    return centred / (variance.sqrt() + 1e-9)  # the function body of ONNX adds this


def reduce_mean(op: Any, alive: Tensor, x: Tensor, axes: Tensor | None = None) -> Tensor:
    named = axes_of(axes, x.ndim)
    if not named and op.noop_with_empty_axes:
        return x
    over, keep = named or list(range(x.ndim)), bool(op.keepdims)
    return x.sum(over, keepdim=keep) / alive.sum(over, keepdim=keep).clamp(min=1)


def _without(neutral: float) -> Callable[..., Tensor]:
    """A reduction that takes the removed elements for its neutral element."""

    def reduce(op: Any, alive: Tensor, x: Tensor, axes: Tensor | None = None) -> Tensor:
        made: Tensor = op.run(torch.where(alive, x, neutral), axes)
        return made

    return reduce


STATISTICS: dict[str, Callable[..., Any]] = {
    "LayerNormalization": layer_normalization,
    "RMSNormalization": rms_normalization,
    "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization,
    "MeanVarianceNormalization": mean_variance_normalization,
    "ReduceMean": reduce_mean,
    "ReduceMax": _without(-torch.inf),
    "ReduceMin": _without(torch.inf),
    "ReduceProd": _without(1.0),
    "ReduceLogSumExp": _without(-torch.inf),
}  # sums, L1, L2, logarithms of sums and LpNormalization do not see zeros


# ---- inputs

_CARRIES = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


def random_inputs(graph: Graph, channels: Labelled, seed: int = 0) -> dict[str, Array]:
    """Inputs of the shapes of the trace: noise; words that every embedding has; masks of ones."""
    random = np.random.default_rng(seed)
    words = _words(graph)
    made: dict[str, Array] = {}
    for value in graph.inputs:
        type = value.tensor_type
        assert type is not None
        if type.dtype.is_float:
            made[value.name] = random.standard_normal(channels.shapes[value]).astype(type.dtype.numpy)
        elif value in words:
            made[value.name] = random.integers(0, words[value], channels.shapes[value]).astype(type.dtype.numpy)
        else:
            made[value.name] = np.ones(channels.shapes[value], type.dtype.numpy)
    return made


def _words(graph: Graph) -> dict[Value, int]:
    """For every input that is an index into embeddings, how many rows the smallest of them has."""
    found: dict[Value, int] = {}
    for node in graph:
        table, indices = node.input(0), node.input(1)
        if not isinstance(node.op, Gather) or table is None or indices is None or table.data is None:
            continue
        for source in _sources(indices):
            rows = table.data.shape[node.op.axis]
            found[source] = min(rows, found.get(source, rows))
    return found


def _sources(value: Value) -> Iterator[Value]:
    """The inputs that a value is cast or moved from."""
    while value.producer is not None and value.producer.op.name in _CARRIES:
        read = value.producer.input(0)
        assert read is not None
        value = read
    if value.producer is None and not value.is_constant:
        yield value

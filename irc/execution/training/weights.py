"""Which constants of a graph are trained, and how.

A weight is a float constant that some node computes with, except settings, statistics, masks and single numbers of
arithmetic (0.5 of a gelu), quantized or not. Norms' parameters, biases and scales of FakeQuants have no weight decay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from irc.analysis.integer_plan import is_mask
from irc.errors import OptionError
from irc.execution.executable import Executable
from irc.execution.training.layers import hint, matches_name, names_of
from irc.execution.training.steps import is_scale
from irc.graph import Graph, Node, Value
from irc.ops.fake_quant import FakeQuant

_ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div"})
_SETTINGS = frozenset(
    {"Pow", "Where", "Max", "Min", "Mod", "Equal", "Less", "Greater", "Range", "Clip", "Pad", "Resize"}
)


def trained_weights(
    run: Executable, train: Sequence[str], freeze: Sequence[str], name: str, tied: Mapping[Value, Value]
) -> dict[Value, nn.Parameter]:
    """The parameters to train; the others of `run` no longer ask for gradients.

    tied : the weights that follow others, each with that
    train, freeze : patterns of layers, nodes or weights; only those of `train` if there are any, none of `freeze`

    Raises
    ------
    OptionError : a pattern means nothing, or nothing is left to train.
    """
    for key, patterns in (("train", train), ("freeze", freeze)):
        for pattern in patterns:
            if not any(matches_name(names, pattern) for names in _all_names(run.graph)):
                raise OptionError(f"{name}: {key}: {hint(run.graph, pattern)}")
    trained = {}
    for value, parameter in run.parameters.items():
        names = [name for each in (value, *(v for v in tied if tied[v] is value)) for name in _names(each)]
        wanted = not train or any(matches_name(names, pattern) for pattern in train)
        wanted = wanted and is_weight(value) and value not in tied
        if wanted and not any(matches_name(names, pattern) for pattern in freeze):
            trained[value] = parameter
        else:
            parameter.requires_grad_(False)
    if not trained:
        why = "train and freeze leave none" if train or freeze else "the model has none"
        raise OptionError(f"{name}: there is no weight to train: {why}")
    return trained


def parameter_groups(
    trained: dict[Value, nn.Parameter], others: Sequence[nn.Parameter], decay: float
) -> list[dict[str, Any]]:
    """The parameters in two groups for an optimizer: those with weight decay, and those without.

    others : parameters that no weight holds: projections
    """
    decayed = [held for value, held in trained.items() if has_decay(value)]
    plain = [held for value, held in trained.items() if not has_decay(value)]
    groups = [{"params": [*decayed, *others], "weight_decay": decay}, {"params": plain, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def is_weight(value: Value) -> bool:
    """Whether training should change the constant."""
    data = value.data
    if data is None or is_mask(data):
        return False
    if is_scale(value):
        quantized = [use.user.inputs[0] for use in value.uses if isinstance(use.user, Node)]
        return any(v is not None and (not v.is_constant or is_weight(v)) for v in quantized)
    names = {node.op.name for node in _readers(value)}
    return not names <= (_SETTINGS | _ARITHMETIC if data.size == 1 else _SETTINGS)


def _readers(value: Value) -> Iterator[Node]:
    """The nodes that compute with a value, be it quantized."""
    for node, _ in value.uses:
        if isinstance(node, Node) and isinstance(node.op, FakeQuant):
            yield from _readers(node.output)
        elif isinstance(node, Node):
            yield node


def has_decay(value: Value) -> bool:
    """Whether the weight is a matrix or kernel: no bias, no scale, nothing of a norm."""
    data = value.data
    assert data is not None
    of_norm = any(isinstance(u.user, Node) and u.user.op.name.endswith("Normalization") for u in value.uses)
    return not of_norm and not is_scale(value) and sum(size != 1 for size in data.shape) > 1


def _names(value: Value) -> list[str]:
    """What a pattern may call the weight: its own name, and those of its readers and their layers."""
    return [value.name, *(name for user in value.users for name in names_of(user))]


def _all_names(graph: Graph) -> list[list[str]]:
    constants = [[v.name] for inner in graph.graphs() for v in inner.constants]
    return [names_of(node) for node in graph.walk()] + constants


def frozen_norms(run: Executable, trained: dict[Value, nn.Parameter]) -> set[Node]:
    """The batch norms of which nothing is trained: their statistics stay too."""
    return {
        node
        for node in run.modules
        if node.op.name == "BatchNormalization" and not any(v in trained for v in node.inputs[1:3] if v is not None)
    }

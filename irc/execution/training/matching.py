"""Losses that hold values against the teacher's: of outputs, of layers, and of layers fed with the teacher's inputs.

    |p(s) - t|^2 / |t|^2        means; the denominator over the first batch

s and t must have one shape, but for the channels: where the student has fewer, because it was pruned, `p` is a linear
projection along them. It starts as the least-squares fit on the first batch, is trained along, and thrown away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn

from irc.errors import OptionError
from irc.execution.executable import Executable
from irc.execution.training.layers import Layer, counterpart, unfolded
from irc.execution.training.losses import Loss, Reading
from irc.graph import Graph, Value

_RIDGE = 1e-4  # of the mean diagonal, and more where there are few rows: a fit to chance would be large, and worthless


class Matching(Loss):
    """A student's value against a teacher's, relative to the teacher's mean square."""

    scale: torch.Tensor

    def __init__(self, student: Value, teacher: Value, what: str) -> None:
        super().__init__([student], [teacher])
        self.what = what
        self.axis: int | None = None
        self.projection: nn.Parameter | None = None
        self.scale = torch.ones(())

    def made(self, reading: Reading) -> torch.Tensor:
        """The student's value."""
        return reading.student[self.student[0]]

    def prepare(self, readings: Sequence[Reading]) -> None:
        with torch.no_grad():
            pairs = [(self.made(reading), reading.teacher[self.teacher[0]]) for reading in readings]
            square = torch.cat([t.double().flatten() for _, t in pairs]).square().mean()
            s, t = pairs[0]
            self.scale = (1 / square if square > 0 else torch.ones_like(square)).to(t.dtype)
            differing = [i for i in range(s.ndim) if s.shape[i] != t.shape[i]] if s.ndim == t.ndim else []
            if s.shape != t.shape and len(differing) != 1:
                raise OptionError(
                    f"{self.what} has shape {list(s.shape)} in the model and {list(t.shape)} in the teacher; they may "
                    "differ along one axis, that of the channels"
                )
            if differing:
                self.axis = differing[0]
                self.projection = nn.Parameter(least_squares(pairs, self.axis))

    def forward(self, reading: Reading) -> torch.Tensor:
        s, t = self.made(reading), reading.teacher[self.teacher[0]]
        if self.axis is not None and self.projection is not None:
            s = torch.matmul(s.movedim(self.axis, -1), self.projection).movedim(-1, self.axis)
        return torch.mean((s - t) ** 2) * self.scale


def least_squares(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]], axis: int) -> torch.Tensor:
    """The matrix that makes t of s along an axis about as well as one can; shape (channels of s, channels of t)."""
    rows, wanted = (
        torch.cat([x.movedim(axis, -1).reshape(-1, x.shape[axis]).double() for x in each])
        for each in zip(*pairs, strict=True)
    )
    moments = rows.T @ rows
    ridge = max(_RIDGE, len(moments) / len(rows)) * moments.diagonal().mean().clamp(min=1e-12)
    moments += ridge * torch.eye(len(moments), dtype=moments.dtype)
    solved: torch.Tensor = torch.linalg.solve(moments, rows.T @ wanted)
    return solved.to(pairs[0][0].dtype)


class Reconstruction(Matching):
    """A layer's output against the teacher's, the layer being fed with what the teacher's layer gets.

    Where a pruned layer cannot take the teacher's input, it takes what the student makes of the nearest that it can.
    """

    def __init__(self, layer: Layer, teacher_layer: Layer, student: Graph, teacher: Graph) -> None:
        super().__init__(layer.output, unfolded(teacher_layer.output, student), f"layer '{layer.name}'")
        inside = set(layer.nodes)
        self.fed = fed_values(layer.output, inside, student, teacher)
        own = [v for v, theirs in self.fed.items() if theirs is None]
        self.target = self.teacher[0]
        self.student = tuple(own)  # graph inputs only
        self.teacher = (self.target, *(theirs for theirs in self.fed.values() if theirs is not None))
        self.output = layer.output
        self.excerpt: list[fx.GraphModule] = []  # in a list: its weights are the student's, and counted there

    def attach(self, student: Executable) -> None:
        self.excerpt = [excerpt(student, self.output, list(self.fed))]

    def made(self, reading: Reading) -> torch.Tensor:
        given = [
            reading.student[value] if theirs is None else reading.teacher[theirs] for value, theirs in self.fed.items()
        ]
        result: torch.Tensor = self.excerpt[0](*given)
        return result


def fed_values(output: Value, inside: set[Any], student: Graph, teacher: Graph) -> dict[Value, Value | None]:
    """The values from which a layer's output is computed, each with the teacher's; None for inputs of the student."""
    found: dict[Value, Value | None] = {}
    pending, seen = [output], set[Value]()
    while pending:
        value = pending.pop()
        if value in seen or value.is_constant:
            continue
        seen.add(value)
        theirs = None if value.producer in inside else counterpart(value, student, teacher)
        if value.producer is None:
            found[value] = None
        elif theirs is not None and _same_shape(value, theirs):
            found[value] = theirs
        else:
            pending.extend(v for v in reversed([*value.producer.inputs, *value.producer.captures()]) if v is not None)
    return found


def _same_shape(a: Value, b: Value) -> bool:
    left, right = a.tensor_type, b.tensor_type
    return left is not None and right is not None and left.shape is not None and left == right


def excerpt(run: Executable, output: Value, given: Sequence[Value]) -> fx.GraphModule:
    """The part of a module that computes `output` from `given`; it shares the module's weights."""
    nodes = {value: node for node in run.module.graph.nodes if (value := run.values.get(node.name)) is not None}
    new = fx.Graph()
    made: dict[fx.Node, fx.Node] = {nodes[v]: new.placeholder(f"given_{i}") for i, v in enumerate(given)}
    needed: set[fx.Node] = set()
    pending = [nodes[output]]
    while pending:
        node = pending.pop()
        if node not in made and node not in needed:
            needed.add(node)
            pending.extend(node.all_input_nodes)
    for node in run.module.graph.nodes:
        if node in needed:
            made[node] = new.node_copy(node, lambda n: made[n])
    new.output(made[nodes[output]])
    return fx.GraphModule(run.module, new)

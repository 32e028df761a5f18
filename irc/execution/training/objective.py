"""Model, teacher and losses as one module: a batch in, its loss out. It is what DistributedDataParallel wraps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from irc.errors import ModelError, OptionError
from irc.execution.executable import Executable, as_argument
from irc.execution.training.chunks import Chunk
from irc.execution.training.layers import paired_inputs, paired_layers, unfolded
from irc.execution.training.losses import (
    CrossEntropy,
    Custom,
    Divergence,
    LabelError,
    Loss,
    Reading,
    Term,
    chosen_outputs,
    output_value,
)
from irc.execution.training.matching import Matching, Reconstruction
from irc.graph import Graph, Value
from irc.ops.onnx_op import OnnxOp


class Objective(nn.Module):
    """The weighted sum of the losses on one chunk of a batch.

    student : the model that is trained, lowered
    teacher : what it is held against, lowered, or None
    """

    def __init__(self, graph: Graph, teacher: Graph | None, terms: Sequence[tuple[float, Loss]]) -> None:
        super().__init__()
        self.weights = [weight for weight, _ in terms]
        self.losses = nn.ModuleList([loss for _, loss in terms])
        self.own = taps(graph, list(self.losses), teacher=False)
        self.student = Executable(graph, trainable=True, taps=self.own)
        self.model = self.student.module
        self.runs = any(value not in graph.inputs for _, loss in terms for value in loss.student)
        self.teacher: Executable | None = None
        if teacher is not None:
            self.theirs = taps(teacher, list(self.losses), teacher=True)
            self.teacher = Executable(teacher, taps=self.theirs)
            self.order = paired_inputs(graph, teacher)

    @property
    def models(self) -> list[Executable]:
        """The student, and the teacher if there is one."""
        return [self.student, *([] if self.teacher is None else [self.teacher])]

    def reading(self, chunk: Chunk) -> Reading:
        """What the losses see of a chunk."""
        student = dict(zip(self.student.graph.inputs, chunk.inputs, strict=True))
        if self.runs:
            student.update(zip((*self.student.graph.outputs, *self.own), self.model(*chunk.inputs), strict=True))
        teacher: dict[Value, torch.Tensor] = {}
        if self.teacher is not None:
            given = zip(self.order, self.teacher.graph.inputs, strict=True)
            inputs = [as_argument(chunk.inputs[place], value.tensor_type) for place, value in given]
            with torch.no_grad():
                made = self.teacher.module(*inputs)
            teacher = dict(zip(self.teacher.graph.inputs, inputs, strict=True))
            teacher.update(zip((*self.teacher.graph.outputs, *self.theirs), made, strict=True))
        return Reading(student, teacher, chunk.labels)

    def forward(self, chunk: Chunk) -> torch.Tensor:
        reading = self.reading(chunk)
        made = [weight * loss(reading) for weight, loss in zip(self.weights, self.losses, strict=True)]
        return torch.stack([each.float() for each in made]).sum()

    def prepare(self, chunks: Sequence[Chunk]) -> None:
        """Show the losses the model, whose batch is opened by now, and the first batch."""
        with torch.no_grad():
            readings = [self.reading(chunk) for chunk in chunks]
        for loss in self.losses:
            assert isinstance(loss, Loss)
            loss.attach(self.student)
            loss.prepare(readings)

    def unreached(self, chunk: Chunk, trained: Mapping[Value, nn.Parameter]) -> list[Value]:
        """The weights that the loss of a chunk does not depend on; to be asked before training.

        Raises
        ------
        ModelError : it depends on none.
        """
        loss = self(chunk)
        if loss.requires_grad:
            torch.autograd.backward(loss)
        found = [value for value, held in trained.items() if held.grad is None]
        if len(found) == len(trained):
            opaque = [n for n in self.student.graph.walk() if isinstance(n.op, OnnxOp)]
            why = f"; {opaque[-1]!r} runs in onnxruntime, which has no gradients" if opaque else ""
            raise ModelError(f"the loss depends on none of the {len(trained)} weights that are to be trained{why}")
        self.zero_grad(set_to_none=True)
        return found


def taps(graph: Graph, losses: Sequence[nn.Module], *, teacher: bool) -> list[Value]:
    """What the losses read of a graph that it does not give out anyway, each value once."""
    found: dict[Value, None] = {}
    known = {*graph.inputs, *graph.outputs}
    for loss in losses:
        assert isinstance(loss, Loss)
        found.update(dict.fromkeys(v for v in (loss.teacher if teacher else loss.student) if v not in known))
    return list(found)


def make_losses(
    terms: Sequence[Term], student: Graph, teacher: Graph | None, *, name: str, temperature: float
) -> list[tuple[float, Loss]]:
    """The terms at work on these graphs, each with its weight; one of several outputs or layers is spread over them.

    Raises
    ------
    OptionError : an output or a layer is not there, or a term needs a teacher and there is none.
    """
    made: list[tuple[float, Loss]] = []
    for term in terms:
        losses = _losses_of(term, student, teacher, name, temperature)
        made.extend((term.weight / len(losses), loss) for loss in losses)
    return made


def _losses_of(term: Term, student: Graph, teacher: Graph | None, name: str, temperature: float) -> list[Loss]:
    if term.function is not None:
        return [Custom(term.function, student, teacher)]
    if term.kind == "cross-entropy":
        outputs = chosen_outputs(student, term.target, name)
        return [CrossEntropy(each, output_value(student, each)) for each in outputs]
    if term.kind == "mse" and teacher is None:
        outputs = chosen_outputs(student, term.target, name)
        return [LabelError(each, output_value(student, each)) for each in outputs]
    assert teacher is not None
    if term.kind in ("mse", "kl"):
        pairs = [
            (e, output_value(student, e), _same_output(student, teacher, e))
            for e in chosen_outputs(student, term.target, name)
        ]
        if term.kind == "kl":
            return [Divergence(each, mine, theirs, temperature) for each, mine, theirs in pairs]
        return [Matching(mine, theirs, f"output '{each}'") for each, mine, theirs in pairs]
    if not term.target:
        raise OptionError(f"{name}: loss '{term.kind}' needs the names of layers, as {term.kind}:PATTERN")
    try:
        layers = paired_layers(student, teacher, term.target)
    except OptionError as error:
        raise OptionError(f"{name}: loss '{term.kind}': {error}") from None
    if term.kind == "reconstruction":
        return [Reconstruction(mine, theirs, student, teacher) for mine, theirs in layers]
    return [Matching(mine.output, unfolded(theirs.output, student), f"layer '{mine.name}'") for mine, theirs in layers]


def _same_output(student: Graph, teacher: Graph, name: str) -> Value:
    """The teacher's output of that name, else the one at the same place."""
    if name in teacher.output_names:
        return output_value(teacher, name)
    place = student.output_names.index(name)
    if place >= len(teacher.outputs):
        raise OptionError(f"the teacher has no output '{name}'; it has {', '.join(teacher.output_names)}")
    return teacher.outputs[place]

"""What is minimized: a weighted sum of terms, each a mean over the rows of a batch.

    term ::= [number "*"] kind [":" target]                     0.5*features:encoder.*

    cross-entropy   mean of -log softmax(z)[label]                                    target: an output
    mse             mean of (y - label)^2; against the teacher mean of (y - t)^2 / mean of t^2          an output
    kl              T^2 KL(softmax(t / T) || softmax(z / T))                                            an output
    features        as mse, of layers; the model runs on its own inputs                                 layers
    reconstruction  as mse, of layers; each layer runs on what the teacher's layer gets                 layers

z are logits: what goes into a Softmax that makes the output, else the output. In what is relative to the teacher, mean
of t^2 is over the first batch. T is the temperature (Hinton 2015, "Distilling the Knowledge in a Neural Network").
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from irc.errors import DataError, OptionError
from irc.execution.executable import Executable
from irc.graph import Graph, Value
from irc.user_code import user_code

KINDS = ("cross-entropy", "mse", "kl", "features", "reconstruction")


class Reading(NamedTuple):
    """What a loss sees of one batch: tensors by value of the student and of the teacher, and the labels if any."""

    student: Mapping[Value, torch.Tensor]
    teacher: Mapping[Value, torch.Tensor]
    labels: Any


@dataclass(frozen=True)
class Term:
    """One summand: its weight, its kind (or the user's function), and what it is of."""

    weight: float
    kind: str
    target: str = ""
    function: Callable[..., Any] | None = None


class Loss(nn.Module):
    """A term at work. Its parameters, if any, are trained too, and thrown away afterwards.

    student, teacher : the values that it reads
    """

    def __init__(self, student: Sequence[Value] = (), teacher: Sequence[Value] = ()) -> None:
        super().__init__()
        self.student = tuple(student)
        self.teacher = tuple(teacher)

    def attach(self, student: Executable) -> None:
        """Take what it needs of the executable."""

    def prepare(self, readings: Sequence[Reading]) -> None:
        """Look at the first batch, in the parts in which it runs."""

    def forward(self, reading: Reading) -> torch.Tensor:
        raise NotImplementedError


def parse_term(given: Any, name: str, kinds: Sequence[str]) -> Term:
    """The term that a text or a function stands for.

    Raises
    ------
    OptionError : it is none of `kinds`, or its weight is no number.
    """
    if callable(given):
        return Term(1.0, "function", function=given)
    head, _, target = str(given).partition(":")
    number, star, kind = head.rpartition("*")
    try:
        weight = float(number) if star else 1.0
    except ValueError:
        raise OptionError(f"{name}: loss '{given}': '{number}' is no number; write 0.5*{kind}") from None
    if kind.strip() not in kinds:
        near = difflib.get_close_matches(kind.strip(), kinds, 1)
        way = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(kinds)}, and functions from Python"
        raise OptionError(f"{name}: there is no loss '{kind.strip()}'; {way}")
    return Term(weight, kind.strip(), target)


def chosen_outputs(graph: Graph, target: str, name: str) -> list[str]:
    """The outputs that a term is of: the one named, else all of floats.

    Raises
    ------
    OptionError : there is no such output, or none of floats.
    """
    types = dict(zip(graph.output_names, (v.tensor_type for v in graph.outputs), strict=True))
    floats = [n for n, type in types.items() if type is None or type.dtype.is_float]
    if target and target not in floats:
        raise OptionError(f"{name}: the model has no output '{target}' of floats; it has {', '.join(floats) or 'none'}")
    if not floats:
        raise OptionError(f"{name}: the model has no output of floats to compare")
    return [target] if target else floats


def output_value(graph: Graph, name: str) -> Value:
    """The value behind an output."""
    return graph.outputs[graph.output_names.index(name)]


class Logits(NamedTuple):
    """The value that is the logits of an output, and the axis of the classes where a Softmax tells it."""

    value: Value
    axis: int | None


def logits_of(value: Value) -> Logits:
    """What goes into the Softmax that makes the value, else the value itself."""
    made = value.producer
    while made is not None and made.op.name == "FakeQuant" and made.input(0) is not None:
        source = made.inputs[0]
        made = source.producer if source is not None else None
    if made is not None and made.op.name == "Softmax" and made.inputs[0] is not None:
        return Logits(made.inputs[0], int(getattr(made.op, "axis", -1)))
    return Logits(value, None)


class CrossEntropy(Loss):
    """-log softmax(z)[label], mean over labels; labels are class numbers, or probabilities of the shape of z."""

    def __init__(self, output: str, value: Value) -> None:
        self.logits = logits_of(value)
        super().__init__([self.logits.value])
        self.output = output

    def forward(self, reading: Reading) -> torch.Tensor:
        z, labels = reading.student[self.logits.value], label_of(reading, self.output)
        if labels.shape == z.shape and labels.is_floating_point():
            axis = self.logits.axis if self.logits.axis is not None else class_axis(z)
            return -(labels * F.log_softmax(z, axis)).sum(axis).mean()
        axis = self._axis(z, labels)
        classes = z.shape[axis]
        if labels.is_floating_point():
            raise DataError(f"the labels of output '{self.output}' are {labels.dtype}; class numbers are integers")
        labels = labels.long()
        if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            wrong = int(labels.min()) if int(labels.min()) < 0 else int(labels.max())
            raise DataError(f"label {wrong} is out of range: output '{self.output}' has {classes} classes, from 0 on")
        return F.cross_entropy(z.movedim(axis, 1), labels)

    def _axis(self, z: torch.Tensor, labels: torch.Tensor) -> int:
        """The axis of z that the labels do not have."""
        first = class_axis(z)
        hinted = [self.logits.axis] if self.logits.axis is not None else [first, 1 if first == -1 else -1]
        for axis in hinted:
            rest = list(z.shape)
            if -z.ndim <= axis < z.ndim and rest and (rest.pop(axis), rest)[1] == list(labels.shape):
                return axis
        raise DataError(
            f"labels of shape {list(labels.shape)} do not fit output '{self.output}' of shape {list(z.shape)}: "
            "there must be one for each place, without the axis of the classes"
        )


class LabelError(Loss):
    """Mean of (y - label)^2."""

    def __init__(self, output: str, value: Value) -> None:
        super().__init__([value])
        self.output = output

    def forward(self, reading: Reading) -> torch.Tensor:
        y, label = reading.student[self.student[0]], label_of(reading, self.output)
        if label.numel() != y.numel():
            raise DataError(
                f"labels of shape {list(label.shape)} do not fit output '{self.output}' of shape {list(y.shape)}"
            )
        return ((y - label.reshape(y.shape).to(y.dtype)) ** 2).mean()


class Divergence(Loss):
    """T^2 KL(softmax(t / T) || softmax(z / T)), mean over all places but the axis of the classes."""

    def __init__(self, output: str, student: Value, teacher: Value, temperature: float) -> None:
        mine, theirs = logits_of(student), logits_of(teacher)
        super().__init__([mine.value], [theirs.value])
        self.output = output
        self.axis = mine.axis
        self.temperature = temperature

    def prepare(self, readings: Sequence[Reading]) -> None:
        z, t = readings[0].student[self.student[0]], readings[0].teacher[self.teacher[0]]
        if z.shape != t.shape:
            raise OptionError(
                f"output '{self.output}' has shape {list(z.shape)} in the model and {list(t.shape)} in the teacher; "
                "kl compares the same classes"
            )

    def forward(self, reading: Reading) -> torch.Tensor:
        z, t = reading.student[self.student[0]], reading.teacher[self.teacher[0]]
        axis = self.axis if self.axis is not None else class_axis(z)
        log_p = F.log_softmax(t / self.temperature, axis)
        log_q = F.log_softmax(z / self.temperature, axis)
        return self.temperature**2 * (log_p.exp() * (log_p - log_q)).sum(axis).mean()


class Custom(Loss):
    """The user's function of the outputs by name (and the teacher's, if there is one) and the labels."""

    def __init__(self, function: Callable[..., Any], student: Graph, teacher: Graph | None) -> None:
        super().__init__(student.outputs, teacher.outputs if teacher is not None else ())
        self.function = function
        self.names = student.output_names
        self.teacher_names = teacher.output_names if teacher is not None else ()

    def forward(self, reading: Reading) -> torch.Tensor:
        # a user's `view` should do what it does elsewhere, though images have their channels last
        outputs = {n: reading.student[v].contiguous() for n, v in zip(self.names, self.student, strict=True)}
        targets = {n: reading.teacher[v].contiguous() for n, v in zip(self.teacher_names, self.teacher, strict=True)}
        with user_code(f"the loss function '{_name(self.function)}' failed", OptionError):
            made = self.function(outputs, *([targets] if self.teacher_names else []), reading.labels)
        if not isinstance(made, torch.Tensor) or made.numel() != 1:
            said = f"shape {list(made.shape)}" if isinstance(made, torch.Tensor) else type(made).__name__
            raise OptionError(f"the loss function '{_name(self.function)}' gave {said}, not one number as a tensor")
        return made.reshape(())


def label_of(reading: Reading, output: str) -> torch.Tensor:
    """The labels of an output: those of its name where they have names."""
    labels = reading.labels
    if isinstance(labels, dict):
        if output not in labels:
            raise DataError(f"there are no labels for output '{output}'; they are for {', '.join(labels)}")
        labels = labels[output]
    assert isinstance(labels, torch.Tensor)
    return labels


def class_axis(z: torch.Tensor) -> int:
    """Where the classes usually are: axis 1 of (N, C) and of images (N, C, H, W), the last of sequences (N, L, C)."""
    return 1 if z.ndim > 3 else -1


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))

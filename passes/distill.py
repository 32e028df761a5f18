"""Train the model to do what a teacher does, without labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from irc.errors import DataError, OptionError
from irc.execution.training.losses import KINDS
from irc.frontends.onnx import read_onnx
from irc.graph import Graph
from irc.passes.base import option
from irc.passes.context import Context
from irc.passes.training import LossFunction, Training


@dataclass(frozen=True)
class Distill(Training):
    """Train the weights to give what the model gave when it came in, or what another teacher gives.

    `data` is an iterable of samples, labels or not; the calibration data if not given. The loss is a sum of terms:

        mse[:output]              mean of (y - t)^2 / mean of t^2
        kl[:output]               T^2 KL(softmax(t / T) || softmax(z / T)), T the temperature (Hinton 2015)
        features:layers           as mse, of layers: their names, patterns, or student=teacher
        reconstruction:layers     the same, each layer being fed with what the teacher's layer gets
        cross-entropy[:output]    of labels, as in fine-tune
        a function                loss(outputs by name, teacher's outputs by name, labels) -> tensor, from Python

    z and t are logits: what goes into a last Softmax, else the output. mean of t^2 is over the first batch. Where a
    pruned layer has fewer channels than the teacher's, a linear projection stands between them; it starts as the
    least-squares fit, is trained along and thrown away. A batch norm that was folded since, the teacher's layer
    includes too.

    How it trains is as in `fine-tune`; valid for any two graphs that take the same inputs; lossy by its nature.
    """

    loss: tuple[str | LossFunction, ...] = option(("mse",), help="terms [weight*]kind[:output or layers], summed")
    teacher: str | Any = option(None, help="an .onnx or .irc file; the model as it came in if none")
    temperature: float = option(1.0, help="of kl", range=(1.0, 8.0))

    def run(self, graph: Graph, context: Context) -> None:
        terms = self.terms(KINDS)
        if not self.temperature > 0:
            raise OptionError(f"distill: temperature={self.temperature:g} is not above 0")
        data = self.data if self.data is not None else context.calibration
        if data is None:
            raise DataError(
                "distill needs samples: give Distill(data=…), compile(calibration=…), or data=package.module:function"
            )
        teacher = read_teacher(self.teacher, context)
        if len(teacher.inputs) != len(graph.inputs):
            raise OptionError(f"distill: the teacher takes {len(teacher.inputs)} inputs, the model {len(graph.inputs)}")
        self.fit(graph, context, terms, data=data, teacher=teacher, temperature=self.temperature)


def read_teacher(given: Any, context: Context) -> Graph:
    """The graph of a teacher.

    Raises
    ------
    ModelError : a file cannot be read.
    OptionError : it is of a kind that is no model.
    """
    if given is None:
        return context.teacher
    if isinstance(given, Graph):
        return given
    if isinstance(given, str | Path):
        if str(given).endswith(".irc"):
            from irc.text import load_text

            return load_text(Path(given))
        return read_onnx(given)
    if type(given).__name__ == "ModelProto":
        return read_onnx(given)
    raise OptionError(
        f"distill: a {type(given).__name__} is no teacher; give a path of .onnx or .irc, or the Graph that "
        "irc.load(module, inputs) makes"
    )

"""What cannot be trained is refused with an error that names the thing and the way out, before or at the step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from irc.errors import DataError, IrcError, ModelError, OptionError
from irc.passes.distill import Distill
from irc.passes.fine_tune import FineTune
from irc.passes.training import Training
from irc.text import parse_graph
from tests.training.nets import constants, graph_of, largest_difference, network, pairs, run_pass


class Failing:
    """Samples, of which the third cannot be read."""

    def __iter__(self) -> Iterator[Any]:
        yield from pairs(2)
        raise FileNotFoundError("no such image")


def wide() -> list[Any]:
    return [(np.zeros((1, 3, 9, 8), np.float32), 0)]


def broken(*_: Any) -> Any:
    raise KeyError("labels")


def other_classes() -> Distill:
    teacher = network()
    teacher[8] = torch.nn.Linear(8, 1)
    return Distill(data=ITEMS, loss=("kl",), teacher=graph_of(teacher))


EMPTY = np.zeros((0, 3, 8, 8), np.float32)
ITEMS = pairs(12)
CASES: dict[str, tuple[Training, type[IrcError], str]] = {
    "no data": (FineTune(), DataError, "fine-tune needs labelled data"),
    "no samples": (Distill(), DataError, "distill needs samples"),
    "empty": (FineTune(data=[]), DataError, "fine-tune: data holds not a single sample"),
    "an iterator": (FineTune(data=iter(ITEMS)), DataError, "iterator, which can be read once only"),
    "a number": (FineTune(data=3), DataError, "data must be an iterable"),  # type: ignore[arg-type]  # wrong on purpose
    "a missing module": (FineTune(data="no.such:thing"), DataError, "module 'no.such' cannot be imported"),
    "no function": (FineTune(data="numpy"), DataError, "'numpy' is not of the form package.module:function"),
    "no label": (FineTune(data=[x for x, _ in ITEMS]), DataError, "has no label, which the loss needs"),
    "no rows": (Distill(data=[EMPTY]), DataError, "sample 0 has no rows; leave it out"),
    "labels too large": (FineTune(data=[(x, 5) for x, _ in ITEMS]), DataError, "label 5 is out of range"),
    "labels negative": (FineTune(data=[(x, -1) for x, _ in ITEMS]), DataError, "label -1 is out of range"),
    "labels of floats": (FineTune(data=[(x, 0.5) for x, _ in ITEMS]), DataError, "class numbers are integers"),
    "labels of text": (FineTune(data=[(x, "cat") for x, _ in ITEMS]), DataError, "is no number or array of numbers"),
    "labels of a shape": (FineTune(data=[(x, [[1, 2]]) for x, _ in ITEMS]), DataError, "labels of shape"),
    "labels of no output": (FineTune(data=[(x, {"y": 1}) for x, _ in ITEMS]), DataError, "no labels for output"),
    "samples of a shape": (FineTune(data=wide()), DataError, "fine-tune: sample 0, input 'input' has shape"),
    "a failing stream": (FineTune(data=Failing()), DataError, "failed at sample 2: FileNotFoundError: no such"),
    "a loss": (FineTune(data=ITEMS, loss=("cross-entrpy",)), OptionError, "did you mean 'cross-entropy'?"),
    "a weight": (FineTune(data=ITEMS, loss=("x*mse",)), OptionError, "'x' is no number; write 0.5*mse"),
    "a loss with a teacher": (FineTune(data=ITEMS, loss=("kl",)), OptionError, "there is no loss 'kl'"),
    "an output": (Distill(data=ITEMS, loss=("kl:z",)), OptionError, "no output 'z' of floats; it has output"),
    "no layers": (Distill(data=ITEMS, loss=("features",)), OptionError, "needs the names of layers"),
    "unknown layers": (Distill(data=ITEMS, loss=("features:9*",)), OptionError, "called '9*'; there are 0, 1, 2, 3"),
    "an unknown pattern": (FineTune(data=ITEMS, freeze=("8.wieght",)), OptionError, "freeze: no layer, node or weight"),
    "nothing to train": (FineTune(data=ITEMS, freeze=("*",)), OptionError, "train and freeze leave none"),
    "a temperature": (Distill(data=ITEMS, temperature=0.0), OptionError, "temperature=0 is not above 0"),
    "a batch": (FineTune(data=ITEMS, batch=0), OptionError, "batch=0 is less than 1"),
    "a rate": (FineTune(data=ITEMS, lr=float("nan")), OptionError, "lr=nan is not a number of 0 or more"),
    "a warm-up": (FineTune(data=ITEMS, warmup=5.0), OptionError, "it is a part of all steps"),
    "an optimizer": (FineTune(data=ITEMS, optimizer="sdg"), OptionError, "'sdg' is not one of sgd, adam, adamw"),
    "no optimizer": (FineTune(data=ITEMS, optimizer=lambda p: None), OptionError, "optimizer gave a NoneType"),
    "no metric": (FineTune(data=ITEMS, patience=2), OptionError, "patience=2 needs a metric"),
    "no folder": (FineTune(data=ITEMS, checkpoint_every=2), OptionError, "checkpoint_every=2 needs checkpoint=FOLDER"),
    "no folder for the log": (FineTune(data=ITEMS, log="no/such/log"), OptionError, "no folder 'no/such'; make it"),
    "a file for a folder": (FineTune(data=ITEMS, checkpoint=__file__), OptionError, "is a file; name a folder"),
    "a failing optimizer": (FineTune(data=ITEMS, optimizer=broken), OptionError, "optimizer failed: KeyError: 'la"),
    "an optimizer of many losses": (
        FineTune(data=ITEMS, optimizer=lambda p: torch.optim.LBFGS(p[0]["params"])),
        OptionError,
        "the optimizer's step failed: TypeError: LBFGS.step() missing 1 required positional argument: 'closure'",
    ),
    "a diverging weight": (
        FineTune(data=ITEMS, loss=("1e4*cross-entropy",), lr=1e38),
        OptionError,
        "a weight is infinite or not a number after step 1 (epoch 1); give a smaller lr",
    ),
    "a diverging loss": (FineTune(data=ITEMS, lr=1e30, batch=4), OptionError, "at step 2 (epoch 1); give a smaller lr"),
    "a teacher": (Distill(data=ITEMS, teacher=3), OptionError, "a int is no teacher; give a path of .onnx or .irc"),
    "a teacher's file": (Distill(data=ITEMS, teacher="no.onnx"), ModelError, "no.onnx"),
    "a teacher of other classes": (other_classes(), OptionError, "[12, 5] in the model and [12, 1] in the teacher"),
    "a failing loss": (FineTune(data=ITEMS, loss=(broken,)), OptionError, "'broken' failed: KeyError: 'labels'"),
    "a function's loss": (FineTune(data=ITEMS, loss=(lambda o, y: 3,)), OptionError, "gave int, not one number"),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(case: str) -> None:
    each, error, said = CASES[case]
    graph = graph_of(network())
    with pytest.raises(error) as caught:
        run_pass(each, graph)
    assert said in str(caught.value)


def test_a_metric_that_fails_is_told_as_the_users() -> None:
    with pytest.raises(DataError, match="evaluate failed: KeyError: 'labels'"):
        run_pass(FineTune(data=ITEMS, evaluate=broken), graph_of(network()))


def test_a_loss_that_reaches_no_weight_names_what_is_in_the_way() -> None:
    graph = parse_graph(
        """\
graph main(opset = 21) {
  input %x: f32[N, 4]
  weight %w: f32[4, 4] = splat(0.5)
  %a: f32[N, 4] = MatMul(%x, %w) @"first"
  %b: f32[N, 4] = Hardmax:21(%a) {axis = -1} @"opaque"
  return %b
}
"""
    )
    items = [(np.ones((1, 4), np.float32), 0)] * 4
    with pytest.raises(ModelError, match=r"none of the 1 weights .* Hardmax 'opaque' runs in onnxruntime"):
        run_pass(FineTune(data=items), graph)


def test_layers_that_differ_by_more_than_channels_are_no_pair() -> None:
    with pytest.raises(OptionError, match=r"layer '3' has shape .* and .* in the teacher"):
        run_pass(Distill(data=ITEMS, loss=("features:3=0",), teacher=graph_of(network(width=4))), graph_of(network()))


class Interrupted:
    """A metric that is interrupted when it is taken the second time."""

    taken = 0

    def __call__(self, run: Any) -> float:
        self.taken += 1
        if self.taken == 2:
            raise KeyboardInterrupt
        return 0.5


@pytest.mark.parametrize(
    ("each", "stop"),
    [
        (FineTune(data=ITEMS, lr=1e30, batch=4), OptionError),
        (FineTune(data=ITEMS, evaluate=Interrupted()), KeyboardInterrupt),
    ],
)
def test_what_stops_leaves_the_random_generators_and_the_graph_alone(each: FineTune, stop: type[Exception]) -> None:
    graph = graph_of(network())
    before, version, state = constants(graph), graph.version, torch.get_rng_state()
    with pytest.raises(stop):
        run_pass(each, graph)
    assert graph.version == version
    assert largest_difference(constants(graph), before) == 0
    assert torch.get_rng_state().equal(state)

"""Train the model on labelled data."""

from __future__ import annotations

from dataclasses import dataclass

from irc.errors import DataError
from irc.graph import Graph
from irc.passes.base import option
from irc.passes.context import Context
from irc.passes.training import LossFunction, Training


@dataclass(frozen=True)
class FineTune(Training):
    """Train the weights on labelled samples: what pruning or low-bit quantization took away comes back.

    `data` is an iterable of pairs (sample, label), of dicts with 'label' beside the inputs, or a torch DataLoader. The
    loss is a sum of terms:

        cross-entropy[:output]   mean of -log softmax(z)[label]; what goes into a last Softmax is z
        mse[:output]             mean of (y - label)^2
        a function               loss(outputs by name, labels) -> tensor, from Python; a mean over rows

    The mean is over the rows of a batch. Samples run as one batch where the model gives for two at a time what it gives
    for each, which is tried; else one by one, and their gradients are added up to those of the batch. Batch norms
    train with the statistics of the batch, which the running ones follow (torch's rule; unbiased variance), over all
    processes. Dropout, which a model of inference does not have, is not put back.

    FakeQuants train too: rounding straight through, scales as learned step sizes (Esser 2020, "Learned Step Size
    Quantization"), zero points as they are. `insert-fake-quant, calibrate, fine-tune` is quantization-aware training.

    Valid for any graph whose loss depends on a weight; lossy by its nature. Deterministic with the seed. Under
    `torchrun` the processes share each batch.
    """

    loss: tuple[str | LossFunction, ...] = option(("cross-entropy",), help="terms [weight*]kind[:output], summed")

    def run(self, graph: Graph, context: Context) -> None:
        terms = self.terms(("cross-entropy", "mse"))
        if self.data is None:
            raise DataError(
                "fine-tune needs labelled data: give FineTune(data=…), an iterable of pairs (sample, label), or "
                "data=package.module:function; without labels distill serves"
            )
        self.fit(graph, context, terms, data=self.data)

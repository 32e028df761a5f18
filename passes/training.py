"""What `fine-tune` and `distill` do alike: their options, and a training run on the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from irc.errors import DataError, OptionError
from irc.execution.convert import to_numpy
from irc.execution.executable import Executable
from irc.execution.samples import check_sample, input_signature
from irc.execution.training.batch_norm import TrainedBatchNorm, train_batch_norms
from irc.execution.training.chunks import chunks_of
from irc.execution.training.data import Numbered, TrainingData
from irc.execution.training.distributed import World, join_world
from irc.execution.training.history import History
from irc.execution.training.identity import data_digest, graph_digest
from irc.execution.training.loop import Task, train
from irc.execution.training.losses import Term, parse_term
from irc.execution.training.objective import Objective, make_losses
from irc.execution.training.randomness import preserved_randomness
from irc.execution.training.recipe import BATCH_NORM, OPTIMIZERS, SCHEDULES, Recipe
from irc.execution.training.stacking import can_stack
from irc.execution.training.steps import StepSizes
from irc.execution.training.structure import Structure
from irc.execution.training.tying import tie, tied_weights, write_tied
from irc.execution.training.weights import frozen_norms, trained_weights
from irc.graph import Graph, Value
from irc.names import resolve
from irc.passes.base import LOSSY, Pass, option
from irc.passes.context import Context, Evaluate
from irc.passes.numerics import unwrap
from irc.passes.options import format_value
from irc.passes.scale_limits import ScaleLimits
from irc.user_code import user_code

LossFunction = Callable[..., Any]
_NOT_IDENTITY = ("checkpoint", "checkpoint_every", "log", "data", "teacher", "evaluate")  # do not change the weights
_EPOCHS_SHOWN = 6


@dataclass(frozen=True)
class Training(Pass):
    """Base of the passes that train. Options that take objects take them from Python only."""

    numerics = LOSSY
    before = ("lower-to-integer",)

    data: str | Iterable[Any] | Numbered | Callable[[], Any] | None = option(
        None, help="samples, as package.module:function; each epoch reads them anew"
    )
    loss: tuple[str | LossFunction, ...] = option((), help="terms [weight*]kind[:target], summed")
    epochs: int = option(1, help="times through the data", range=(1, 8))
    steps: int = option(0, help="steps in all, instead of epochs")
    batch: int = option(32, help="rows in a step, over all processes")
    shuffle: bool = option(True, help="draw the order of the samples, anew for each epoch")
    optimizer: str | Callable[[Any], Any] = option("sgd", help=f"{', '.join(OPTIMIZERS)}, or a function of parameters")
    lr: float = option(0.01, help="learning rate at its highest", range=(1e-4, 0.1))
    momentum: float = option(0.9, help="of sgd")
    nesterov: bool = option(False, help="Nesterov's momentum, of sgd")
    weight_decay: float = option(1e-4, help="of matrices and kernels; biases, norms and scales have none")
    schedule: str = option("cosine", help="how the learning rate falls", choices=SCHEDULES)
    warmup: float = option(0.05, help="part of the steps in which the learning rate rises")
    clip: float = option(0.0, help="largest norm of the gradient; 0 for any")
    train: tuple[str, ...] = option((), help="patterns of the layers, nodes or weights to train; all if none")
    freeze: tuple[str, ...] = option((), help="patterns of those to leave as they are")
    keep_structure: bool = option(True, help="zeros of pruned weights stay, and clusters stay one")
    batch_norm: str = option(
        "train", help="statistics: of the batch and followed (train), or as they are", choices=BATCH_NORM
    )
    evaluate: str | Evaluate | None = option(None, help="the metric, as package.module:function; compile's own if none")
    lower_is_better: bool = option(False, help="of the metric")
    keep_best: bool = option(True, help="give the weights of the best epoch by the metric, not the last")
    patience: int = option(0, help="epochs without a better metric after which to stop; 0 for never")
    checkpoint: str = option("", help="folder of a checkpoint, from which the same call goes on")
    checkpoint_every: int = option(0, help="steps between checkpoints within an epoch; 0 for at its end only")
    log: str = option("", help="file for the loss of each step and the metrics, as lines of JSON")

    def __post_init__(self) -> None:
        """Take one alone for a tuple of one."""
        for name in ("loss", "train", "freeze"):
            given = getattr(self, name)
            object.__setattr__(self, name, (given,) if isinstance(given, str) or callable(given) else tuple(given))

    def terms(self, kinds: Sequence[str]) -> list[Term]:
        """The terms of the loss; OptionError if one is none of `kinds`."""
        if not self.loss:
            raise OptionError(f"{self.pass_name()}: loss has no terms; there are {', '.join(kinds)}")
        return [parse_term(each, self.pass_name(), kinds) for each in self.loss]

    def recipe(self, seed: int) -> Recipe:
        """The numbers, checked."""
        names = {f.name for f in fields(Recipe)} - {"name", "seed"}
        return Recipe(name=self.pass_name(), seed=seed, **{name: getattr(self, name) for name in names})

    @preserved_randomness()
    def fit(
        self,
        graph: Graph,
        context: Context,
        terms: Sequence[Term],
        *,
        data: Any,
        teacher: Graph | None = None,
        temperature: float = 1.0,
    ) -> None:
        """Train the graph's weights to make the loss small, and put them into it."""
        recipe, world = self.recipe(context.seed), join_world()
        source = TrainingData(
            data,
            graph,
            batch=self.batch,
            seed=context.seed,
            shuffle=self.shuffle,
            # without a teacher a function has nothing else to go by
            labelled=teacher is None or any(term.kind == "cross-entropy" for term in terms),
            name=recipe.name,
        )
        objective = Objective(
            graph, teacher, make_losses(terms, graph, teacher, name=recipe.name, temperature=temperature)
        )
        student, tied = objective.student, tied_weights(graph)
        tie(student, tied)
        first = next(source.batches(0))
        stacked = can_stack(objective.models, first)
        trained = trained_weights(student, self.train, self.freeze, recipe.name, tied)
        norms = self._norms(student, trained, world, context, stacked=stacked)
        chunks = chunks_of(first, source.names, stacked=stacked)
        objective.prepare(chunks)
        branches = any(node.op.name == "If" for node in graph.walk())
        unreached = [] if branches else objective.unreached(chunks[0], trained)
        for value in unreached:
            trained.pop(value).requires_grad_(False)
        structure = Structure(trained if self.keep_structure else {})
        history = train(
            Task(
                objective,
                recipe,
                source,
                world,
                trained,
                norms,
                StepSizes(trained),
                context.progress,
                stacked=stacked,
                branches=branches,
                evaluate=self._metric(graph, context, student),
                after_epoch=(ScaleLimits(graph, trained, tied, context.target.policy).hold, structure.hold),
                identity=self._identity(graph, teacher, context, source) if self.checkpoint else {},
            )
        )
        for value, parameter in trained.items():
            value.data = to_numpy(parameter).copy()
        write_tied(tied)
        for norm in norms:
            norm.write_back()
        self._report(history, context, world, unreached)

    def _norms(
        self,
        student: Executable,
        trained: dict[Value, nn.Parameter],
        world: World,
        context: Context,
        *,
        stacked: bool,
    ) -> list[TrainedBatchNorm]:
        """The batch norms that train with the statistics of the batch."""
        frozen = frozen_norms(student, trained)
        if self.batch_norm == "freeze":
            return []
        if stacked:
            return train_batch_norms(student, frozen, world)
        if any(n.op.name == "BatchNormalization" and n not in frozen for n in student.modules):
            context.note(
                "samples run one by one, as the model does not take several in a batch: batch norms keep their "
                "statistics (a model exported with a symbolic batch would train them)"
            )
        return []

    def _metric(self, graph: Graph, context: Context, student: Executable) -> Callable[[], float] | None:
        """The user's metric of the model as it is while it trains."""
        found: Any = self.evaluate if self.evaluate is not None else context.evaluate
        if isinstance(found, str):
            found = resolve(found, OptionError)
        if found is None:
            if self.patience:
                raise OptionError(
                    f"{self.pass_name()}: patience={self.patience} needs a metric; give compile(evaluate=…)"
                )
            return None
        signature = input_signature(graph)

        def metric() -> float:
            with user_code(f"{self.pass_name()}: evaluate failed", DataError):
                return float(found(lambda item: unwrap(student.run_numpy(check_sample(item, signature)))))

        return metric

    def _identity(self, graph: Graph, teacher: Graph | None, context: Context, data: TrainingData) -> dict[str, str]:
        """What a checkpoint must be of, for this training to go on from it."""
        options = {f.name: format_value(getattr(self, f.name)) for f in fields(self) if f.name not in _NOT_IDENTITY}
        return {
            "pass": self.pass_name(),
            "model": graph_digest(graph),
            "teacher": graph_digest(teacher) if teacher is not None else "none",
            "data": data_digest(data),
            "seed": str(context.seed),
            **options,
        }

    def _report(self, history: History, context: Context, world: World, unreached: Sequence[Value]) -> None:
        """Note what the training did."""
        losses, steps = history.epoch_losses(), len(history.losses)
        among = f" on {world.size} processes" if world.size > 1 else ""
        first, last = history.losses[0], losses[-1]
        epochs = "1 epoch" if len(losses) == 1 else f"{len(losses)} epochs"
        context.note(
            f"{steps} steps in {epochs}{among}: loss {first:.4g} in the first step, {last:.4g} in the last "
            "epoch on average"
        )
        if history.metrics:
            shown = [f"{m:.4g}" for m in history.metrics[1:]]
            if len(shown) > _EPOCHS_SHOWN:
                shown = [*shown[: _EPOCHS_SHOWN - 1], "…", shown[-1]]
            kept = f"; the weights after epoch {history.best} are kept" if self.keep_best else ""
            context.note(f"metric {history.metrics[0]:.4g} before, then {', '.join(shown)}{kept}")
        if history.resumed is not None:
            done = history.resumed == steps
            what = "had finished this training" if done else f"let it go on from step {history.resumed}"
            context.note(f"the checkpoint in '{self.checkpoint}' {what}")
        if unreached:
            names = ", ".join(v.name for v in unreached[:4]) + (", …" if len(unreached) > 4 else "")
            context.note(f"the loss does not depend on {len(unreached)} weights, which stay as they are: {names}")

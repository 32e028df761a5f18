"""`irc.compare`: several models measured alike, on the same data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from irc.analysis.energy import EnergyCosts
from irc.backends.c.specialize import symbols
from irc.backends.registry import find_target
from irc.errors import OptionError
from irc.evaluation.comparison import Comparison
from irc.evaluation.inputs import refusal, renamed
from irc.evaluation.measures import count, with_latency
from irc.evaluation.quality import measure
from irc.evaluation.sizes import fitted, made_up_sample, sample_dims
from irc.evaluation.subject import Subject, named, open_subject
from irc.execution.samples import Sample, Samples
from irc.graph import Graph
from irc.passes.context import Evaluate
from irc.reading.metric import Metric
from irc.report.progress import Progress, silent
from irc.target import Target


def compare(
    *models: Any,
    data: Iterable[Any] | None = None,
    labels: Iterable[Any] | None = None,
    evaluate: Evaluate | None = None,
    target: str | Target = "onnx",
    example_inputs: Any = None,
    dims: Mapping[str, int] | None = None,
    latency: bool = True,
    turns: int = 10,
    energy: EnergyCosts | None = None,
    names: Sequence[str] | None = None,
    progress: Progress = silent,
) -> Comparison:
    """Put models side by side: the first is what the others are held against.

    Parameters
    ----------
    models : paths of .onnx and .irc files and of folders of C; artifacts of `irc.compile`; what `irc.load` takes, a
        torch module alone or in a tuple with its example inputs; `package.module:function` that returns one of these
    data : an iterable of inputs of the first model, each an array, a tuple in input order or a dict by input name
    labels : of each sample its class, an integer, or one for each row: the first output is then scores, (rows, classes)
    evaluate : called with a function that runs a model on one input; returns the metric, as for `irc.compile`
    target : what runs models that are no artifacts; a c target compiles them. See `irc targets`
    example_inputs : of every torch module that has none of its own
    dims : sizes of symbolic dimensions, which are counted and timed; those of the first sample, or 1, if not given
    latency : time the models in turns, in one thread, on the first sample, or a made-up one without data
    turns : how many turns of ten runs each model has
    energy : what arithmetic and memory cost; those of Horowitz if not given
    names : of the models, for the table

    Raises
    ------
    IrcError : a model cannot be read or run; the text names it.
    """
    if not models:
        raise OptionError("there is no model to compare; give one at least, and what to hold against it")
    goal = find_target(target) if isinstance(target, str) else target
    called = list(names) if names is not None else [name_of(model, k) for k, model in enumerate(models)]
    if len(called) != len(models):
        raise OptionError(f"there are {len(called)} names for {len(models)} models")
    bench = Bench(goal, data, labels, evaluate, example_inputs, dims, latency, turns, energy or EnergyCosts(), progress)
    subjects = [bench.open(model, name) for model, name in zip(models, called, strict=True)]
    bench.check_dims(subjects)
    return bench.measured(subjects)


def name_of(model: Any, index: int) -> str:
    """What a table calls a model: its path, or its class and place."""
    if isinstance(model, tuple) and model:
        model = model[0]
    return str(model) if isinstance(model, str | Path) else f"{index + 1}: {type(model).__name__}"


@dataclass
class Bench:
    """What models are measured with; most fields are the parameters of `compare`.

    samples : the data, checked and replayable, once there is a graph to check them against
    taken_by : that graph
    """

    target: Target
    data: Iterable[Any] | None
    labels: Iterable[Any] | None
    evaluate: Evaluate | None
    example_inputs: Any
    dims: Mapping[str, int] | None
    latency: bool
    turns: int
    costs: EnergyCosts
    progress: Progress
    samples: Samples | None = field(default=None, init=False)
    taken_by: Graph | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.turns < 1:
            raise OptionError(f"turns={self.turns}: a model must have one turn at least")
        if self.labels is not None:
            if self.data is None:
                raise OptionError("there are labels and no data; give the inputs that they are of")
            self.labels = list(self.labels)

    def open(self, model: Any, name: str) -> Subject:
        """A model; the data are for the first that is opened."""
        return open_subject(model, name, self.target, example_inputs=self.example_inputs, sizes=self.sizes_of)

    def measured(self, subjects: Sequence[Subject]) -> Comparison:
        """The comparison of models that were opened here."""
        sizes = [self.sizes_of(subject.graph) for subject in subjects]
        samples = [partial(self._sample, subject.graph, dims) for subject, dims in zip(subjects, sizes, strict=True)]
        rows = [
            count(subject, dims, sample, self.costs)
            for subject, dims, sample in zip(subjects, sizes, samples, strict=True)
        ]
        if self.samples is not None and self.taken_by is not None and (len(subjects) > 1 or self.labels is not None):
            shown = self.progress(self.samples, "compare", self.samples.count)
            found = measure(subjects, shown, self.taken_by, self.labels)
            rows = [replace(row, quality=each) for row, each in zip(rows, found, strict=True)]
        if self.evaluate is not None:
            rows = [replace(row, metric=self._metric(each)) for row, each in zip(rows, subjects, strict=True)]
        if self.latency:
            rows = with_latency(rows, subjects, [sample() for sample in samples], self.turns)
        return Comparison(rows, (self.samples.count if self.samples else 0) or 0, sizes[0], self.costs)

    def _metric(self, subject: Subject) -> float:
        """What `evaluate` says of a model."""
        assert self.evaluate is not None
        metric = self.evaluate if isinstance(self.evaluate, Metric) else Metric(self.evaluate)
        with named(subject.name):
            return metric(subject.call)

    def sizes_of(self, graph: Graph) -> dict[str, int]:
        """The sizes of a graph's symbolic dimensions: as asked for, or else those of the first sample, or 1."""
        known = symbols(graph)
        if self.data is not None and self.samples is None:
            self.samples, self.taken_by = Samples(self.data, graph), graph
        sample = self._first_sample(graph)
        found = {} if sample is None else sample_dims(graph, sample)
        asked = {name: size for name, size in (self.dims or {}).items() if name in known}
        return dict.fromkeys(known, 1) | found | asked

    def _sample(self, graph: Graph, dims: Mapping[str, int]) -> Sample:
        """The first sample in these sizes; a made-up one if there is none for this graph."""
        sample = self._first_sample(graph)
        return made_up_sample(graph, dims, other=1) if sample is None else fitted(graph, sample, dims)

    def _first_sample(self, graph: Graph) -> Sample | None:
        if self.samples is None or self.taken_by is None or refusal(graph, self.taken_by):
            return None
        return renamed(self.samples.first(1)[0], graph, self.taken_by)

    def check_dims(self, subjects: Iterable[Subject]) -> None:
        """OptionError if a size is none, or of a dimension that none of the models has."""
        known = {name for subject in subjects for name in symbols(subject.graph)}
        for name, size in (self.dims or {}).items():
            if name not in known:
                have = f"they have {', '.join(sorted(known))}" if known else "all of theirs are numbers"
                raise OptionError(f"the models' inputs have no dimension '{name}'; {have}")
            if size < 1:
                raise OptionError(f"dimension '{name}' cannot be {size}; it must be 1 or more")

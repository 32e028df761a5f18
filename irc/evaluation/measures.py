"""What a model costs and is worth: one row of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from irc.analysis.arithmetic import activation_bytes, as_run, macs_by_width, nodes, uncounted
from irc.analysis.cost import parameters_of
from irc.analysis.energy import Energy, EnergyCosts, energy
from irc.analysis.liveness import peak_memory
from irc.backends.latency import Timed, interleaved
from irc.errors import IrcError, OptionError
from irc.evaluation.quality import Quality
from irc.evaluation.sizes import observe, vague
from irc.evaluation.subject import Subject
from irc.execution.samples import Sample
from irc.graph import Graph
from irc.target import Target

RUNS = 10  # of a model in each of its turns, when it is timed
TURNS = 5  # where a budget asks for the latency


@dataclass(frozen=True)
class Measures:
    """Of one model; sizes of symbolic dimensions as asked for, one inference.

    name : of the model
    file_bytes : of its file and the weights beside it, or of all files of a folder
    weight_bytes : of all tensors in the file, packed as they lie there
    nodes : of the graph and its bodies, those aside that only quantize, dequantize or compute with constants
    parameters : elements of the weights, each once; scales and zero points are none
    macs : multiply-accumulates by the type of their factors, as `{"int8": 1200}`; of convolutions and matrix products
    peak_memory : bytes of activations that are alive at one time, see `irc.analysis.liveness`
    activation_bytes : of all values that one op hands to another, see `irc.analysis.arithmetic`
    energy : an estimate, see `irc.analysis.energy`; None if there is no cost for a type that it multiplies in
    metric : what `evaluate` says; None without it
    quality : against labels and the first model
    latency_ms, least_latency_ms : the median and the fastest run, one thread; None if not timed
    latency_ratio : its time over the first model's: of the fastest run of each turn, the median of all turns
    notes : what is not counted, or not compared, and why
    """

    name: str
    file_bytes: int
    weight_bytes: int
    nodes: int
    parameters: int
    macs: Mapping[str, int]
    peak_memory: int
    activation_bytes: int
    energy: Energy | None
    metric: float | None = None
    quality: Quality = field(default_factory=Quality)
    latency_ms: float | None = None
    least_latency_ms: float | None = None
    latency_ratio: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def all_macs(self) -> int:
        """Multiply-accumulates of every type."""
        return sum(self.macs.values())

    @property
    def flops(self) -> int:
        """Two for each multiply-accumulate, integer ones too; elementwise ops, pools, norms, softmax do not count."""
        return 2 * self.all_macs

    @property
    def energy_uj(self) -> float | None:
        """The energy in uJ."""
        return None if self.energy is None else self.energy.total

    @property
    def score(self) -> float | None:
        """The metric, or the accuracy if there is none: more is better."""
        return self.quality.accuracy if self.metric is None else self.metric


def count(
    subject: Subject, dims: Mapping[str, int], sample: Callable[[], Sample], costs: EnergyCosts | None
) -> Measures:
    """All that can be told without timing or judging the model.

    dims : sizes of symbolic dimensions; 1 for those that are not in it
    sample : makes a sample of these sizes, for shapes that the sizes alone do not tell
    """
    graph = subject.bound(dims)
    if vague(graph):
        with suppress(IrcError):  # nobody can make one up
            observe(graph, sample())
    seen, stored = as_run(graph), subject.stored
    macs, moved = macs_by_width(seen), activation_bytes(seen)
    used = energy(macs, stored.constants, moved, costs)
    return Measures(
        name=subject.name,
        file_bytes=stored.files,
        weight_bytes=stored.constants,
        nodes=nodes(seen),
        parameters=parameters(graph),
        macs=macs,
        peak_memory=peak_memory(seen),
        activation_bytes=moved,
        energy=used,
        notes=(*subject.notes, *_unknown(graph), *_without_cost(macs, used)),
    )


def parameters(graph: Graph) -> int:
    """Elements of the weights of the nest, each once however often it is read; scales and zero points are none."""
    return sum(parameters_of(value) for inner in graph.graphs() for value in inner.constants if value.uses)


def _unknown(graph: Graph) -> list[str]:
    notes = []
    if names := uncounted(graph):
        notes.append(f"the multiply-accumulates of {', '.join(names)} are not counted: irc does not look into it")
    if unknown := vague(graph):
        first = f"first '{unknown[0].name}', {unknown[0].type}"
        notes.append(f"{len(unknown)} values have dimensions that nobody knows, and that count as 1: {first}")
    return notes


def _without_cost(macs: Mapping[str, int], used: Energy | None) -> list[str]:
    return [] if used is not None else [f"there is no energy cost for one of {', '.join(macs)}"]


def check_timed(target: Target) -> None:
    """OptionError if what is made for the target cannot be timed here."""
    if target.latency is None:
        raise OptionError(f"target '{target.name}' cannot be timed here; leave latency out, macs will do")


def with_latency(
    rows: Sequence[Measures], subjects: Sequence[Subject], samples: Sequence[Sample], turns: int = TURNS
) -> list[Measures]:
    """The rows with the times of their subjects, each on its sample, one thread."""
    took = _timed(subjects, samples, turns)
    return [
        replace(row, latency_ms=each.median, least_latency_ms=each.least, latency_ratio=each.ratio(took[0]))
        for row, each in zip(rows, took, strict=True)
    ]


def _timed(subjects: Sequence[Subject], samples: Sequence[Sample], turns: int) -> list[Timed]:
    """The subjects in turns."""
    pairs = zip(subjects, samples, strict=True)
    calls = {str(index): partial(subject.run, sample) for index, (subject, sample) in enumerate(pairs)}
    for call in calls.values():
        call()  # the first run makes the session
    return list(interleaved(calls, turns=turns, runs=RUNS).values())

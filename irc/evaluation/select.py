"""`irc.select`: which of several models to take under a budget, and which are worth compressing for it.

candidate --measure--> does it fit?         yes: a form that fits
                       does another beat it? yes: dominated, nothing is tried
                       no, neither: compile with each compression, the mildest first, and measure, until one fits
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import irc.api
from irc.analysis.arithmetic import QUANTIZERS
from irc.analysis.energy import EnergyCosts
from irc.backends.registry import find_target
from irc.errors import DataError, IrcError, OptionError
from irc.evaluation.budget import QUANTITIES, amount_text, check_budget, over, parse_budget, spent
from irc.evaluation.compare import Bench, name_of
from irc.evaluation.inputs import refusal, renamed
from irc.evaluation.measures import TURNS, Measures, check_timed
from irc.evaluation.selection import Form, Selection, Verdict, best_of, dominates
from irc.evaluation.subject import Subject
from irc.execution.samples import Sample
from irc.graph import Graph
from irc.passes.context import Evaluate
from irc.passes.options import parse_pipeline
from irc.report.progress import Progress, silent
from irc.target import Target

_PRUNED = f"fold-constants, simplify, prune-channels{{macs=0.5}}, {irc.api.DEFAULT_PASSES}"
COMPRESSIONS = {  # the mildest first
    "quantized": f"{irc.api.DEFAULT_PASSES}, quantize",
    "pruned to half": _PRUNED,
    "pruned to half and quantized": f"{_PRUNED}, quantize",
}


def select(
    candidates: Sequence[Any] | Mapping[str, Any],
    budget: Mapping[str, float] | str,
    *,
    data: Iterable[Any] | None = None,
    labels: Iterable[Any] | None = None,
    evaluate: Evaluate | None = None,
    floor: float | None = None,
    compressions: Mapping[str, str] | None = None,
    target: str | Target = "onnx",
    example_inputs: Any = None,
    dims: Mapping[str, int] | None = None,
    turns: int = TURNS,
    energy: EnergyCosts | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Selection:
    """Choose among models under a budget: as they are, or compressed where they do not fit.

    A candidate that fits is left as it is. Of one that does not, each compression makes a real model, which is measured
    like the candidates, until one fits; none is tried if another candidate is no worse in metric and in everything that
    the budget names, for what compresses this one compresses that one. A pruned form is measured before any training,
    which would bring its metric back up: see `fine-tune` and `distill`.

    Parameters
    ----------
    candidates : models as for `irc.compare`, or a dict of them by name
    budget : the most that a model may take of each quantity, as a dict or text: see `irc.evaluation.budget`
    data, labels, evaluate, target, example_inputs, dims, turns, energy : as for `irc.compare`; the data calibrate, too
    floor : the least metric (or accuracy) of what is chosen
    compressions : what to try, names and passes in text form, the mildest first; `COMPRESSIONS` if not given
    seed : of everything random in the passes

    Raises
    ------
    IrcError : the budget says nothing, or no candidate at all can be measured; the text names each.
    """
    models = dict(candidates) if isinstance(candidates, Mapping) else _named(candidates)
    if not models:
        raise OptionError("there is no candidate; give one model at least")
    limits = parse_budget(budget) if isinstance(budget, str) else check_budget(budget)
    if not limits:
        raise OptionError(f"there is no budget; give one or more of {', '.join(QUANTITIES)}")
    if floor is not None and evaluate is None and labels is None:
        raise OptionError("there is a floor and no metric; give evaluate, or data with labels")
    goal = find_target(target) if isinstance(target, str) else target
    timed = "latency" in limits
    if timed:
        check_timed(goal)
    costs = energy or EnergyCosts()
    bench = Bench(goal, data, labels, evaluate, example_inputs, dims, timed, turns, costs, progress)
    chooser = _Chooser(bench, limits, floor, COMPRESSIONS if compressions is None else compressions, seed)
    return chooser.choose(models)


def _named(models: Sequence[Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for index, model in enumerate(models):
        name = name_of(model, index)
        named[name if name not in named else f"{name} ({index + 1})"] = model
    return named


@dataclass
class _Chooser:
    """The choice, one method a step."""

    bench: Bench
    budget: dict[str, float]
    floor: float | None
    compressions: Mapping[str, str]
    seed: int

    def choose(self, models: Mapping[str, Any]) -> Selection:
        """Measure all candidates, then compress what does not fit and is worth it."""
        subjects: dict[str, Subject] = {}
        originals: dict[str, Form] = {}
        verdicts: dict[str, Verdict] = {}
        for name, model in models.items():
            with self._told(name, verdicts):
                subjects[name] = self.bench.open(model, name)
        if subjects:
            self.bench.check_dims(subjects.values())
        for name, subject in subjects.items():
            with self._told(name, verdicts):
                originals[name] = Form(name, self._measured(subject), quantized=_is_quantized(subject))
        if not originals:
            raise DataError("; ".join(f"{name} {verdict.text}" for name, verdict in verdicts.items()))
        forms = []
        for name, form in originals.items():
            verdicts[name], tried = self._judged(form, subjects[name], list(originals.values()))
            forms += [form, *tried]
        best = best_of([form for form in forms if not over(form.row, self.budget) and self._good(form)])
        return Selection(self.budget, forms, [verdicts[name] for name in models], best, self.floor)

    @contextmanager
    def _told(self, name: str, verdicts: dict[str, Verdict]) -> Iterator[None]:
        """What goes wrong with one candidate becomes the verdict on it, and the others go on."""
        try:
            yield
        except IrcError as error:
            verdicts[name] = Verdict(name, "failed", f"cannot be measured: {error}")

    def _measured(self, subject: Subject) -> Measures:
        row = self.bench.measured([subject]).rows[0]
        if row.score is not None and math.isnan(row.score):
            raise DataError(f"'{subject.name}': its metric is not a number")
        return row

    def _good(self, form: Form) -> bool:
        return self.floor is None or (form.row.score is not None and form.row.score >= self.floor)

    def _judged(self, form: Form, subject: Subject, originals: list[Form]) -> tuple[Verdict, list[Form]]:
        """The verdict on a candidate, and the forms that were tried for it."""
        name, exceeded = form.candidate, over(form.row, self.budget)
        if not exceeded:
            kind, said = ("fits", "fits as it is") if self._good(form) else ("too bad", self._too_bad(form, "as it is"))
            return Verdict(name, kind, f"{said}: {self._spent(form)}"), []
        better = next((each for each in originals if self._is_instead(each, form)), None)
        if better is not None:
            said = f"not worth compressing: '{better.candidate}' is no worse in anything, and better in something"
            return Verdict(name, "dominated", f"{said}: {self._spent(better)} against {self._spent(form)}"), []
        return self._compressed(form, subject)

    def _is_instead(self, other: Form, form: Form) -> bool:
        """Whether another candidate is better, and fits, or has as much left to compress."""
        if not dominates(other.row, form.row, self.budget):
            return False
        return not over(other.row, self.budget) or other.quantized <= form.quantized

    def _compressed(self, form: Form, subject: Subject) -> tuple[Verdict, list[Form]]:
        """Try one compression after the other until one fits."""
        tried: list[Form] = []
        refusals = []
        below = None
        for compression, passes in self.compressions.items():
            try:
                made = self._form(subject, compression, passes)
            except IrcError as error:
                refusals.append(f"; {compression}: {error}")
                continue
            tried.append(made)
            if over(made.row, self.budget):
                continue
            if self._good(made):
                said = f"does not fit as it is, and fits when {compression}: {self._spent(made)}; passes: {passes}"
                if made.row.score is not None and "prune-channels" in passes:
                    said += "; the metric is from before any training"
                return Verdict(form.candidate, "compress", said), tried
            below = below or made
        if below is not None:
            said = f"{self._too_bad(below, f'when {below.compression}')}: {self._spent(below)}"
            return Verdict(form.candidate, "too bad", said + "".join(refusals)), tried
        last = min(tried, key=lambda each: self._excess(each), default=form)
        even = f"not even when {last.compression}" if last.compression else "and could not be compressed"
        said = f"does not fit, {even}: {self._spent(last)}" + "".join(refusals)
        return Verdict(form.candidate, "too large", said), tried

    def _form(self, subject: Subject, compression: str, passes: str) -> Form:
        """A candidate compressed, and measured."""
        names = {each.pass_name() for each in parse_pipeline(passes)}
        if "quantize" in names and _is_quantized(subject):
            raise OptionError("it is quantized already")
        calibration = self._calibration(subject.graph)
        try:
            artifact = irc.api.compile(
                subject.graph,
                passes,
                calibration=calibration,
                target=self.bench.target,
                dims=self.bench.sizes_of(subject.graph) if self.bench.target.kind == "c" else None,
                seed=self.seed,
                progress=self.bench.progress,
            )
        except DataError as error:
            if calibration is not None:
                raise
            have = "the data is for other inputs" if self.bench.samples is not None else "there is none"
            raise DataError(f"it takes data, and {have}") from error
        made = self.bench.open(artifact, f"{subject.name}, {compression}")
        return Form(subject.name, self._measured(made), compression, passes, artifact, _is_quantized(made))

    def _calibration(self, graph: Graph) -> Iterable[Sample] | None:
        samples, taken_by = self.bench.samples, self.bench.taken_by
        if samples is None or taken_by is None or refusal(graph, taken_by):
            return None
        return _Renamed(samples, graph, taken_by)

    def _excess(self, form: Form) -> float:
        """How many times too much it takes of what it has too much of most."""
        exceeded = over(form.row, self.budget).items()
        return max(math.inf if took is None else took / self.budget[name] for name, took in exceeded)

    def _too_bad(self, form: Form, how: str) -> str:
        return f"fits {how}, and its metric is below the floor of {self.floor:g}"

    def _spent(self, form: Form) -> str:
        """`9,670 of 10,000 bytes, metric 0.91`."""
        parts = [f"{amount_text(name, took, self.budget[name])}" for name, took in spent(form.row, self.budget).items()]
        return ", ".join([*parts, *([] if form.row.score is None else [f"metric {form.row.score:.4f}"])])


def _is_quantized(subject: Subject) -> bool:
    return any(node.op.name in QUANTIZERS for node in subject.graph.walk())


@dataclass(frozen=True)
class _Renamed:
    """The samples of one graph for another."""

    samples: Iterable[Sample]
    graph: Graph
    taken_by: Graph

    def __iter__(self) -> Iterator[Sample]:
        return (renamed(sample, self.graph, self.taken_by) for sample in self.samples)

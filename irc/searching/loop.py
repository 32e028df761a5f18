"""`irc.search`: compile again and again, each time with other options, until the best within a budget is found.

    ask the study --passes--> Job --executor--> Outcome --> tell the study        until it holds `trials` trials
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irc.api import load
from irc.errors import ExecutionError, OptionError
from irc.passes.base import Pass
from irc.passes.context import Evaluate
from irc.passes.options import format_pipeline, parse_pipeline
from irc.recipe import Recipe
from irc.recipe.measures import METRIC, SIZES, excess
from irc.searching.executors import local_executor
from irc.searching.materials import Materials
from irc.searching.result import SearchResult, turned
from irc.searching.space import Maybe, Space
from irc.searching.storage import import_optuna
from irc.searching.study import Direction, Study, open_study
from irc.searching.trial import Job, Outcome, Trial, run

if TYPE_CHECKING:
    from irc.api import Model
    from irc.graph import Graph

Report = Callable[[Trial], None]
_ALWAYS = ("bytes", "parameters", "macs")
_OPTIONS = {"target", "opset", "seed", "dims", "name", "threads", "torch_threads", "preprocess", "lower_is_better"}
_HOPELESS = 8  # refused trials, and no other, after which a search ends


def search(
    model: Model,
    space: str | Sequence[Pass | Maybe] | Space,
    *,
    budget: Mapping[str, float] | None = None,
    floor: float | None = None,
    study: str | Path,
    evaluate: Evaluate | str | None = None,
    calibration: Iterable[Any] | str | None = None,
    objectives: Sequence[str] = (),
    trials: int = 30,
    workers: int = 1,
    executor: Executor | None = None,
    report: Report | None = None,
    example_inputs: Any = None,
    dynamic_shapes: Any = None,
    **options: Any,
) -> SearchResult:
    """Find the best compilation of a model within a budget.

    Parameters
    ----------
    model, example_inputs, dynamic_shapes : as for `irc.load`; or package.module:function
    space : passes whose options may be open; text as in `irc.searching.text`, or instances with `Range`, `Choice`,
        `PerLayer` in place of values, and `Maybe(pass)`
    budget : limits by measure: bytes (of what is written), weight_bytes, parameters, macs, peak_memory, latency
        (milliseconds)
    floor : the least metric that is allowed; the largest, if lower is better
    study : folder that remembers the trials; a search of the same goes on in it
    evaluate : the metric, as for `irc.compile`, or package.module:function
    calibration : as for `irc.compile`, or DATA as on the command line
    objectives : the measures to improve, the most important first; metric, bytes and those of the budget if not given
    trials : how many there are to be, those of earlier calls included
    workers : how many run at a time, each in a process of its own if there are several
    executor : where they run instead; any of `concurrent.futures`' kind
    report : called with every trial that has ended
    options : further fields of `irc.recipe.Recipe`: target, opset, seed, dims, name, threads, torch_threads,
        preprocess, lower_is_better

    Raises
    ------
    OptionError : something does not fit, or the folder is of another study.
    OutputError : the folder cannot be written.
    ExecutionError : every one of the first trials was refused, or a worker process died.
    """
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        raise TypeError(f"search has no argument '{unknown[0]}'")
    shape = Space.of(space)

    def read(given: Any) -> Graph:
        return load(given, example_inputs, dynamic_shapes=dynamic_shapes)

    recipe = Recipe(space=str(shape), budget=budget or {}, floor=floor, objectives=tuple(objectives), **options)
    materials = Materials(model, calibration, evaluate, recipe.preprocess, read)
    return _search(recipe, shape, materials, Path(study), _Means(trials, workers, executor, report))


def search_recipe(
    recipe: Recipe,
    *,
    study: str | Path,
    trials: int = 30,
    workers: int = 1,
    executor: Executor | None = None,
    report: Report | None = None,
) -> SearchResult:
    """The search that a recipe with a space describes; arguments and errors as for `search`."""
    if not recipe.space:
        raise OptionError('the recipe has no space; write space = "prune-channels{macs=0.2..1}, quantize", say')
    if not recipe.model:
        raise OptionError('the recipe names no model; write model = "net.onnx" in it, or give one')
    model, data = recipe.place(recipe.model), recipe.place(recipe.calibration) or None
    materials = Materials(model, data, recipe.evaluate or None, recipe.preprocess)
    means = _Means(trials, workers, executor, report)
    bare = replace(recipe, model="", calibration="", evaluate="", output="", folder=Path())
    return _search(bare, Space.of(recipe.space), materials, Path(study), means)


@dataclass(frozen=True)
class _Means:
    """How a search is run, on which what is found does not depend."""

    trials: int
    workers: int
    executor: Executor | None
    report: Report | None

    def __post_init__(self) -> None:
        for name in ("trials", "workers"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name}={getattr(self, name)} is below 1")

    @property
    def sent(self) -> bool:
        """Whether trials run in other processes that get them by pickle."""
        return self.workers > 1 if self.executor is None else isinstance(self.executor, ProcessPoolExecutor)


def _search(recipe: Recipe, space: Space, materials: Materials, folder: Path, means: _Means) -> SearchResult:
    import_optuna()
    objectives = recipe.objectives or _default_objectives(recipe, materials)
    if materials.evaluate is None and METRIC in (*objectives, *recipe.limits):
        raise OptionError("the metric is an objective or has a floor, and nothing measures it; give evaluate")
    materials.check(sent=means.sent)
    recipe, shape = replace(recipe, objectives=objectives), space.for_graph(materials.graph)
    identity = {**materials.identity(), **_identity(recipe, shape)}
    signs = [turned(name, 1.0, lower_is_better=recipe.lower_is_better) for name in objectives]
    directions: list[Direction] = ["maximize" if sign < 0 else "minimize" for sign in signs]
    with ExitStack() as stack:
        study = stack.enter_context(open_study(folder, shape, identity, directions, seed=recipe.seed))
        searcher = Searcher(materials.placed(recipe, folder), folder, materials.unnamed_metric, means.report)
        executor = means.executor or stack.enter_context(local_executor(means.workers))
        searcher.run(study, executor, means.trials, means.workers)
        result = searcher.result(searcher.trials(study))
        result.write()
    return result


def _identity(recipe: Recipe, space: Space) -> dict[str, str]:
    """What the study is of besides the materials, by what people call it."""
    budget = ", ".join(f"{name}={limit!r}" for name, limit in sorted(recipe.limits.items()))
    others = replace(recipe, space="", budget={}, floor=None, objectives=())
    return {"space": str(space), "budget": budget, "objectives": ", ".join(recipe.objectives), "options": str(others)}


def _default_objectives(recipe: Recipe, materials: Materials) -> tuple[str, ...]:
    metric = (METRIC,) if materials.evaluate is not None else ()
    return tuple(dict.fromkeys((*metric, "bytes", *recipe.budget)))


@dataclass
class Searcher:
    """Runs the trials of a study.

    base : the recipe of every trial, but for its passes
    evaluate : the metric, if it is an object that the recipe cannot name
    """

    base: Recipe
    folder: Path
    evaluate: Evaluate | None
    report: Report | None

    @property
    def measures(self) -> tuple[str, ...]:
        """What every trial measures."""
        wanted = {*self.base.objectives, *self.base.limits, *_ALWAYS}
        return tuple(name for name in (METRIC, *SIZES) if name in wanted)

    def run(self, study: Study, executor: Executor, trials: int, workers: int) -> None:
        """Run until the study has so many trials, `workers` at a time."""
        running: dict[Future[Outcome], tuple[Any, str]] = {}
        while True:
            while len(running) < workers and study.begun < trials:
                asked, passes = study.ask()
                text = format_pipeline(passes)
                if text in study.known:
                    self._tell(study, asked, text, study.known[text])
                else:
                    job = Job(str(self._recipe(passes)), str(self.folder.resolve()), self.measures, self.evaluate)
                    running[executor.submit(run, job)] = (asked, text)
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                self._tell(study, *running.pop(future), self._outcome(future))

    def _outcome(self, future: Future[Outcome]) -> Outcome:
        try:
            return future.result()
        except BrokenProcessPool:
            raise ExecutionError(
                f"a worker process died; the study in '{self.folder}' goes on when the search is called again, with "
                'fewer workers if memory ran out; a script calls it under `if __name__ == "__main__":`'
            ) from None

    def _tell(self, study: Study, asked: Any, text: str, outcome: Outcome) -> None:
        trial = self._trial(asked.number, text, outcome)
        values = [] if outcome.error else [outcome.measures[name] for name in self.base.objectives]
        study.tell(asked, outcome, values, trial.over)
        if self.report is not None:
            self.report(trial)
        if all(each.error for each in study.known.values()) and len(study.known) >= _HOPELESS:
            raise ExecutionError(f"the first {len(study.known)} trials were all refused; the last: {outcome.error}")

    def trials(self, study: Study) -> list[Trial]:
        """The trials of the study that have ended."""
        return [self._trial(*each) for each in study.finished()]

    def _trial(self, number: int, text: str, outcome: Outcome) -> Trial:
        limits = {} if outcome.error else self.base.limits
        over = excess(outcome.measures, limits, lower_is_better=self.base.lower_is_better)
        recipe = replace(self.base, passes=tuple(parse_pipeline(text)), space="", objectives=(), sha256=outcome.sha256)
        return Trial(number, text, outcome.measures, outcome.sha256, outcome.seconds, over, outcome.error, recipe)

    def _recipe(self, passes: Sequence[Pass]) -> Recipe:
        return replace(self.base, passes=tuple(passes), space="", objectives=(), budget={}, floor=None)

    def result(self, trials: Sequence[Trial]) -> SearchResult:
        """The result of these trials."""
        base = self.base
        return SearchResult(trials, base.objectives, base.limits, base.lower_is_better, self.folder)

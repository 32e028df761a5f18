"""`irc.search`: what is asked, checked and handed to the loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irc.api import load
from irc.errors import OptionError
from irc.passes.base import Pass
from irc.passes.context import Evaluate
from irc.recipe import Recipe
from irc.recipe.limits import METRIC
from irc.searching.executors import local_executor
from irc.searching.loop import Report, Searcher
from irc.searching.materials import Materials
from irc.searching.result import SearchResult, turned
from irc.searching.space import Maybe, Space
from irc.searching.storage import import_optuna
from irc.searching.study import Direction, open_study

if TYPE_CHECKING:
    from irc.api import Model
    from irc.graph import Graph

_OPTIONS = {"target", "opset", "seed", "dims", "name", "threads", "torch_threads", "preprocess", "lower_is_better"}


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
    budget : the most that the result may have of each quantity: see `irc.evaluation.budget`
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

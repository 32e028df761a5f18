"""The loop of a search: compile again and again, each time with other options, and remember what came.

    ask the study --passes--> Job --executor--> Outcome --> tell the study        until it holds `trials` trials

Where a worker process dies, as it does when memory runs out, what ran then is tried again one at a time: the trial that
dies alone is refused, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from irc.errors import ExecutionError
from irc.passes.base import Pass
from irc.passes.context import Evaluate
from irc.passes.options import format_pipeline, parse_pipeline
from irc.recipe import Recipe
from irc.recipe.limits import MEASURES, excess
from irc.searching.executors import LocalPool
from irc.searching.result import SearchResult
from irc.searching.study import Study
from irc.searching.trial import Job, Outcome, Trial, run

Report = Callable[[Trial], None]
_ALWAYS = ("bytes", "parameters", "macs")
_HOPELESS = 8  # refused trials, and no other, after which a search ends


@dataclass(frozen=True)
class _Begun:
    """A trial that runs.

    asked : Optuna's trial
    text : its passes
    alone : whether nothing else runs, because it ran when a process died
    """

    asked: Any
    text: str
    job: Job
    alone: bool = False


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
        return tuple(name for name in MEASURES if name in wanted)

    def run(self, study: Study, executor: Executor, trials: int, workers: int) -> None:
        """Run until the study has so many trials, `workers` at a time."""
        running: dict[Future[Outcome], _Begun] = {}
        again: list[_Begun] = []
        while True:
            if again and not running:
                suspect = replace(again.pop(0), alone=True)
                running[executor.submit(run, suspect.job)] = suspect
            while not again and len(running) < workers and study.begun < trials:
                if (begun := self._begin(study)) is not None:
                    running[executor.submit(run, begun.job)] = begun
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                begun = running.pop(future)
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    if not isinstance(executor, LocalPool) or not executor.begun:
                        raise self._died() from None
                    if not begun.alone:
                        again.append(begun)
                        continue
                    outcome = Outcome(error="its process died, and died again when it ran alone: did memory run out?")
                self._tell(study, begun.asked, begun.text, outcome)

    def _begin(self, study: Study) -> _Begun | None:
        """The next trial; None if its outcome is known."""
        asked, passes = study.ask()
        text = format_pipeline(passes)
        if text in study.known:
            self._tell(study, asked, text, study.known[text])
            return None
        job = Job(str(self._recipe(passes)), str(self.folder.resolve()), self.measures, self.evaluate)
        return _Begun(asked, text, job)

    def _died(self) -> ExecutionError:
        return ExecutionError(
            f"a worker process died; the study in '{self.folder}' goes on when the search is called again, with "
            'fewer workers if memory ran out; a script calls it under `if __name__ == "__main__":`'
        )

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

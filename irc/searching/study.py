"""A folder that remembers a search: every trial, so that one that was stopped, or killed, goes on.

    study.db      Optuna's own study in SQLite, which loses nothing that was written when its process is killed
    model.irc, calibration.npz    what the recipes name, where the caller gave objects

One process at a time writes. A trial that ran when the search was killed is failed, and its parameters are tried again,
before any others. The first two trials are corners of the space, which show what range there is. Every trial draws from
a generator of its own, seeded by its number, so a search in one process finds the same whether it was interrupted or
not. Source of the sampler: Ozaki et al. 2022, "Multiobjective Tree-Structured Parzen Estimator".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from irc.errors import OptionError, OutputError
from irc.passes.base import Pass
from irc.passes.options import format_pipeline
from irc.searching.space import Corner, Space
from irc.searching.storage import locked, open_storage, quiet, told
from irc.searching.trial import Outcome

if TYPE_CHECKING:
    import optuna

Direction = Literal["minimize", "maximize"]

DATABASE = "study.db"
_NAME = "irc.search"
_ATTEMPT = "attempt"
_CORNERS = (False, True)  # the first values of everything, the last
_ATTEMPTS = 3  # a trial that was running so often when its search was killed may be why


class Study:
    """An open study.

    optimizer : Optuna's study
    space : what its trials are drawn from
    seed : of the draws
    """

    def __init__(self, optimizer: optuna.Study, space: Space, seed: int) -> None:
        self.optimizer = optimizer
        self.space = space
        self.seed = seed
        self.known = {text: outcome for _, text, outcome in self.finished()}
        self.interrupted = self._in("RUNNING")

    def _in(self, *states: str) -> list[optuna.trial.FrozenTrial]:
        from optuna.trial import TrialState

        return self.optimizer.get_trials(deepcopy=False, states=tuple(TrialState[state] for state in states))

    @property
    def begun(self) -> int:
        """How many trials have ended or are running."""
        return len(self._in("COMPLETE", "PRUNED", "RUNNING")) - len(self.interrupted)

    def ask(self) -> tuple[optuna.Trial, list[Pass]]:
        """The next trial and its passes."""
        from optuna.samplers import TPESampler

        if not self._take_up():
            given_up = sum(map(_is_given_up, self._in("FAIL")))
            number = self.begun + given_up
            drawn = np.random.SeedSequence([self.seed % (1 << 63), number]).generate_state(1)
            self.optimizer.sampler = TPESampler(seed=int(drawn[0]))
            if number < len(_CORNERS):
                corner = Corner(last=_CORNERS[number])
                self.space.draw(corner)
                self.optimizer.enqueue_trial(corner.drawn)
        trial = self.optimizer.ask()
        passes = self.space.draw(trial)
        trial.set_user_attr("passes", format_pipeline(passes))
        return trial, passes

    def _take_up(self) -> bool:
        """Fail a trial that ran when the search was stopped, and let the next one have its parameters.

        One that had not drawn them all is drawn anew, from the same generator.
        """
        from optuna.trial import TrialState

        if not self.interrupted:
            return False
        found = self.interrupted.pop(0)
        again = "passes" in found.user_attrs and not _is_given_up(found)
        if again:
            attempt = {_ATTEMPT: found.user_attrs.get(_ATTEMPT, 1) + 1}
            self.optimizer.enqueue_trial(found.params, user_attrs=attempt)
        self.optimizer.tell(found.number, state=TrialState.FAIL)
        return again or self._take_up()

    def tell(
        self, trial: optuna.Trial, outcome: Outcome, values: Sequence[float], over: Mapping[str, float]
    ) -> None:
        """Remember what came of a trial.

        values : of the objectives
        over : by which part each limit is exceeded
        """
        from optuna.trial import TrialState

        trial.set_user_attr("outcome", outcome.stored())
        self.known[trial.user_attrs["passes"]] = outcome
        if outcome.error:
            self.optimizer.tell(trial, state=TrialState.PRUNED)
            return
        for name, part in over.items():
            trial.set_constraint(name, part)
        self.optimizer.tell(trial, values)

    def finished(self) -> list[tuple[int, str, Outcome]]:
        """Number, passes and outcome of every trial that has ended, in the order of their beginning."""
        ended = self._in("COMPLETE", "PRUNED")
        return [(t.number, t.user_attrs["passes"], Outcome(**t.user_attrs["outcome"])) for t in ended]


def _is_given_up(trial: optuna.trial.FrozenTrial) -> bool:
    """Whether a trial that was stopped has been tried often enough."""
    return bool("passes" in trial.user_attrs and trial.user_attrs.get(_ATTEMPT, 1) >= _ATTEMPTS)


@contextmanager
def open_study(
    folder: Path, space: Space, identity: Mapping[str, str], directions: Sequence[Direction], *, seed: int
) -> Iterator[Study]:
    """The study in a folder, made there if there is none, for as long as the context lasts.

    identity : what the study is of, by what people call it; another study's folder is refused
    directions : `maximize` or `minimize` for each objective

    Raises
    ------
    OptionError : the folder is of another study, or Optuna is not installed.
    OutputError : the folder cannot be written, holds something else, or another search runs in it.
    """
    database = folder / DATABASE
    with quiet(), locked(folder), told(folder):
        if not database.exists():
            _create(database, identity, directions)
        with open_storage(database) as storage:
            optimizer = _load(storage, database)
            _check(_identity(optimizer, database), identity, folder)
            yield _opened(optimizer, space, seed, database)


def _opened(optimizer: optuna.Study, space: Space, seed: int, database: Path) -> Study:
    try:
        return Study(optimizer, space, seed)
    except (KeyError, TypeError) as error:
        said = f"'{database}' holds trials that this version of irc does not read ({error}); name another folder"
        raise OutputError(said) from None


def _identity(optimizer: optuna.Study, database: Path) -> dict[str, str]:
    try:
        found = json.loads(optimizer.user_attrs["identity"])
    except (KeyError, TypeError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise OutputError(f"'{database}' holds no search of irc; name another folder, or remove this one")
    return found


def _load(storage: Any, database: Path) -> optuna.Study:
    import optuna

    try:
        return optuna.load_study(study_name=_NAME, storage=storage)
    except KeyError:
        said = f"'{database}' holds no search; name another folder, or remove this one"
        raise OutputError(said) from None


def _create(database: Path, identity: Mapping[str, str], directions: Sequence[Direction]) -> None:
    """Make the study, whole or not at all."""
    import optuna

    partial = database.with_suffix(".new")
    partial.unlink(missing_ok=True)
    with open_storage(partial) as storage:
        optimizer = optuna.create_study(storage=storage, study_name=_NAME, directions=list(directions))
        optimizer.set_user_attr("identity", json.dumps(dict(identity)))
    partial.replace(database)


def _check(found: Mapping[str, str], wanted: Mapping[str, str], folder: Path) -> None:
    for key, value in wanted.items():
        if found.get(key) != value:
            shown = f" ({found.get(key)}, not {value})" if len(value) < 200 and key not in ("model", "data") else ""
            raise OptionError(
                f"the study in '{folder}' is of another {key}{shown}; name another folder, or remove this one"
            )

"""What every trial is made from: the model, the data and the metric, put where a recipe can name them.

    a path, or data or a metric by name    is named as it is
    any other model or data                is written into the study's folder: model.irc, calibration.npz
    a metric without a name                travels with the trials, and the recipe of the winner does without
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from irc.api import load
from irc.atomic import atomic_file
from irc.errors import OptionError
from irc.execution.samples import Samples
from irc.execution.training.identity import graph_digest
from irc.graph import Graph
from irc.names import is_function_name, resolve
from irc.passes.context import Evaluate
from irc.passes.options import name_of_object
from irc.reading.data import open_data
from irc.reading.metric import Metric
from irc.reading.model import read_model
from irc.reading.npz import NpzWriter
from irc.recipe import Recipe
from irc.text import save_text

MODEL, DATA = "model.irc", "calibration.npz"


@dataclass(frozen=True)
class Materials:
    """What a search was given.

    model, calibration, evaluate : objects, or their names
    read : reads the model if it is no name
    """

    model: Any
    calibration: Iterable[Any] | str | None = None
    evaluate: Evaluate | str | None = None
    preprocess: str = ""
    read: Callable[[Any], Graph] = field(default=load)

    @cached_property
    def graph(self) -> Graph:
        """The model."""
        return read_model(str(self.model)) if isinstance(self.model, str | Path) else self.read(self.model)

    @cached_property
    def _samples(self) -> Samples | None:
        """The calibration, if it has no name."""
        if self.calibration is None or isinstance(self.calibration, str):
            return None
        return Samples(self.calibration, self.graph)

    @cached_property
    def metric_name(self) -> str:
        """What the recipe calls the metric; empty if there is none, or none that text can name."""
        if self.evaluate is None or isinstance(self.evaluate, str):
            return self.evaluate or ""
        name = name_of_object(self.evaluate)
        return "" if name.startswith("<") else name

    @property
    def unnamed_metric(self) -> Evaluate | None:
        """The metric, if it has no name."""
        if self.evaluate is None or isinstance(self.evaluate, str) or self.metric_name:
            return None
        return Metric(self.evaluate)

    def check(self, *, sent: bool) -> None:
        """Look for what is wrong before the first trial.

        sent : whether objects go to other processes

        Raises
        ------
        OptionError, DataError : the metric or the data is not there, or cannot be sent.
        """
        if isinstance(self.evaluate, str):
            resolve(self.evaluate, OptionError)
        if isinstance(self.calibration, str):
            open_data(self.calibration, self.preprocess)
        if sent and self.unnamed_metric is not None:
            try:
                pickle.dumps(self.unnamed_metric)
            except Exception as error:  # whatever the object's own pickling raises
                raise OptionError(
                    f"evaluate cannot be sent to another process ({error}); give a function of a module, or workers=1"
                ) from None

    def identity(self) -> dict[str, str]:
        """Digests and names of the model, the data and the metric."""
        name = self.metric_name or ("" if self.evaluate is None else name_of_object(self.evaluate))
        return {"model": graph_digest(self.graph), "data": self._data_digest(), "metric": name}

    def _data_digest(self) -> str:
        """Of all samples; of a file its bytes, of another name the name."""
        if isinstance(self.calibration, str) and Path(self.calibration).is_file():
            with Path(self.calibration).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256(self.calibration.encode() if isinstance(self.calibration, str) else b"")
        for sample in self._samples or ():
            for name, array in sample.items():
                digest.update(repr((name, array.shape, array.dtype.name)).encode())
                digest.update(array.tobytes())
        return digest.hexdigest()

    def placed(self, recipe: Recipe, folder: Path) -> Recipe:
        """The recipe with the model, the data and the metric named in it, as seen from the folder.

        What has no name is written into the folder.
        """
        named = isinstance(self.model, str | Path) and not is_function_name(str(self.model))
        data = self.calibration if isinstance(self.calibration, str) else ""
        model, metric = str(self.model) if named else "", self.metric_name
        placed = replace(recipe, model=model, calibration=data, evaluate=metric, folder=Path()).moved(folder)
        if not named:
            placed = replace(placed, model=MODEL)
            if not (folder / MODEL).exists():
                save_text(self.graph, folder / MODEL)
        if self._samples is not None:
            placed = replace(placed, calibration=DATA)
            if not (folder / DATA).exists():
                _write_samples(self._samples, folder / DATA)
        return placed


def _write_samples(samples: Samples, path: Path) -> None:
    with NpzWriter() as writer:
        for sample in samples:
            writer.add(sample)
        with atomic_file(path) as file:
            writer.write(file)

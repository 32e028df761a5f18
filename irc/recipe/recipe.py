"""A recipe: everything that a compilation is made from, as one value and as one file."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import irc.api
from irc.atomic import atomic_file
from irc.backends.artifact import Artifact
from irc.backends.registry import find_target
from irc.errors import OptionError, TextError, nearest
from irc.evaluation.budget import check_budget
from irc.names import is_function_name
from irc.passes.base import Pass
from irc.passes.options import parse_pipeline
from irc.reading.data import open_data
from irc.reading.metric import open_metric
from irc.reading.model import read_model
from irc.recipe.keys import read_keys, write_keys
from irc.recipe.limits import MEASURES, METRIC, check_limits, measure
from irc.recipe.threads import torch_threads

_PATHS = ("model", "calibration", "output")
_MOST_THREADS = 1024


@dataclass(frozen=True)
class Recipe:
    """How a model is compiled.

    A recipe names functions of Python modules, and compiling calls them: trust one from elsewhere as you would a
    program.

    model : a path, or package.module:function
    passes : the passes, or their text; the default ones if not given
    space : of `irc search`, instead of passes: their text with holes, see `irc.searching`
    calibration, preprocess : DATA and how images become inputs, as on the command line
    evaluate : the metric, package.module:function
    lower_is_better : of the metric
    target, opset, seed, name, threads, dims : as for `irc.compile`
    torch_threads : how many threads torch computes with, on which the last bits of training and calibration depend
    budget : what the result may have at most, by quantity (`irc.evaluation.budget`)
    floor : the least metric that the result may have; the largest, if lower is better
    objectives : of `irc search`: the measures to improve, the most important first
    output : where to write
    sha256 : of what is written, if the recipe is of something that exists
    folder : what relative paths are relative to
    """

    model: str = ""
    passes: tuple[Pass, ...] | None = None
    space: str = ""
    calibration: str = ""
    preprocess: str = ""
    evaluate: str = ""
    lower_is_better: bool = False
    target: str = "onnx"
    opset: int | None = None
    seed: int = 0
    name: str = "model"
    threads: int = 1
    torch_threads: int = 1
    dims: Mapping[str, int] = field(default_factory=dict)
    budget: Mapping[str, float] = field(default_factory=dict)
    floor: float | None = None
    objectives: tuple[str, ...] = ()
    output: str = ""
    sha256: str = ""
    folder: Path = field(default=Path(), compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.passes, str):
            object.__setattr__(self, "passes", tuple(parse_pipeline(self.passes)))
        elif self.passes is not None:
            object.__setattr__(self, "passes", tuple(self.passes))
        object.__setattr__(self, "budget", check_budget(self.budget))
        if self.passes is not None and self.space:
            raise OptionError("a recipe has passes or a space of them, not both")
        for name in self.objectives:
            if name not in MEASURES:
                raise OptionError(f"objectives: there is no measure '{name}'; {nearest(name, MEASURES)}")
        for name in ("threads", "torch_threads"):
            if not 1 <= getattr(self, name) <= _MOST_THREADS:
                raise OptionError(f"{name}={getattr(self, name)} is not in 1 to {_MOST_THREADS}")
        if self.floor is not None and not math.isfinite(self.floor):
            raise OptionError(f"floor={self.floor} is no number that a metric could reach; leave it out")
        for name, size in self.dims.items():
            if size < 1:
                raise OptionError(f"dimension '{name}' cannot be {size}; it must be 1 or more")
        find_target(self.target)

    @classmethod
    def read(cls, path: str | Path) -> Recipe:
        """The recipe in a file; its paths are relative to the file's folder.

        Raises
        ------
        TextError : it is not TOML.
        OptionError : there is no such file, or something in it is unknown or of the wrong kind.
        """
        place = Path(path)
        try:
            text = place.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise TextError(f"recipe '{path}' is not TOML: it is not UTF-8") from None
        except OSError as error:
            raise OptionError(f"recipe '{path}' cannot be read: {error.strerror}") from None
        return cls.parse(text, folder=place.parent, where=f"recipe '{path}'")

    @classmethod
    def parse(cls, text: str, *, folder: Path = Path(), where: str = "the recipe") -> Recipe:
        """The recipe in a text; errors as `read` raises them."""
        given = read_keys(text, where)
        try:
            return cls(**given, folder=folder)
        except OptionError as error:
            raise OptionError(f"{where}: {error}") from None

    def __str__(self) -> str:
        """The recipe as TOML, defaults left out.

        Raises
        ------
        OptionError : an option of a pass holds an object that text cannot name.
        """
        given = {}
        for f in fields(self):
            default = f.default if f.default_factory is MISSING else f.default_factory()
            if f.name != "folder" and (value := getattr(self, f.name)) != default:
                given[f.name] = list(value) if f.name == "objectives" else value
        return write_keys(given)

    def write(self, path: str | Path) -> None:
        """Write the recipe, atomically; its paths are made relative to the file's folder.

        Raises
        ------
        OptionError : an option of a pass holds an object that text cannot name.
        OutputError : the file cannot be written.
        """
        text = str(self.moved(Path(path).parent))
        with atomic_file(Path(path)) as file:
            file.write(text.encode())

    def moved(self, folder: Path) -> Recipe:
        """The same recipe with its paths relative to another folder."""
        if folder.resolve() == self.folder.resolve():
            return replace(self, folder=folder)
        paths: dict[str, Any] = {name: self._path_from(folder.resolve(), getattr(self, name)) for name in _PATHS}
        return replace(self, folder=folder, **paths)

    def _path_from(self, folder: Path, text: str) -> str:
        if not text or self._is_name(text) or Path(text).is_absolute():
            return text
        return Path(os.path.relpath((self.folder / text).resolve(), folder)).as_posix()

    def _is_name(self, text: str) -> bool:
        return is_function_name(text) and not os.path.lexists(self.folder / text)

    def place(self, text: str) -> str:
        """What a path or a function's name in the recipe means in the current folder."""
        return text if not text or self._is_name(text) else str(self.folder / text)

    def compile(self, **overrides: Any) -> Artifact:
        """Compile as the recipe says.

        overrides : arguments of `irc.compile` that hold instead of the recipe's, `model` included

        Raises
        ------
        BudgetError : the result is larger, slower or worse than the recipe's budget allows.
        IrcError : as `irc.compile` raises them.
        """
        if self.space:
            raise OptionError("this recipe has a space of passes; `irc search --recipe` chooses among them")
        made = self._arguments()
        given = {name: make() for name, make in made.items() if name not in overrides} | overrides
        if given["model"] is None:
            raise OptionError('the recipe names no model; write model = "net.onnx" in it, or give one')
        if self.floor is not None and given["evaluate"] is None:
            raise OptionError("the recipe has a floor of the metric, and nothing measures it; give evaluate")
        with torch_threads(self.torch_threads):
            artifact = irc.api.compile(**given)
            if self.limits or self.sha256:
                self._hold(artifact)
        return artifact

    @property
    def limits(self) -> dict[str, float]:
        """The budget, and the floor as that of the metric."""
        return {**self.budget, **({} if self.floor is None else {METRIC: self.floor})}

    def _arguments(self) -> dict[str, Callable[[], Any]]:
        """What makes the arguments of `irc.compile`."""
        data, plain = self.place(self.calibration), ("passes", "target", "opset", "seed", "name", "threads")
        return {
            "model": lambda: read_model(self.place(self.model)) if self.model else None,
            "calibration": lambda: open_data(data, self.preprocess) if data else None,
            "evaluate": lambda: open_metric(self.evaluate),
            "dims": lambda: dict(self.dims) or None,
            **{name: partial(getattr, self, name) for name in plain},
        }

    def _hold(self, artifact: Artifact) -> None:
        """BudgetError if it misses the limits; a note whether its bytes are those that the recipe was written for."""
        measured = measure(artifact, self.limits.keys(), self.dims)
        check_limits(measured.values, self.limits, lower_is_better=self.lower_is_better)
        if not self.sha256:
            return
        said = "the bytes are those that the recipe names"
        if measured.sha256 != self.sha256:
            said = "the bytes are not those that the recipe names: other data, options, versions or another processor"
        artifact.report.rows[0].notes.append(said)

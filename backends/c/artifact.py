"""A compiled C model: saved as a folder of C, run from Python through a shared library."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from irc.atomic import atomic_folder
from irc.backends.artifact import Artifact
from irc.backends.c.blocking import with_other_blocks
from irc.backends.c.emit.names import identifier
from irc.backends.c.emit.sources import Sources
from irc.backends.c.fusion import IntegerReport
from irc.backends.c.isa import Isa, host_isas, host_machine
from irc.backends.c.lower import legalize_and_report, lower
from irc.backends.c.program import Program
from irc.backends.c.runner import LoadingError, Runner
from irc.backends.c.specialize import explained, symbols
from irc.backends.c.targets import isas_of
from irc.backends.c.toolchain import build_library, find_compiler, write_files
from irc.backends.c.tuning import chosen, is_choice, tune
from irc.backends.onnx.lowering import lower as lower_to_onnx
from irc.backends.onnx.save import save_graph
from irc.errors import BackendError, DataError, GraphError, OptionError
from irc.execution.convert import to_torch
from irc.execution.samples import check_sample, input_signature
from irc.graph import Graph
from irc.report.ledger import Row
from irc.report.report import Report
from irc.target import Target

MODEL_FILE = "model.onnx"  # the graph, so that `irc.open` brings the artifact back
MANIFEST = "irc.json"
MAX_THREADS = 64  # IRC_MAX_THREADS of runtime.h
_DIMS = "irc.dims"  # in the metadata of a saved model: what its symbols are bound to


@dataclass(frozen=True)
class Tuning:
    """Which candidate each step takes on an instruction set, as measured."""

    isa: str
    choices: tuple[int, ...]


class CArtifact(Artifact):
    """A model in C for one of the `c` targets.

    lowered : the graph in the ops that the C code runs
    program : what it does step by step
    threads : how many threads calls use
    isa : the one instruction set that calls must use; the best of the target's that the processor has, if empty
    dims : of each symbolic dimension of the inputs, the size that the code is for; 1 unless it was asked for
    tuning : the kernels that were chosen by measuring; None if none were

    Raises
    ------
    OptionError : `threads` or `isa` is none that the target's code has.
    BackendError : the C backend does not take the model.
    """

    def __init__(
        self,
        graph: Graph,
        target: Target,
        report: Report,
        *,
        threads: int = 1,
        isa: str = "",
        name: str = "model",
        dims: Mapping[str, int] | None = None,
        tuned: bool = False,
        tuning: Tuning | None = None,
    ) -> None:
        super().__init__(graph, target, report)
        if type(threads) is not int or not 1 <= threads <= MAX_THREADS:
            raise OptionError(f"threads cannot be {threads!r}; it must be 1 to {MAX_THREADS}")
        self.threads = threads
        self.isa = isa
        self.name = identifier(name, "model")
        given = _stored_dims(graph) if dims is None else dims
        self.dims = {symbol: given.get(symbol, 1) for symbol in symbols(graph)}
        try:
            self.lowered, self._fusion = legalize_and_report(graph, target, given)
            self.program: Program = lower(self.lowered)
        except (BackendError, GraphError) as error:
            raise type(error)(explained(str(error), self.dims)) from None
        self.machine, self.isas = isas_of(target)
        _check_isa(isa, self.isas, target)
        self.tuning = self._tuned() if tuned else tuning
        if self.tuning is not None and not self._fits(self.tuning):
            self.tuning = None
        if self.tuning is not None:
            self.program = chosen(self.program, self.tuning.isa, self.tuning.choices)

    def _fits(self, tuning: Tuning) -> bool:
        """Whether it is of this program: it may be from a folder that was written by another version."""
        known = tuning.isa in [each.name for each in self.isas]
        return known and is_choice(list(tuning.choices), len(self.program.steps))

    def _tuned(self) -> Tuning | None:
        """What is fastest here, of the instruction set that calls use; the report says what became of it."""
        here = [each.name for each in host_isas() if each in self.isas]
        isa = self.isa or (here[-1] if here else "")
        if isa not in here:
            raise OptionError(
                f"target '{self.target.name}' cannot be tuned here: this processor is {host_machine()} with "
                f"{', '.join(each.name for each in host_isas())}; tune on the machine that it is for"
            )
        start = time.perf_counter()
        choices = tune(self.program, self.isas, self.machine, self.threads, isa)
        count = sum(len(step.candidates(isa)) > 1 for step in with_other_blocks(self.program, isa).steps)
        note = f"{sum(map(bool, choices))} of {count} steps that can be done in several ways on {isa} got another one"
        if not choices:
            note = f"no step of this model can be done in a second way on {isa}: there was nothing to choose"
        self.report.rows.append(Row("tune", time.perf_counter() - start, notes=[note]))
        return Tuning(isa, tuple(choices)) if choices else None

    @property
    def fusion(self) -> IntegerReport:
        """Which layers run as integer, and why the others run in float."""
        return self._fusion

    @cached_property
    def sources(self) -> Sources:
        """The C files."""
        return Sources(self.name, self.program, self.isas, self.machine)

    @cached_property
    def library(self) -> Path:
        """The shared library, built with the C compiler of this machine; it stays in irc's cache."""
        return build_library(self.sources.files, self.sources.objects, find_compiler(self.machine))

    @cached_property
    def runner(self) -> Runner:
        """The loaded library.

        Raises
        ------
        BackendError : it is for another machine, or needs more memory than this one gives.
        """
        if self.machine not in (host_machine(), "portable"):
            raise BackendError(
                f"target '{self.target.name}' is for {self.machine} and this machine is {host_machine()}: save it and "
                "build it there, or compile for 'c:host'"
            )
        try:
            return self._load()
        except LoadingError:  # what the cache holds is damaged
            self.library.unlink(missing_ok=True)
            del self.library
            return self._load()

    def _load(self) -> Runner:
        ports = self.program.inputs, self.program.outputs
        return Runner(self.library, self.name, *ports, threads=self.threads, isa=self.isa)

    def __call__(self, *inputs: Any) -> Any:
        """Run it: arrays or torch tensors in input order, or one dict by input name.

        Arrays come out, or tensors of the same memory if a tensor went in. An input that has a default may be left out.
        Python threads that call one artifact take turns: compile or open it once for each that shall run at the same
        time.
        """
        item = inputs[0] if len(inputs) == 1 else inputs
        try:
            sample = check_sample(item, self._signature)
            if len(sample) < len(self._signature):
                defaults = {v.name: array for v, array in self.lowered.defaults.items()}
                sample = check_sample({**defaults, **sample}, self._signature)
        except DataError as error:
            raise DataError(explained(str(error), self.dims)) from None
        arrays = [np.ascontiguousarray(sample[port.name]) for port in self.program.inputs]
        made: list[Any] = self.runner(arrays)
        if _has_tensor(item):
            made = [to_torch(array) for array in made]
        return made[0] if len(made) == 1 else tuple(made)

    @cached_property
    def _signature(self) -> Any:
        return input_signature(self.lowered)

    def save(self, path: str | Path) -> None:
        """Write the folder: C files, CMakeLists.txt, and the model itself, from which `irc.open` makes it again.

        A folder that an earlier `save` made is replaced as a whole.

        Raises
        ------
        OutputError : the folder cannot be written, or there is something else under that name.
        """
        with atomic_folder(Path(path), marker=MANIFEST) as folder:
            write_files(folder, self.sources.files)
            model = lower_to_onnx(self.graph, self.target)
            if self.dims:
                model.info.metadata[_DIMS] = json.dumps(self.dims)
            save_graph(model, folder / MODEL_FILE)
            (folder / MANIFEST).write_text(json.dumps(self._manifest(), indent=1) + "\n")

    def _manifest(self) -> dict[str, Any]:
        tuning = self.tuning
        return {
            "target": self.target.name,
            "name": self.name,
            "isas": [isa.name for isa in self.isas],
            "dims": self.dims,
            "tuning": None if tuning is None else {"isa": tuning.isa, "choices": list(tuning.choices)},
            "arena_bytes": self.sources.plan.arena,
            "constant_bytes": self.sources.constants.bytes,
        }


def _has_tensor(item: Any) -> bool:
    values = item.values() if isinstance(item, Mapping) else item if isinstance(item, tuple | list) else (item,)
    return any(isinstance(value, torch.Tensor) for value in values)


def stored_options(folder: Path) -> dict[str, Any]:
    """The name and tuning that a saved folder's manifest gives to `CArtifact`, but for what `save` writes otherwise."""
    try:
        held = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    name, tuning = (held.get("name"), held.get("tuning")) if isinstance(held, dict) else (None, None)
    options: dict[str, Any] = {"name": name} if isinstance(name, str) and name == identifier(name, "model") else {}
    if isinstance(tuning, dict) and isinstance(tuning.get("isa"), str) and isinstance(tuning.get("choices"), list):
        options["tuning"] = Tuning(tuning["isa"], tuple(tuning["choices"]))
    return options


def _stored_dims(graph: Graph) -> dict[str, int]:
    """What the symbols of a saved model were bound to; nothing if the text is not irc's."""
    with suppress(ValueError):
        held = json.loads(graph.info.metadata.get(_DIMS, "{}"))
        if isinstance(held, dict):
            known = symbols(graph)
            return {k: v for k, v in held.items() if k in known and isinstance(v, int) and v > 0}
    return {}


def _check_isa(isa: str, isas: tuple[Isa, ...], target: Target) -> None:
    names = [each.name for each in isas]
    if isa and isa not in names:
        raise OptionError(f"target '{target.name}' has no instruction set '{isa}'; it carries {', '.join(names)}")

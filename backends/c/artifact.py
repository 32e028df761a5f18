"""A compiled C model: saved as a folder of C, run from Python through a shared library.

Calls need the library and its interface alone, and this module neither torch nor onnx: see `cached_artifact.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from irc.arrays import as_tensor, has_tensor
from irc.backends.artifact import Artifact
from irc.backends.c.build_cache import CachedBuild, store
from irc.backends.c.interface import Interface, explained
from irc.backends.c.isa import Isa, host_machine
from irc.backends.c.options import check_isa, check_threads
from irc.backends.c.runner import LoadingError, Runner
from irc.errors import BackendError, DataError
from irc.inputs import check_sample
from irc.types import Array

if TYPE_CHECKING:
    from irc.backends.c.compilation import Compilation
    from irc.backends.c.emit.sources import Sources
    from irc.backends.c.fusion import IntegerReport
    from irc.backends.c.manifest import Tuning
    from irc.backends.c.program import Program
    from irc.graph import Graph
    from irc.report.report import Report
    from irc.target import Target


class CArtifact(Artifact):
    """A model in C for one of the `c` targets.

    compilation : the stages from the graph to the C
    interface : what calls need to know of them
    threads : how many threads calls use
    isa : the one instruction set that calls must use; the best of the target's that the processor has, if empty

    Raises
    ------
    OptionError : `threads` or `isa` is none that the target's code has.
    BackendError : the C backend does not take the model.
    """

    compilation: Compilation

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
        # not `super().__init__`: all that it holds the compilation has
        from irc.backends.c.compilation import Compilation
        from irc.backends.c.targets import isas_of

        check_threads(threads)
        check_isa(isa, isas_of(target)[1], target.name)
        self.compilation = Compilation(graph, target, report, name=name, dims=dims, tuning=tuning)
        if tuned:
            self.compilation.tune(threads, isa)
        self._prepare(self.compilation.interface, threads, isa)

    def _prepare(self, interface: Interface, threads: int, isa: str) -> None:
        """Be ready for calls."""
        self.interface = interface
        self.threads = threads
        self.isa = isa
        self._keys: set[str] = set()

    # ---- what it was made of

    @property
    def graph(self) -> Graph:
        """The graph as the passes left it."""
        return self.compilation.graph

    @property
    def target(self) -> Target:
        """What it was compiled for."""
        return self.compilation.target

    @property
    def report(self) -> Report:
        """What every pass did."""
        return self.compilation.report

    @property
    def lowered(self) -> Graph:
        """The graph in the ops that the C code runs."""
        return self.compilation.lowered

    @property
    def program(self) -> Program:
        """What it does step by step."""
        return self.compilation.program

    @property
    def tuning(self) -> Tuning | None:
        """The kernels that were chosen by measuring; None if none were."""
        return self.compilation.tuning

    @property
    def fusion(self) -> IntegerReport:
        """Which layers run as integer, and why the others run in float."""
        return self.compilation.fusion

    @property
    def sources(self) -> Sources:
        """The C files."""
        return self.compilation.sources

    @property
    def name(self) -> str:
        """In the names of files and functions."""
        return self.interface.name

    @property
    def dims(self) -> dict[str, int]:
        """Of each symbolic dimension of the inputs, the size that the code is for; 1 unless it was asked for."""
        return self.interface.dims

    @property
    def machine(self) -> str:
        """The machine that the code is for."""
        return self.interface.machine

    @property
    def isas(self) -> tuple[Isa, ...]:
        """The instruction sets that the code carries."""
        return self.interface.isas

    # ---- running

    @cached_property
    def library(self) -> Path:
        """The shared library, built with the C compiler of this machine; it stays in irc's cache."""
        made = self._build()
        for key in tuple(self._keys):  # another thread may add one
            store(key, self._cached_build(made))
        return made

    def _build(self) -> Path:
        return self.compilation.build()

    def _cached_build(self, library: Path | None) -> CachedBuild:
        return CachedBuild.of(self.interface, self.sources.files, self.sources.objects, library)

    @cached_property
    def runner(self) -> Runner:
        """The loaded library.

        Raises
        ------
        BackendError : it is for another machine, or needs more memory than this one gives.
        """
        if self.machine not in (host_machine(), "portable"):
            raise BackendError(
                f"target '{self.interface.target}' is for {self.machine} and this machine is {host_machine()}: save it "
                "and build it there, or compile for 'c:host'"
            )
        try:
            return self._load()
        except LoadingError:  # what the cache holds is damaged
            with suppress(OSError):
                self.library.unlink()
            del self.library
            return self._load()

    def _load(self) -> Runner:
        inputs, outputs = len(self.interface.inputs), self.interface.outputs
        return Runner(self.library, self.name, inputs, outputs, threads=self.threads, isa=self.isa)

    def __call__(self, *inputs: Any) -> Any:
        """Run it: arrays or torch tensors in input order, or one dict by input name.

        Arrays come out, or tensors of the same memory if an input is a tensor. An input that has a default may be left
        out. Python threads that call one artifact take turns: compile or open it once for each that shall run at the
        same time.
        """
        item = inputs[0] if len(inputs) == 1 else inputs
        made: list[Any] = self.runner(self._arrays(item))
        if has_tensor(item):
            made = [as_tensor(array) for array in made]
        return made[0] if len(made) == 1 else tuple(made)

    def _arrays(self, item: Any) -> list[Array]:
        """The inputs in order, as they are read where they lie."""
        signature = self.interface.inputs
        try:
            sample = check_sample(item, signature)
            if len(sample) < len(signature):
                defaults = {v.name: array for v, array in self.lowered.defaults.items()}
                sample = check_sample({**defaults, **sample}, signature)
        except DataError as error:
            raise DataError(explained(str(error), self.dims)) from None
        return [np.ascontiguousarray(sample[name]) for name, _, _ in signature]

    # ---- saving

    def save(self, path: str | Path) -> None:
        """Write the folder: C files, CMakeLists.txt, and the model itself, from which `irc.open` makes it again.

        A folder that an earlier `save` made is replaced as a whole.

        Raises
        ------
        OutputError : the folder cannot be written, or there is something else under that name.
        """
        key = self.compilation.save(Path(path))
        self.cache_as(key)
        if key:
            store(key, self._cached_build(vars(self).get("library")))

    def cache_as(self, key: str) -> None:
        """Put what will be built into the build cache; an empty key is none."""
        if key:
            self._keys.add(key)

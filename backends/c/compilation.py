"""A graph as C, stage by stage: what it is legalized to, the program, the C files, the library."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from irc.backends.c.blocking import with_other_blocks
from irc.backends.c.compilers import find_compiler
from irc.backends.c.emit.names import identifier
from irc.backends.c.emit.sources import Sources
from irc.backends.c.interface import Interface, explained
from irc.backends.c.lower import legalize_and_report, lower
from irc.backends.c.manifest import Manifest, Tuning
from irc.backends.c.options import isa_to_tune
from irc.backends.c.program import Program
from irc.backends.c.saved_model import saved_dims, write_saved_model
from irc.backends.c.specialize import symbols
from irc.backends.c.targets import TARGETS, isas_of
from irc.backends.c.toolchain import build_library
from irc.backends.c.tuning import chosen, is_choice, tune
from irc.backends.registry import target_of
from irc.errors import BackendError, GraphError, VerifyError
from irc.execution.samples import input_signature
from irc.graph import Graph
from irc.report.ledger import Row
from irc.report.report import Report
from irc.target import Target


class Compilation:
    """What becomes of a graph for one of the `c` targets.

    graph, target, report : as `Artifact` has them
    name : in the names of files and functions
    dims : of each symbolic dimension of the inputs, the size that the code is for; 1 unless it was asked for
    lowered : the graph in the ops that the C code runs
    fusion : which layers run as integer, and why the others run in float
    program : what the code does step by step
    machine, isas : what the target means
    tuning : the kernels that were chosen by measuring; None if none were

    Raises
    ------
    BackendError : the C backend does not take the model.
    """

    def __init__(
        self,
        graph: Graph,
        target: Target,
        report: Report,
        *,
        name: str = "model",
        dims: Mapping[str, int] | None = None,
        tuning: Tuning | None = None,
    ) -> None:
        self.graph, self.target, self.report = graph, target, report
        self._version = graph.version
        self.name = identifier(name, "model")
        self.machine, self.isas = isas_of(target)
        given = saved_dims(graph) if dims is None else dims
        self.dims = {symbol: given.get(symbol, 1) for symbol in symbols(graph)}
        try:
            self.lowered, self.fusion = legalize_and_report(graph, target, given)
            self.program: Program = lower(self.lowered)
        except (BackendError, GraphError, VerifyError) as error:
            raise type(error)(explained(str(error), self.dims)) from None
        self.tuning: Tuning | None = None
        if tuning is not None and self._fits(tuning):
            self._take(tuning)

    def tune(self, threads: int, isa: str) -> None:
        """Take what is fastest here, on the instruction set that calls use; the report says what became of it."""
        isa = isa_to_tune(isa, self.isas, self.target.name)
        start = time.perf_counter()
        choices = tune(self.program, self.isas, self.machine, threads, isa)
        count = sum(len(step.candidates(isa)) > 1 for step in with_other_blocks(self.program, isa).steps)
        note = f"{sum(map(bool, choices))} of {count} steps that can be done in several ways on {isa} got another one"
        if not choices:
            note = f"no step of this model can be done in a second way on {isa}: there was nothing to choose"
        self.report.rows.append(Row("tune", time.perf_counter() - start, notes=[note]))
        if choices:
            self._take(Tuning(isa, tuple(choices)))

    def _fits(self, tuning: Tuning) -> bool:
        """Whether it is of this program: it may be from a folder that was written by another version."""
        known = tuning.isa in [each.name for each in self.isas]
        return known and is_choice(list(tuning.choices), len(self.program.steps))

    def _take(self, tuning: Tuning) -> None:
        self.tuning = tuning
        self.program = chosen(self.program, tuning.isa, tuning.choices)

    @cached_property
    def sources(self) -> Sources:
        """The C files."""
        return Sources(self.name, self.program, self.isas, self.machine)

    @property
    def interface(self) -> Interface:
        """What calls need to know."""
        inputs, outputs = input_signature(self.lowered), self.program.output_types
        return Interface(self.target.name, self.machine, self.isas, self.name, self.dims, inputs, outputs)

    def build(self) -> Path:
        """The shared library, built with the C compiler of this machine; it stays in irc's cache."""
        return build_library(self.sources.files, self.sources.objects, find_compiler(self.machine))

    @property
    def manifest(self) -> Manifest:
        """What a folder of it says of itself."""
        return Manifest(
            self.target.name,
            self.name,
            tuple(isa.name for isa in self.isas),
            self.dims,
            self.tuning,
            arena_bytes=self.sources.plan.arena,
            constant_bytes=self.sources.constants.bytes,
        )

    def save(self, path: Path) -> str:
        """Write the folder; the key by which the build cache may keep it, empty if `irc.open` is to make it again.

        Raises
        ------
        OutputError : the folder cannot be written, or there is something else under that name.
        """
        key = write_saved_model(path, self.graph, self.target, self.manifest, self.sources.files)
        return key if self.is_reproducible else ""

    @property
    def is_reproducible(self) -> bool:
        """Whether `irc.open` would make the same: it finds the target, and nobody has edited the graph since."""
        known = self.target is TARGETS.get(self.target.name) is target_of(self.graph)
        return known and self.graph.version == self._version

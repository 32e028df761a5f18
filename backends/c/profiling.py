"""Where the time of a compiled model goes: microseconds of every step."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from irc.backends.c.compilers import find_compiler
from irc.backends.c.emit.sources import Sources
from irc.backends.c.program import Program
from irc.backends.c.runner import Runner
from irc.backends.c.toolchain import build_library
from irc.types import Array

if TYPE_CHECKING:
    from irc.backends.c.artifact import CArtifact

_WARM = 3  # runs before those that count


@dataclass(frozen=True)
class StepTime:
    """What one step took.

    layer : the user's name of the layer, or the node's
    op : name of the op;  kernel : the function that was called
    microseconds : of the middle run
    macs : multiply-accumulates
    """

    layer: str
    op: str
    kernel: str
    microseconds: float
    macs: int

    @property
    def gops(self) -> float:
        """Operations, two a multiply-accumulate, in 1e9 a second."""
        return 2e-3 * self.macs / self.microseconds if self.microseconds else 0.0


def step_microseconds(
    sources: Sources, program: Program, inputs: Sequence[Array], *, threads: int, isa: str, runs: int
) -> list[float]:
    """The microseconds of each step, the middle of so many runs.

    inputs : contiguous arrays, in order
    """
    library = build_library(sources.files, sources.objects, find_compiler(sources.machine), "-DIRC_PROFILE")
    runner = Runner(library, sources.name, len(program.inputs), program.output_types, threads=threads, isa=isa)
    spent = np.zeros((_WARM + runs, len(program.steps)), np.int64)
    for taken in spent:
        runner.profile_into(taken.ctypes.data_as(ctypes.c_void_p))
        runner(inputs)
    runner.close()
    return [float(us) for us in np.median(spent[_WARM:], axis=0) / 1e3]


def profile(artifact: CArtifact, inputs: Sequence[Array], *, runs: int = 50) -> list[StepTime]:
    """Time every step of the artifact's program, with its threads and instruction set.

    inputs : contiguous arrays, in order; runs : how often to run it; the middle of all is taken
    """
    program, isa = artifact.program, artifact.runner.isa
    spent = step_microseconds(artifact.sources, program, inputs, threads=artifact.threads, isa=isa, runs=runs)
    made = []
    for step, microseconds in zip(program.steps, spent, strict=True):
        function = step.for_isa(isa).function
        kernel = function if isinstance(function, str) else "loop"
        layer = step.node.origin.layer or step.node.name
        made.append(StepTime(layer, step.node.op.name, kernel, microseconds, step.macs))
    return made

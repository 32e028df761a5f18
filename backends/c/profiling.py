"""Where the time of a compiled model goes: microseconds of every step."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from irc.backends.c.artifact import CArtifact
from irc.backends.c.runner import Runner
from irc.backends.c.toolchain import build_library, find_compiler
from irc.types import Array


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


def profile(artifact: CArtifact, inputs: Sequence[Array], *, runs: int = 50) -> list[StepTime]:
    """Time every step of the artifact's program, with its threads and instruction set.

    inputs : contiguous arrays, in order; runs : how often to run it; the middle of all is taken
    """
    sources = artifact.sources
    flag = "-DIRC_PROFILE"
    library = build_library(sources.files, sources.objects, find_compiler(artifact.machine), flag)
    program = artifact.program
    runner = Runner(library, artifact.name, program.inputs, program.outputs, threads=artifact.threads, isa=artifact.isa)
    steps = len(program.steps)
    spent = np.zeros((runs, steps), np.int64)
    for row in range(-3, runs):
        taken = np.zeros(steps, np.int64)
        runner.profile_into(taken.ctypes.data_as(ctypes.c_void_p))
        runner(inputs)
        if row >= 0:
            spent[row] = taken
    middle = np.median(spent, axis=0) / 1e3
    made = []
    for step, microseconds in zip(program.steps, middle.tolist(), strict=True):
        function = step.for_isa(runner.isa).function
        kernel = function if isinstance(function, str) else "elementwise"
        layer = step.node.origin.layer or step.node.name
        made.append(StepTime(layer, step.node.op.name, kernel, microseconds, step.macs))
    return made

"""Choosing among kernels by measuring them in the model itself, where weights are as cold as they will be.

    for each candidate c:  the model with the c-th candidate of every step, timed step by step
    for each step:         the candidate that took least

What was measured is kept in irc's cache, by what the steps are, instruction set, threads, processor and kernels.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeGuard

import numpy as np

from irc.backends.c.blocking import with_other_blocks
from irc.backends.c.cache import appearing, cache_folder
from irc.backends.c.emit.sources import KERNELS, Sources
from irc.backends.c.isa import Isa
from irc.backends.c.profiling import step_microseconds
from irc.backends.c.program import Call, Program, Step
from irc.types import Array

_RUNS = 30
_GAIN = 0.97  # what another candidate must take at most of the first one's time: less is noise


def tune(program: Program, isas: Sequence[Isa], machine: str, threads: int, isa: str) -> list[int]:
    """The fastest candidate of each step on `isa`, which this machine must have; nothing if no step has another one."""
    program = with_other_blocks(program, isa)
    count = max((len(step.candidates(isa)) for step in program.steps), default=1)
    if count == 1:
        return []
    file = cache_folder() / f"tuned-{_key(program, isa, threads)}.json"
    choices = _kept(file, len(program.steps))
    if choices is None:
        choices = _measure(program, isas, machine, threads, isa, count)
        with appearing(file) as partial:
            partial.write_text(json.dumps(choices))
    return choices


def chosen(program: Program, isa: str, choices: Sequence[int]) -> Program:
    """The program with that candidate of each step, as `tune` counts them."""
    return _chosen_of(with_other_blocks(program, isa), isa, choices)


def _chosen_of(program: Program, isa: str, choices: Sequence[int]) -> Program:
    steps = [_chosen(step, isa, choice) for step, choice in zip(program.steps, choices, strict=True)]
    return Program(program.inputs, program.outputs, steps)


def _chosen(step: Step, isa: str, choice: int) -> Step:
    """The step with a candidate as what the instruction set does; the last one if it has not so many."""
    candidates = step.candidates(isa)
    call = candidates[min(choice, len(candidates) - 1)]
    return replace(step, special=step.special | {isa: call}, others={})


def _measure(program: Program, isas: Sequence[Isa], machine: str, threads: int, isa: str, count: int) -> list[int]:
    inputs = [_input(port.view.shape, port.view.dtype.numpy) for port in program.inputs]
    times = []
    for candidate in range(count):
        variant = _chosen_of(program, isa, [candidate] * len(program.steps))
        sources = Sources("model", variant, isas, machine)
        times.append(step_microseconds(sources, variant, inputs, threads=threads, isa=isa, runs=_RUNS))
    best = np.argmin(np.array(times), axis=0)
    gains = np.min(times, axis=0) < _GAIN * np.array(times[0])
    real = [len(step.candidates(isa)) for step in program.steps]  # past them the last one was timed again
    return [int(b) if gain and b < n else 0 for b, gain, n in zip(best, gains, real, strict=True)]


def _input(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
    random = np.random.default_rng(0)
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    return np.zeros(shape, dtype)


def _key(program: Program, isa: str, threads: int) -> str:
    """A digest of all that a measurement depends on."""
    made = hashlib.sha256(f"{isa} {threads} {platform.machine()} {_processor()}".encode())
    for path in sorted(KERNELS.glob("*.h")):
        made.update(path.read_bytes())
    for step in program.steps:
        made.update(repr([_shape_of(c) for c in step.candidates(isa)]).encode())
    return made.hexdigest()[:32]


def _shape_of(call: Call) -> tuple[object, ...]:
    """A call without its places in memory, which differ from run to run."""
    return (call.function, *(a for a in call.arguments if a is None or not hasattr(a, "buffer")))


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "CPU part")):
                return line
    return platform.processor()


def _kept(file: Path, steps: int) -> list[int] | None:
    """What was measured before; None if nothing was, or the file is damaged."""
    with suppress(OSError, ValueError):
        found = json.loads(file.read_text())
        if is_choice(found, steps):
            return found
    return None


def is_choice(found: object, steps: int) -> TypeGuard[list[int]]:
    """Whether something that was read from a file names a candidate for each of so many steps."""
    return isinstance(found, list) and len(found) == steps and all(type(c) is int and c >= 0 for c in found)

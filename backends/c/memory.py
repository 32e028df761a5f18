"""One arena for everything that lives only while the model runs, planned by liveness.

A buffer lives from the step that first writes it to the last that reads it; two that never live together may share
bytes. Largest first, each at the lowest offset that is free for its whole life.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from irc.backends.c.program import Program, Step
from irc.backends.c.views import Buffer, Place

ALIGNMENT = 64  # a cache line, and the widest vector
SLACK = 64  # kernels may read, never write, so far past the end of a buffer


@dataclass
class _Life:
    """Buffers that share one place in memory, one after the other, and when they live."""

    buffers: list[Buffer]
    first: int
    last: int

    @property
    def bytes(self) -> int:
        return _aligned(max(b.bytes for b in self.buffers) + SLACK)


@dataclass
class MemoryPlan:
    """Where each buffer lies.

    offsets : of each arena buffer, bytes from the start of the arena
    arena : bytes of the arena
    """

    offsets: dict[Buffer, int] = field(default_factory=dict)
    arena: int = 0


def plan_memory(program: Program) -> MemoryPlan:
    """The plan for a program."""
    lives = _lives(program.steps)
    _join_in_place(program.steps, lives)
    plan = MemoryPlan()
    placed: list[tuple[int, _Life]] = []
    for life in sorted({id(v): v for v in lives.values()}.values(), key=lambda v: (-v.bytes, v.first)):
        offset = 0
        for start, other in sorted((s, o) for s, o in _meeting(placed, life)):
            if offset + life.bytes <= start:
                break
            offset = max(offset, start + other)
        placed.append((offset, life))
        plan.arena = max(plan.arena, offset + life.bytes)
        for buffer in life.buffers:
            plan.offsets[buffer] = offset
    return plan


def _meeting(placed: list[tuple[int, _Life]], life: _Life) -> list[tuple[int, int]]:
    """Offsets and sizes of what is placed and lives at the same time."""
    return [(s, o.bytes) for s, o in placed if o.first <= life.last and life.first <= o.last]


def _lives(steps: list[Step]) -> dict[Buffer, _Life]:
    lives: dict[Buffer, _Life] = {}
    for time, step in enumerate(steps):
        for buffer in (*step.reads, *step.writes):
            if buffer.place is Place.ARENA:
                life = lives.setdefault(buffer, _Life([buffer], time, time))
                life.last = time
    return lives


def _join_in_place(steps: list[Step], lives: dict[Buffer, _Life]) -> None:
    """Let a step write over the buffer that it reads element by element, if nobody reads that afterwards."""
    for time, step in enumerate(steps):
        old, new = step.in_place, step.writes[0] if step.writes else None
        if old is None or new is None or old not in lives or new not in lives or step.reads.count(old) != 1:
            continue
        before, after = lives[old], lives[new]
        # parts or the border of the new buffer may have been written before this step: nothing may touch the old ones
        # from then on, and what was written over before may have lived beside them
        quiet = not any(b in s.reads or b in s.writes for s in steps[after.first : time] for b in before.buffers)
        if before is after or before.last != time or after.buffers != [new] or not quiet:
            continue
        before.buffers += after.buffers
        before.last = after.last
        for buffer in after.buffers:
            lives[buffer] = before


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT

"""Time several models against each other, in turns, so that what disturbs the machine disturbs all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median

DROPPED = 3  # runs after each switch: the caches are full of another model
PAUSE = 0.1  # seconds before each turn: a runtime's threads spin for a while after its last run, on the next one's core


@dataclass
class Timed:
    """Wall and processor milliseconds of each run, turn by turn."""

    wall: list[list[float]] = field(default_factory=list)
    cpu: list[list[float]] = field(default_factory=list)

    @property
    def least(self) -> float:
        """The fastest run, ms."""
        return min(map(min, self.wall))

    @property
    def median(self) -> float:
        """The middle run, ms."""
        return median(ms for turn in self.wall for ms in turn)

    @property
    def median_cpu(self) -> float:
        """The processor time of the middle run, ms: above the wall time if a model uses more than one thread."""
        return median(ms for turn in self.cpu for ms in turn)

    def ratio(self, other: Timed) -> float:
        """This time over the other's: of the fastest run of each turn, the middle of all turns."""
        return median(min(a) / min(b) for a, b in zip(self.wall, other.wall, strict=True))


def interleaved(calls: Mapping[str, Callable[[], object]], *, turns: int = 20, runs: int = 20) -> dict[str, Timed]:
    """`turns` times, each call in its turn, `runs` times in a row; every other turn goes in the opposite order."""
    timed = {name: Timed() for name in calls}
    for turn in range(turns):
        for name in list(calls)[:: -1 if turn % 2 else 1]:
            time.sleep(PAUSE)
            for _ in range(DROPPED):
                calls[name]()
            timed[name].wall.append([])
            timed[name].cpu.append([])
            for _ in range(runs):
                cpu, wall = time.process_time(), time.perf_counter()
                calls[name]()
                timed[name].wall[-1].append((time.perf_counter() - wall) * 1e3)
                timed[name].cpu[-1].append((time.process_time() - cpu) * 1e3)
    return timed

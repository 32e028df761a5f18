"""What may stand in place of an option's value when a search is to find it.

    Range     0.2..1.0   1..8   8..64:8 (steps of 8)   1e-4..1e-1:log (the exponent is drawn)
    Choice    4|8   gptq|nearest   none|[channel]|[channel, head]
    PerLayer  ["stem.*"=4|8, head=2|4|8]   a list of pattern=value, each value found by itself
    Declared  ?   what the option's declaration says: its choices, true|false, or its range
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from irc.errors import OptionError
from irc.passes.options import format_value

_DIGITS = 4  # significant ones of a drawn number: nobody needs more, and recipes are read by people
_DECADES = 100.0  # from which ratio of its ends on a declared range is drawn by its exponent


class Draws(Protocol):
    """What draws parameters by name: a trial of Optuna, or a fixed rule."""

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...


class Hole(ABC):
    """A value that the search finds."""

    @abstractmethod
    def draw(self, draws: Draws, name: str) -> Any:
        """A value, drawn under this name."""

    @abstractmethod
    def extremes(self) -> list[Any]:
        """Values to check against the option's type: all, or the ends."""

    @abstractmethod
    def __str__(self) -> str: ...


@dataclass(frozen=True)
class Range(Hole):
    """A number from `low` to `high`, both included.

    step : between neighbours; whole numbers have 1 if none is given
    log : draw the exponent
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise OptionError(f"the range {self} has an end that is no number")
        if not self.low < self.high or (self.step is not None and not 0 < self.step <= self.high - self.low):
            raise OptionError(f"the range {self} holds nothing to choose from; its ends rise, and a step fits between")
        if self.log and (self.low <= 0 or self.step is not None):
            raise OptionError(f"the range {self}: exponents are of numbers above 0, and have no steps")

    @property
    def whole(self) -> bool:
        """Whether it is of whole numbers."""
        return all(isinstance(each, int) for each in (self.low, self.high, self.step or 1))

    def draw(self, draws: Draws, name: str) -> Any:
        if self.whole:
            return draws.suggest_int(name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        drawn = draws.suggest_float(name, self.low, self.high, step=self.step, log=self.log)
        return min(max(float(f"{drawn:.{_DIGITS}g}"), float(self.low)), float(self.high))

    def extremes(self) -> list[Any]:
        return [self.low, self.high]

    def __str__(self) -> str:
        more = ":log" if self.log else f":{self.step!r}" if self.step is not None else ""
        return f"{self.low!r}..{self.high!r}{more}"


@dataclass(frozen=True, init=False)
class Choice(Hole):
    """One of some values."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        if len({format_value(value) for value in values}) < max(len(values), 2):
            raise OptionError(f"a choice among {len(values)} values, of which no two are alike, needs two at least")
        object.__setattr__(self, "values", tuple(tuple(v) if isinstance(v, list) else v for v in values))

    def draw(self, draws: Draws, name: str) -> Any:
        by_text = {format_value(value): value for value in self.values}
        return by_text[draws.suggest_categorical(name, list(by_text))]

    def extremes(self) -> list[Any]:
        return list(self.values)

    def __str__(self) -> str:
        return "|".join(format_value(value) for value in self.values)


@dataclass(frozen=True, init=False)
class PerLayer(Hole):
    """A list of text `pattern=value`, such as `layer_bits` takes; each pattern has a value or a hole of its own.

    The pattern `?` stands for every layer whose weights `quantize` can take, each by itself.
    """

    entries: tuple[tuple[str, Any], ...]

    def __init__(self, entries: Mapping[str, Any]) -> None:
        if not entries:
            raise OptionError("PerLayer needs a layer")
        object.__setattr__(self, "entries", tuple(entries.items()))

    def draw(self, draws: Draws, name: str) -> Any:
        return tuple(
            f"{pattern}={format_value(hole.draw(draws, f'{name}[{pattern}]') if isinstance(hole, Hole) else hole)}"
            for pattern, hole in self.entries
        )

    def extremes(self) -> list[Any]:
        return [tuple(f"{pattern}={format_value(value)}" for pattern, hole in self.entries for value in _values(hole))]

    def expanded(self, layers: list[str]) -> PerLayer:
        """With an entry for each of the layers in place of `?`, but for those that have one."""
        found: dict[str, Any] = {}
        for pattern, hole in self.entries:
            found |= dict.fromkeys(layers, hole) if pattern == "?" else {pattern: hole}
        return PerLayer(found)

    def __str__(self) -> str:
        shown = (f"{_pattern(p)}={h if isinstance(h, Hole) else format_value(h)}" for p, h in self.entries)
        return f"[{', '.join(shown)}]"


def _pattern(text: str) -> str:
    return text if text == "?" else format_value(text)


def _values(hole: Any) -> list[Any]:
    return hole.extremes() if isinstance(hole, Hole) else [hole]


@dataclass(frozen=True)
class Declared(Hole):
    """What the option's declaration says; `resolved` gives the hole itself."""

    def resolved(self, metadata: Mapping[str, Any], types: tuple[Any, ...], where: str) -> Hole:
        """The hole for an option of these types; OptionError if its declaration says nothing."""
        if metadata.get("choices"):
            return Choice(*metadata["choices"])
        if metadata.get("range"):
            low, high = metadata["range"]
            return fitted(Range(low, high, log=low > 0 and high / low > _DECADES), types, where)
        if types == (bool,):
            return Choice(False, True)
        raise OptionError(f"{where} says nothing of what it may be; write a range such as 0.1..0.9, or a choice a|b")

    def draw(self, draws: Draws, name: str) -> Any:
        raise AssertionError("it is resolved first")

    def extremes(self) -> list[Any]:
        raise AssertionError("it is resolved first")

    def __str__(self) -> str:
        return "?"


def fitted(hole: Hole, types: tuple[Any, ...], where: str) -> Hole:
    """The hole for an option of these types: a range of whole numbers if it takes no others."""
    if not isinstance(hole, Range) or not {int, float} & set(types):
        return hole
    if float in types:
        step = None if hole.step is None else float(hole.step)
        return replace(hole, low=float(hole.low), high=float(hole.high), step=step)
    if not hole.whole:
        raise OptionError(f"{where} is a whole number, and {hole} has others; write {int(hole.low)}..{int(hole.high)}")
    return hole

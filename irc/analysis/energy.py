"""An estimate of the energy of one inference, from what is computed and what is moved.

    energy = sum over widths  macs[width] * mac[width]      arithmetic
           + bytes of the constants * dram                  each is read once, as it is stored
           + 2 * bytes of the activations * sram            each is written once and read once

It is an estimate to compare models by, not a measurement: caches, control, elementwise arithmetic, and what stands
still, cost nothing here; a table from which a few rows are taken, and both branches of an If, are read whole.

The costs that stand here are of a 45 nm process at 0.9 V: M. Horowitz, "Computing's Energy Problem (and what we can do
about it)", ISSCC 2014, figure 1.1.9. What is taken from there, in pJ, and what is made of it:

    int8      0.2 multiply + 0.1 add in 32 bits                     0.3
    int32     3.1 multiply + 0.1 add                                3.2
    float16   1.1 multiply + 0.4 add                                1.5
    float32   3.7 multiply + 0.9 add                                4.6
    sram      100 for 64 bits of a cache of 1 MB                    12.5 a byte
    dram      1,300 to 2,600 for 64 bits; the middle, 1,950         243.75 a byte

A width that is not listed costs what the next wider one of its kind does: int4 as int8, int16 as int32.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from irc.errors import OptionError

HOROWITZ = 'M. Horowitz, "Computing\'s Energy Problem", ISSCC 2014, 45 nm'
_MAC = {"int8": 0.3, "int32": 3.2, "float16": 1.5, "float32": 4.6}
_WIDTH = re.compile(r"(int|float)([1-9]\d*)")


@dataclass(frozen=True)
class EnergyCosts:
    """What arithmetic and memory cost.

    mac : pJ of one multiply-accumulate by the type of its factors, as `{"int8": 0.3, "float32": 4.6}`
    dram : pJ a byte of what is stored with the model
    sram : pJ a byte of an activation that is written, or read
    source : where the numbers come from

    Raises
    ------
    OptionError : a type has another form, or a cost is negative or no number.
    """

    mac: Mapping[str, float] = field(default_factory=lambda: dict(_MAC))
    dram: float = 243.75
    sram: float = 12.5
    source: str = HOROWITZ

    def __post_init__(self) -> None:
        if not isinstance(self.mac, Mapping):
            raise OptionError("energy costs: 'mac' must be a table of types and pJ, as int8 = 0.3")
        for name in self.mac:
            if _WIDTH.fullmatch(name) is None:
                raise OptionError(f"energy costs: mac '{name}' is no type; write it as int8 or float32")
        for name, cost in {"dram": self.dram, "sram": self.sram, **self.mac}.items():
            if isinstance(cost, bool) or not isinstance(cost, int | float) or not (math.isfinite(cost) and cost >= 0):
                raise OptionError(f"energy costs: '{name}' is {cost!r}; it must be a number of pJ, 0 or more")

    def of_mac(self, width: str) -> float | None:
        """pJ of one multiply-accumulate: of this type, or of the next wider one of its kind; None if there is none."""
        kind, bits = _parts(width)
        wider = [(n, cost) for name, cost in self.mac.items() for k, n in [_parts(name)] if k == kind and n >= bits]
        return min(wider)[1] if wider else None


@dataclass(frozen=True)
class Energy:
    """Of one inference, in uJ."""

    arithmetic: float
    weights: float
    activations: float

    @property
    def total(self) -> float:
        """All of it, uJ."""
        return self.arithmetic + self.weights + self.activations


def energy(
    macs: Mapping[str, int], weight_bytes: int, activation_bytes: int, costs: EnergyCosts | None = None
) -> Energy | None:
    """The energy of one inference; None if there is no cost for a type that it multiplies in.

    macs : by the type of the factors, see `irc.analysis.arithmetic.macs_by_width`
    weight_bytes : of all constants, as they are stored
    activation_bytes : see `irc.analysis.arithmetic.activation_bytes`
    """
    costs = costs or EnergyCosts()
    arithmetic = 0.0
    for width, count in macs.items():
        each = costs.of_mac(width)
        if each is None:
            return None
        arithmetic += count * each
    pj = arithmetic, weight_bytes * costs.dram, 2 * activation_bytes * costs.sram
    return Energy(*(each * 1e-6 for each in pj))


def read_energy_costs(path: Path) -> EnergyCosts:
    """The costs in a TOML file; what it leaves out is as it stands above.

        source = "our chip, measured"
        dram = 120.0
        sram = 5.0
        [mac]
        int8 = 0.07
        float32 = 1.3

    Raises
    ------
    OptionError : there is no such file, it is not TOML, or holds something else.
    """
    try:
        held: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"energy costs: '{path}' cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise OptionError(f"energy costs: '{path}' is not TOML: {error}") from None
    known = [each.name for each in fields(EnergyCosts)]
    unknown = [name for name in held if name not in known]
    if unknown:
        raise OptionError(f"energy costs: '{path}' has '{unknown[0]}'; the keys are {', '.join(known)}")
    held.setdefault("source", str(path))
    if not isinstance(held["source"], str):
        raise OptionError(f"energy costs: '{path}': source must be a text")
    if isinstance(held.get("mac"), dict):
        held["mac"] = _MAC | held["mac"]
    return EnergyCosts(**held)


def _parts(width: str) -> tuple[str, int]:
    """`int8` as kind and bits."""
    match = _WIDTH.fullmatch(width)
    assert match is not None, width
    return match[1], int(match[2])

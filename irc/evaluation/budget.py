"""A budget: what a model may cost at most.

budget   ::= quantity "=" amount ("," quantity "=" amount)*        bytes=1.5MB, macs=300M, latency=2
quantity ::= bytes | weight_bytes | parameters | macs | flops | peak_memory | latency | energy
amount   ::= number [k | M | G] [B | ms | uJ]  |  number (KiB | MiB | GiB)
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from irc.errors import OptionError, nearest
from irc.evaluation.measures import Measures

QUANTITIES: dict[str, tuple[str, Callable[[Measures], float | None]]] = {
    "bytes": ("B", lambda row: row.file_bytes),
    "weight_bytes": ("B", lambda row: row.weight_bytes),
    "parameters": ("", lambda row: row.parameters),
    "macs": ("", lambda row: row.all_macs),
    "flops": ("", lambda row: row.flops),
    "peak_memory": ("B", lambda row: row.peak_memory),
    "latency": ("ms", lambda row: row.latency_ms),
    "energy": ("uJ", lambda row: row.energy_uj),
}
_AMOUNT = re.compile(r"(\d+(?:\.\d*)?(?:e[-+]?\d+)?|\.\d+(?:e[-+]?\d+)?)\s*(Ki|Mi|Gi|[kKMG])?(B|ms|uJ)?")
_LARGEST = 1e300
_FACTORS = {"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def parse_budget(text: str) -> dict[str, float]:
    """The budget that a text states.

    Raises
    ------
    OptionError : it is not of the form above, names an unknown quantity, one twice, or none.
    """
    budget: dict[str, float] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, _, amount = (each.strip() for each in part.partition("="))
        if name in budget:
            raise OptionError(f"budget: '{name}' is given twice")
        budget[name] = _amount(_known(name), amount)
    if not budget:
        raise OptionError(f"there is no budget; give one or more of {', '.join(QUANTITIES)}")
    return check_budget(budget)


def check_budget(budget: Mapping[str, Any]) -> dict[str, float]:
    """The budget in a dict.

    Raises
    ------
    OptionError : it names an unknown quantity, or an amount is no number above 0.
    """
    for name, amount in budget.items():
        _known(name)
        if not (isinstance(amount, int | float) and not isinstance(amount, bool) and 0 < amount < math.inf):
            raise OptionError(f"budget: {name}={amount!r} must be a number above 0")
        if amount > _LARGEST:
            raise OptionError(f"budget: {name} is larger than any model; leave it out")
    return {name: float(amount) for name, amount in budget.items()}


def spent(row: Measures, budget: Mapping[str, float]) -> dict[str, float | None]:
    """What a model takes of each quantity in the budget; None where nobody can say."""
    return {name: QUANTITIES[name][1](row) for name in budget}


def over(row: Measures, budget: Mapping[str, float]) -> dict[str, float | None]:
    """The quantities of which a model takes more than it may, or of which nobody can say how much."""
    return {name: took for name, took in spent(row, budget).items() if took is None or not took <= budget[name]}


def amount_text(name: str, took: float | None, limit: float) -> str:
    """`9,670 of 10,000 bytes`, `2.13 of 2 ms`."""
    unit = QUANTITIES[name][0]
    words = unit if unit in ("ms", "uJ") else name.replace("_", " ")
    if took is None:
        return f"an unknown number of {limit:,g} {words}"
    return f"{took:,.{3 if unit in ('ms', 'uJ') else 0}f} of {limit:,.{3 if unit in ('ms', 'uJ') else 0}f} {words}"


def _known(name: str) -> str:
    if name not in QUANTITIES:
        way_out = "floor is the least metric" if name == "metric" else nearest(name, QUANTITIES)
        raise OptionError(f"budget: there is no quantity '{name}'; {way_out}")
    return name


def _amount(name: str, text: str) -> float:
    match = _AMOUNT.fullmatch(text)
    unit = QUANTITIES[name][0]
    if match is None or (match[3] and match[3] != unit) or ((match[2] or "").endswith("i") and match[3] != "B"):
        example = {"B": "1.5MB", "": "300M", "ms": "2ms", "uJ": "500uJ"}[unit]
        raise OptionError(f"budget: {name}={text} is no amount; write it as {name}={example}")
    return float(match[1]) * _FACTORS[match[2] or ""]

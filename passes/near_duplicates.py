"""Weights that are almost another one, or almost a multiple of it: `dedup-weights{tolerance=…}`.

    |W2 - s W1| <= tolerance * max |W2|  everywhere   =>   readers of W2 read W1 (s = 1), or Mul(W1, s)

Each element allows an interval of s; where all of them meet, any s will do, and nowhere else does one. So no multiple
is missed, and a few elements are enough to rule most pairs out. Every weight is held against weights that stay, never
against one that was merged: errors do not add up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from irc.graph import Node, Value
from irc.ops.binary import Mul
from irc.passes.context import Context
from irc.passes.edit import around, first_reader, moved
from irc.passes.fold_constants import STORED_AS_CODES
from irc.types import Array

_SAMPLES = 64


@dataclass(frozen=True)
class Match:
    """A weight as a multiple of another.

    scale : s
    error : the largest |W2 - s W1|, relative to the largest |W2|
    """

    scale: float
    error: float


def merge_near(values: Iterable[Value], tolerance: float, context: Context) -> None:
    """Merge the constants in place; note how many, and the largest error."""
    kept: defaultdict[object, list[Value]] = defaultdict(list)
    matches: list[Match] = []
    for value in values:
        data = value.data
        if data is None or data.dtype.kind != "f" or _is_scale(value) or not np.isfinite(data).all():
            continue
        others = kept[data.dtype, data.shape]
        for place, other in enumerate(others):
            match = match_of(other.data, data, tolerance)  # type: ignore[arg-type]  # constants
            if match is None:
                continue
            quantizer = next((node for node in value.users if node.op.name in STORED_AS_CODES), None)
            if match.scale != 1 and quantizer is not None:
                reason = f"'{value.name}' is {match.scale:.6g} '{other.name}', but a quantized weight stays a constant"
                context.decline(quantizer, reason)
                continue
            others[place] = _merge(other, value, match.scale)
            matches.append(match)
            break
        else:
            others.append(value)
    if matches:
        scaled = sum(match.scale != 1 for match in matches)
        context.note(
            f"{len(matches)} weights are others within {tolerance:g} of their largest element, {scaled} of them "
            f"multiples; the largest error is {max(match.error for match in matches):.3g}"
        )


def _is_scale(value: Value) -> bool:
    """Whether codes are multiplied with it, some of them large: an error that is small beside it is not beside them."""
    return any(isinstance(u, Node) and u.op.name in STORED_AS_CODES and index > 0 for u, index in value.uses)


def match_of(kept: Array, dropped: Array, tolerance: float) -> Match | None:
    """How `dropped` is a multiple of `kept` within the tolerance, in its own arithmetic; None if it is not."""
    largest = float(np.abs(dropped).max(initial=0))
    if not largest:
        return None
    allowed = tolerance * largest
    flat = kept.reshape(-1), dropped.reshape(-1)
    step = max(flat[0].size // _SAMPLES, 1)
    if _scales(flat[0][::step], flat[1][::step], allowed) is None:
        return None
    found = _scales(*flat, allowed)
    if found is None:
        return None
    low, high = found
    with np.errstate(over="ignore", invalid="ignore"):  # what is infinite then is no match
        scale = 1.0 if low <= 1 <= high else float(dropped.dtype.type((low + high) / 2))
        made = kept if scale == 1 else kept * dropped.dtype.type(scale)
        error = float(np.abs(made.astype(np.float64) - dropped).max(initial=0))
    return Match(scale, error / largest) if error <= allowed else None


def _scales(kept: Array, dropped: Array, allowed: float) -> tuple[float, float] | None:
    """The smallest and the largest s with |dropped - s kept| <= allowed everywhere; None if there is none."""
    a, b = kept.astype(np.float64), dropped.astype(np.float64)
    nothing = a == 0
    if (np.abs(b[nothing]) > allowed).any():
        return None
    a, b = a[~nothing], b[~nothing]
    if not a.size:
        return 1.0, 1.0
    with np.errstate(over="ignore"):  # an end at infinity is no limit
        ends = np.stack([(b - allowed) / a, (b + allowed) / a])
    low, high = float(ends.min(0).max()), float(ends.max(0).min())
    return (low, high) if low <= high else None


def _merge(kept: Value, dropped: Value, scale: float) -> Value:
    """Let the readers of `dropped` read `kept`, or its multiple; what stands for `kept` now."""
    kept, data = moved(kept, around([kept.graph, dropped.graph])), dropped.data
    assert data is not None
    if scale == 1:
        dropped.replace_uses(kept)
    else:
        factor = dropped.graph.add_constant(np.array(scale, data.dtype), f"{dropped.name}.scale")
        made = dropped.graph.insert(Mul(), [kept, factor], before=first_reader(dropped), name=f"{dropped.name}.scaled")
        dropped.replace_uses(made.output)
    dropped.graph.remove_constant(dropped)
    return kept

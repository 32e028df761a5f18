"""At which ranks a weight is factored, and what that costs.

    Plan ::= site, ranks (outputs, inputs), MACs and parameters with these ranks

A linear weight has one rank. A convolution has two, and may leave one side whole: of the three ways to give up a part
of the energy (half of it on each side, or all of it on one) the one of fewest MACs is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from irc.analysis.low_rank import Spectrum, damped, root, spectrum, times, unfolded
from irc.graph import Node
from irc.ops.conv import Conv
from irc.passes.low_rank_rules.sites import Site
from irc.types import Array

_STEPS = 40
_LEAST_TAIL = 1e-12


@dataclass
class Decomposed:
    """A site with its spectra.

    weighed : whether by what the site reads
    outputs : of the rows as a matrix;  inputs : of a convolution of several taps, over its input channels
    scale : S^(1/2) of such a convolution, with a mean square of 1, which keeps its factors in the range of small
        floats; None for the identity
    """

    site: Site
    weighed: bool
    outputs: Spectrum
    inputs: Spectrum | None = None
    scale: Array | None = None

    @classmethod
    def of(cls, site: Site) -> Decomposed:
        """The spectra of the weight, weighed by the moments of what it reads where these are known."""
        rows, weighed = np.asarray(site.rows, np.float64), site.moment is not None
        if not site.is_spatial:
            return cls(site, weighed, spectrum(rows if site.moment is None else rows @ root(site.moment)))
        scale = None if site.moment is None else root(damped(site.moment / np.diag(site.moment).mean()))
        scaled = rows if scale is None else times(rows, scale, 1)
        return cls(site, weighed, spectrum(unfolded(scaled, 0)), spectrum(unfolded(scaled, 1)), scale)


@dataclass(frozen=True)
class Plan:
    """A site at given ranks; `inputs` is None for a linear weight, and the number of channels for a whole side."""

    held: Decomposed
    outputs: int
    inputs: int | None
    macs: int
    parameters: int

    @property
    def saves(self) -> bool:
        """Whether the factors take fewer multiply-accumulates than the weight."""
        return self.macs < macs_of(self.held.site)


def plan(held: Decomposed, tail: float, multiple: int) -> Plan:
    """The cheapest plan that gives up at most the part `tail` of the energy; ranks are rounded up to `multiple`."""
    site, outputs, inputs = held.site, held.outputs, held.inputs
    if inputs is None:
        return _priced(held, _rounded(outputs.rank_for(tail), multiple, outputs.rank), None)
    made, read = site.rows.shape[:2]
    taps = site.rows[0, 0].size

    def way(out: int, into: int) -> Plan:
        out, into = _rounded(out, multiple, outputs.rank), _rounded(into, multiple, inputs.rank)
        return _priced(held, min(out, into * taps), min(into, out * taps))

    half = tail / 2
    ways = [
        way(outputs.rank_for(half), inputs.rank_for(half)),
        _priced(held, _rounded(outputs.rank_for(tail), multiple, outputs.rank), read),
        _priced(held, made, _rounded(inputs.rank_for(tail), multiple, inputs.rank)),
    ]
    return min(ways, key=lambda each: each.macs)


def _rounded(rank: int, multiple: int, most: int) -> int:
    return min(-(-rank // multiple) * multiple, most)


def _priced(held: Decomposed, outputs: int, inputs: int | None) -> Plan:
    site = held.site
    shape = site.rows.shape
    if inputs is None:
        first, core, last = outputs * shape[1], 0, shape[0] * outputs
        size = [first, last]
    else:
        first = inputs * shape[1] if inputs < shape[1] else 0
        core = outputs * inputs * math.prod(shape[2:])
        last = shape[0] * outputs if outputs < shape[0] else 0
        size = [first, core, last]
    macs = 0
    for node in site.nodes:
        before, behind = _positions(node, site)
        macs += first * (before if inputs is not None else behind) + (core + last) * behind
    return Plan(held, outputs, inputs, macs, sum(size))


def macs_of(site: Site) -> int:
    """Multiply-accumulates of the nodes as they are."""
    return sum(site.rows.size * _positions(node, site)[1] for node in site.nodes)


def _positions(node: Node, site: Site) -> tuple[int, int]:
    """At how many places the weight is read and made; symbolic dimensions count as 1, as `analysis.cost` has it."""
    made = node.output.tensor_type
    behind = max(1, made.elements() // site.rows.shape[0]) if made is not None else 1
    value = node.input(0)
    read = value.tensor_type if value is not None and isinstance(node.op, Conv) else None
    return (max(1, read.elements() // site.rows.shape[1]) if read is not None else behind), behind


def largest_energy(met: Callable[[float], bool]) -> float:
    """The smallest tail of those that meet a budget, which more of it meets the better; 1 if none does."""
    low, high = math.log(_LEAST_TAIL), 0.0
    if met(_LEAST_TAIL):
        return _LEAST_TAIL
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if met(math.exp(middle)) else (middle, high)
    return math.exp(high)


def spread(held: Sequence[Decomposed], name: str, excess: float, multiple: int) -> float:
    """The one tail for all sites at which the plans that save MACs save `excess` of `name`, macs or parameters."""

    def met(tail: float) -> bool:
        return sum(saving(plan(each, tail, multiple), name) for each in held) >= excess

    return largest_energy(met)


def saving(made: Plan, name: str) -> int:
    """How much less of `name` there is with the plan: nothing if it saves no MACs, and so is not carried out."""
    site = made.held.site
    if not made.saves:
        return 0
    return macs_of(site) - made.macs if name == "macs" else site.rows.size - made.parameters - site.added

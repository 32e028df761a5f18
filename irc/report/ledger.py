"""The ledger: what every pass of a compilation did, one row a pass."""

from __future__ import annotations

from dataclasses import dataclass, field

from irc.analysis.cost import Cost


@dataclass(frozen=True)
class DeclinedSite:
    """A place that a pass could have changed and did not."""

    node: str
    op: str
    reason: str


@dataclass(frozen=True)
class PrunedGroup:
    """What pruning did to one group of channels.

    name : the node that makes the channels first
    kind : channel, head or dim
    before, after : how many there were and are
    reason : why just these went, or why none did
    """

    name: str
    kind: str
    before: int
    after: int
    reason: str


@dataclass
class Row:
    """One pass.

    name : the pass in text form, `original` for the model as it came in
    seconds : wall time of the pass itself
    cost : nodes, parameters, bytes, MACs and peak activation memory after it
    sqnr : signal to quantization noise of the outputs against the original's, dB; None when there are no samples
    metric : what `evaluate` said after it; None when there is none
    declined : the sites that the pass left alone, and why
    notes : what else the pass has to say
    groups : the groups of channels that it pruned, or could have
    """

    name: str
    seconds: float = 0.0
    cost: Cost | None = None
    sqnr: float | None = None
    metric: float | None = None
    declined: list[DeclinedSite] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    groups: list[PrunedGroup] = field(default_factory=list)


@dataclass
class Ledger:
    """The rows of a compilation, the front end's notes first."""

    rows: list[Row] = field(default_factory=list)

    def declined(self, name: str) -> list[DeclinedSite]:
        """The sites that pass `name` declined."""
        return [s for row in self.rows if row.name.split("{")[0] == name for s in row.declined]

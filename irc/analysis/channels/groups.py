"""Groups: the units that can be removed from a graph, and what goes with each.

    Unit  ::= labels that go together, closed: a channel, a head, or one dimension of every head of a layer
    Group ::= units of one kind in the same weights, of which any number but all may be removed
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from irc.analysis.channels.arrays import Mask, compact, core, spread, varying
from irc.analysis.channels.chains import Chain, find_chains
from irc.analysis.channels.closure import Closure
from irc.analysis.channels.matrices import components, distinct_rows, is_even, matrices
from irc.analysis.channels.rules import rule_of
from irc.analysis.channels.trace import Barrier, Role, Trace, trace
from irc.graph import Graph, Use, Value
from irc.types import Array


@dataclass(frozen=True)
class Unit:
    """What is removed at once: classes of labels."""

    labels: frozenset[int]


@dataclass
class Group:
    """Units that compete with each other.

    name : of the node that makes the channels first
    kind : `channel`; `head`, a row of a block as a whole; `dim`, within the rows of a block
    units : what can be removed, one independently of the other
    rows : of `dim`, the units of each row where rows choose for themselves: the k-th of all rows go together, in any
        order of each; else empty
    roles : indices into `Channels.roles` of the weights' slices that the units stand in
    """

    name: str
    kind: str
    units: tuple[Unit, ...]
    rows: tuple[tuple[Unit, ...], ...] = ()
    roles: tuple[int, ...] = field(default=())


class Channels:
    """What can be removed from a graph.

    graph : the graph; it must not have been edited since
    labels : the label array of every labelled activation, in classes; 0 is never removed
    shapes, dims : the concrete shapes of the trace, and what symbols were bound to
    roles : how weights are tied to labels
    groups : the groups, in the order of the graph
    barriers : what keeps channels whole, and why
    chains : movements that only put channels in another order
    """

    def __init__(self, traced: Trace) -> None:
        self.trace = traced
        self.graph = traced.graph
        self.shapes = traced.concrete.shapes
        self.dims = traced.concrete.dims
        self.barriers: list[Barrier] = traced.barriers
        self.chains: list[Chain] = find_chains(traced)
        canonical = traced.labels.canonical
        self.labels: dict[Value, Array] = {value: canonical(held) for value, held in traced.of.items()}
        self.roles: list[Role] = [
            Role(value, use, canonical(each)) for (value, use), held in traced.roles.items() for each in held
        ]
        self.closure = Closure(traced.labels)
        self._matrices = matrices(self.labels, self.roles, self.closure, self.chains)

    def mask(self, value: Value, keep: Mask) -> Mask:
        """Which elements of an activation survive, in its concrete shape; of all, where it has no labels.

        keep : as `keep` gives it
        """
        held = self.labels.get(value)
        if held is None:
            return np.broadcast_to(np.True_, self.shapes[value])
        return spread(keep[core(held)], held.shape)

    def keep(self, units: Iterable[Unit]) -> Mask:
        """Of every label whether it survives when `units` are removed, and what has to go with them."""
        gone = np.zeros(self.closure.size, bool)
        self.closure.close_mask(gone, {label for unit in units for label in unit.labels})
        return ~gone[self.trace.labels.roots]

    def weight_masks(self, keep: Mask) -> dict[tuple[Value, Use | None], Mask]:
        """Which elements of each constant survive, at one use of it or (None) at all; size 1 where it is the same."""
        masks: dict[tuple[Value, Use | None], Mask] = {}
        for role in self.roles:
            held, place = keep[core(role.labels)], (role.value, role.use)
            masks[place] = held if place not in masks else masks[place] & held
        return masks

    def variants(self, value: Value, masks: Mapping[tuple[Value, Use | None], Mask]) -> list[tuple[Mask, list[Use]]]:
        """What will be left of a constant, and at which of its uses; those that no role knows read it as it is.

        masks : as `weight_masks` gives them
        """
        always = masks.get((value, None))
        found: dict[bytes, tuple[Mask, list[Use]]] = {}
        for use in value.uses:
            own = masks.get((value, use))
            tied = always if use in self.trace.followed else None
            mask = own if tied is None else tied if own is None else own & tied
            mask = np.ones((1,) * len(self.shapes[value]), bool) if mask is None or mask.all() else mask
            found.setdefault(mask.tobytes() + str(mask.shape).encode(), (mask, []))[1].append(use)
        return list(found.values())

    def moved_mask(self, value: Value, masks: Mapping[tuple[Value, Use | None], Mask]) -> Mask | None:
        """Which elements of a constant, or of one that was moved, survive at all uses; None if all do.

        masks : as `weight_masks` gives them
        """
        constant, index = self.trace.sources.get(value, (value, None))
        mask = masks.get((constant, None)) if self.trace.is_weight(value) else None
        if mask is None:
            return None
        full = spread(mask, self.shapes[constant])
        return full if index is None else full.reshape(-1)[index]

    def flaws(self, keep: Mask) -> list[Value]:
        """The values that would be no rectangle any more, or empty; those that a Gather skips left out."""
        skipped = {value for chain in self.chains for value in chain.inside}
        flawed = [v for v, held in self.labels.items() if v not in skipped and compact(held, keep) is None]
        flawed += [role.value for role in self.roles if compact(role.labels, keep) is None]
        for block in self.closure.blocks:
            if not is_even(block.matrix, ~keep):
                flawed += [v for v, held in self.labels.items() if np.isin(core(held), block.matrix).any()][:1]
        return list(dict.fromkeys(flawed))

    def slices(self, group: Group) -> list[str]:
        """The weights' slices that go with a unit of the group: `conv1.weight[0]`, the axes in brackets."""
        held: dict[str, None] = {}
        for index in group.roles:
            role = self.roles[index]
            held[f"{role.value.name}[{', '.join(map(str, varying(role.labels)))}]"] = None
        return list(held)

    # ---- groups

    @cached_property
    def groups(self) -> list[Group]:
        """The groups: heads, then channels, then dimensions."""
        kinds: dict[frozenset[int], tuple[str, int]] = {}
        for kind, first, closed in (*self._heads(), *self._channels()):
            if closed not in kinds or kind == "channel":  # rows of one block may be the channels of another
                kinds[closed] = kind, first
        found: dict[tuple[str, tuple[int, ...], frozenset[int]], dict[frozenset[int], int]] = {}
        taken: set[int] = set()
        for closed, (kind, first) in sorted(kinds.items(), key=lambda item: len(item[0])):
            if closed & taken or not self._is_even(closed):
                continue  # it contains a smaller unit, which leaves more choice; or other rows would be longer
            taken |= closed
            found.setdefault((kind, self._touched(closed), self._tensors(closed)), {}).setdefault(closed, first)
        groups = [
            Group(self._name(min(units.values())), kind, tuple(map(Unit, units)), roles=roles)
            for (kind, roles, _), units in found.items()
            if len(units) > 1
        ]
        known = {unit.labels for group in groups for unit in group.units}  # a column can be all that a row is
        groups += [group for group in self._dims() if not any(unit.labels in known for unit in group.units)]
        order = {"head": 0, "channel": 1, "dim": 2}
        return sorted(groups, key=lambda g: order[g.kind])

    def _heads(self) -> list[tuple[str, int, frozenset[int]]]:
        made = []
        for block in self.closure.blocks:
            if block.rows is None:
                continue
            for label in dict.fromkeys(block.rows.tolist()):
                closed = self.closure.close([label])
                if label and 0 not in closed:  # rows that were there before the block are channels
                    made.append(("channel" if block.aligned else "head", label, closed))
        return made

    def _is_even(self, labels: frozenset[int]) -> bool:
        """Whether all rows of which something is left keep equally many elements."""
        gone = np.zeros(self.closure.size, bool)
        gone[list(labels)] = True
        return all(is_even(self._matrices[k], gone) for k in {k for x in labels for k in self._matrices_of.get(x, ())})

    @cached_property
    def _matrices_of(self) -> dict[int, list[int]]:
        """For every class, the indices of the matrices that it stands in."""
        found: dict[int, list[int]] = {}
        for index, matrix in enumerate(self._matrices):
            for label in np.unique(matrix).tolist():
                found.setdefault(label, []).append(index)
        return found

    def _channels(self) -> list[tuple[str, int, frozenset[int]]]:
        bound = {label for matrix in self._matrices for label in np.unique(matrix).tolist()}
        for block in self.closure.blocks:
            bound |= {label for part in (block.rows, block.columns) if part is not None for label in part.tolist()}
        free = [label for label in self._role_labels if label and label not in bound]
        return [("channel", label, frozenset((label,))) for label in sorted(free)]

    def _dims(self) -> list[Group]:
        groups = []
        for matrices_ in components(self._matrices, self.closure.blocks):
            rows = distinct_rows(matrices_)
            group = self._ranked(rows) if rows is not None and not self._has_columns(matrices_) else None
            groups += [group] if group is not None else self._aligned(matrices_)
        return groups

    def _has_columns(self, held: list[Array]) -> bool:
        labels = set(np.unique(np.concatenate([m.reshape(-1) for m in held])).tolist())
        return any(
            b.columns is not None and labels & set(np.unique(b.matrix).tolist()) for b in self.closure.blocks
        )

    def _ranked(self, rows: list[Array]) -> Group | None:
        """Rows that choose for themselves: any element of one with any of another."""
        units: list[tuple[Unit, ...]] = []
        for row in rows:
            closed = [self.closure.close([label]) for label in dict.fromkeys(row.tolist())]
            if any(0 in each for each in closed) or any(a & b for k, a in enumerate(closed) for b in closed[:k]):
                return None
            units.append(tuple(map(Unit, closed)))
        if len({len(each) for each in units}) != 1 or len(units[0]) < 2:
            return None
        if any(len({self._tensors(unit.labels) for unit in row}) > 1 for row in units):
            return None  # some tensor has a part of the row only, and could be left with nothing
        together = tuple(Unit(frozenset().union(*(u.labels for u in each))) for each in zip(*units, strict=True))
        return self._dim_group(together, tuple(units))

    def _aligned(self, held: list[Array]) -> list[Group]:
        """The same column of every row goes; those that stand in the same tensors compete."""
        columns: dict[frozenset[int], None] = {}
        widest = max(held, key=lambda m: m.shape[1])
        for column in range(widest.shape[1]):
            closed = self._close_columns(held, set(widest[:, column].tolist()))
            if 0 not in closed:
                columns[closed] = None
        units = tuple(Unit(each) for each in columns if not any(each & other for other in columns if other is not each))
        together: dict[frozenset[int], list[Unit]] = {}
        for unit in units:
            together.setdefault(self._tensors(unit.labels), []).append(unit)
        groups = [self._dim_group(tuple(each), ()) for each in together.values() if len(each) > 1]
        return [group for group in groups if group is not None]

    def _close_columns(self, held: list[Array], seeds: set[int]) -> frozenset[int]:
        """Closed under blocks, and such that every row of every matrix loses equally many."""
        closed = self.closure.close(seeds)
        for _ in range(64):
            gone = np.zeros(self.closure.size, bool)
            gone[list(closed)] = True
            more: set[int] = set()
            for matrix in held:
                counts = gone[matrix].sum(1)
                if counts.min() != counts.max():
                    more |= set(matrix[:, gone[matrix].any(0)].reshape(-1).tolist())
            if not more - closed:
                break
            closed = self.closure.close(closed | more)
        return closed

    def _dim_group(self, units: tuple[Unit, ...], rows: tuple[tuple[Unit, ...], ...]) -> Group | None:
        touched = self._touched(frozenset().union(*(u.labels for u in units)))
        if not touched:
            return None
        labels = frozenset().union(*(u.labels for u in units))
        kind = "dim" if labels & self._within_rows else "channel"
        return Group(self._name(min(labels)), kind, units, rows, touched)

    @cached_property
    def _within_rows(self) -> frozenset[int]:
        """The labels of elements of heads or of groups of a convolution."""
        held = [np.unique(b.matrix) for b in self.closure.blocks if b.rows is not None]
        return frozenset(label for each in held for label in each.tolist() if label)

    @cached_property
    def _role_labels(self) -> dict[int, list[int]]:
        """For every class, the indices of the roles that it stands in."""
        found: dict[int, list[int]] = {}
        for index, role in enumerate(self.roles):
            for label in np.unique(core(role.labels)).tolist():
                found.setdefault(label, []).append(index)
        return found

    @cached_property
    def _tensors_of(self) -> Array:
        """For every class a number that stands for the activations in which it occurs."""
        made = np.zeros(self.closure.size, np.uint64)
        random = np.random.default_rng(0)
        for held in self.labels.values():
            made[np.unique(core(held))] ^= random.integers(1 << 63, dtype=np.uint64)
        return made

    def _tensors(self, labels: frozenset[int]) -> frozenset[int]:
        """What tells units apart that do not occur in the same activations: those compete in no tensor."""
        return frozenset(self._tensors_of[list(labels)].tolist())

    def _touched(self, labels: frozenset[int]) -> tuple[int, ...]:
        return tuple(sorted({index for label in labels for index in self._role_labels.get(label, ())}))

    def _name(self, label: int) -> str:
        origin = self.trace.labels.origin(label)
        return next((node.name for node, number in self.trace.number.items() if number == origin), self.graph.name)


def trace_channels(graph: Graph, dims: Mapping[str, int] | None = None) -> Channels:
    """Trace a graph's channels.

    dims : sizes of symbolic dimensions; the trace seeks some with which the graph runs if they are not given

    Raises
    ------
    DataError : the graph cannot be run on made-up inputs.
    """
    return Channels(trace(graph, rule_of, dims))


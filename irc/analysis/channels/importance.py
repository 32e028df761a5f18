"""How much a unit matters: criteria for structured pruning.

Each gives one number a unit, the larger the more it matters. Those of weights look at every slice of a weight that goes
with the unit: what makes its channels, and what reads them.

    l1, l2          sum of |w|, root of the sum of w^2            Li 2017, "Pruning Filters", section 3.1
    bn-scale        sum of |gamma| of its batch norms             Liu 2017, "Network Slimming", section 3
    lamp            w^2 / sum of all w^2 that are not smaller     Lee 2021, "Layer-adaptive Sparsity", eq. 1
    fpgm            sum of distances to the other units           He 2019, "Geometric Median", section 3.3
    taylor          E (sum of g w)^2                              Molchanov 2019, eq. 8
    hessian         1/2 sum of h w^2, h the Gauss-Newton diagonal LeCun 1990, eq. 5
    softmax         softmax(d / gamma), d the unit norms over their mean
    random          uniform
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from irc.analysis.channels.arrays import core
from irc.analysis.channels.groups import Channels, Group, Unit
from irc.analysis.channels.trace import Role
from irc.graph import Node, Value
from irc.ops.quantize import DequantizeLinear
from irc.types import Array

CRITERIA = ("l1", "l2", "bn-scale", "lamp", "fpgm", "taylor", "hessian", "softmax", "random")
FROM_DATA = ("taylor", "hessian")
_GLOBAL = ("bn-scale", "lamp", "taylor", "hessian", "random")  # comparable between groups as they are
_DIGITS = 12  # of sums of float64

Scores = Callable[[Group, Sequence[Unit]], Array]


def from_weights(channels: Channels, criterion: str, *, gamma: float = 1.0, seed: int = 0) -> Scores:
    """The criterion as a function of a group and units of it, float64, one number a unit.

    gamma : temperature of `softmax`
    seed : of `random`
    """
    by_label = _LabelSums(channels)
    random = np.random.default_rng(seed)

    def scores(group: Group, units: Sequence[Unit]) -> Array:
        if criterion == "random":
            return random.random(len(units))
        if criterion == "fpgm":
            return _distances(channels, group, units)
        if criterion == "bn-scale":
            return by_label.of(units, np.abs, [k for k in group.roles if _is_norm_scale(channels.roles[k])])
        weights = [k for k in group.roles if is_weight_role(channels.roles[k])]
        if criterion == "l1":
            return by_label.of(units, np.abs, weights)
        squares = by_label.of(units, np.square, weights)
        if criterion == "lamp":
            order = np.argsort(-squares, kind="stable")
            made = np.empty_like(squares)
            made[order] = squares[order] / np.maximum(np.cumsum(squares[order]), np.finfo(float).tiny)
            return made
        norms = np.sqrt(squares)
        if criterion == "softmax":
            raised = norms / max(norms.mean(), np.finfo(float).tiny) / gamma
            exponent = np.exp(raised - raised.max())
            return np.asarray(exponent / exponent.sum())
        return np.asarray(norms)

    return scores


def comparable(criterion: str, scores: Array) -> Array:
    """Scores that units of different groups can be ranked by: those of norms over their group's mean.

    Rounded to what they are exact to, so that groups of equal units have equal scores.
    """
    if criterion in _GLOBAL or not scores.size:
        return scores
    return np.asarray(np.round(scores / max(float(scores.mean()), np.finfo(float).tiny), _DIGITS))


def has_norm_scale(channels: Channels, group: Group) -> bool:
    """Whether there is a batch norm to judge the group's units by."""
    return any(_is_norm_scale(channels.roles[k]) for k in group.roles)


def is_weight_role(role: Role) -> bool:
    """Whether the role is of a weight that is multiplied, not of a bias, a scale or a statistic."""
    data = role.value.data
    return data is not None and data.ndim > 1


def elements_of(value: Value) -> Array:
    """The elements of a constant, float64; of stored codes what they stand for."""
    assert value.data is not None
    made = value.data.astype(np.float64)
    reader = value.users[0] if value.users else None
    if reader is None or not isinstance(reader.op, DequantizeLinear):
        return made
    scale, zero_point = reader.constant(1), reader.constant(2)
    if scale is None or scale.ndim > 1:
        return made
    sizes = [1] * made.ndim
    if scale.size > 1:
        sizes[reader.op.axis] = -1
    if zero_point is not None:
        made -= zero_point.astype(np.float64).reshape(sizes)
    return np.asarray(made * scale.astype(np.float64).reshape(sizes))


def _is_norm_scale(role: Role) -> bool:
    use = role.use
    norms = ("BatchNormalization", "InstanceNormalization", "GroupNormalization", "LayerNormalization")
    return use is not None and isinstance(use.user, Node) and use.user.op.name in norms and use.index == 1


class _LabelSums:
    """Sums over the elements of a role that carry a label, for every label, computed once."""

    def __init__(self, channels: Channels) -> None:
        self.channels = channels
        self._held: dict[tuple[int, str], Array] = {}

    def of(self, units: Sequence[Unit], function: Callable[[Array], Array], roles: Iterable[int]) -> Array:
        """For every unit the sum of `function(weight)` over its elements in the roles, each role as its labels say."""
        total = np.zeros(self.channels.closure.size)
        for index in roles:
            key = index, function.__name__
            if key not in self._held:
                role = self.channels.roles[index]
                self._held[key] = label_sums(role, function(elements_of(role.value)))
            sums = self._held[key]
            total[: sums.size] += sums
        total[0] = 0.0
        return np.array([total[list(unit.labels)].sum() for unit in units])


def label_sums(role: Role, elements: Array) -> Array:
    """Sums of a weight's elements by label, float64; index 0 is what cannot be removed."""
    held = core(role.labels)
    uniform = tuple(k for k in range(held.ndim) if held.shape[k] == 1)
    return np.bincount(held.reshape(-1), weights=elements.sum(uniform).reshape(-1))


def _distances(channels: Channels, group: Group, units: Sequence[Unit]) -> Array:
    """For every unit the sum of its distances to all others, in the weights' slices of all roles."""
    squared = np.zeros((len(units), len(units)))
    for index in group.roles:
        role = channels.roles[index]
        held = core(role.labels)
        axes = [k for k in range(held.ndim) if held.shape[k] > 1]
        if not is_weight_role(role) or len(axes) != 1:
            continue
        rows = np.moveaxis(elements_of(role.value), axes[0], 0).reshape(held.size, -1)
        labels = held.reshape(-1)
        places = [np.isin(labels, list(unit.labels)).nonzero()[0] for unit in units]
        if len({p.size for p in places}) != 1 or not places[0].size:
            continue
        vectors = np.stack([rows[p].reshape(-1) for p in places])
        norms = (vectors * vectors).sum(1)
        both = norms[:, None] + norms[None]
        apart = both - 2 * vectors @ vectors.T
        squared += np.where(apart > both * 10.0**-_DIGITS, apart, 0)  # less is rounding: they are equal
    return np.asarray(np.sqrt(squared).sum(1))

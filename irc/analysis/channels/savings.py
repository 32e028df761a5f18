"""What a graph will cost when channels are gone, without removing them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from irc.analysis.channels.arrays import Mask, compact, core
from irc.analysis.channels.groups import Channels
from irc.analysis.cost import parameters_of, stored_bytes
from irc.graph import Node, Use, Value
from irc.types import TensorType

Masks = Mapping[tuple[Value, Use | None], Mask]


@dataclass(frozen=True)
class Size:
    """Parameters, bytes of constants, and multiply-accumulates of one inference, symbols counted as traced."""

    parameters: float
    bytes: float
    macs: float


class Savings:
    """Costs a graph with channels gone.

    channels : of the graph as it is
    """

    def __init__(self, channels: Channels) -> None:
        self.channels = channels
        self._stored = {v: (parameters_of(v), stored_bytes(v)) for v in channels.graph.constants if v.use_count}
        self._counting = [node for node in channels.graph if self._macs(node, {})]

    @cached_property
    def now(self) -> Size:
        """What it costs as it is."""
        return self.size()

    def size(self, keep: Mask | None = None) -> Size:
        """What the graph costs with what `keep` says False of gone; as it is without `keep`."""
        masks = {} if keep is None else self.channels.weight_masks(keep)
        shares = self._shares(masks)
        parameters = bytes_ = 0.0
        for value, (count, stored) in self._stored.items():
            parameters += count * shares.get(value, 1.0)
            bytes_ += stored * shares.get(value, 1.0)
        shapes: dict[Value, tuple[int, ...]] = {} if keep is None else self._shapes(keep, masks)
        return Size(parameters, bytes_, float(sum(self._macs(node, shapes) for node in self._counting)))

    def _shares(self, masks: Masks) -> dict[Value, float]:
        """Of every weight the share that is left, above 1 where its uses lose different parts and become copies."""
        return {
            value: sum(float(mask.mean()) for mask, _ in self.channels.variants(value, masks))
            for value in dict.fromkeys(value for value, _ in masks)
        }

    def _shapes(self, keep: Mask, masks: Masks) -> dict[Value, tuple[int, ...]]:
        shapes = {}
        for node in self._counting:
            for value in (*node.inputs, *node.outputs):
                if value is None or value in shapes:
                    continue
                held = self.channels.labels.get(value)
                if held is not None and (left := compact(held, keep)) is not None:
                    shapes[value] = left.shape
                elif self.channels.trace.is_weight(value):
                    shapes[value] = self._weight_shape(value, masks)
        return shapes

    def _weight_shape(self, value: Value, masks: Masks) -> tuple[int, ...]:
        """The sizes that are left of a weight, rounded down where rows lose different elements."""
        whole = self.channels.moved_mask(value, masks)
        if whole is None:
            return self.channels.shapes[value]
        mask = core(whole)
        sizes = [int(mask.any(tuple(a for a in range(mask.ndim) if a != k)).sum()) for k in range(mask.ndim)]
        if mask.ndim > 1 and 0 < mask.sum() < np.prod(sizes):  # rows that differ: as many columns as each row has
            sizes[1] = max(int(mask.sum() // (np.prod(sizes) // sizes[1])), 1)
        return tuple(n if m == 1 else k for n, m, k in zip(whole.shape, mask.shape, sizes, strict=True))

    def _macs(self, node: Node, shapes: Mapping[Value, tuple[int, ...]]) -> int:
        def type_of(value: Value | None) -> TensorType | None:
            type = None if value is None else value.tensor_type
            if type is None or value is None or value not in self.channels.shapes:
                return type
            return TensorType(type.dtype, shapes.get(value, self.channels.shapes[value]))

        return int(node.op.macs([type_of(v) for v in node.inputs], [type_of(v) for v in node.outputs]))

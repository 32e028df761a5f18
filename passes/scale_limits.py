"""What the scales of weights must not fall below: `calibrate` keeps to it, and training must not undo that.

scale[c] >= largest sum of neighbours / limit       where the target adds products in 16 bits (saturation)
scale[c] >= |bias[c]| / (data scale * 2^30)         the bias fits an int32
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from irc.analysis.saturation import LARGEST_ADDED, largest_sums, sum_limit
from irc.graph import Graph, Node, Value
from irc.op import QuantKind
from irc.ops.fake_quant import FakeQuant
from irc.target import QuantPolicy
from irc.types import Array

BIAS_LIMIT = 2.0**30  # of an int32 bias, with room for correct-bias
_SLACK = 1 + 1e-5  # rounding of the scale to float32


def scale_against_saturation(user: Node, weight: Array, policy: QuantPolicy) -> Array:
    """The scale of each output channel that keeps what the target adds in 16 bits from saturating; shape (out,)."""
    products = policy.adds_in_16_bits(user.op, weight.shape)
    return largest_sums(user, weight, products, by_rows=policy.adds_by_rows) / sum_limit(products)


def scale_for_bias(bias: Array, data_scale: float, shape: tuple[int, ...]) -> Array:
    """The scales of a weight, of this shape, that let the bias fit an int32.

    One for each output channel, one for all, or one for each group's same channel.
    """
    needed = np.abs(bias) / (data_scale * BIAS_LIMIT)
    if not shape or needed.size % shape[0]:
        return np.asarray(needed.max(initial=0))
    return np.asarray(needed.reshape(-1, shape[0]).max(axis=0))


def reads_weight(user: Node, value: Value) -> bool:
    """Whether a contraction has the value for its weight."""
    weight = user.op.quant.weight
    return user.op.quant.kind is QuantKind.CONTRACTION and weight is not None and user.input(weight) is value


class ScaleLimits:
    """Holds the trained scales of weights to the limits that they kept before the training."""

    def __init__(
        self, graph: Graph, trained: Mapping[Value, nn.Parameter], tied: Mapping[Value, Value], policy: QuantPolicy
    ) -> None:
        self.trained = trained
        self.tied = tied
        self.policy = policy
        self.kept: list[tuple[nn.Parameter, Callable[[], Array]]] = []
        for node in graph.walk():
            scale = node.input(1) if isinstance(node.op, FakeQuant) else None
            weight = node.input(0)
            if scale is None or weight is None or not weight.is_constant or scale not in trained:
                continue
            for user in node.output.users:
                if reads_weight(user, node.output):
                    self._keep(trained[scale], self._saturation(user, node, weight))
                    self._keep(trained[scale], self._bias(user, trained[scale]))

    def hold(self) -> None:
        """Raise the scales that training has brought too low."""
        with torch.no_grad():
            for parameter, needed in self.kept:
                least = torch.from_numpy(np.asarray(needed(), np.float32))
                parameter.copy_(torch.maximum(parameter, least.to(parameter.dtype)))

    def _keep(self, parameter: nn.Parameter, needed: Callable[[], Array] | None) -> None:
        if needed is not None and (needed() <= parameter.detach().numpy() * _SLACK).all():
            self.kept.append((parameter, needed))

    def _saturation(self, user: Node, node: Node, weight: Value) -> Callable[[], Array] | None:
        assert isinstance(node.op, FakeQuant)
        if node.op.qmax > LARGEST_ADDED:
            return None
        axis = node.op.axis

        def needed() -> Array:
            each = scale_against_saturation(user, self._now(weight), self.policy)
            return each if axis is not None else np.asarray(each.max(initial=0))

        return needed

    def _bias(self, user: Node, scale: nn.Parameter) -> Callable[[], Array] | None:
        quant = user.op.quant
        bias = user.input(quant.bias) if quant.bias is not None else None
        source = user.input(quant.data[0])
        maker = source.producer if source is not None else None
        data = maker.input(1) if maker is not None and isinstance(maker.op, FakeQuant) else None
        if bias is None or not bias.is_constant or data is None or not data.is_constant:
            return None
        return lambda: scale_for_bias(self._now(bias), float(self._now(data)), tuple(scale.shape))

    def _now(self, value: Value) -> Any:
        """A constant as it is while training."""
        if value in self.tied:
            return self._now(self.tied[value]).T
        held = self.trained.get(value)
        return value.data if held is None else held.detach().numpy()

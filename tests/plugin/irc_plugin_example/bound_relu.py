"""A bound on activations, so that a few large ones do not spread the int8 scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from irc.ops.activation import Clip, Relu
from irc.passes.base import LOSSY, Declined, Outcome, Rewrite, option

if TYPE_CHECKING:
    from irc.graph import Node
    from irc.passes.context import Context


@dataclass(frozen=True)
class BoundRelu(Rewrite):
    """Replace Relu by Clip, as ReLU6 does (Krizhevsky 2010).

        Relu(x)  ->  Clip(x, 0, maximum)

    Lossy: activations above the maximum are cut.
    """

    numerics = LOSSY

    maximum: float = option(6.0, help="the largest activation left")

    def rewrite(self, node: Node, context: Context) -> Outcome:
        if not isinstance(node.op, Relu):
            return None
        type = node.output.tensor_type
        if type is None or not type.dtype.is_float:
            return Declined("its output is not known to be floating-point")
        low, high = (node.graph.add_constant(np.array(bound, type.dtype.numpy)) for bound in (0, self.maximum))
        clip = node.graph.insert(Clip(), [node.inputs[0], low, high], after=node, name=node.name)
        node.graph.replace(node, [clip.output])
        return True

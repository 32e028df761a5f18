"""Identities, no-ops and shape arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from irc.graph import Graph, Node
from irc.op import Op
from irc.passes.base import Outcome, Pass, sweep, within
from irc.passes.simplify_rules import casts, clamps, contractions, elementwise, movement, sequences
from irc.passes.simplify_rules.rule import Rule
from irc.passes.simplify_rules.shape_arithmetic import simplify_shapes

if TYPE_CHECKING:
    from irc.passes.context import Context

_MODULES = (casts, clamps, contractions, elementwise, movement, sequences)
RULES: dict[type[Op], tuple[Rule, ...]] = {
    cls: tuple(rule for module in _MODULES for rule in module.RULES.get(cls, ()))
    for cls in dict.fromkeys(cls for module in _MODULES for cls in module.RULES)
}


@dataclass(frozen=True)
class Simplify(Pass):
    """Replace computations by equal simpler ones: identities, no-ops, and shapes that the types already say.

        x + 0 = x      Transpose(Transpose(x)) = Transpose(x)      Clip(Relu(x), 0, 6) = Clip(x, 0, 6)
        Shape(x : [N, 3])[1] = 3      Reshape(x : [N, 3, 8], (N, 24)) = Reshape(x, [0, 24])

    Each rule stands with its algebra in `passes/simplify_rules`: `elementwise`, `movement`, `casts`, `clamps`,
    `contractions`, `sequences`, `shape_arithmetic`. Valid by that algebra; where it holds only for some shapes or
    dtypes, the types must say so. Within 1e-6: all rules are exact but those that let a product add its bias, which
    rounds once where MatMul and Add round twice. A symbolic dimension stays symbolic. What nothing reads any more stays
    for `eliminate-dead`.
    """

    numerics = within(1e-6)

    def run(self, graph: Graph, context: Context) -> None:
        simplify_shapes(graph)
        sweep(graph, _simplify, context)


def _simplify(node: Node, context: Context) -> Outcome:
    for rule in RULES.get(type(node.op), ()):
        if rule(node):
            return True
    return None

"""The table of what the C backend can run: one rule for each class of op.

    @lowers(QConv)
    def lower_conv(b: Builder, node: Node) -> None: ...

A rule adds the steps that compute a node's outputs.
"""

from __future__ import annotations

from collections.abc import Callable

from irc.backends.c.lowering.builder import Builder
from irc.graph import Node
from irc.op import Op

Rule = Callable[[Builder, Node], None]

RULES: dict[type[Op], Rule] = {}
OUTPUTS: dict[type[Op], int] = {}


def lowers(*classes: type[Op], outputs: int = 1) -> Callable[[Rule], Rule]:
    """Enter a rule in the table.

    outputs : how many of a node's outputs the rule can compute; a node of which more are used is missing
    """

    def enter(rule: Rule) -> Rule:
        for each in classes:
            RULES[each] = rule
            OUTPUTS[each] = outputs
        return rule

    return enter


def has_rule(node: Node) -> bool:
    """Whether there is a rule that computes all that is used of the node."""
    wanted = max((i + 1 for i, v in enumerate(node.outputs) if v.use_count), default=0)
    return type(node.op) in RULES and wanted <= OUTPUTS[type(node.op)]

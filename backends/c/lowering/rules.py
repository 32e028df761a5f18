"""The table of what the C backend can run: one rule for each op.

    @lowers(QConv)
    def lower_conv(b: Builder, node: Node) -> None: ...

    Key ::= class of a typed op | (domain, name) of an OnnxOp

A rule adds the steps that compute a node's outputs.
"""

from __future__ import annotations

from collections.abc import Callable

from irc.backends.c.lowering.builder import Builder
from irc.backends.c.lowering.expressions import C_TYPES
from irc.graph import Graph, Node
from irc.op import Op
from irc.ops.index import Concat
from irc.ops.onnx_op import OnnxOp

Rule = Callable[[Builder, Node], None]
Key = type[Op] | tuple[str, str]

RULES: dict[Key, Rule] = {}
OUTPUTS: dict[Key, int] = {}


def key_of(op: Op) -> Key:
    """What the op stands under in the table."""
    return (op.domain, op.name) if isinstance(op, OnnxOp) else type(op)


def lowers(*keys: Key, outputs: int = 1) -> Callable[[Rule], Rule]:
    """Enter a rule in the table.

    outputs : how many of a node's outputs the rule can compute; a node of which more are used is missing
    """

    def enter(rule: Rule) -> Rule:
        for key in keys:
            RULES[key] = rule
            OUTPUTS[key] = outputs
        return rule

    return enter


def has_rule(node: Node) -> bool:
    """Whether there is a rule that computes all that is used of the node, in element types that C has."""
    key = key_of(node.op)
    wanted = max((i + 1 for i, v in enumerate(node.outputs) if v.use_count), default=0)
    values = [v for v in (*node.inputs, *node.outputs) if v is not None and v.use_count]
    known = all(v.tensor_type is None or v.tensor_type.dtype in C_TYPES for v in values)
    return key in RULES and wanted <= OUTPUTS[key] and known


def lower_nodes(b: Builder, graph: Graph) -> None:
    """Apply the rules to the nodes of a graph in order, save those of which an earlier rule has taken care."""
    for node in graph:
        # a Concat has memory as soon as one of its parts is computed, and its rule is yet to copy the others there
        if isinstance(node.op, Concat) or not all(b.is_made(v) for v in node.outputs if v.use_count):
            RULES[key_of(node.op)](b, node)

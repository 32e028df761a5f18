"""Which layers a C target runs in integers: what `lower-to-integer` made of each, and why it left the others float.

quantized graph --candidates--> Conv, Add, ... --lower-to-integer--> integer ops, or the same nodes still in float
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from irc.backends.onnx.fusion import FusedNode, FusionReport
from irc.graph import Graph, Node
from irc.op import QuantKind
from irc.report.ledger import DeclinedSite
from irc.target import Target
from irc.types import DType

_QDQ = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class IntegerReport(FusionReport):
    """What became of the layers of a model in C, as `FusionReport` says it of onnxruntime.

    nodes : contractions, and arithmetic that the target could run as integer, bodies' too
    left : QuantizeLinear and DequantizeLinear nodes that still run, at the graph's ends and elsewhere
    """

    def counts(self) -> dict[str, tuple[int, int]]:
        """For each operator, in the graph's order: how many run as integer, of how many."""
        whole, integer = Counter(n.op for n in self.nodes), Counter(n.op for n in self.nodes if n.integer)
        return {op: (integer[op], of) for op, of in whole.items()}

    def summary(self) -> str:
        """`49 of 49 Conv, 9 of 9 Add, 1 of 1 Gemm run as integer in C`, and the Q/DQ left over."""
        parts = ", ".join(f"{done} of {of} {op}" for op, (done, of) in self.counts().items())
        return (
            f"{parts or 'no quantizable node'} run as integer in C; Quantize/DequantizeLinear left: "
            f"{self.left_at_ends} at the graph's ends, {self.left_inside} inside"
        )


def candidates(graph: Graph, target: Target) -> list[tuple[Node, str]]:
    """The nodes that could run as integer, each with the name of its op, which lowering changes."""
    return [(node, node.op.name) for node in graph.walk() if _is_candidate(node, target)]


def _is_candidate(node: Node, target: Target) -> bool:
    kind, type = node.op.quant.kind, node.output.tensor_type
    if kind is QuantKind.ARITHMETIC:
        return target.policy.runs_integer(node.op) and type is not None and type.dtype.is_float
    return kind is QuantKind.CONTRACTION


def integer_report(
    graph: Graph, target: Target, found: Sequence[tuple[Node, str]], declined: Sequence[DeclinedSite]
) -> IntegerReport:
    """What became of the candidates `found` in a graph that `lower-to-integer` has gone over.

    declined : the sites that the pass left alone
    """
    reasons = {(site.node, site.op): site.reason for site in declined}
    nodes = []
    for node, op in found:
        integer = _is_integer(node)
        reason = "" if integer else reasons.get((node.name, node.op.title)) or _reason(node, target)
        nodes.append(FusedNode(node.name, op, integer, reason))
    left = [node for node in graph.walk() if node.op.name in _QDQ]
    ends = sum(node.input(0) in graph.inputs or node.output.is_output for node in left)
    return IntegerReport(nodes, ends, len(left) - ends)


def _is_integer(node: Node) -> bool:
    """Whether it is an integer op, moves codes, or is gone: part of another's requantization."""
    if node.removed or node.op.domain == "irc":
        return True
    type = node.output.tensor_type
    return type is not None and type.dtype is DType.U8


def _reason(node: Node, target: Target) -> str:
    if not target.policy.runs_integer(node.op):
        return f"{node.op.title} has no integer kernel for target '{target.name}'"
    for index, value in enumerate(node.inputs[: 2 if node.op.quant.kind is QuantKind.CONTRACTION else None]):
        maker = value.producer if value is not None else None
        if value is not None and not value.is_constant and (maker is None or maker.op.name != "DequantizeLinear"):
            return f"input {index} ('{value.name}') is not quantized"
    return "its inputs or its result are not quantized"

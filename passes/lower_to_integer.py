"""Compute quantized layers in integers: FakeQuant or Q/DQ to the integer ops of domain `irc`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from irc.graph import Graph, Node
from irc.passes.base import LOSSY, Declined, Outcome, Pass
from irc.passes.context import Context
from irc.passes.edit import remove_dead
from irc.passes.integer_rules.arithmetic import lower_arithmetic
from irc.passes.integer_rules.contraction import lower_contraction
from irc.passes.integer_rules.embedding import lower_embedding
from irc.passes.integer_rules.lookup import lift_quantize, lower_function
from irc.passes.integer_rules.movement import sink_dequantize
from irc.passes.integer_rules.product import lower_product
from irc.passes.integer_rules.signed import unsigned_fake_quants, unsigned_quantizers
from irc.passes.qdq import lower_fake_quant

Rule = Callable[[Node], Outcome]


@dataclass(frozen=True)
class LowerToInteger(Pass):
    """Replace what stands between dequantization and quantization by integer ops, as C targets run them.

    FakeQuants become QuantizeLinear and DequantizeLinear first; a model that has these already, uint8 or int8, is taken
    as it is. Then, with DQ and Q for them:

        op(DQ(c))                                   ->  DQ(op(c))           op moves or selects elements
        Q(clamp(Conv(DQ(x), DQ(w), b) + DQ(r)))     ->  QConv(x, w, r)      also Gemm and MatMul: QMatMul
        Q(clamp(MatMul(DQ(a), DQ(b))))              ->  QBatchMatMul(a, b)
        Q(clamp(DQ(a) + DQ(b)))                     ->  QAdd(a, b)          also -, *, means
        Q(f(DQ(c)))                                 ->  QLookup(c, table)   f any function of one code
        Gather(DQ(table), i), one scale a row       ->  Gather(codes, i) * Gather(scales, i)

    A contraction whose result is read as float gives float. What stays of Q and DQ stands where integers meet floats.
    Valid because each rewrite computes what it replaces, with one rounding in float32 where there were several: codes
    move by at most one, and rarely. Lossy all the same, because no bound holds for what a deep network makes of that.
    Run it last: other passes do not know the integer ops.
    """

    numerics = LOSSY
    after = ("insert-fake-quant", "calibrate", "optimize-rounding", "correct-bias", "quantize")

    def run(self, graph: Graph, context: Context) -> None:
        unsigned_fake_quants(graph)
        lower_fake_quant(graph, replace(context.target.policy, float_bias=True))
        unsigned_quantizers(graph)
        _rewrite(graph, (sink_dequantize, lift_quantize))  # first, so that the others find Q and DQ next to them
        for node, reason in _rewrite(graph, RULES).items():
            context.decline(node, reason)
        _clean(graph)


RULES: tuple[Rule, ...] = (
    sink_dequantize,
    lift_quantize,
    lower_contraction,
    lower_product,
    lower_arithmetic,
    lower_function,
    lower_embedding,
)


def _rewrite(graph: Graph, rules: tuple[Rule, ...]) -> dict[Node, str]:
    """Apply the rules to every node until nothing changes; why those that still stand were declined.

    It ends, as each rewrite removes a Q or DQ, makes an integer op, or moves a DQ down or a Q up.
    """
    changed = True
    while changed:
        changed, declined = False, dict[Node, str]()
        for inner in list(graph.graphs()):
            if _is_opaque(inner):
                continue
            for node in list(inner):  # a list, as a contraction moves behind the residual that it adds
                outcome = None if node.removed else _first(node, rules)
                if isinstance(outcome, Declined):
                    declined[node] = outcome.reason
                changed = changed or outcome is True
    return declined


def _first(node: Node, rules: tuple[Rule, ...]) -> Outcome:
    """What the first rule says that has something to say about the node."""
    for rule in rules:
        outcome = rule(node)
        if outcome is not None:
            return outcome
    return None


def _is_opaque(graph: Graph) -> bool:
    """Whether the graph is in the body of a Loop or Scan, which onnxruntime runs whole."""
    while graph.parent is not None:
        if graph.parent.op.name in ("Loop", "Scan"):
            return True
        graph = graph.parent.graph
    return False


def _clean(graph: Graph) -> None:
    """Remove what nothing reads: quantizers whose result was taken over, and float weights."""
    for inner in list(graph.graphs()):
        for node in list(reversed(inner)):
            if node.op.name in ("QuantizeLinear", "DequantizeLinear"):
                remove_dead(node)
        for value in inner.constants:
            if not value.uses:
                inner.remove_constant(value)

"""Graph to Program."""

from __future__ import annotations

from collections.abc import Mapping

import irc.backends.c.lowering  # noqa: F401  # fills the table of rules
from irc.backends.c.fusion import IntegerReport, candidates, integer_report
from irc.backends.c.lowering.builder import Builder
from irc.backends.c.lowering.rules import has_rule, lower_nodes
from irc.backends.c.program import Program
from irc.backends.c.specialize import specialize
from irc.errors import BackendError
from irc.graph import Graph, Node
from irc.ops.shape import Identity
from irc.passes.context import Context
from irc.passes.options import parse_pipeline
from irc.report.ledger import Row
from irc.target import Target
from irc.types import DType
from irc.verify import verify

_CLEAN = "fold-constants{widen=true}, simplify, common-subexpressions, eliminate-dead"


def legalize(graph: Graph, target: Target, dims: Mapping[str, int] | None = None) -> Graph:
    """A copy of the graph in the ops that the C backend runs: integer ops where it is quantized, float ops elsewhere.

    dims : sizes of the inputs' symbolic dimensions, 1 for those not given

    Raises
    ------
    OptionError, BackendError : see `specialize`.
    """
    return legalize_and_report(graph, target, dims)[0]


def legalize_and_report(
    graph: Graph, target: Target, dims: Mapping[str, int] | None = None
) -> tuple[Graph, IntegerReport]:
    """The same, and which layers run as integer."""
    made = graph.copy()
    specialize(made, dims or {})
    context = Context(target, graph)
    _run(_CLEAN, made, context)
    found = candidates(made, target)
    row = _run("lower-to-integer", made, context)
    report = integer_report(made, target, found, row.declined)
    _run(_CLEAN, made, context)
    if not len(made):
        _give_nodes(made)
    verify(made)
    return made, report


def _run(passes: str, graph: Graph, context: Context) -> Row:
    """Run the passes; the row of the last."""
    for each in parse_pipeline(passes):
        context.row = Row(each.pass_name())
        each.run(graph, context)
    return context.row


def missing_early(graph: Graph, target: Target, dims: Mapping[str, int] | None = None) -> list[Node]:
    """What `lower` would refuse whatever quantization makes of the rest, found before passes spend minutes.

    Raises
    ------
    OptionError, BackendError : see `specialize`.
    """
    made = graph.copy()
    specialize(made, dims or {})
    _run(_CLEAN, made, Context(target, graph))
    return [node for node in missing(made) if not (target.takes(node.op) and _may_become_integer(node))]


def _may_become_integer(node: Node) -> bool:
    """Whether quantization could help: it is of float32, and nobody reads more than its first output."""
    types = [value.tensor_type for value in (*node.inputs, node.output) if value is not None]
    floats = [type.dtype for type in types if type is not None and type.dtype.is_float]
    return all(dtype is DType.F32 for dtype in floats) and not any(v.uses or v.is_output for v in node.outputs[1:])


def _give_nodes(graph: Graph) -> None:
    """Let a node that can be lowered stand for each output: of a graph without any they are inputs or constants."""
    for index, value in enumerate(graph.outputs):
        graph.set_output(index, graph.insert(Identity(), [value]).output)


def lower(graph: Graph) -> Program:
    """The program of a legalized graph of static shapes.

    Raises
    ------
    BackendError : it has nodes that there is no rule for; the text names them.
    """
    refuse(missing(graph))
    builder = Builder(graph)
    lower_nodes(builder, graph)
    return builder.finish()


def missing(graph: Graph) -> list[Node]:
    """The nodes that no rule covers; those of branches too."""
    found = []
    for node in graph:
        if not has_rule(node):
            found.append(node)
        else:
            found += [inner for body in node.bodies.values() for inner in missing(body)]
    return found


def refuse(nodes: list[Node]) -> None:
    """Raise the error that names these nodes, if there are any."""
    if not nodes:
        return
    shown = ", ".join(repr(n) for n in nodes[:8]) + (f" and {len(nodes) - 8} more" if len(nodes) > 8 else "")
    raise BackendError(
        f"the C backend has no kernel for {shown}; compile for target 'onnx' instead, or cut the model so that these "
        "run elsewhere"
    )

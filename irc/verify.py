"""The rules that every graph keeps, and the check of them that the pipeline makes after every pass.

    RULES  ::= name -> rule;   rule ::= (Nest) -> its violations, one text each
    Nest   ::= a graph and all bodies within it, each with its nodes in order

A rule may rely on those above it: the first one that is violated ends the check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

from irc.errors import GraphError, VerifyError
from irc.graph import Graph, Node, Use, Value
from irc.ops.onnx_op import OnnxOp
from irc.signature import OWN_DOMAIN, arity, compatible, inferred_types, span
from irc.types import AnyDType, DType, TensorType


def verify(graph: Graph, *, types: bool = True) -> None:
    """Check the whole nest of `graph` against every rule.

    types : whether to infer the types of the typed ops anew and compare them with the stated ones

    Raises
    ------
    VerifyError : a rule is broken; the text names the rule, the node and the value.
    """
    for problem in problems(graph, types=types):
        raise VerifyError(problem)


def problems(graph: Graph, *, types: bool = True) -> Iterator[str]:
    """All violations of the first rule that is broken, as `verify` would word them; none in a well formed graph."""
    nest = Nest(graph.root)
    for name, rule in RULES.items():
        if name == "types" and not types:
            continue
        broken = False
        for problem in rule(nest):
            broken = True
            yield f"{problem} (rule '{name}')"
        if broken:
            return


class Scope(NamedTuple):
    """One graph of the nest and its nodes in order."""

    graph: Graph
    nodes: list[Node]


class Nest:
    """The scopes of a nest, outermost first; filled by the first rule, which proves that one can walk them."""

    def __init__(self, root: Graph) -> None:
        self.root = root
        self.scopes: list[Scope] = []


# ---- the rules, in the order in which they are checked


def _chain(nest: Nest) -> Iterator[str]:
    """Nodes are linked both ways, positions grow strictly, and each stands in its graph's table under its name."""
    pending = [nest.root]
    for graph in pending:
        nodes: list[Node] = []
        previous, node = None, graph._order.first
        while node is not None:
            if node.preceding is not previous:
                yield f"{node!r}: the node before it is not the one it is linked to"
                return
            if previous is not None and previous.position >= node.position:
                yield f"{node!r}: stands behind {previous!r} but its position does not"
                return
            if node.removed or node.graph is not graph or graph._nodes.get(node.name) is not node:
                yield f"{node!r}: is linked into graph '{graph.name}' but is not one of its nodes"
                return
            nodes.append(node)
            pending.extend(node.bodies.values())
            previous, node = node, node.following
        if graph._order.last is not previous:
            yield f"graph '{graph.name}': its last node is not the last that is linked into it"
            return
        if len(graph._nodes) != len(nodes):
            yield f"graph '{graph.name}': lists {len(graph._nodes)} nodes, but {len(nodes)} are linked into it"
            return
        nest.scopes.append(Scope(graph, nodes))


def _bodies(nest: Nest) -> Iterator[str]:
    """A body knows the node that owns it, and If and Loop have the bodies, inputs and outputs that ONNX asks for."""
    if nest.root.parent is not None:
        yield f"graph '{nest.root.name}': the outermost graph has a parent"
    for _, nodes in nest.scopes:
        for node in nodes:
            if node.bodies or node.op.name in _BODIES:
                yield from _bodies_of(node, nest.root)


_BODIES = {"If": ("then_branch", "else_branch"), "Loop": ("body",), "Scan": ("body",)}


def _bodies_of(node: Node, root: Graph) -> Iterator[str]:
    for key, body in node.bodies.items():
        if body.parent is not node:
            yield f"{node!r}: its body '{key}' belongs to {body.parent!r}"
        elif body.info is not root.info:
            yield f"{node!r}: its body '{key}' does not share the model's info"
    wanted = _BODIES.get(node.op.name, ()) if not node.op.domain else ()
    for key in wanted:
        if key not in node.bodies:
            yield f"{node!r}: has no body '{key}'"
            return
    if wanted and node.op.name != "Scan":
        extra_in, extra_out = (2, 1) if node.op.name == "Loop" else (0, 0)
        takes = max(len(node._inputs), 2) if node.op.name == "Loop" else 0
        for key in wanted:
            body = node.bodies[key]
            if node.op.name == "If" and body._inputs:
                yield f"{node!r}: its body '{key}' has {len(body._inputs)} inputs; a branch has none"
            if len(body._outputs) != len(node.outputs) + extra_out:
                yield (
                    f"{node!r}: its body '{key}' has {len(body._outputs)} outputs, "
                    f"{len(node.outputs) + extra_out} were expected"
                )
            if extra_in and len(body._inputs) < takes:
                yield f"{node!r}: its body '{key}' has {len(body._inputs)} inputs, {takes} were expected"


def _values(nest: Nest) -> Iterator[str]:
    """Every value is an input, a constant or an output of its producer, and knows which."""
    for graph, nodes in nest.scopes:
        table = graph._values
        count = len(graph._inputs) + len(graph._constants)
        for node in nodes:
            count += len(node.outputs)
            for index, value in enumerate(node.outputs):
                if value.producer is not node or value.index != index:
                    yield f"{node!r}: its output {index}, value '{value.name}', says {value.producer!r} made it"
                if value._data is not None:
                    yield f"{node!r}: its output '{value.name}' carries constant data"
                if value.graph is not graph or table.get(value.name) is not value:
                    yield f"{node!r}: its output '{value.name}' is not a value of graph '{graph.name}'"
        for value in (*graph._inputs, *graph._constants):
            if value.producer is not None:
                yield f"value '{value.name}': is an input or constant, yet produced by {value.producer!r}"
            if value.graph is not graph or table.get(value.name) is not value:
                yield f"value '{value.name}': is not in the table of graph '{graph.name}' that lists it"
        if count != len(table):
            known = {*graph._inputs, *graph._constants, *(v for n in nodes for v in n.outputs)}
            stray = [name for name, value in table.items() if value not in known]
            yield f"graph '{graph.name}': values {stray[:3]} are neither inputs, constants nor any node's output"
        for value in graph.defaults:
            if value not in graph._inputs:
                yield f"value '{value.name}': has a default but is not an input of graph '{graph.name}'"


def _names(nest: Nest) -> Iterator[str]:
    """A value's name is not empty and belongs to no other value of the nest; nor does an output's name, of outputs."""
    seen: dict[str, Value] = {}
    for graph, _ in nest.scopes:
        for name, value in graph._values.items():
            if not name or value.name != name:
                yield f"value '{value.name}': is called '{name}' in graph '{graph.name}'"
            other = seen.setdefault(name, value)
            if other is not value:
                yield f"value '{name}': is defined in graph '{graph.name}' and in graph '{other.graph.name}'"
    given: dict[str, Value] = {}
    for name, value in zip(nest.root._output_names, nest.root._outputs, strict=True):
        if given.setdefault(name, value) is not value:
            yield f"graph '{nest.root.name}': output '{name}' is both value '{given[name].name}' and '{value.name}'"


def _constants(nest: Nest) -> Iterator[str]:
    """A constant has data, and its type is the data's."""
    for graph, _ in nest.scopes:
        for value in graph._constants:
            data, type = value._data, value._type
            if data is None:
                yield f"constant '{value.name}': has no data"
            elif not isinstance(type, TensorType) or _dtype(data.dtype) is not type.dtype or data.shape != type.shape:
                yield f"constant '{value.name}': is stated as {type}, its data is {data.dtype}{list(data.shape)}"
        for value, default in graph.defaults.items():
            stated = value.tensor_type
            if stated is not None and _dtype(default.dtype) is not stated.dtype:
                yield f"value '{value.name}': is stated as {stated}, its default is {default.dtype}"


@cache
def _dtype(dtype: AnyDType) -> DType | None:
    try:
        return DType.of_numpy(dtype)
    except KeyError:
        return None


def _outputs(nest: Nest) -> Iterator[str]:
    """A graph has outputs, each with a name, and each is a value that the graph can see."""
    if not nest.root._outputs:
        yield f"graph '{nest.root.name}': has no output"
    for graph, _ in nest.scopes:
        if len(graph._outputs) != len(graph._output_names):
            named = len(graph._output_names)
            yield f"graph '{graph.name}': has {len(graph._outputs)} outputs and {named} names for them"
        for value, name in zip(graph._outputs, graph._output_names, strict=False):
            if not name:
                yield f"graph '{graph.name}': its output, value '{value.name}', has no name"
            problem = _invisible(value, graph, None)
            if problem:
                yield f"graph '{graph.name}': its output '{name}', value '{value.name}', {problem}"


def _dominance(nest: Nest) -> Iterator[str]:
    """A node reads what is defined before it; in a body also what is defined before the node that owns the body."""
    for graph, nodes in nest.scopes:
        table = graph._values
        for node in nodes:
            for index, value in enumerate(node._inputs):
                if value is None:
                    continue
                producer = value.producer
                own = value.graph is graph and table.get(value._name) is value
                if own and (producer is None or producer.position < node.position):
                    continue  # the common case, without a call
                problem = _invisible(value, graph, node)
                if problem:
                    yield f"{node!r}: its input {index}, value '{value.name}', {problem}"


def _invisible(value: Value, graph: Graph, node: Node | None) -> str:
    """Why `graph`, at `node` or at its end, cannot read `value`; empty if it can."""
    if value.graph._values.get(value._name) is not value:
        return "has been removed from its graph"
    while value.graph is not graph:
        if graph.parent is None:
            return f"belongs to graph '{value.graph.name}', which is not around it"
        node = graph.parent
        graph = node.graph
    if value.producer is not None and node is not None and value.producer.position >= node.position:
        return f"is computed by {value.producer!r}, which does not come before {node!r}"
    return ""


def _def_use(nest: Nest) -> Iterator[str]:
    """Every read is in the uses of the value that is read, and every use is a read."""
    reads = 0
    for graph, nodes in nest.scopes:
        for node in nodes:
            for index, value in enumerate(node._inputs):
                if value is not None:
                    reads += 1
                    if (node, index) not in value._uses:
                        yield f"{node!r}: reads '{value.name}' as input {index}, which is not among the value's uses"
        for index, value in enumerate(graph._outputs):
            reads += 1
            if (graph, index) not in value._uses:
                yield f"graph '{graph.name}': gives '{value.name}' out, which is not among the value's uses"
    # every read is a use; so if the numbers agree, every use is a read
    if reads != sum(len(value._uses) for graph, _ in nest.scopes for value in graph._values.values()):
        yield from (
            f"value '{value.name}': its uses name {use.user!r}, input {use.index}, which does not read it"
            for graph, _ in nest.scopes
            for value in graph._values.values()
            for use in value._uses
            if not _reads(use, value, nest)
        )


def _reads(use: Use, value: Value, nest: Nest) -> bool:
    read = use.user._inputs if isinstance(use.user, Node) else use.user._outputs
    graph = use.user.graph if isinstance(use.user, Node) else use.user
    alive = not (isinstance(use.user, Node) and use.user.removed) and any(s.graph is graph for s in nest.scopes)
    return alive and use.index < len(read) and read[use.index] is value


def _domains(nest: Nest) -> Iterator[str]:
    """The domain of every op is among the model's opset imports."""
    known = {domain or "ai.onnx" for domain in nest.root.info.opsets} | {OWN_DOMAIN}
    for _, nodes in nest.scopes:
        for node in nodes:
            if (node.op.domain or "ai.onnx") not in known:
                yield f"{node!r}: domain '{node.op.domain or 'ai.onnx'}' is not imported: add it to graph.info.opsets"


def _arity(nest: Nest) -> Iterator[str]:
    """A node has as many inputs and outputs as its op's schema allows, and no required input is left out."""
    for _, nodes in nest.scopes:
        for node in nodes:
            op = node.op
            takes = arity(op, nest.root.info.opsets.get(op.domain, 0))
            if takes is None:
                continue
            inputs, outputs = len(node._inputs), len(node.outputs)
            if not takes.least <= inputs <= takes.most:
                yield f"{node!r}: has {inputs} inputs; {op.title} takes {span(takes.least, takes.most)}"
            elif None in node._inputs[: takes.least]:
                for index in range(takes.least):
                    if node._inputs[index] is None and index in takes.required:
                        yield f"{node!r}: its input {index} is left out, but {op.title} requires it"
            if not takes.least_outputs <= outputs <= takes.most_outputs:
                wanted = span(takes.least_outputs, takes.most_outputs)
                yield f"{node!r}: has {outputs} outputs; {op.title} gives {wanted}"


def _types(nest: Nest) -> Iterator[str]:
    """What a typed op makes of its inputs' types does not contradict the types that its outputs are stated to have."""
    for _, nodes in nest.scopes:
        for node in nodes:
            if isinstance(node.op, OnnxOp):
                continue
            try:
                inferred = inferred_types(node)
            except GraphError as error:
                what = str(error).removeprefix(node.op.title).lstrip(": ")
                yield f"{node!r}: {what}"
                continue
            for value, type in zip(node.outputs, inferred, strict=True):
                stated = value._type
                if type is not stated and not compatible(stated, type):
                    yield f"{node!r}: its output '{value.name}' is stated as {stated}, but its inputs make it {type}"


Rule = Callable[[Nest], Iterator[str]]

RULES: dict[str, Rule] = {
    "node order": _chain,
    "bodies": _bodies,
    "values": _values,
    "unique names": _names,
    "constants": _constants,
    "outputs": _outputs,
    "dominance": _dominance,
    "def-use": _def_use,
    "domains": _domains,
    "arity": _arity,
    "types": _types,
}

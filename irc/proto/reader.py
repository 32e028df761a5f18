"""`GraphProto` to Graph: names resolved, order made topological, constants taken out of their nodes.

    GraphProto --GraphReader--> Graph
"""

from __future__ import annotations

import heapq
from collections import ChainMap
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TypeProto

from irc.errors import ModelError
from irc.graph import Graph, Node, Origin, Value
from irc.ops.schema import op_of_proto, type_of_proto
from irc.proto.tensors import array_of_constant, array_of_tensor, dense_of_sparse
from irc.types import Array, Type

Scope = ChainMap[str, Value]
_SCOPES = "pkg.torch.onnx.name_scopes"  # where torch's exporter notes the module path of a node


class GraphReader:
    """Reads one model's graphs.

    opsets : version imported of each domain
    arrays : data of initializers of the main graph that were taken out of the proto
    folder : where external data lies
    """

    def __init__(self, opsets: Mapping[str, int], arrays: Mapping[str, Array], folder: Path | None) -> None:
        self.opsets = opsets
        self.arrays = arrays
        self.folder = folder

    def read(self, proto: GraphProto, graph: Graph, outer: Scope | None = None) -> Graph:
        """Fill `graph`, which is empty, from `proto`; `outer` holds what the names of surrounding graphs mean."""
        scope: Scope = (outer if outer is not None else Scope()).new_child()
        constants = self._constants(proto) | (dict(self.arrays) if graph.parent is None else {})
        stated = {v.name: _type(v.type, v.name) for v in (*proto.output, *proto.value_info)}
        types = {name: type for name, type in stated.items() if type is not None}
        for info in proto.input:
            if info.name in self.arrays and graph.parent is None:
                continue  # an initializer that was taken out of the proto
            default = constants.pop(info.name, None)
            name = info.name if graph.parent is None and info.name not in scope else graph.unique_name(info.name)
            _define(scope, info.name, graph.add_input(name, _type(info.type, info.name), default))
        for name, array in constants.items():
            _define(scope, name, graph.add_constant(array, name))
        made = [(node, self._read_node(node, graph, types, scope)) for node in in_order(proto.node, scope)]
        for node, owner in made:  # when all values have their names, so that no body takes one from those around it
            if owner is not None:
                self._read_bodies(node, owner, scope)
        for info in proto.output:
            if info.name not in scope:
                raise ModelError(f"graph '{graph.name}': output '{info.name}' is not made by any node")
            value = scope[info.name]
            if value.type is None and info.name in types:
                value.type = types[info.name]
            graph.add_output(value, info.name)
        return graph

    def _constants(self, proto: GraphProto) -> dict[str, Array]:
        found = {t.name: array_of_tensor(t, self.folder) for t in proto.initializer}
        for sparse in proto.sparse_initializer:
            found[sparse.values.name] = dense_of_sparse(sparse, self.folder)
        return found

    def _read_node(self, node: NodeProto, graph: Graph, types: Mapping[str, Type], scope: Scope) -> Node | None:
        """Add the node, without its bodies; a Constant becomes a constant and no node."""
        domain = "" if node.domain == "ai.onnx" else node.domain
        if node.op_type == "Constant" and not domain and len(node.attribute) == 1:
            array = array_of_constant(node.attribute[0], self.folder)
            _define(scope, node.output[0], graph.add_constant(array, node.output[0]))
            return None
        made = graph.insert(
            op_of_proto(node, self.opsets.get(domain, 1)),
            [scope[name] if name else None for name in node.input],
            name=node.name,
            outputs=[name or None for name in node.output],
            types=[types.get(name) for name in node.output],
            origin=Origin(_layer(node)),
        )
        for name, value in zip(node.output, made.outputs, strict=True):
            if name:
                _define(scope, name, value)
        return made

    def _read_bodies(self, node: NodeProto, owner: Node, scope: Scope) -> None:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                self.read(attribute.g, owner.graph.add_body(owner, attribute.name, attribute.g.name), scope)
            for index, body in enumerate(attribute.graphs):
                self.read(body, owner.graph.add_body(owner, f"{attribute.name}[{index}]", body.name), scope)


def _define(scope: Scope, name: str, value: Value) -> None:
    if name in scope.maps[0]:
        raise ModelError(f"the name '{name}' is given to two values; every value needs a name of its own")
    scope[name] = value


def _type(proto: TypeProto, name: str) -> Type | None:
    try:
        return type_of_proto(proto)
    except KeyError:
        raise ModelError(f"value '{name}' has an element type that onnx {onnx.__version__} does not know") from None


def _layer(node: NodeProto) -> str:
    """The user's layer that the node comes from: the exporter's note of it, else the node's name."""
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            scopes = [s.strip(" '\"") for s in entry.value.strip("[]").split(",")]
            named = [s for s in scopes if s]
            return named[-2] if len(named) > 1 else node.name
    return node.name


def in_order(nodes: Sequence[NodeProto], known: Container[str]) -> list[NodeProto]:
    """The nodes so that each stands after those it reads from, otherwise in the order given.

    Raises
    ------
    ModelError : a name is not defined anywhere, or the nodes form a cycle.
    """
    reads = [_reads(node) for node in nodes]
    makers = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    waiting = [0] * len(nodes)
    readers: dict[int, list[int]] = {}
    for index, (node, names) in enumerate(zip(nodes, reads, strict=True)):
        for name in names:
            if name in makers:
                waiting[index] += 1
                readers.setdefault(makers[name], []).append(index)
            elif name not in known:
                raise ModelError(
                    f"{node.op_type} '{node.name or node.output[0]}': input '{name}' is neither a graph input, "
                    "an initializer nor the output of a node"
                )
    ready = [index for index, count in enumerate(waiting) if not count]
    heapq.heapify(ready)
    order = []
    while ready:
        index = heapq.heappop(ready)
        order.append(nodes[index])
        for reader in readers.get(index, ()):
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    if len(order) < len(nodes):
        stuck = nodes[_on_cycle(reads, makers, waiting)]
        what = f"{stuck.op_type} '{stuck.name or stuck.output[0]}'"
        raise ModelError(f"{what} is part of a cycle: it reads its own result")
    return order


def _on_cycle(reads: Sequence[set[str]], makers: Mapping[str, int], waiting: Sequence[int]) -> int:
    """A node on a cycle: found by going back, from any that waits, through makers that wait, until one comes again."""
    index, seen = next(i for i, count in enumerate(waiting) if count), set[int]()
    while index not in seen:
        seen.add(index)
        index = min(makers[name] for name in reads[index] if name in makers and waiting[makers[name]])
    return index


def _reads(node: NodeProto) -> set[str]:
    """The names that the node reads from its own graph or those around it, its bodies' reads included."""
    names = set(node.input) - {""}
    for attribute in node.attribute:
        bodies = [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs
        for body in bodies:
            names |= _free(body)
    return names


def _free(body: GraphProto) -> set[str]:
    """The names that a body uses and does not define."""
    defined = {v.name for v in body.input} | {t.name for t in body.initializer}
    defined |= {s.values.name for s in body.sparse_initializer}
    used = {v.name for v in body.output}
    for node in body.node:
        used |= _reads(node)
        defined |= set(node.output)
    return used - defined

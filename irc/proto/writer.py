"""Graph to `ModelProto`.

    Graph --model_proto--> ModelProto

Values keep their names, except that an output of the model has the output's name whatever value it is: a value that
stands in the way of that is renamed, and an output that is an input, a constant or given out twice gets an Identity.
The outputs of a body, which go by their place, are named as their values.
"""

from __future__ import annotations

from collections.abc import Callable

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from irc.graph import Graph, Node, Value
from irc.ops.schema import attribute_protos, proto_of_type
from irc.proto.tensors import tensor_of_array
from irc.types import Array, Type

TensorWriter = Callable[[Array, str], TensorProto]


def model_proto(graph: Graph, tensor: TensorWriter = tensor_of_array) -> ModelProto:
    """The whole model.

    Parameters
    ----------
    graph : a root graph of ONNX ops
    tensor : makes the TensorProto of a constant of the root graph; for a writer that puts data elsewhere
    """
    info = graph.info
    model = ModelProto(
        ir_version=info.ir_version,
        producer_name=info.producer,
        producer_version=info.producer_version,
        domain=info.domain,
        model_version=info.model_version,
        doc_string=info.doc,
    )
    for domain, version in sorted(info.opsets.items()):
        model.opset_import.add(domain=domain, version=version)
    for key, text in info.metadata.items():
        model.metadata_props.add(key=key, value=text)
    model.functions.extend(FunctionProto.FromString(data) for data in info.functions)
    _Namer(tensor, graph).fill(graph, model.graph)
    return model


def node_model(node: Node, inputs: dict[str, Type | None]) -> ModelProto:
    """A model of this one node, its bodies included.

    inputs : the names under which the model takes what the node and its bodies read from around them, and their types
    """
    info = node.graph.info
    model = ModelProto(ir_version=info.ir_version)
    for domain, version in sorted(info.opsets.items()):
        model.opset_import.add(domain=domain, version=version)
    model.functions.extend(FunctionProto.FromString(data) for data in info.functions)
    model.graph.name = "node"
    namer = _Namer(tensor_of_array, node.graph.root)
    namer.taken = {*inputs, *(v.name for body in node.bodies.values() for graph in body.graphs() for v in graph.values)}
    model.graph.node.append(namer.node(node))
    model.graph.input.extend(value_info(name, type) for name, type in inputs.items())
    model.graph.output.extend(ValueInfoProto(name=v.name) for v in node.outputs if not v.is_omitted)
    return model


class _Namer:
    """Writes the graphs of one model, knowing what each value is called in it."""

    def __init__(self, tensor: TensorWriter, root: Graph) -> None:
        self.tensor = tensor
        self.root = root
        self.names: dict[Value, str] = {}
        self.taken: set[str] = set()

    def fill(self, graph: Graph, proto: GraphProto) -> None:
        proto.name = graph.name or "main"
        if graph is self.root:
            self._name_outputs()
        for value in graph.inputs:
            proto.input.append(value_info(value.name, value.type))
        for value in graph.constants:
            assert value.data is not None
            tensor = self.tensor if graph is self.root else tensor_of_array
            proto.initializer.append(tensor(value.data, self.name(value)))
        for value, array in graph.defaults.items():
            proto.initializer.append(tensor_of_array(array, value.name))
        for node in graph:
            proto.node.append(self.node(node))
        for value, name in zip(graph.outputs, self._output_names(graph), strict=True):
            if self.name(value) != name:
                proto.node.add(op_type="Identity", domain="", name=name, input=[self.name(value)], output=[name])
            proto.output.append(value_info(name, value.type))
        shown = {*graph.outputs, *graph.inputs, *graph.constants}
        for value in graph.values:
            if value not in shown and value.type is not None and not value.is_omitted:
                proto.value_info.append(value_info(self.name(value), value.type))

    def name(self, value: Value) -> str:
        return self.names.get(value, value.name)

    def _name_outputs(self) -> None:
        """Give each output's name to the value behind it where that is possible, moving aside whoever has it."""
        nest = {value.name: value for graph in self.root.graphs() for value in graph.values}
        self.taken = {*nest, *self.root.output_names}
        self.names = {value: value.name for value in self.root.inputs}
        for value, name in zip(self.root.outputs, self.root.output_names, strict=True):
            if value.producer is not None and value not in self.names:
                self.names[value] = name
        for name in self.root.output_names:
            holder = nest.get(name)
            if holder is not None and holder not in self.names:
                self.names[holder] = self._fresh(f"{name}_inner")

    def _output_names(self, graph: Graph) -> list[str]:
        """What the outputs are written as; a body gives each value of its own out once, the others by an Identity."""
        if graph is self.root:
            return list(graph.output_names)
        names: list[str] = []
        for value in graph.outputs:
            own = value.graph is graph and self.name(value) not in names
            names.append(self.name(value) if own else self._fresh(f"{self.name(value)}_out"))
        return names

    def _fresh(self, hint: str) -> str:
        name, count = hint, 0
        while name in self.taken:
            count += 1
            name = f"{hint}_{count}"
        self.taken.add(name)
        return name

    def node(self, node: Node) -> NodeProto:
        proto = NodeProto(
            op_type=node.op.name,
            domain=node.op.domain,
            name=node.name,
            input=["" if v is None else self.name(v) for v in node.inputs],
            output=["" if v.is_omitted else self.name(v) for v in node.outputs],
        )
        proto.attribute.extend(attribute_protos(node.op))
        for key, body in node.bodies.items():
            name, _, index = key.partition("[")
            if not index:
                self.fill(body, proto.attribute.add(name=name, type=AttributeProto.GRAPH).g)
                continue
            if index == "0]":
                proto.attribute.add(name=name, type=AttributeProto.GRAPHS)
            self.fill(body, proto.attribute[-1].graphs.add())
        return proto


def value_info(name: str, type: Type | None) -> ValueInfoProto:
    """A value's name and what is known of its type."""
    info = ValueInfoProto(name=name)
    proto = proto_of_type(type)
    if proto.WhichOneof("value") is not None:
        info.type.CopyFrom(proto)
    return info


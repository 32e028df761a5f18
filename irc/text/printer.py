"""A graph as text. Equal graphs give equal text; the grammar stands in `irc.text.parser`."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from irc.graph import Graph, ModelInfo, Node, Value
from irc.ops.onnx_op import OnnxOp
from irc.text.attributes import attribute_texts
from irc.text.literals import array_text
from irc.text.names import name_text, op_text, pass_text, quoted, symbol_text
from irc.types import Array, OpaqueType, Type, type_of_array

_DEFAULTS = ModelInfo()
_BODY = "body"  # the name of a body that is not named


def print_graph(graph: Graph) -> str:
    """The graph and its bodies as text that `parse_graph` reads back; long constants by name and type only."""
    lines = [f"graph {name_text(graph.name)}({_header(graph.info)}) {{"]
    lines.extend(_statements(graph, "  "))
    return "\n".join([*lines, "}", ""])


def type_text(type: Type | None) -> str:
    """A type: `f32[N, 3, ?]`, `f32[*]` of unknown rank, `opaque<0x...>`; `?` where nothing is known."""
    if type is None:
        return "?"
    if isinstance(type, OpaqueType):
        return f"opaque<0x{type.proto.hex()}>"
    if type.shape is None:
        return f"{type.dtype}[*]"
    dims = ("?" if d is None else symbol_text(d) if isinstance(d, str) else str(int(d)) for d in type.shape)
    return f"{type.dtype}[{', '.join(dims)}]"


def _header(info: ModelInfo) -> str:
    fields = ["opset = " + _opsets(info.opsets)]
    if info.ir_version != _DEFAULTS.ir_version:
        fields.append(f"ir_version = {info.ir_version}")
    if info.model_version:
        fields.append(f"model_version = {info.model_version}")
    texts = {name: getattr(info, name) for name in ("producer", "producer_version", "domain", "doc")}
    fields += [f"{name} = {quoted(text)}" for name, text in texts.items() if text]
    if info.metadata:
        fields.append("metadata = {" + ", ".join(f"{quoted(k)} = {quoted(v)}" for k, v in info.metadata.items()) + "}")
    if info.functions:
        fields.append(f"functions = [{', '.join(quoted(base64.b64encode(f).decode()) for f in info.functions)}]")
    if info.notes:
        fields.append(f"notes = [{', '.join(map(quoted, info.notes))}]")
    return ", ".join(fields)


def _opsets(opsets: dict[str, int]) -> str:
    if list(opsets) == [""]:
        return str(opsets[""])
    return "{" + ", ".join(f"{name_text(domain)} = {version}" for domain, version in opsets.items()) + "}"


def _statements(graph: Graph, indent: str) -> Iterator[str]:
    for value in graph.inputs:
        default = graph.defaults.get(value)
        tail = "" if default is None else f" default {_data(default)}"
        yield f"{indent}input {_typed(value)}{tail}"
    for value in graph.constants:
        assert value.data is not None
        yield f"{indent}weight %{name_text(value.name)}: {_data(value.data)}"
    for node in graph:
        yield from _node(node, indent)
    outputs = ", ".join(
        _read(value) + ("" if value.name == name else f" as {quoted(name)}")
        for value, name in zip(graph.outputs, graph.output_names, strict=True)
    )
    yield f"{indent}return {outputs}".rstrip()


def _read(value: Value) -> str:
    return f"%{name_text(value.name)}"


def _typed(value: Value) -> str:
    return f"{_read(value)}: {type_text(value.type)}"


def _data(array: Array) -> str:
    text = array_text(array)
    return type_text(type_of_array(array)) + ("" if text is None else f" = {text}")


def _node(node: Node, indent: str) -> Iterator[str]:
    op = node.op
    outputs = ", ".join(map(_typed, node.outputs)) or "()"
    opset = f":{op.opset}" if isinstance(op, OnnxOp) else ""
    inputs = ", ".join("_" if value is None else _read(value) for value in node.inputs)
    line = f"{indent}{outputs} = {op_text(op.domain, op.name)}{opset}({inputs})"
    entries = [f"{name_text(key)} = {text}" for key, text in attribute_texts(op).items()]
    if entries or node.bodies:
        line += " {" + ", ".join(entries)
    for count, (key, body) in enumerate(node.bodies.items()):
        name = "" if body.name == _BODY else f"{name_text(body.name)} "
        separator = ", " if entries or count else ""
        yield f"{line}{separator}{name_text(key)} = {name}{{"
        yield from _statements(body, indent + "  ")
        line = indent + "}"
    yield line + ("}" if entries or node.bodies else "") + _place(node)


def _place(node: Node) -> str:
    """The node's name, unless it is its first output's, and where it comes from."""
    text = ""
    if not node.outputs or node.name != node.outputs[0].name:
        text += f" @{quoted(node.name)}"
    if node.origin.layer:
        text += f" from {quoted(node.origin.layer)}"
    if node.origin.passes:
        text += f" by {', '.join(map(pass_text, node.origin.passes))}"
    return text

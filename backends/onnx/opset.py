"""Bring a graph of ONNX ops to another opset, with onnx's version converter.

    graph --> proto without weights --convert--> proto --> graph            (operators that only grew step aside)
"""

from __future__ import annotations

import re

import onnx
from onnx import ModelProto

from irc.errors import OptionError
from irc.frontends.onnx.load import graph_of_slim, without_weights
from irc.graph import Graph
from irc.proto.writer import model_proto

_OLDEST = 7
_NO_ADAPTER = re.compile(r"No Adapter (?:From Version|To Version) \$?(\d+) for (\w+)", re.IGNORECASE)
_ASIDE = "irc.aside."  # in front of a type: the converter leaves operators alone that it does not know


def at_opset(graph: Graph, opset: int) -> Graph:
    """The graph at another opset.

    Raises
    ------
    OptionError : there is no such opset, or the model needs what it does not have.
    """
    newest = onnx.defs.onnx_opset_version()
    if not _OLDEST <= opset <= newest:
        raise OptionError(f"opset {opset} is not known; this onnx knows {_OLDEST} to {newest}")
    if graph.info.functions:
        raise OptionError(
            f"the model cannot be brought to opset {opset}: it has functions, which onnx's version converter drops; "
            "inline them before (onnx.inliner.inline_local_functions), or leave the opset as it is"
        )
    slim, arrays = without_weights(model_proto(graph), None)
    domains = [o for o in slim.opset_import if o.domain not in ("", "ai.onnx")]
    converted = _convert(slim, opset)
    known = {o.domain for o in converted.opset_import}
    converted.opset_import.extend(o for o in domains if o.domain not in known)
    return graph_of_slim(converted, arrays, None)


def _convert(model: ModelProto, opset: int) -> ModelProto:
    have = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    aside: set[str] = set()
    while True:
        try:
            converted = onnx.version_converter.convert_version(_renamed(model, aside, _ASIDE), opset)
            converted = _renamed(converted, {_ASIDE + name for name in aside}, "")
            onnx.checker.check_model(converted, full_check=bool(aside))
            return converted
        except Exception as error:  # the converter raises whatever its C++ adapters throw
            said = str(error).strip().splitlines()[0]
            found = _NO_ADAPTER.search(said)
            name = found.group(2) if found else ""
            if not name or name in aside or not _only_grew(name, have, opset):
                raise OptionError(f"the model cannot be brought to opset {opset}: {said}") from None
            aside.add(name)


def _renamed(model: ModelProto, names: set[str], prefix: str) -> ModelProto:
    """The model with operators of these types of ONNX's own domain put aside, or (without a prefix) back."""
    copy = ModelProto()
    copy.CopyFrom(model)
    todo = [copy.graph]
    while todo:
        for node in todo.pop().node:
            todo += [a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
            if node.op_type in names and (node.domain in ("", "ai.onnx") if prefix else node.domain == _ASIDE):
                node.op_type = prefix + node.op_type if prefix else node.op_type.removeprefix(_ASIDE)
                node.domain = _ASIDE if prefix else ""
    if prefix and names:
        copy.opset_import.append(onnx.helper.make_opsetid(_ASIDE, 1))
    elif names:
        kept = [o for o in copy.opset_import if o.domain != _ASIDE]
        del copy.opset_import[:]
        copy.opset_import.extend(kept)
    return copy


def _only_grew(name: str, have: int, want: int) -> bool:
    """Whether all that the operator has gained since opset `want` are types and optional attributes.

    A node that gives such an attribute is not valid at the older opset, which onnx's checker sees.
    """
    try:
        newer, older = (onnx.defs.get_schema(name, version, "") for version in (have, want))
    except onnx.defs.SchemaError:
        return False
    ours, theirs = _attributes(newer), _attributes(older)
    added = [newer.attributes[n] for n in ours.keys() - theirs.keys()]
    common = {n: a for n, a in ours.items() if n in theirs}
    return common == theirs and not any(a.required for a in added) and _formals(newer) == _formals(older)


def _attributes(schema: onnx.defs.OpSchema) -> dict[str, object]:
    """Type and default of each attribute."""
    return {
        n: (a.type, a.required, a.default_value.SerializeToString(deterministic=True))
        for n, a in schema.attributes.items()
    }


def _formals(schema: onnx.defs.OpSchema) -> object:
    return [[(p.name, p.option) for p in side] for side in (schema.inputs, schema.outputs)]

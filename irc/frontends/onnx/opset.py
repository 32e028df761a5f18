"""Raise a model to opset 21, the oldest that the IR speaks, with onnx's version converter, mended where that errs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

from irc.proto.tensors import array_of_constant, array_of_tensor
from irc.types import Array

OLDEST = 21


class _CannotRaiseError(Exception):
    """Why the model stays at its opset."""


def raise_opset(model: ModelProto) -> tuple[ModelProto, tuple[str, ...]]:
    """The model at opset 21 or later, and notes for the user.

    A model that cannot be raised keeps its opset: operators whose meaning has not changed since are typed all the same,
    the others are kept as they are.
    """
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), None)
    if opset is None or opset >= OLDEST:
        return model, ()
    try:
        return _raised(model, opset), ()
    except _CannotRaiseError as reason:
        return model, (f"the model stays at opset {opset}: {reason}",)


def _raised(model: ModelProto, opset: int) -> ModelProto:
    if model.functions:
        raise _CannotRaiseError("it has functions, which onnx's version converter does not raise")
    read = _names_read(model.graph)
    for node in all_nodes(model.graph.node):
        _check_convertible(node, opset, read)
    nearest = _nearest_modes(model.graph) if opset < 11 else []
    try:
        raised = onnx.version_converter.convert_version(model, OLDEST)
        onnx.checker.check_model(raised)
    except Exception as error:  # the converter raises whatever its C++ adapters throw
        raise _CannotRaiseError(f"onnx's version converter says: {str(error).strip().splitlines()[0]}") from None
    if opset < 11:
        _mend_resize(raised.graph, nearest)
    raised.ir_version = max(raised.ir_version, 10)  # that of opset 21
    for entry in model.opset_import:  # the converter drops the domains that it does not convert
        if entry.domain not in {o.domain for o in raised.opset_import} | {"ai.onnx"}:
            raised.opset_import.append(entry)
    return raised


def all_nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """The nodes and those of all bodies within them."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for body in [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs:
                yield from all_nodes(body.node)


def _names_read(graph: GraphProto) -> set[str]:
    """The names that nodes read, or that the graph or a body gives out."""
    read = {v.name for v in graph.output}
    for node in graph.node:
        read.update(node.input)
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                read |= _names_read(attribute.g)
    return read - {""}


def _check_convertible(node: NodeProto, opset: int, read: set[str]) -> None:
    """Refuse what the converter takes over unchanged although its meaning has changed."""
    if node.domain not in ("", "ai.onnx"):
        return
    if node.op_type == "Scan" and opset < 9:
        raise _CannotRaiseError("Scan meant something else before opset 9, which onnx's version converter overlooks")
    if node.op_type == "Hardmax" and opset < 13:
        raise _CannotRaiseError(
            "Hardmax flattened its input before opset 13, which onnx's version converter overlooks"
        )
    if node.op_type == "Dropout" and opset < 12 and read.intersection(node.output[1:]):
        raise _CannotRaiseError(
            "Dropout's mask meant something else before opset 12, which onnx's version converter overlooks"
        )


def _nearest_modes(graph: GraphProto) -> list[str]:
    """How each Upsample and Resize before opset 11 rounds a position, in the order of nodes (onnxruntime's Resize-10).

    They rounded down along an axis that grows and up along one that shrinks; since opset 11 there is one way for all.
    """
    constants: dict[str, Array] = {t.name: array_of_tensor(t) for t in graph.initializer if t.dims}
    for node in all_nodes(graph.node):
        if node.op_type == "Constant" and node.attribute:
            constants[node.output[0]] = array_of_constant(node.attribute[0])
    modes: list[str] = []
    for node in all_nodes(graph.node):
        if node.op_type not in ("Upsample", "Resize") or node.domain not in ("", "ai.onnx"):
            continue
        mode = "floor"
        if node.op_type == "Resize" and not any(a.name == "mode" and a.s == b"linear" for a in node.attribute):
            scales = constants.get(node.input[1])
            if scales is None or (np.any(scales < 1) and np.any(scales > 1)):
                raise _CannotRaiseError(
                    f"Resize '{node.name or node.output[0]}' may grow and shrink at once, which now rounds differently"
                )
            mode = "ceil" if np.any(scales < 1) else "floor"
        modes.append(mode)
    return modes


def _mend_resize(graph: GraphProto, nearest: list[str]) -> None:
    """Say what the converter leaves to the new defaults: where before opset 11 an output element was taken from.

    The converter renames values and nodes, but it keeps the nodes in order.
    """
    resizes = [n for n in all_nodes(graph.node) if n.op_type == "Resize" and n.domain in ("", "ai.onnx")]
    if len(resizes) != len(nearest):
        raise _CannotRaiseError("onnx's version converter lost or added a Resize")
    for node, mode in zip(resizes, nearest, strict=True):
        for name, value in (("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", mode)):
            node.attribute.append(onnx.helper.make_attribute(name, value))

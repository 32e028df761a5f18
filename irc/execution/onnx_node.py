"""Run one node in onnxruntime: for operators that irc does not know, and dtypes that torch does not have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto

from irc.errors import ExecutionError
from irc.graph import Node, Value
from irc.ops.schema import type_of_proto
from irc.proto.writer import node_model
from irc.types import DType, OpaqueType, TensorType, Type, type_of_array


class OnnxNode:
    """A node as a one-node model in onnxruntime; sessions are kept by the dtypes and ranks of what they were given."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.reads: list[Value] = list(dict.fromkeys([v for v in node.inputs if v is not None] + node.captures()))
        self.sessions: dict[tuple[object, ...], ort.InferenceSession] = {}

    def __call__(self, values: Sequence[Any]) -> list[Any]:
        """The node's outputs (None for an omitted one), given what `reads` holds, as numpy arrays or lists of them."""
        key = tuple((v.dtype.str, v.dtype.name, v.ndim) if isinstance(v, np.ndarray) else "opaque" for v in values)
        try:
            if key not in self.sessions:
                self.sessions[key] = self._session(values)
            session = self.sessions[key]
            made = session.run(None, {i.name: _feed(v) for i, v in zip(session.get_inputs(), values, strict=True)})
        except Exception as error:  # onnxruntime's exceptions have no common base
            text = str(error).strip().splitlines()[0]
            raise ExecutionError(f"{self.node!r} cannot be run by onnxruntime: {text}") from None
        left = iter(made)
        return [None if v.is_omitted else _narrowed(next(left), v.type) for v in self.node.outputs]

    def __deepcopy__(self, _: object) -> OnnxNode:
        return OnnxNode(self.node)  # copies of a module are of one graph, and onnxruntime's sessions cannot be copied

    def _session(self, values: Sequence[Any]) -> ort.InferenceSession:
        types = {v.name: _loose(v.type, given) for v, given in zip(self.reads, values, strict=True)}
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        model = _widened(node_model(self.node, types), [v.type for v in self.node.outputs if not v.is_omitted])
        return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _loose(type: Type | None, given: Any) -> Type | None:
    """The type of what was given, its dimensions left open so that one session serves all shapes."""
    if isinstance(type, OpaqueType) or not isinstance(given, np.ndarray):
        return type
    found = type_of_array(given)
    return TensorType(found.dtype, (None,) * given.ndim)


# onnxruntime packs elements of less than a byte, and its Python side knows nothing of it: they go in and out as bytes


def _is_packed(type: Type | None) -> bool:
    return isinstance(type, TensorType) and type.dtype.is_integer and type.dtype.bits < 8


def _widened(model: ModelProto, outputs: Sequence[Type | None]) -> ModelProto:
    """The one-node model, with a Cast from int8 before each packed input and a Cast to int8 behind each such output."""
    casts = []
    for info in model.graph.input:
        tensor = info.type.tensor_type
        if _is_packed(type_of_proto(info.type)):
            casts.append(onnx.helper.make_node("Cast", [f"{info.name}:bytes"], [info.name], to=tensor.elem_type))
            tensor.elem_type, info.name = onnx.TensorProto.INT8, f"{info.name}:bytes"
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)
    for info, type in zip(model.graph.output, outputs, strict=True):
        if _is_packed(type):
            cast = onnx.helper.make_node("Cast", [info.name], [f"{info.name}:bytes"], to=onnx.TensorProto.INT8)
            model.graph.node.append(cast)
            info.name = f"{info.name}:bytes"
    return model


def _narrowed(value: Any, type: Type | None) -> Any:
    return value.astype(type.dtype.numpy) if isinstance(type, TensorType) and _is_packed(type) else value


def _feed(value: Any) -> Any:
    """What a session takes: packed types as bytes, other `ml_dtypes` as OrtValues, which say what numpy cannot."""
    if not isinstance(value, np.ndarray) or value.dtype.num < 256:
        return value
    dtype = DType.of_numpy(value.dtype)
    if _is_packed(TensorType(dtype)):
        return value.astype(np.int8)
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(np.ascontiguousarray(value), dtype.onnx_type)

"""Run one node in onnxruntime: for operators that irc does not know, and dtypes that torch does not have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

from irc.errors import ExecutionError
from irc.graph import Node, Value
from irc.proto.writer import node_model
from irc.types import Array, OpaqueType, Type, type_of_array


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
            made = session.run(None, _feed(session, dict(zip((v.name for v in self.reads), values, strict=True))))
        except Exception as error:  # onnxruntime's exceptions have no common base
            text = str(error).strip().splitlines()[0]
            raise ExecutionError(f"{self.node!r} cannot be run by onnxruntime: {text}") from None
        left = iter(made)
        return [None if v.is_omitted else next(left) for v in self.node.outputs]

    def _session(self, values: Sequence[Any]) -> ort.InferenceSession:
        types = {v.name: _loose(v.type, given) for v, given in zip(self.reads, values, strict=True)}
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        model = node_model(self.node, types)
        return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _loose(type: Type | None, given: Any) -> Type | None:
    """The type of what was given, its dimensions left open so that one session serves all shapes."""
    if isinstance(type, OpaqueType) or not isinstance(given, np.ndarray):
        return type
    found = type_of_array(given)
    return found.__class__(found.dtype, tuple(f"d{i}" for i in range(given.ndim)))


def _feed(session: ort.InferenceSession, values: dict[str, Any]) -> dict[str, Any]:
    """What the session takes; arrays of ml_dtypes go in as OrtValues, which numpy cannot describe."""
    return {name: _ort_value(v) if isinstance(v, np.ndarray) else v for name, v in values.items()}


def _ort_value(array: Array) -> Any:
    from irc.types import DType

    dtype = DType.of_numpy(array.dtype)
    if array.dtype.num < 256 or dtype is DType.STRING:
        return array
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(np.ascontiguousarray(array), dtype.onnx_type)

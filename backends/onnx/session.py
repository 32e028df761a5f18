"""onnxruntime sessions, made the same way everywhere."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort

from irc.errors import ExecutionError


def make_session(
    model: bytes | Path, *, threads: int = 0, optimized: Path | None = None, signed: bool = False
) -> ort.InferenceSession:
    """A CPU session.

    Parameters
    ----------
    model : a serialized model, or the path of a file (which may have external data)
    threads : threads within an operator; 0 lets onnxruntime choose
    optimized : where to write the graph that onnxruntime made of the model; it is then taken before onnxruntime moves
        layouts around, which renames every value
    signed : keep int8 activations as they are, as onnxruntime does on ARM. On x86 it makes them uint8, which splits
        residual branches and, in opset 21, makes a graph that it refuses itself (of a signed value that is reshaped)

    Raises
    ------
    ExecutionError : onnxruntime refuses the model.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    if signed:
        options.add_session_config_entry("session.qdqisint8allowed", "1")
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    try:
        return ort.InferenceSession(
            model if isinstance(model, bytes) else str(model), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise ExecutionError(f"onnxruntime refuses the model: {str(error).strip().splitlines()[0]}") from None

"""Raise a model to opset 21, the oldest that the IR speaks, with onnx's version converter."""

from __future__ import annotations

import onnx
from onnx import ModelProto

OLDEST = 21


def raise_opset(model: ModelProto) -> tuple[ModelProto, tuple[str, ...]]:
    """The model at opset 21 or later, and notes for the user.

    A model that cannot be raised keeps its opset: operators whose meaning has not changed since are typed all the same,
    the others are kept as they are.
    """
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), None)
    if opset is None or opset >= OLDEST:
        return model, ()
    stays = f"the model stays at opset {opset}: "
    if model.functions:
        return model, (stays + "it has functions, which onnx's version converter does not raise",)
    if opset < 9 and any(n.op_type == "Scan" for n in model.graph.node):
        return model, (stays + "Scan meant something else before opset 9, which onnx's version converter overlooks",)
    try:
        raised = onnx.version_converter.convert_version(model, OLDEST)
        onnx.checker.check_model(raised)
    except Exception as error:  # the converter raises whatever its C++ adapters throw
        return model, (stays + f"onnx's version converter says: {str(error).strip().splitlines()[0]}",)
    raised.ir_version = max(raised.ir_version, 10)  # that of opset 21
    for entry in model.opset_import:  # the converter drops the domains that it does not convert
        if entry.domain not in {o.domain for o in raised.opset_import} | {"ai.onnx"}:
            raised.opset_import.append(entry)
    return raised, ()


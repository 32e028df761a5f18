"""Every typed op passes onnx's own node test cases, at each case's tolerance, or leaves the case to onnxruntime."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.case.test_case import TestCase

import irc.ops  # noqa: F401 - fills the registry
from irc.execution.convert import to_numpy, to_torch
from irc.op import Op
from irc.ops.onnx_op import OnnxOp
from irc.ops.schema import op_of_proto

# how many cases of an op torch cannot hold or do, so that execution runs them in onnxruntime, and what they are
LEFT_TO_ONNXRUNTIME = {
    "BatchNormalization": 2,
    "BitShift": 2,
    "Cast": 52,
    "CastLike": 24,
    "DequantizeLinear": 5,
    "Div": 1,
    "Dropout": 6,
    "Equal": 2,
    "Max": 1,
    "Min": 1,
    "Mod": 1,
    "Pow": 1,
    "QuantizeLinear": 5,
    "TopK": 1,
}
BEYOND_TORCH = re.compile(r"int[24](_|$)|float4e2m1|e8m0|uint64|string|training", re.IGNORECASE)

HALF = {np.dtype(np.float16): 2.0**-10, np.dtype(ml_dtypes.bfloat16): 2.0**-7}  # a unit in the last place of 1


@cache
def cases() -> dict[str, list[tuple[Op, TestCase]]]:
    """The cases of one typed node, by the node's operator."""
    found = defaultdict(list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making the cases overflows and divides by zero on purpose
        collected = collect_testcases(None)
    for case in collected:
        assert case.model is not None
        graph = case.model.graph
        if len(graph.node) != 1 or case.model.functions:
            continue
        node = graph.node[0]
        opset = next((o.version for o in case.model.opset_import if o.domain == node.domain), 1)
        op = op_of_proto(node, opset)
        if not isinstance(op, OnnxOp):
            found[op.name].append((op, case))
    return found


def array_of(data: Any) -> Any:
    """A case's data as an array; what numpy does not know comes as a TensorProto."""
    return onnx.numpy_helper.to_array(data) if isinstance(data, onnx.TensorProto) else np.asarray(data)


def run(op: Op, case: TestCase, given: list[Any]) -> list[Any]:
    """The outputs of the case's node."""
    assert case.model is not None
    node = case.model.graph.node[0]
    held = {i.name: to_torch(array_of(x), copy=True) for i, x in zip(case.model.graph.input, given, strict=True)}
    inputs = [held[name] if name else None for name in node.input]
    if not all(x is None or isinstance(x, torch.Tensor) for x in inputs):
        raise NotImplementedError("torch cannot hold the inputs")
    made = op.run(*inputs) if len(node.output) == 1 else op.run(*inputs, outputs=len(node.output))
    made = made if isinstance(made, tuple) else (made,)
    return [to_numpy(m) for name, m in zip(node.output, made, strict=True) if name]


def assert_same(ours: Any, theirs: Any, case: TestCase) -> None:
    """Equal dtype, shape and, to the case's tolerance, numbers."""
    theirs = array_of(theirs)
    # the numbers of 16-bit cases are numpy's, which rounds after every step: up to two units in the last place away
    rtol = max(case.rtol, 2 * HALF[ours.dtype]) if ours.dtype in HALF else case.rtol
    assert ours.dtype == theirs.dtype, f"{ours.dtype}, not {theirs.dtype}"
    assert ours.shape == theirs.shape, f"{ours.shape}, not {theirs.shape}"
    if theirs.dtype.num >= 256:
        ours, theirs = ours.astype(np.float32), theirs.astype(np.float32)
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=case.atol)


@pytest.mark.parametrize("name", sorted({name for domain, name in Op.registry if not domain}))
def test_passes_the_cases_of_onnx(name: str) -> None:
    failures: list[str] = []
    left: set[str] = set()
    for op, case in cases().get(name, []):
        for given, expected in case.data_sets or []:
            try:
                for ours, theirs in zip(run(op, case, list(given)), expected, strict=True):
                    assert_same(ours, theirs, case)
            except NotImplementedError:
                left.add(case.name)
            except Exception as error:
                failures.append(f"{case.name}: {type(error).__name__}: {error}")
    assert not failures, "\n".join(failures)
    assert [name for name in left if not BEYOND_TORCH.search(name)] == []
    assert len(left) == LEFT_TO_ONNXRUNTIME.get(name, 0)

"""onnx's node cases survive import and export: onnxruntime makes of our file what it makes of the original."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.case.test_case import TestCase as NodeCase

from irc.frontends.onnx import read_onnx
from irc.proto.writer import model_proto

CHUNKS = 8
LEAST = 190  # of the 235 cases in a chunk onnxruntime passes about 196; the rest it does not implement

pytestmark = pytest.mark.slow


@functools.cache
def cases() -> list[NodeCase]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's overflows in onnx's reference implementations
        found = collect_testcases(None)
    assert len(found) >= 1884
    assert all(case.model is not None and case.data_sets is not None for case in found)
    return list(found)


def plain(value: Any) -> Any:
    """The case's data as arrays, lists of arrays, or None."""
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, onnx.SequenceProto):
        return numpy_helper.to_list(value)
    if isinstance(value, onnx.OptionalProto):
        return numpy_helper.to_optional(value)
    return value


def fed(value: Any) -> Any:
    """What onnxruntime takes: numpy lacks some types, of which those below a byte are packed."""
    if not isinstance(value, np.ndarray) or value.dtype.num < 256:
        return value
    number = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
    packed = np.frombuffer(numpy_helper.from_array(value).raw_data, np.uint8)
    buffer = np.zeros(value.shape, value.dtype)
    buffer.reshape(-1).view(np.uint8)[: packed.size] = packed
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(buffer, number)


def run(model: onnx.ModelProto, inputs: Sequence[Any]) -> list[Any]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {i.name: fed(plain(x)) for i, x in zip(session.get_inputs(), inputs, strict=False)}
    return list(session.run(None, feed))


def same(got: Any, wanted: Any, rtol: float, atol: float) -> bool:
    if isinstance(wanted, list):
        return isinstance(got, list) and len(got) == len(wanted) and all(
            same(a, b, rtol, atol) for a, b in zip(got, wanted, strict=True)
        )  # fmt: skip
    if wanted is None:
        return got is None
    a, b = np.asarray(got), np.asarray(wanted)
    if a.shape != b.shape:
        return False
    if b.dtype.kind in "OUS":
        return bool(np.array_equal(a.astype(str), b.astype(str)))
    if a.dtype != b.dtype and a.dtype.itemsize == b.dtype.itemsize:
        a = a.view(b.dtype)  # onnxruntime gives types that numpy lacks as their bits
    wide = np.complex128 if b.dtype.kind == "c" else np.float64
    return bool(np.allclose(a.astype(wide), b.astype(wide), rtol=rtol, atol=atol, equal_nan=True))


def results(case: NodeCase, model: onnx.ModelProto) -> list[list[Any]] | str:
    """What the model makes of each of the case's data sets, or why onnxruntime does not run it."""
    try:
        return [run(model, inputs) for inputs, _ in case.data_sets or ()]
    except Exception as error:  # onnxruntime's exceptions have no common base
        return str(error)


def agree(case: NodeCase, made: list[list[Any]] | str) -> bool:
    """Whether the outputs are those of the case, with the tolerance that the case states."""
    rtol, atol = max(case.rtol, 1e-3), max(case.atol, 1e-7)  # those of onnx's own test runner
    return not isinstance(made, str) and all(
        len(got) == len(wanted) and all(same(g, plain(w), rtol, atol) for g, w in zip(got, wanted, strict=True))
        for got, (_, wanted) in zip(made, case.data_sets or (), strict=True)
    )


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_what_onnxruntime_makes_of_the_original_it_makes_of_ours(chunk: int) -> None:
    passed, lost, wrong = 0, [], []
    for case in cases()[chunk::CHUNKS]:
        assert case.model is not None
        before = results(case, case.model)
        ours = model_proto(read_onnx(case.model))  # no case is refused, whether onnxruntime knows the operator or not
        onnx.checker.check_model(ours)
        after = results(case, ours)
        passed += agree(case, before)
        if agree(case, before) and not agree(case, after):
            lost.append((case.name, after if isinstance(after, str) else "differs"))
        elif isinstance(before, str):
            if not isinstance(after, str) and not agree(case, after):
                wrong.append(case.name)
        elif isinstance(after, str) or not all(
            same(a, b, 1e-5, 1e-6) for x, y in zip(after, before, strict=True) for a, b in zip(x, y, strict=True)
        ):
            wrong.append(case.name)
    assert not lost
    assert not wrong
    assert passed >= LEAST

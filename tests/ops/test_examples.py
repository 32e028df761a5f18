"""Every typed op computes what onnxruntime does, has the type it infers, and survives the way to ONNX and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx.reference
import onnxruntime
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from irc import ops
from irc.execution.convert import to_numpy, to_torch
from irc.op import Example, Op
from irc.ops.schema import node_proto, op_of_proto, proto_of_type
from irc.types import Array, TensorType, type_of_array

EXAMPLES = [
    pytest.param(example, id=f"{cls.__name__}-{k}") for cls in ops.TYPED for k, example in enumerate(cls.examples())
]
ONNX_EXAMPLES = [e for e in EXAMPLES if not e.values[0].op.domain]  # type: ignore[union-attr]

DATA_DEPENDENT = {"NonZero", "Compress"}  # a size of theirs is not known before they run

# functions are computed by other polynomials there, and sums in another order: some units in the last place
TOLERANCE = {np.dtype(np.float32): (1e-5, 2e-6), np.dtype(np.float16): (2e-3, 1e-3)}


def run(example: Example) -> list[Array]:
    """What the op computes in torch."""
    inputs = [None if x is None else to_torch(x, copy=True) for x in example.inputs]
    made = example.op.run(*inputs) if example.outputs == 1 else example.op.run(*inputs, outputs=example.outputs)
    made = made if isinstance(made, tuple) else (made,)
    assert len(made) == example.outputs
    return [to_numpy(m) for m in made]


def model_of(example: Example, types: Sequence[TensorType]) -> onnx.ModelProto:
    """The model whose only node is the example; what numpy cannot hold is cast to float32 on the way out."""
    names = [f"i{k}" if x is not None else "" for k, x in enumerate(example.inputs)]
    made = [f"o{k}" for k in range(example.outputs)]
    nodes, outputs = [node_proto(example.op, names, made)], []
    for name, type in zip(made, types, strict=True):
        if type.dtype.numpy.num >= 256:
            nodes.append(onnx.helper.make_node("Cast", [name], [f"{name}_f32"], to=1))
            name = f"{name}_f32"
        outputs.append(onnx.ValueInfoProto(name=name))
    given = [
        onnx.ValueInfoProto(name=n, type=proto_of_type(type_of_array(x)))
        for n, x in zip(names, example.inputs, strict=True)
        if x is not None
    ]
    graph = onnx.helper.make_graph(nodes, "example", given, outputs)
    version = max(example.op.since, 21)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", version)], ir_version=10)


def ort_value(array: Array) -> Any:
    """An array as onnxruntime takes it; those of ml_dtypes do not describe themselves."""
    if array.dtype.num < 256:
        return array
    number = type_of_array(array).dtype.onnx_type
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, number)


def expected(model: onnx.ModelProto, example: Example) -> list[Array]:
    """What onnxruntime computes, or onnx's reference where onnxruntime has no kernel."""
    given = {f"i{k}": x for k, x in enumerate(example.inputs) if x is not None}
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        made = session.run(None, {n: ort_value(x) for n, x in given.items()})
    except (ort_errors.Fail, ort_errors.InvalidGraph, ort_errors.NotImplemented):
        made = onnx.reference.ReferenceEvaluator(model).run(None, given)
    return [np.asarray(m) for m in made]


@pytest.mark.parametrize("cls", ops.TYPED, ids=lambda cls: cls.__name__)
def test_every_op_has_examples(cls: type[Op]) -> None:
    assert list(cls.examples())


@pytest.mark.parametrize("example", ONNX_EXAMPLES)
def test_runs_as_onnxruntime_does(example: Example) -> None:
    made = run(example)
    judged = expected(model_of(example, [type_of_array(m) for m in made]), example)
    for ours, theirs in zip(made, judged, strict=True):
        assert ours.shape == theirs.shape
        if ours.dtype.num >= 256:
            ours = ours.astype(np.float32)
        assert ours.dtype == theirs.dtype
        rtol, atol = TOLERANCE.get(ours.dtype, (1e-12, 0.0))
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)


@pytest.mark.parametrize("example", EXAMPLES)
def test_infers_the_type_of_the_result(example: Example) -> None:
    types = [None if x is None else type_of_array(x) for x in example.inputs]
    inferred = example.op.infer(types, list(example.inputs), example.outputs)
    for made, type in zip(run(example), inferred, strict=True):
        assert isinstance(type, TensorType)
        assert type.shape is not None
        open_dims = [k for k, d in enumerate(type.shape) if d is None]
        assert not open_dims or example.op.name in DATA_DEPENDENT
        filled = tuple(n if d is None else d for d, n in zip(type.shape, made.shape, strict=True))
        assert TensorType(type.dtype, filled) == type_of_array(made)


@pytest.mark.parametrize("example", EXAMPLES)
def test_goes_to_onnx_and_back(example: Example) -> None:
    proto = node_proto(example.op, ["x"] * len(example.inputs), ["y"] * example.outputs)
    back = op_of_proto(onnx.NodeProto.FromString(proto.SerializeToString()), onnx.defs.onnx_opset_version())
    assert type(back) is type(example.op)
    assert node_proto(back, list(proto.input), list(proto.output)) == proto

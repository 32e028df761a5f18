"""FakeQuant gives the numbers of QuantizeLinear and DequantizeLinear, and the gradients of a learned step size."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from irc.ops.fake_quant import FakeQuant
from irc.types import Array, tensor

FORMATS = {np.dtype(np.int8): (-128, 127), np.dtype(np.uint8): (0, 255), np.dtype(np.int16): (-32768, 32767)}


def quantize_dequantize(x: Array, scale: Array, zero_point: Array, axis: int) -> Array:
    """What onnxruntime makes of x."""
    nodes = [
        onnx.helper.make_node("QuantizeLinear", ["x", "scale", "zero_point"], ["code"], axis=axis),
        onnx.helper.make_node("DequantizeLinear", ["code", "scale", "zero_point"], ["y"], axis=axis),
    ]
    arrays = {"x": x, "scale": scale, "zero_point": zero_point}
    inputs = [
        onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in arrays.items()
    ]
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, x.shape)
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "qdq", inputs, [output]),
        opset_imports=[onnx.helper.make_opsetid("", 21)],
        ir_version=10,
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, arrays)[0])


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_equals_onnxruntime(dtype: np.dtype[np.generic], axis: int | None) -> None:
    qmin, qmax = FORMATS[dtype]
    random = np.random.default_rng(3)
    x = random.normal(0, 2, (5, 64, 7)).astype(np.float32)
    shape = () if axis is None else (x.shape[axis],)
    scale = np.asarray(random.uniform(4, 6, shape) / (qmax - qmin)).astype(np.float32)
    x[:, :10] = np.round(x[:, :10] * 8) / 8  # some exact halves when divided by a power of two
    if axis is None:
        scale = np.array(1 / 16, np.float32)
    zero_point = np.asarray(random.integers(qmin // 4, qmax // 4 + 1, shape)).astype(dtype)
    op = FakeQuant(axis=axis, qmin=qmin, qmax=qmax)
    ours = op.run(*map(torch.from_numpy, (x, scale, zero_point)))
    np.testing.assert_array_equal(ours.numpy(), quantize_dequantize(x, scale, zero_point, axis or 0))


@settings(deadline=None)  # the first example pays for loading torch's kernels
@given(st.integers(-8, 3), st.integers(-128, 127), st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20))
def test_equals_torch_at_scales_that_torch_inverts_exactly(exponent: int, zero_point: int, values: list[float]) -> None:
    x, scale = torch.tensor(values), 2.0**exponent
    ours = FakeQuant().run(x, torch.tensor(scale), torch.tensor(zero_point, dtype=torch.int8))
    theirs = torch.fake_quantize_per_tensor_affine(x, scale, zero_point, -128, 127)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("axis", [None, 1])
def test_gradients_are_those_of_torch_with_the_balance_of_lsq(axis: int | None) -> None:
    torch.manual_seed(0)
    shape = () if axis is None else (4,)
    ours = torch.randn(3, 4, 5).requires_grad_()
    step = torch.full(shape, 1 / 64, requires_grad=True)
    zero_point = torch.full(shape, 10, dtype=torch.int8)
    upstream = torch.randn(3, 4, 5)
    FakeQuant(axis=axis, qmin=-64, qmax=63).run(ours, step, zero_point).backward(upstream)  # type: ignore[no-untyped-call]

    theirs, their_step = ours.detach().requires_grad_(), step.detach().reshape(-1).requires_grad_()
    balance = 1 / math.sqrt(ours.numel() // step.numel() * 63)
    point = zero_point.float().reshape(-1)
    if axis is None:
        made = torch._fake_quantize_learnable_per_tensor_affine(theirs, their_step, point, -64, 63, balance)
    else:
        made = torch._fake_quantize_learnable_per_channel_affine(theirs, their_step, point, axis, -64, 63, balance)
    made.backward(upstream)  # type: ignore[no-untyped-call]

    assert theirs.grad is not None
    assert their_step.grad is not None
    assert ours.grad is not None
    assert step.grad is not None
    assert 0 < int((ours.grad == 0).sum()) < ours.numel()  # some values are clipped, some are not
    torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(step.grad.reshape(-1), their_step.grad)


def test_learning_the_step_lowers_the_error() -> None:
    torch.manual_seed(0)
    x, step = torch.randn(4096), torch.tensor(1.0, requires_grad=True)
    zero_point = torch.tensor(0, dtype=torch.int8)
    op = FakeQuant(qmin=-8, qmax=7)
    optimizer = torch.optim.Adam([step], lr=0.01)

    def error() -> torch.Tensor:
        return ((op.run(x, step, zero_point) - x) ** 2).mean()

    before = float(error().detach())
    for _ in range(150):
        optimizer.zero_grad()
        error().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert float(error().detach()) < 0.25 * before
    assert 0.25 < float(step.detach()) < 0.45  # 0.335 is best for a normal distribution (Max 1960)


def test_is_the_identity_before_calibration() -> None:
    x = torch.randn(3)
    assert FakeQuant().run(x) is x


def test_float16_keeps_16_bit_codes() -> None:
    x = torch.tensor([1.0], dtype=torch.float16)
    y = FakeQuant(qmin=-32768, qmax=32767).run(x, torch.tensor(1 / 30000), torch.tensor(0, dtype=torch.int16))
    assert y.dtype is torch.float16
    assert float(y) == 1.0


def test_infers_the_type_of_its_input() -> None:
    assert FakeQuant().infer([tensor("f32", "N", 3)], [None], 1) == [tensor("f32", "N", 3)]

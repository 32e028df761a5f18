"""The integer ops agree with onnxruntime's quantized operators: at most one code apart, and 99.9 % of the codes equal.

onnxruntime rounds an int32 bias and multiplies by one float32; irc folds everything into one fused multiply-add. The
weights here have 7 bits: on processors without VNNI onnxruntime adds pairs of products in 16 bits that saturate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from irc.op import Op
from irc.ops.int8 import QAdd, QAveragePool, QConv, QMatMul, QMul, QReduceMean
from irc.types import Array


def onnxruntime_of(op: str, inputs: dict[str, Array], domain: str = "", **attributes: Any) -> Array:
    """What one operator of onnxruntime makes of the inputs, in the order given."""
    made = [onnx.helper.make_node(op, list(inputs), ["y"], domain=domain, **attributes)]
    given_ = [
        onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in inputs.items()
    ]
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.UINT8, None)
    model = onnx.helper.make_model(
        onnx.helper.make_graph(made, "g", given_, [out]),
        opset_imports=[onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("com.microsoft", 1)],
        ir_version=10,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, inputs)[0])


def run(op: Op, *inputs: Array) -> Array:
    call: Callable[..., torch.Tensor] = op.run
    return call(*map(torch.from_numpy, inputs)).numpy()


def scalar(x: float) -> Array:
    return np.array(x, np.float32)


def byte(x: int) -> Array:
    return np.array(x, np.uint8)


def agree(draw: Callable[[np.random.Generator], tuple[Array, Array]]) -> None:
    """Compare what `draw` gives for many seeds: each code at most one apart, 99.9 % of all equal."""
    counts = np.zeros(2, int)

    @settings(deadline=None, max_examples=80)
    @given(st.integers(0, 2**32 - 1))
    def compare(seed: int) -> None:
        ours, theirs = draw(np.random.default_rng(seed))
        assert ours.shape == theirs.shape
        apart = np.abs(ours.astype(int) - theirs.astype(int))
        assert apart.max(initial=0) <= 1
        counts[:] += (apart == 0).sum(), apart.size

    compare()
    assert counts[1] > 10_000
    assert counts[0] >= 0.999 * counts[1]


def grid(rng: np.random.Generator) -> tuple[float, int]:
    """A scale and a zero point, its ends as often as all between."""
    zero_point = int(rng.choice([0, 255, int(rng.integers(1, 255))]))
    return float(np.float32(10 ** rng.uniform(-3, 0))), zero_point


def codes(rng: np.random.Generator, *shape: int) -> Array:
    return rng.integers(0, 256, shape).astype(np.uint8)


def test_convolution() -> None:
    def draw(rng: np.random.Generator) -> tuple[Array, Array]:
        group = int(rng.integers(1, 4))
        c, m, kernel = int(rng.integers(1, 5)), int(rng.integers(1, 5)) * group, rng.integers(1, 4, 2).tolist()
        x = codes(rng, 2, c * group, int(rng.integers(9, 13)), int(rng.integers(9, 13)))
        w = rng.integers(-64, 64, (m, c, *kernel)).astype(np.int8)
        (sx, zx), sw = grid(rng), (10 ** rng.uniform(-4, -1, m)).astype(np.float32)
        spread = np.sqrt(w[0].size) * 148 * 37 * sx * float(sw.max())
        sy, zy = float(np.float32(spread / rng.uniform(30, 120))), grid(rng)[1]
        bias = rng.integers(-9999, 9999, m).astype(np.int32)
        place: dict[str, Any] = {
            "strides": rng.integers(1, 3, 2).tolist(),
            "pads": rng.integers(0, 3, 4).tolist(),
            "dilations": rng.integers(1, 3, 2).tolist(),
        }
        scale = (sx * sw.astype(np.float64) / sy).astype(np.float32)
        sums = w.reshape(m, -1).sum(1, dtype=np.int64)
        shift = ((bias - zx * sums) * scale.astype(np.float64) + zy).astype(np.float32)
        attributes: dict[str, Any] = {k: tuple(v) for k, v in place.items()}
        op = QConv(**attributes, group=group, zero_point=zx)
        inputs = {"x": x, "sx": scalar(sx), "zx": byte(zx), "w": w, "sw": sw, "zw": np.zeros(m, np.int8)}
        inputs |= {"sy": scalar(sy), "zy": byte(zy), "b": bias}
        return run(op, x, w, scale, shift), onnxruntime_of("QLinearConv", inputs, group=group, **place)

    agree(draw)


def test_matrix_product() -> None:
    def draw(rng: np.random.Generator) -> tuple[Array, Array]:
        k, n = rng.integers(1, 50, 2).tolist()
        x, w = codes(rng, 2, 7, k), rng.integers(-64, 64, (k, n)).astype(np.int8)
        (sx, zx), sw = grid(rng), (10 ** rng.uniform(-4, -1, n)).astype(np.float32)
        sy, zy = float(np.float32(np.sqrt(k) * 148 * 37 * sx * float(sw.max()) / rng.uniform(30, 120))), grid(rng)[1]
        scale = (sx * sw.astype(np.float64) / sy).astype(np.float32)
        shift = (zy - zx * w.sum(0, dtype=np.int64) * scale.astype(np.float64)).astype(np.float32)
        inputs = {"x": x, "sx": scalar(sx), "zx": byte(zx), "w": w, "sw": sw, "zw": np.zeros(n, np.int8)}
        inputs |= {"sy": scalar(sy), "zy": byte(zy)}
        return run(QMatMul(), x, w, scale, shift), onnxruntime_of("QLinearMatMul", inputs)

    agree(draw)


def pair(rng: np.random.Generator) -> tuple[dict[str, Array], tuple[float, int], tuple[float, int]]:
    (sa, za), (sb, zb) = grid(rng), grid(rng)
    shapes = [((5, 9, 11), (5, 9, 11)), ((5, 9, 11), (11,)), ((6, 7, 1), (4, 1, 7, 9))]
    a, b = (codes(rng, *shape) for shape in shapes[int(rng.integers(3))])
    inputs = {"a": a, "sa": scalar(sa), "za": byte(za), "b": b, "sb": scalar(sb), "zb": byte(zb)}
    return inputs, (sa, za), (sb, zb)


def test_sum() -> None:
    def draw(rng: np.random.Generator) -> tuple[Array, Array]:
        inputs, (sa, za), (sb, zb) = pair(rng)
        sy, zy = float(np.float32(max(sa, sb) * rng.uniform(0.5, 2))), grid(rng)[1]
        a_scale, b_scale = float(np.float32(sa / sy)), float(np.float32(sb / sy))
        op = QAdd(a_scale, b_scale, float(np.float32(zy - a_scale * za - b_scale * zb)))
        inputs |= {"sy": scalar(sy), "zy": byte(zy)}
        return run(op, inputs["a"], inputs["b"]), onnxruntime_of("QLinearAdd", inputs, "com.microsoft")

    agree(draw)


def test_product() -> None:
    def draw(rng: np.random.Generator) -> tuple[Array, Array]:
        inputs, (sa, za), (sb, zb) = pair(rng)
        sy, zy = float(np.float32(sa * sb * rng.uniform(50, 250))), grid(rng)[1]
        op = QMul(za, zb, float(np.float32(sa * sb / sy)), float(zy))
        inputs |= {"sy": scalar(sy), "zy": byte(zy)}
        return run(op, inputs["a"], inputs["b"]), onnxruntime_of("QLinearMul", inputs, "com.microsoft")

    agree(draw)


def test_mean_of_windows() -> None:
    def draw(rng: np.random.Generator) -> tuple[Array, Array]:
        x, (sx, zx), zy = codes(rng, 2, 3, 9, 8), grid(rng), grid(rng)[1]
        sy = float(np.float32(sx * rng.uniform(0.4, 2)))
        place: dict[str, Any] = {"kernel_shape": [3, 2], "strides": rng.integers(1, 3, 2).tolist()}
        place |= {"pads": rng.integers(0, 2, 4).tolist(), "count_include_pad": int(rng.integers(2))}
        attributes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in place.items()}
        op = QAveragePool(**attributes, zero_point=zx, scale=float(np.float32(sx / sy)), bias=float(zy))
        inputs = {"x": x, "sx": scalar(sx), "zx": byte(zx), "sy": scalar(sy), "zy": byte(zy)}
        return run(op, x), onnxruntime_of("QLinearAveragePool", inputs, "com.microsoft", **place)

    agree(draw)


def test_mean_of_all() -> None:
    def draw(rng: np.random.Generator) -> tuple[Array, Array]:
        h, w = rng.integers(1, 12, 2).tolist()
        x, (sx, zx), zy = codes(rng, 4, 64, h, w), grid(rng), grid(rng)[1]
        sy = float(np.float32(sx * rng.uniform(0.4, 2)))
        op = QReduceMean((2, 3), zero_point=zx, scale=float(np.float32(sx / sy / (h * w))), bias=float(zy))
        inputs = {"x": x, "sx": scalar(sx), "zx": byte(zx), "sy": scalar(sy), "zy": byte(zy)}
        return run(op, x), onnxruntime_of("QLinearGlobalAveragePool", inputs, "com.microsoft")

    agree(draw)

"""Float matrix products, convolutions, resizing, LSTM and GRU have the bits of their references, compiled in any way.

And the references compute what torch, onnxruntime and the ops of irc compute.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from irc.backends.c.reference import contraction, recurrent, resize
from irc.backends.c.reference.contraction import packed
from irc.backends.c.reference.native import Native
from irc.backends.c.reference.variants import VARIANTS, built
from irc.types import Array

GUARD = 7.0
drawn = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
few = st.integers(1, 3)
seeds = st.integers(0, 2**32 - 1)
NEAR = {"rtol": 2e-6, "atol": 2e-5}  # sums of some hundred products of numbers around 1, in another order


@pytest.fixture(scope="module", params=VARIANTS)
def native(request: pytest.FixtureRequest) -> Native:
    if missing := VARIANTS[request.param].missing:
        pytest.skip(f"needs {missing}")
    return built(request.param)


def same(a: Array, b: Array) -> None:
    """All bits the same."""
    assert a.shape == b.shape
    assert a.dtype == b.dtype == np.float32
    wrong = a.view(np.uint32) != np.ascontiguousarray(b).view(np.uint32)
    assert not wrong.any(), f"{wrong.sum()} of {wrong.size} differ: {a[wrong][:4]} and {b[wrong][:4]}"


def floats(rng: np.random.Generator, *shape: int) -> Array:
    return rng.normal(0, 1, shape).astype(np.float32)


def guarded(*shape: int) -> Array:
    """An output whose last axis has room for one element more."""
    return np.full((*shape[:-1], shape[-1] + 1), GUARD, np.float32)


def inside(y: Array) -> Array:
    assert (y[..., -1] == GUARD).all(), "written behind a row"
    return np.ascontiguousarray(y[..., :-1])


@drawn
@given(few, few, st.integers(1, 20), st.integers(1, 40), st.integers(1, 20), st.booleans(), st.booleans(), few, seeds)
def test_matmul(
    native: Native, b0: int, b1: int, m: int, n: int, k: int, a_turned: bool, b_turned: bool, threads: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    a, b, bias = floats(rng, b0, b1, m, k), floats(rng, b1, k, n), floats(rng, m, n) if seed % 3 else None
    wanted = contraction.matmul(a, b, bias)
    p = {"batch0": b0, "batch1": b1, "m": m, "n": n, "k": k, "a0": b1 * m * k, "a1": m * k, "b1": k * n}
    p |= {"a_row": 1, "a_col": m} if a_turned else {"a_row": k, "a_col": 1}
    p |= {"b_row": 1, "b_col": k} if b_turned else {"b_row": n, "b_col": 1}
    p |= {"c0": b1 * m * (n + 1), "c1": m * (n + 1), "c_row": n + 1, "bias_row": n, "bias_col": 1}
    x, w = (np.ascontiguousarray(v.swapaxes(-1, -2)) if t else v for v, t in ((a, a_turned), (b, b_turned)))
    scratch = np.zeros(16 * k, np.float32)
    same(inside(native.threads("irc_matmul_f32", threads, p, x, w, bias, scratch, guarded(b0, b1, m, n))[-1]), wanted)
    panels = packed(b)
    p |= {"b_packed": 1, "b1": panels[0].size}
    same(inside(native.threads("irc_matmul_f32", threads, p, x, panels, bias, None, guarded(b0, b1, m, n))[-1]), wanted)
    np.testing.assert_allclose(wanted, a @ b + (0 if bias is None else bias), **NEAR)


@st.composite
def convolutions(draw: Any) -> dict[str, Any]:
    kernel, dilations = [draw(few), draw(few)], [draw(few), draw(few)]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    return {
        "kernel": kernel,
        "dilations": dilations,
        "strides": [draw(few), draw(few)],
        "pads": [draw(st.integers(0, 2)) for _ in range(4)],
        "size": [draw(st.integers(r, r + 5)) for r in reach],
        "batch": draw(few),
        "groups": draw(few),
        "c": draw(st.integers(1, 9)),
        "n": draw(st.integers(1, 35)),
    }


@drawn
@given(convolutions(), few, seeds)
def test_conv(native: Native, d: dict[str, Any], threads: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    (kh, kw), (dh, dw), (sh, sw), g, c, n = d["kernel"], d["dilations"], d["strides"], d["groups"], d["c"], d["n"]
    x, w = floats(rng, d["batch"], *d["size"], g * c), floats(rng, kh, kw, c, g * n)
    bias = floats(rng, g * n) if seed % 3 else None
    wanted = contraction.conv(x, w, bias, d["strides"], d["pads"], d["dilations"], g)
    _, rows, cols, m = wanted.shape
    top, left, bottom, right = d["pads"]
    held = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    line, cell = held.shape[2] * g * c, g * c
    rowwise = dw == 1 and g == 1
    taps = [i * dh * line + (0 if rowwise else j * dw * cell) for i in range(kh) for j in range(1 if rowwise else kw)]
    p = {"batch": d["batch"], "rows": rows, "cols": cols, "n": n, "groups": g, "runs": len(taps), "lo": -0.5, "hi": 2.0}
    p |= {"run_length": kh * kw * c // len(taps), "run_offset": np.array(taps, np.int32)}
    p |= {"x_batch": held[0].size, "x_row": sh * line, "x_col": sw * cell, "x_group": c}
    p |= {"y_batch": rows * cols * (m + 1), "y_row": cols * (m + 1), "y_col": m + 1, "y_group": n}
    panels = packed(w.reshape(kh * kw * c, g, n).transpose(1, 0, 2))
    y = inside(native.threads("irc_conv_f32", threads, p, held, panels, bias, guarded(*wanted.shape))[-1])
    same(y, np.clip(wanted, np.float32(-0.5), np.float32(2.0)))
    planar = torch.from_numpy(held).permute(0, 3, 1, 2)
    kernel = torch.from_numpy(w).permute(3, 2, 0, 1)
    near = F.conv2d(planar, kernel, None if bias is None else torch.from_numpy(bias), (sh, sw), 0, (dh, dw), g)
    np.testing.assert_allclose(wanted, near.permute(0, 2, 3, 1).numpy(), **NEAR)


@drawn
@given(convolutions(), few, seeds)
def test_depthwise(native: Native, d: dict[str, Any], threads: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    (kh, kw), (dh, dw), (sh, sw), c = d["kernel"], d["dilations"], d["strides"], d["n"]
    x, w = floats(rng, d["batch"], *d["size"], c), floats(rng, kh, kw, 1, c)
    bias = floats(rng, c) if seed % 3 else None
    wanted = contraction.conv(x, w, bias, d["strides"], (0, 0, 0, 0), d["dilations"], c)
    _, rows, cols, _ = wanted.shape
    line = d["size"][1] * c
    p = {"batch": d["batch"], "rows": rows, "cols": cols, "channels": c, "kernel_rows": kh, "kernel_cols": kw}
    p |= {"x_batch": x[0].size, "x_row": sh * line, "x_col": sw * c, "tap_row": dh * line, "tap_col": dw * c}
    p |= {"y_batch": rows * cols * (c + 1), "y_row": cols * (c + 1), "y_col": c + 1, "lo": -np.inf, "hi": np.inf}
    same(inside(native.threads("irc_depthwise_f32", threads, p, x, w, bias, guarded(*wanted.shape))[-1]), wanted)


@drawn
@given(convolutions(), few, seeds)
def test_conv_transpose(native: Native, d: dict[str, Any], threads: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    (kh, kw), (dh, dw), (sh, sw), g, c, n = d["kernel"], d["dilations"], d["strides"], d["groups"], d["c"], d["n"]
    x, w = floats(rng, d["batch"], *d["size"], g * c), floats(rng, kh, kw, c, g * n)
    bias = floats(rng, g * n) if seed % 3 else None
    whole = [(s - 1) * t + (k - 1) * e + 1 for s, t, k, e in zip(d["size"], (sh, sw), (kh, kw), (dh, dw), strict=True)]
    top, left = (min(a, (b - 1) // 2) for a, b in zip(d["pads"][:2], whole, strict=True))
    out = [max(1, whole[0] - top - d["pads"][2]), max(1, whole[1] - left - d["pads"][3])]
    wanted = contraction.conv_transpose(x, w, bias, (sh, sw), (top, left), (dh, dw), g, out)
    m = g * n
    p = {"batch": d["batch"], "rows": d["size"][0], "cols": d["size"][1], "out_rows": out[0], "out_cols": out[1]}
    p |= {"channels": c, "n": n, "groups": g, "kernel_rows": kh, "kernel_cols": kw, "stride_rows": sh, "stride_cols": sw}
    p |= {"dilation_rows": dh, "dilation_cols": dw, "pad_top": top, "pad_left": left, "lo": -np.inf, "hi": np.inf}
    p |= {"x_batch": x[0].size, "x_row": d["size"][1] * g * c, "x_col": g * c}
    p |= {"y_batch": out[0] * out[1] * (m + 1), "y_row": out[1] * (m + 1), "y_col": m + 1}
    panels = packed(w.reshape(kh * kw * c, g, n).transpose(1, 0, 2))
    same(inside(native.threads("irc_conv_transpose_f32", threads, p, x, panels, bias, guarded(*wanted.shape))[-1]), wanted)
    kernel = torch.from_numpy(w.reshape(kh, kw, c, g, n)).permute(3, 2, 4, 0, 1).reshape(g * c, n, kh, kw)
    near = F.conv_transpose2d(
        torch.from_numpy(x).permute(0, 3, 1, 2), kernel, None if bias is None else torch.from_numpy(bias), (sh, sw), 0, 0, g, (dh, dw)
    ).permute(0, 2, 3, 1)[:, top : top + out[0], left : left + out[1]]
    np.testing.assert_allclose(wanted, near.numpy(), **NEAR)


@drawn
@given(few, st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.integers(1, 12), st.integers(1, 12), few, seeds)
def test_resize(native: Native, batch: int, h: int, w: int, c: int, out_h: int, out_w: int, taps: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = floats(rng, batch, h, w, c)
    index = [rng.integers(0, size, (o, taps)).astype(np.int32) for size, o in ((h, out_h), (w, out_w))]
    weight = [floats(rng, o, taps) for o in (out_h, out_w)]
    index[0][rng.integers(0, out_h), 0] = -1
    p = {"batch": batch, "channels": c, "out_rows": out_h, "out_cols": out_w, "row_taps": taps, "col_taps": taps}
    p |= {"row_index": index[0], "col_index": index[1], "row_weight": weight[0], "col_weight": weight[1]}
    p |= {"x_batch": h * w * c, "x_row": w * c, "x_col": c, "extrapolation": 9.5}
    p |= {"y_batch": out_h * out_w * (c + 1), "y_row": out_w * (c + 1), "y_col": c + 1}
    y = native.threads("irc_resize_weighted_f32", 2, p, x, guarded(batch, out_h, out_w, c))[-1]
    same(inside(y), resize.weighted(x, index[0], weight[0], index[1], weight[1], 9.5))
    first = [np.ascontiguousarray(i[:, 0]) for i in index]
    p |= {"row_index": first[0], "col_index": first[1]}
    y = native.threads("irc_resize_nearest_f32", 2, p, x, guarded(batch, out_h, out_w, c))[-1]
    same(inside(y), resize.nearest(x, *first, 9.5))
    q = rng.integers(0, 256, x.shape, np.uint8)
    made = np.full((batch, out_h, out_w, c + 1), 7, np.uint8)
    y = native.threads("irc_resize_nearest_u8", 2, p | {"extrapolation": 9}, q, made)[-1]
    assert (y[..., -1] == 7).all()
    np.testing.assert_array_equal(y[..., :-1], resize.nearest(q, *first, 9))


def test_resize_is_torchs() -> None:
    """Half-pixel bilinear, its table written down from the definition."""
    x = floats(np.random.default_rng(0), 1, 5, 7, 3)
    tables = []
    for size, out in ((5, 8), (7, 4)):
        at = np.clip((np.arange(out) + 0.5) * size / out - 0.5, 0, size - 1)
        low = np.floor(at).astype(np.int32)
        rest = (at - low).astype(np.float32)
        tables += [np.stack([low, np.minimum(low + 1, size - 1)], 1), np.stack([1 - rest, rest], 1)]
    wanted = F.interpolate(torch.from_numpy(x).permute(0, 3, 1, 2), (8, 4), mode="bilinear").permute(0, 2, 3, 1)
    np.testing.assert_allclose(resize.weighted(x, *tables, 0.0), wanted.numpy(), rtol=1e-5, atol=1e-6)


@st.composite
def recurrences(draw: Any) -> dict[str, Any]:
    lstm, directions = draw(st.booleans()), draw(st.integers(1, 2))
    plain = draw(st.booleans())
    kinds = [draw(st.integers(0, 10)) for _ in range(3 * directions)]
    return {
        "lstm": lstm, "directions": directions, "reverse": directions == 1 and draw(st.booleans()),
        "steps": draw(st.integers(1, 4)), "batch": draw(few), "inputs": draw(st.integers(1, 6)),
        "hidden": draw(st.sampled_from([1, 3, 8, 17])), "bias": draw(st.booleans()), "lengths": draw(st.booleans()),
        "states": draw(st.booleans()), "peephole": lstm and draw(st.booleans()), "clip": draw(st.sampled_from([0.0, 0.5])),
        "linear_before_reset": draw(st.booleans()), "input_forget": draw(st.booleans()),
        "activations": [0, 1, 1] * directions if plain else kinds,
    }  # fmt: skip


def recurrent_arrays(d: dict[str, Any], rng: np.random.Generator) -> dict[str, Array | None]:
    """The inputs of the ONNX op, None for one that is left out."""
    gates, n, each, b = 4 if d["lstm"] else 3, d["hidden"], d["directions"], d["batch"]
    state = (each, b, n)
    return {
        "x": floats(rng, d["steps"], b, d["inputs"]),
        "w": floats(rng, each, gates * n, d["inputs"]),
        "r": floats(rng, each, gates * n, n),
        "b": floats(rng, each, 2 * gates * n) if d["bias"] else None,
        "lengths": rng.integers(1, d["steps"] + 1, b).astype(np.int32) if d["lengths"] else None,
        "h": floats(rng, *state) if d["states"] else None,
        **({"c": floats(rng, *state) if d["states"] else None, "p": floats(rng, each, 3 * n) if d["peephole"] else None} if d["lstm"] else {}),
    }  # fmt: skip


def alpha_beta(kind: int) -> tuple[float, float]:
    """Numbers for every activation that takes some."""
    return (0.3 if kind in (3, 4, 6, 7, 8) else 0.25 if kind == 5 else 0.0), (0.6 if kind in (3, 6, 7) else 0.0)


def reference_run(d: dict[str, Any], v: dict[str, Array | None]) -> tuple[Array, Array, Array]:
    per = 3 if d["lstm"] else 2
    cells = []
    for i in range(d["directions"]):
        w, r = v["w"], v["r"]
        assert w is not None
        assert r is not None
        kinds = [d["activations"][3 * i + k] for k in range(per)]
        b, p = v["b"], v.get("p")
        cells.append(
            recurrent.Cell(
                w[i], r[i], None if b is None else b[i], [(k, *alpha_beta(k)) for k in kinds], d["clip"],
                None if p is None else p[i], d["input_forget"], d["linear_before_reset"],
            )
        )  # fmt: skip
    x, zero = v["x"], np.zeros((d["directions"], d["batch"], d["hidden"]), np.float32)
    assert x is not None
    h = v["h"] if v["h"] is not None else zero
    c = (v["c"] if v["c"] is not None else zero) if d["lstm"] else None
    return recurrent.run(cells, d["reverse"], x, v["lengths"], h, c)


def native_run(native: Native, d: dict[str, Any], v: dict[str, Array | None], threads: int) -> list[Array]:
    each, b, n, t = d["directions"], d["batch"], d["hidden"], d["steps"]
    gates, per = (4, 3) if d["lstm"] else (3, 2)
    w, r = v["w"], v["r"]
    assert w is not None
    assert r is not None
    kinds = [d["activations"][3 * i + k] for i in range(each) for k in range(per)]
    p = {"directions": each, "batch": b, "steps": t, "inputs": d["inputs"], "hidden": n, "reverse": int(d["reverse"])}
    p |= {"x_step": b * d["inputs"], "x_batch": d["inputs"], "y_step": each * b * n, "y_direction": b * n, "y_batch": n}
    p |= {"state_direction": b * n, "state_batch": n, "activation": np.array(kinds, np.int32), "clip": d["clip"]}
    p |= {"w_direction": w[0].size, "w_input": gates * n, "w_gate": 1, "r_direction": r[0].size, "r_hidden": gates * n}
    p |= {"r_gate": 1, "input_forget": int(d["input_forget"]), "linear_before_reset": int(d["linear_before_reset"])}
    p |= {name: np.array([alpha_beta(k)[i] for k in kinds], np.float32) for i, name in enumerate(("alpha", "beta"))}
    turned = [np.ascontiguousarray(a.swapaxes(1, 2)) for a in (w, r)]
    y, last, scratch = np.full((t, each, b, n), GUARD, np.float32), np.zeros((each, b, n), np.float32), np.zeros(6 * n, np.float32)
    if d["lstm"]:
        states = (v["lengths"], v["h"], v["c"], v["p"], scratch, y, last, last.copy())
        return native.threads("irc_lstm_f32", threads, p, v["x"], *turned, v["b"], *states)[-3:]
    return native.threads("irc_gru_f32", threads, p, v["x"], *turned, v["b"], v["lengths"], v["h"], scratch, y, last)[-2:]


NAMES = (
    "Sigmoid", "Tanh", "Relu", "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu", "Softsign",
    "Softplus",
)  # fmt: skip


def onnx_run(d: dict[str, Any], v: dict[str, Array | None]) -> list[Array]:
    """onnxruntime's results."""
    per = 3 if d["lstm"] else 2
    kinds = [d["activations"][3 * i + k] for i in range(d["directions"]) for k in range(per)]
    attributes: dict[str, Any] = {"hidden_size": d["hidden"], "activations": [NAMES[k] for k in kinds]}
    attributes["direction"] = "bidirectional" if d["directions"] == 2 else "reverse" if d["reverse"] else "forward"
    if d["clip"]:
        attributes["clip"] = d["clip"]
    if not d["lstm"]:
        attributes["linear_before_reset"] = int(d["linear_before_reset"])
    names = ["" if value is None else name for name, value in v.items()]
    outputs = ["y", "y_h", "y_c"][:per]
    node = helper.make_node("LSTM" if d["lstm"] else "GRU", names, outputs, **attributes)
    types = {np.dtype(np.float32): onnx.TensorProto.FLOAT, np.dtype(np.int32): onnx.TensorProto.INT32}
    inputs = [helper.make_tensor_value_info(k, types[a.dtype], a.shape) for k, a in v.items() if a is not None]
    results = [helper.make_tensor_value_info(o, onnx.TensorProto.FLOAT, None) for o in outputs]
    graph = helper.make_graph([node], "g", inputs, results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[Array] = session.run(None, {k: a for k, a in v.items() if a is not None})
    return found


@drawn
@given(recurrences(), few, seeds)
def test_recurrent(native: Native, d: dict[str, Any], threads: int, seed: int) -> None:
    v = recurrent_arrays(d, np.random.default_rng(seed))
    for found, wanted in zip(native_run(native, d, v, threads), reference_run(d, v), strict=False):
        same(found, wanted)


@settings(max_examples=40, deadline=None)
@given(recurrences(), seeds)
def test_recurrent_is_onnxruntimes(d: dict[str, Any], seed: int) -> None:
    """With the usual activations, and as far as onnxruntime follows ONNX: it ignores input_forget on its own terms."""
    d = d | {"activations": [0, 1, 1] * d["directions"], "input_forget": False}
    v = recurrent_arrays(d, np.random.default_rng(seed))
    for found, wanted in zip(reference_run(d, v), onnx_run(d, v), strict=False):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-5)  # its tanh and sigmoid are good to 1e-6

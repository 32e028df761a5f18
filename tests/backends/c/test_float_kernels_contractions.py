"""Float matrix products, convolutions and resizing have the bits of their references, compiled in any way.

And the references compute what torch computes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from irc.backends.c.reference import contraction, resize
from irc.backends.c.reference.arithmetic import same_bits
from irc.backends.c.reference.contraction import packed
from irc.backends.c.reference.native import Native
from irc.backends.c.reference.variants import VARIANTS, built
from irc.types import Array

GUARD = 7.0
drawn = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
few, small = st.integers(1, 3), st.integers(1, 12)
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module", params=VARIANTS)
def native(request: pytest.FixtureRequest) -> Native:
    if missing := VARIANTS[request.param].missing:
        pytest.skip(f"needs {missing}")
    return built(request.param)


def floats(rng: np.random.Generator, *shape: int) -> Array:
    return rng.normal(0, 1, shape).astype(np.float32)


def near(a: Array, b: Array) -> None:
    """Sums of some hundred products of numbers around 1, in another order."""
    np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-5)


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
    y = native.threads("irc_matmul_f32", threads, p, x, w, bias, scratch, guarded(b0, b1, m, n))[-1]
    same_bits(inside(y), wanted)
    panels = packed(b)
    p |= {"b_packed": 1, "b1": panels[0].size}
    y = native.threads("irc_matmul_f32", threads, p, x, panels, bias, None, guarded(b0, b1, m, n))[-1]
    same_bits(inside(y), wanted)
    near(wanted, a @ b + (0 if bias is None else bias))


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
    same_bits(y, np.clip(wanted, np.float32(-0.5), np.float32(2.0)))
    planar = torch.from_numpy(held).permute(0, 3, 1, 2)
    kernel = torch.from_numpy(w).permute(3, 2, 0, 1)
    torchs = F.conv2d(planar, kernel, None if bias is None else torch.from_numpy(bias), (sh, sw), 0, (dh, dw), g)
    near(wanted, torchs.permute(0, 2, 3, 1).numpy())


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
    same_bits(inside(native.threads("irc_depthwise_f32", threads, p, x, w, bias, guarded(*wanted.shape))[-1]), wanted)


@settings(drawn, max_examples=4)
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
    p |= {"channels": c, "n": n, "groups": g, "kernel_rows": kh, "kernel_cols": kw}
    p |= {"stride_rows": sh, "stride_cols": sw, "dilation_rows": dh, "dilation_cols": dw}
    p |= {"pad_top": top, "pad_left": left, "lo": -np.inf, "hi": np.inf}
    p |= {"x_batch": x[0].size, "x_row": d["size"][1] * g * c, "x_col": g * c}
    p |= {"y_batch": out[0] * out[1] * (m + 1), "y_row": out[1] * (m + 1), "y_col": m + 1}
    panels = packed(w.reshape(kh * kw * c, g, n).transpose(1, 0, 2))
    y = native.threads("irc_conv_transpose_f32", threads, p, x, panels, bias, guarded(*wanted.shape))[-1]
    same_bits(inside(y), wanted)
    kernel = torch.from_numpy(w.reshape(kh, kw, c, g, n)).permute(3, 2, 4, 0, 1).reshape(g * c, n, kh, kw)
    planar, shift = torch.from_numpy(x).permute(0, 3, 1, 2), None if bias is None else torch.from_numpy(bias)
    torchs = F.conv_transpose2d(planar, kernel, shift, (sh, sw), 0, 0, g, (dh, dw)).permute(0, 2, 3, 1)
    near(wanted, torchs[:, top : top + out[0], left : left + out[1]].numpy())


@drawn
@given(few, small, small, st.integers(1, 40), small, small, few, seeds)
def test_resize(
    native: Native, batch: int, h: int, w: int, c: int, out_h: int, out_w: int, taps: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = floats(rng, batch, h, w, c)
    index = [rng.integers(0, size, (o, taps)).astype(np.int32) for size, o in ((h, out_h), (w, out_w))]
    weight = [floats(rng, o, taps) for o in (out_h, out_w)]
    index[0][rng.integers(0, out_h), 0] = -1
    p: dict[str, Any] = {"batch": batch, "channels": c, "out_rows": out_h, "out_cols": out_w, "row_taps": taps}
    p |= {"col_taps": taps, "row_index": index[0], "col_index": index[1]}
    p |= {"row_weight": weight[0], "col_weight": weight[1]}
    p |= {"x_batch": h * w * c, "x_row": w * c, "x_col": c, "extrapolation": 9.5}
    p |= {"y_batch": out_h * out_w * (c + 1), "y_row": out_w * (c + 1), "y_col": c + 1}
    y = native.threads("irc_resize_weighted_f32", 2, p, x, guarded(batch, out_h, out_w, c))[-1]
    same_bits(inside(y), resize.weighted(x, index[0], weight[0], index[1], weight[1], 9.5))
    first = [np.ascontiguousarray(i[:, 0]) for i in index]
    p |= {"row_index": first[0], "col_index": first[1]}
    y = native.threads("irc_resize_nearest_f32", 2, p, x, guarded(batch, out_h, out_w, c))[-1]
    same_bits(inside(y), resize.nearest(x, first[0], first[1], 9.5))
    q = rng.integers(0, 256, x.shape, np.uint8)
    made = np.full((batch, out_h, out_w, c + 1), 7, np.uint8)
    y = native.threads("irc_resize_nearest_u8", 2, p | {"extrapolation": 9}, q, made)[-1]
    assert (y[..., -1] == 7).all()
    np.testing.assert_array_equal(y[..., :-1], resize.nearest(q, first[0], first[1], 9))
    for extrapolation, code in ((-1.0, 0), (0.9, 0), (254.9, 254), (256.0, 255), (np.inf, 255), (np.nan, 0)):
        y = native.threads("irc_resize_nearest_u8", 2, p | {"extrapolation": extrapolation}, q, made)[-1]
        np.testing.assert_array_equal(y[..., :-1], resize.nearest(q, first[0], first[1], code))


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
    found = resize.weighted(x, tables[0], tables[1], tables[2], tables[3], 0.0)
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-5, atol=1e-6)  # torch's weights round otherwise

"""Every kernel of rows, codes, lookups, pools and reductions has the bits of its reference, compiled in any way.

Shapes are drawn; threads run one after another; outputs lie apart, and what lies between stays as it was.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from irc.backends.c.reference import functions, pool, rows
from irc.backends.c.reference.arithmetic import codes, same_bits
from irc.backends.c.reference.native import Native
from irc.backends.c.reference.variants import VARIANTS, built
from irc.ops.int8.pool import QAveragePool
from irc.ops.pool import AveragePool
from irc.ops.quantize import QuantizeLinear
from irc.types import Array

GUARD = 7  # what memory between rows and behind outputs holds
drawn = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
sizes = st.sampled_from([1, 2, 3, 7, 15, 16, 17, 31, 33, 64, 65, 100, 130])
few = st.integers(1, 3)
seeds = st.integers(0, 2**32 - 1)
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy, for infinities that are wanted


@pytest.fixture(scope="module", params=VARIANTS)
def native(request: pytest.FixtureRequest) -> Native:
    if missing := VARIANTS[request.param].missing:
        pytest.skip(f"needs {missing}")
    return built(request.param)


def guarded(shape: tuple[int, ...], dtype: Any) -> Array:
    """An output whose last axis has room for one element more."""
    return np.full((*shape[:-1], shape[-1] + 1), GUARD, dtype)


def inside(y: Array) -> Array:
    """What a kernel wrote, with the guard checked."""
    assert (y[..., -1] == GUARD).all(), "written behind a row"
    return y[..., :-1]


def floats(rng: np.random.Generator, *shape: int, special: bool = True) -> Array:
    """Numbers of a few orders of magnitude, some infinite or huge."""
    x = rng.normal(0, 1, shape).astype(np.float32) * np.float32(2.0) ** rng.integers(-3, 4, shape).astype(np.float32)
    if special and rng.integers(0, 4) == 0:
        x.reshape(-1)[rng.integers(0, x.size, 2)] = rng.choice([np.inf, -np.inf, 1e30, np.nan, -1e-42], 2)
    return x


def strides(prefix: str, shape: tuple[int, ...], last: int) -> dict[str, int]:
    """Fields prefix0, prefix1, ... of dense rows `last` elements apart."""
    made = {}
    for axis in reversed(range(len(shape))):
        made[f"{prefix}{axis}"] = last
        last *= shape[axis]
    return made


@drawn
@given(few, few, few, sizes, st.sampled_from(["none", "row", "matrix", "cell"]), st.integers(1, 3), seeds)
def test_softmax(native: Native, a: int, b: int, c: int, n: int, kind: str, threads: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    outer = (a, b, c)
    x, zero = floats(rng, *outer, n), int(rng.integers(0, 256))
    mask = {"none": None, "row": floats(rng, n), "matrix": floats(rng, c, n), "cell": floats(rng, c, 1)}[kind]
    if mask is not None:
        mask[..., rng.integers(0, mask.shape[-1])] = -np.inf
    p: dict[str, float] = {"outer0": a, "outer1": b, "outer2": c, "n": n, "mask_col": int(kind != "cell")}
    p |= strides("x", outer, n) | strides("y", outer, n + 1) | {"y_scale": 1 / 255, "y_zero_point": zero}
    p["mask2"] = {"none": 0, "row": 0, "matrix": n, "cell": 1}[kind]
    z = x if mask is None else x + mask
    y = native.threads("irc_softmax_f32", threads, p, x, mask, guarded(x.shape, np.float32))[-1]
    same_bits(inside(y), rows.softmax(z))
    scratch = np.zeros(n, np.float32)
    y = native.threads("irc_softmax_f32_u8", threads, p, x, mask, scratch, guarded(x.shape, np.uint8))[-1]
    same_bits(inside(y), codes(rows.softmax(z), 1 / 255, zero))
    y = native.threads("irc_log_softmax_f32", threads, p, x, mask, scratch, guarded(x.shape, np.float32))[-1]
    same_bits(inside(y), rows.log_softmax(z))


@drawn
@given(few, few, few, sizes, st.booleans(), st.booleans(), st.integers(1, 3), seeds)
def test_norms(
    native: Native, a: int, b: int, c: int, n: int, scaled: bool, shifted: bool, threads: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    outer = (a, b, c)
    x, scale, bias = floats(rng, *outer, n), floats(rng, n) if scaled else None, floats(rng, n) if shifted else None
    p = {"outer0": a, "outer1": b, "outer2": c, "n": n, "epsilon": 1e-5, "y_scale": 0.02, "y_zero_point": 114}
    p |= strides("x", outer, n) | strides("y", outer, n + 1)
    scratch = np.zeros(n, np.float32)
    for name, factors, wanted in (
        ("layer_norm", (scale, bias), rows.layer_norm(x, scale, bias, 1e-5)),
        ("rms_norm", (scale,), rows.rms_norm(x, scale, 1e-5)),
    ):
        y = native.threads(f"irc_{name}_f32", threads, p, x, *factors, guarded(x.shape, np.float32))[-1]
        same_bits(inside(y), wanted)
        y = native.threads(f"irc_{name}_f32_u8", threads, p, x, *factors, scratch, guarded(x.shape, np.uint8))[-1]
        same_bits(inside(y), codes(wanted, 0.02, 114))


def test_references_are_near_torch() -> None:
    """Within 4e-6 of values around 1: some 30 roundings of 6e-8, of sums in another order."""
    rng = np.random.default_rng(0)
    x, scale, bias = (floats(rng, *s, special=False) for s in ((5, 384), (384,), (384,)))
    t, ts, tb = map(torch.from_numpy, (x, scale, bias))
    np.testing.assert_allclose(rows.softmax(x), torch.softmax(t, -1).numpy(), rtol=4e-6, atol=4e-6)
    np.testing.assert_allclose(rows.log_softmax(x), torch.log_softmax(t, -1).numpy(), rtol=4e-6, atol=2e-5)  # to -50
    np.testing.assert_allclose(
        rows.layer_norm(x, scale, bias, 1e-5), torch.layer_norm(t, (384,), ts, tb, 1e-5).numpy(), rtol=4e-6, atol=4e-5
    )  # scales reach 20
    wanted = torch.rms_norm(t, (384,), None, 1e-5).numpy()
    np.testing.assert_allclose(rows.rms_norm(x, None, 1e-5), wanted, rtol=4e-6, atol=4e-6)
    np.testing.assert_allclose(functions.gelu(x), torch.nn.functional.gelu(t).numpy(), rtol=4e-6, atol=2e-5)
    np.testing.assert_allclose(rows.reduced("sum", x[..., None])[:, 0], t.sum(1).numpy(), rtol=4e-6, atol=4e-4)


@drawn
@given(few, st.integers(1, 4), few, sizes, st.integers(0, 2), st.integers(0, 255), seeds)
def test_quantize_planes(
    native: Native, batch: int, channels: int, height: int, width: int, apart: int, zero: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = floats(rng, batch, channels, height, width)
    scale = float(np.float32(rng.choice([0.02, 1e-3, 3.0, 1e-42])))
    x[0, 0, 0, 0] = np.float32(scale) * np.float32(0.5)  # a tie
    p = {"batch": batch, "channels": channels, "rows": height, "cols": width, "scale": scale, "zero_point": zero}
    p |= {"x_batch": channels * height * width, "x_channel": height * width, "x_row": width}
    col = channels + apart
    p |= {"y_batch": height * (width * col + 1), "y_row": width * col + 1, "y_col": col}
    made = native.threads("irc_quantize_planes_f32_u8", 2, p, x, guarded((batch, height, width * col), np.uint8))[-1]
    y = inside(made).reshape(batch, height, width, col)
    same_bits(y[..., :channels], codes(x, scale, zero).transpose(0, 2, 3, 1))
    assert (y[..., channels:] == GUARD).all()
    finite = np.nan_to_num(x, nan=0.0, posinf=1e30, neginf=-1e30)
    point, tensor = torch.tensor(zero, dtype=torch.uint8), torch.from_numpy(finite)
    op = QuantizeLinear().run(tensor, torch.tensor(scale, dtype=torch.float32), point).numpy()
    known = ~np.isnan(x)
    np.testing.assert_array_equal(y[..., :channels].transpose(0, 3, 1, 2)[known], op[known])


@drawn
@given(few, few, sizes, st.booleans(), st.integers(1, 3), seeds)
def test_lookup(native: Native, a: int, b: int, n: int, dense: bool, threads: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, table = rng.integers(0, 256, (a, b, n), np.uint8), rng.integers(0, 256, 256, np.uint8)
    y = np.full(x.shape, GUARD, np.uint8) if dense else guarded(x.shape, np.uint8)
    row = y.shape[-1]
    p = {"size0": a, "size1": b, "n": n, "x0": b * n, "x1": n, "y0": b * row, "y1": row}
    y = native.threads("irc_lookup_u8", threads, p, x, table, y)[-1]
    same_bits(y if dense else inside(y), table[x])


@st.composite
def pools(draw: Any) -> tuple[pool.Pool, tuple[int, int, int, int]]:
    """Windows that each hold at least one cell, over an input that is large enough for them."""
    kernel, dilations = ((draw(few), draw(few)) for _ in range(2))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = [draw(st.integers(0, min(1, k - 1))) for k in (*kernel, *kernel)]
    size = [draw(st.integers(r, r + 5)) for r in reach]
    steps = draw(few), draw(few)
    out = [(n + b + e - r) // s + 1 for n, b, e, r, s in zip(size, pads[:2], pads[2:], reach, steps, strict=True)]
    made = pool.Pool(kernel, steps, dilations, tuple(pads), tuple(out), draw(st.booleans()))
    return made, (draw(few), size[0], size[1], draw(sizes))


def pool_fields(p: pool.Pool, shape: tuple[int, int, int, int]) -> dict[str, Any]:
    n, h, w, c = shape
    fields = {"batch": n, "channels": c, "rows": h, "cols": w, "out_rows": p.out[0], "out_cols": p.out[1]}
    for name, pair in (("kernel", p.kernel), ("stride", p.strides), ("dilation", p.dilations)):
        fields |= {f"{name}_rows": pair[0], f"{name}_cols": pair[1]}
    fields |= dict(zip(("pad_top", "pad_left", "pad_bottom", "pad_right"), p.pads, strict=True))
    fields |= {"x_batch": h * w * c, "x_row": w * c, "x_col": c, "count_include_pad": int(p.count_include_pad)}
    row = p.out[1] * (c + 1)
    return fields | {"y_batch": p.out[0] * row, "y_row": row, "y_col": c + 1}


@drawn
@given(pools(), st.integers(1, 3), seeds)
def test_pools(
    native: Native, drawn_pool: tuple[pool.Pool, tuple[int, int, int, int]], threads: int, seed: int
) -> None:
    p, shape = drawn_pool
    rng = np.random.default_rng(seed)
    fields, out = pool_fields(p, shape), (shape[0], *p.out, shape[3])
    q = rng.integers(0, 256, shape, np.uint8)
    for kind, x in (("u8", q), ("s8", q.view(np.int8)), ("f32", floats(rng, *shape))):
        y = native.threads(f"irc_max_pool_{kind}", threads, fields, x, guarded(out, x.dtype))[-1]
        same_bits(inside(y), pool.max_pool(x, p))
    y = native.threads("irc_average_pool_f32", threads, fields, x, guarded(out, np.float32))[-1]
    same_bits(inside(y), pool.average_pool(x, p))
    zero, scale, bias = int(rng.integers(0, 256)), float(np.float32(rng.uniform(0.5, 2))), float(rng.integers(0, 256))
    fields |= {"zero_point": zero, "scale": scale, "bias": bias, "lo": 3, "hi": 250}
    y = inside(native.threads("irc_average_pool_u8", threads, fields, q, guarded(out, np.uint8))[-1])
    same_bits(y, pool.average_pool_u8(q, p, zero, scale, bias, 3, 250))
    planar, include = torch.from_numpy(q).permute(0, 3, 1, 2), int(p.count_include_pad)
    op = QAveragePool(p.kernel, p.strides, p.pads, p.dilations, include, 0, zero, scale, bias, 3, 250)
    same_bits(y, op.run(planar).permute(0, 2, 3, 1).numpy())
    mean = AveragePool(
        kernel_shape=p.kernel, strides=p.strides, pads=p.pads, dilations=p.dilations, count_include_pad=include
    )
    wanted = mean.run(planar.float()).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(pool.average_pool(q.astype(np.float32), p), wanted, rtol=1e-6)  # a rounding or two


@settings(drawn, max_examples=5)
@given(few, sizes, sizes, st.integers(1, 3), seeds)
def test_reductions(native: Native, outer: int, count: int, inner: int, threads: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = floats(rng, outer, count, inner)
    p = {"outer": outer, "reduced": count, "inner": inner}
    p |= {"x_outer": count * inner, "x_reduced": inner, "y_outer": inner + 1}
    for name in rows.REDUCTIONS:
        given_x = np.abs(x) if name == "log_sum" else x
        y = native.threads(f"irc_reduce_{name}_f32", threads, p, given_x, guarded((outer, inner), np.float32))[-1]
        same_bits(inside(y), rows.reduced(name, given_x))
    y = native.threads("irc_reduce_log_sum_exp_f32", threads, p, x, guarded((outer, inner), np.float32))[-1]
    same_bits(inside(y), rows.log_sum_exp(x))
    for bits in (np.int32, np.int64):
        whole, kind = rng.integers(-100, 100, x.shape).astype(bits), f"i{np.dtype(bits).itemsize * 8}"
        for name in ("sum", "prod", "max", "min"):
            y = native.threads(f"irc_reduce_{name}_{kind}", threads, p, whole, guarded((outer, inner), bits))[-1]
            wraps = {"dtype": bits} if name in ("sum", "prod") else {}
            same_bits(inside(y), getattr(whole, name)(1, **wraps))
    for last in (0, 1):
        small = rng.integers(0, 4, x.shape).astype(np.float32)
        for name, find in (("max", np.argmax), ("min", np.argmin)):
            y = native.threads(f"irc_arg_{name}_f32", threads, p, last, small, guarded((outer, inner), np.int64))[-1]
            same_bits(inside(y), count - 1 - find(small[:, ::-1], 1) if last else find(small, 1))


@drawn
@given(few, st.integers(1, 20), st.integers(1, 20), sizes, st.booleans(), st.integers(1, 3), seeds)
def test_reduce_mean_of_codes(
    native: Native, outer: int, height: int, width: int, inner: int, planar: bool, threads: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(255 if seed % 5 == 0 else 0, 256, (outer, height, width, inner), np.uint8)
    zero, scale, bias = int(rng.integers(0, 256)), float(np.float32(rng.uniform(0.5, 2) / height / width)), 17.5
    p: dict[str, Any] = {"outer": outer, "rows": height, "cols": width, "inner": inner}
    p |= {"x_outer": height * width * inner, "x_row": width * inner}
    p |= {"x_col": inner, "y_outer": inner + 1, "zero_point": zero, "scale": scale, "bias": bias, "lo": 3, "hi": 250}
    if planar:  # one output for each outer and inner, over cells that are adjacent
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2)).reshape(outer * inner, height, width, 1)
        p |= {"outer": outer * inner, "inner": 1, "x_outer": height * width, "x_row": width, "x_col": 1, "y_outer": 2}
    y = native.threads("irc_reduce_mean_u8", threads, p, x, guarded((x.shape[0], x.shape[3]), np.uint8))[-1]
    same_bits(inside(y), rows.reduce_mean_u8(x.reshape(x.shape[0], -1, x.shape[3]), zero, scale, bias, 3, 250))

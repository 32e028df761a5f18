"""The integer ops compute, bit for bit, what their contract says: judged by Python's integers and fractions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from irc.errors import GraphError
from irc.execution.convert import to_numpy, to_torch
from irc.op import Example, Op
from irc.ops.int8 import QAdd, QAveragePool, QBatchMatMul, QConv, QLookup, QMatMul, QMul, QReduceMean
from irc.ops.int8.contract import fma32, requantize
from irc.types import Array, tensor, type_of_array

OPS: list[type[Op]] = [QAdd, QAveragePool, QBatchMatMul, QConv, QLookup, QMatMul, QMul, QReduceMean]
F32_MAX = Fraction(float(np.finfo(np.float32).max))
INFINITE = F32_MAX + Fraction(2) ** 103  # from here on, half a step past the largest, float32 rounds to infinity


def nearest(x: Fraction) -> float:
    """The float32 nearest to x, halves to even."""
    if abs(x) >= INFINITE:
        return math.inf if x > 0 else -math.inf
    with np.errstate(all="ignore"):
        guess = np.float32(float(x))
        if np.isinf(guess):
            guess = np.copysign(np.finfo(np.float32).max, guess)
        around = [np.nextafter(guess, np.float32(-np.inf)), guess, np.nextafter(guess, np.float32(np.inf))]
    finite = [c for c in around if np.isfinite(c)]
    return float(min(finite, key=lambda c: (abs(Fraction(float(c)) - x), int(c.view(np.int32)) & 1)))


def fma(a: float, b: float, c: float) -> float:
    """a * b + c, rounded once to float32."""
    if math.isinf(c):
        return c
    return nearest(Fraction(a) * Fraction(b) + Fraction(c))


def code(t: float, lo: int, hi: int) -> int:
    """t as a code, halves to even."""
    if math.isinf(t):
        return hi if t > 0 else lo
    return min(max(round(Fraction(t)), lo), hi)


def f32(x: float) -> float:
    return float(np.float32(x))


# ---- the fused multiply-add

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
significands = st.integers(-(2**24) + 1, 2**24 - 1)


@settings(deadline=None, max_examples=500)
@given(floats, floats, floats)
def test_fma_of_any_floats(a: float, b: float, c: float) -> None:
    made = fma32(*(torch.tensor(x, dtype=torch.float32) for x in (a, b, c)))
    assert float(made) == fma(a, b, c)


@settings(deadline=None, max_examples=1000)
@given(significands, significands, significands, st.integers(-2, 60))
def test_fma_where_the_sum_is_near_a_tie(a: int, b: int, c: int, shift: int) -> None:
    """An addend some bits above the product leaves the product's low bits to decide."""
    low, high = f32(a * 2.0**-20), f32(c * 2.0 ** (shift - 20))
    made = fma32(*(torch.tensor(x, dtype=torch.float32) for x in (low, float(b), high)))
    assert float(made) == fma(low, float(b), high)


@settings(deadline=None, max_examples=500)
@given(significands, significands, st.integers(-3, 3))
def test_fma_where_all_but_the_low_bits_cancel(a: int, b: int, ulps: int) -> None:
    addend = np.float32(-a * b)
    for _ in range(abs(ulps)):
        addend = np.nextafter(addend, np.float32(math.copysign(math.inf, ulps)))
    made = fma32(torch.tensor(float(a)), torch.tensor(float(b)), torch.tensor(float(addend)))
    assert float(made) == fma(float(a), float(b), float(addend))


@settings(deadline=None, max_examples=300)
@given(significands, significands, significands, st.integers(-24, 3))
def test_fma_where_the_result_is_subnormal(a: int, b: int, c: int, shift: int) -> None:
    low, high, addend = f32(a * 2.0**-90), f32(b * 2.0**-80), f32(c * 2.0 ** (shift - 149))
    made = fma32(*(torch.tensor(x, dtype=torch.float32) for x in (low, high, addend)))
    assert float(made) == fma(low, high, addend)


def test_fma_rounds_once() -> None:
    """In float64 this sum is a tie of float32, which it is not: rounding twice would go up."""
    a, b, c = 8 + 2.0**-20, 8 - 2.0**-20, 2.0**30 + 128
    assert float(np.float32(a * b + c)) == 2.0**30 + 256
    assert float(fma32(torch.tensor(a), torch.tensor(b), torch.tensor(c))) == 2.0**30 + 128


def test_fma_of_infinities() -> None:
    big, infinity = torch.tensor(3e38), torch.tensor(math.inf)
    assert float(fma32(big, big, -big)) == math.inf
    assert float(fma32(big, big, -infinity)) == -math.inf
    assert float(fma32(big, -big, big)) == -math.inf


def test_requantize_clamps_what_no_int_holds() -> None:
    acc, one = torch.tensor([2**31 - 1, -(2**31), 3, 5]), torch.tensor([1e30, 1e30, 0.5, 0.5])
    made = requantize(acc, one, torch.tensor([0.0, 0.0, 1.0, 0.0]), 3, 250)
    assert made.tolist() == [250, 3, 3, 3]  # 2.5 to 2, then to lo; 2.5 to 2 again
    assert made.dtype is torch.uint8


# ---- the ops, one number at a time


def windows_of(op: Any, x: Array, kernel: Sequence[int]) -> Iterator[tuple[tuple[int, ...], list[tuple[int, ...]]]]:
    """For each place of the output: the coordinates, in x's spatial axes, that its window has in order; outside too."""
    rank = len(kernel)
    strides, dilations = op.strides or (1,) * rank, op.dilations or (1,) * rank
    pads = op.pads or (0,) * (2 * rank)
    sizes = []
    for n, k, s, d, begin, end in zip(x.shape[2:], kernel, strides, dilations, pads[:rank], pads[rank:], strict=True):
        span = n + begin + end - (k - 1) * d - 1
        size = -(-span // s) + 1 if getattr(op, "ceil_mode", 0) else span // s + 1
        sizes.append(size - 1 if (size - 1) * s >= n + begin else size)
    for place in itertools.product(*map(range, sizes)):
        taps = itertools.product(*map(range, kernel))
        yield place, [
            tuple(p * s + t * d - b for p, s, t, d, b in zip(place, strides, tap, dilations, pads, strict=False))
            for tap in taps
        ]


def inside(spot: tuple[int, ...], shape: Sequence[int]) -> bool:
    return all(0 <= i < n for i, n in zip(spot, shape, strict=True))


def finish(op: Any, acc: int, scale: float, bias: float, residual: int | None) -> float:
    t = fma(f32(acc), scale, bias)
    if residual is not None:
        t = fma(float(residual), f32(op.residual_scale), t)
    return t if op.float_output else code(t, op.lo, op.hi)


def convolution(op: QConv, x: Array, w: Array, scale: Array, bias: Array, r: Array | None = None) -> Array:
    per_group, made = len(w) // op.group, {}
    for place, spots in windows_of(op, x, w.shape[2:]):
        for n, m in itertools.product(range(len(x)), range(len(w))):
            first = m // per_group * w.shape[1]
            taps = w[m].reshape(w.shape[1], -1)
            acc = 0
            for c, (k, spot) in itertools.product(range(w.shape[1]), enumerate(spots)):
                held = int(x[(n, first + c, *spot)]) if inside(spot, x.shape[2:]) else op.zero_point
                acc += held * int(taps[c, k])
            at = (n, m, *place)
            made[at] = finish(op, acc, float(scale[m]), float(bias[m]), None if r is None else int(r[at]))
    return gathered(made, op.float_output)


def gathered(made: Mapping[tuple[int, ...], float], is_float: int = 0) -> Array:
    """The numbers by place as an array."""
    array = np.zeros([1 + max(at[k] for at in made) for k in range(len(next(iter(made))))], np.float64)
    for at, number in made.items():
        array[at] = number
    return array.astype(np.float32 if is_float else np.uint8)


def pool(op: QAveragePool, x: Array) -> Array:
    made = {}
    pads = op.pads or (0,) * (2 * len(op.kernel_shape))
    for place, spots in windows_of(op, x, op.kernel_shape):
        ends = [n + e for n, e in zip(x.shape[2:], pads[len(op.kernel_shape) :], strict=True)]
        padded = [s for s in spots if all(-b <= i < e for i, b, e in zip(s, pads, ends, strict=False))]
        valid = [s for s in spots if inside(s, x.shape[2:])]
        count = len(padded) if op.count_include_pad else len(valid)
        scale = nearest(Fraction(f32(op.scale)) / count)
        for n, c in itertools.product(*map(range, x.shape[:2])):
            acc = sum(int(x[(n, c, *s)]) - op.zero_point for s in valid)
            made[n, c, *place] = code(fma(f32(acc), scale, f32(op.bias)), op.lo, op.hi)
    return gathered(made)


def matmul(op: QMatMul, x: Array, w: Array, scale: Array, bias: Array, r: Array | None = None) -> Array:
    made = np.zeros((*x.shape[:-1], w.shape[1]), np.float32 if op.float_output else np.uint8)
    for at in np.ndindex(made.shape):
        acc = sum(int(a) * int(b) for a, b in zip(x[at[:-1]], w[:, at[-1]], strict=True))
        made[at] = finish(op, acc, float(scale[at[-1]]), float(bias[at[-1]]), None if r is None else int(r[at]))
    return made


def batch_matmul(op: QBatchMatMul, a: Array, b: Array) -> Array:
    acc = np.matmul(a.astype(np.int64) - op.a_zero_point, b.astype(np.int64) - op.b_zero_point)
    t = np.vectorize(lambda s: fma(f32(int(s)), f32(op.scale), f32(op.bias)), otypes=[np.float32])(acc)
    if op.float_output:
        return np.asarray(t)
    return np.asarray(np.vectorize(lambda v: code(float(v), op.lo, op.hi), otypes=[np.uint8])(t))


def add(op: QAdd, a: Array, b: Array) -> Array:
    def one(p: int, q: int) -> int:
        inner = fma(float(q), f32(op.b_scale), f32(op.bias))
        return code(fma(float(p), f32(op.a_scale), inner), op.lo, op.hi)

    return np.asarray(np.vectorize(one, otypes=[np.uint8])(a, b))


def requantized(op: Any, acc: Array) -> Array:
    def one(s: int) -> int:
        return code(fma(f32(int(s)), f32(op.scale), f32(op.bias)), op.lo, op.hi)

    return np.asarray(np.vectorize(one, otypes=[np.uint8])(acc))


def mul(op: QMul, a: Array, b: Array) -> Array:
    return requantized(op, (a.astype(np.int64) - op.a_zero_point) * (b.astype(np.int64) - op.b_zero_point))


def mean(op: QReduceMean, x: Array) -> Array:
    return requantized(op, (x.astype(np.int64) - op.zero_point).sum(axis=op.axes, keepdims=bool(op.keepdims)))


def lookup(op: QLookup, x: Array, table: Array) -> Array:
    return np.asarray(table[x])


REFERENCE: dict[type[Op], Callable[..., Array]] = {
    QAdd: add,
    QAveragePool: pool,
    QBatchMatMul: batch_matmul,
    QConv: convolution,
    QLookup: lookup,
    QMatMul: matmul,
    QMul: mul,
    QReduceMean: mean,
}
EXAMPLES = [pytest.param(e, id=f"{cls.__name__}-{k}") for cls in OPS for k, e in enumerate(cls.examples())]


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_exact(example: Example) -> None:
    run: Callable[..., torch.Tensor] = example.op.run
    made = to_numpy(run(*(to_torch(x, copy=True) for x in example.inputs if x is not None)))
    wanted = REFERENCE[type(example.op)](example.op, *example.inputs)
    assert made.dtype == wanted.dtype
    np.testing.assert_array_equal(made, wanted)


@pytest.mark.parametrize("cls", OPS, ids=lambda cls: cls.__name__)
def test_the_examples_reach_both_clamps_and_what_is_between(cls: type[Op]) -> None:
    """Else a kernel that forgets lo, hi or the rounding would pass them."""
    clamped, between = set(), set()
    for example in cls.examples():
        run: Callable[..., torch.Tensor] = example.op.run
        made = to_numpy(run(*(to_torch(x, copy=True) for x in example.inputs if x is not None)))
        if made.dtype == np.uint8:
            ends = {getattr(example.op, "lo", 0), getattr(example.op, "hi", 255)}
            seen = set(np.unique(made).tolist())
            between |= seen - ends
            clamped |= {(end > 127, end not in (0, 255)) for end in ends & seen}
    assert len(between) > 50
    assert cls is QLookup or len(clamped) == 4  # low and high; at the ends of the codes and within them


# ---- what does not fit

U8, VECTOR = np.zeros((1, 4, 5, 5), np.uint8), np.zeros(6, np.float32)
W = np.zeros((6, 4, 3, 3), np.int8)


@pytest.mark.parametrize(
    ("op", "inputs", "said"),
    [
        (QConv(), (U8.astype(np.int8), W, VECTOR, VECTOR), "input 0 is i8.* not u8"),
        (QConv(), (U8, W.astype(np.uint8), VECTOR, VECTOR), "input 1 is u8.* not i8"),
        (QConv(), (U8, W, VECTOR[:5], VECTOR), "scale is .* not one number for each of 6 output channels"),
        (QConv(), (U8, W, VECTOR, VECTOR, U8), "residual is .* the output has shape"),
        (QConv(lo=9, hi=8), (U8, W, VECTOR, VECTOR), "lo=9 and hi=8"),
        (QConv(zero_point=256), (U8, W, VECTOR, VECTOR), "zero point 256"),
        (QConv(group=3), (U8, W, VECTOR, VECTOR), "input has 4"),
        (QMatMul(), (U8, W, VECTOR, VECTOR), "not a matrix"),
        (QBatchMatMul(), (U8, U8[..., :4, :]), "does not take"),
        (QAdd(hi=300), (U8, U8), "hi=300"),
        (QMul(a_zero_point=-1), (U8, U8), "zero point -1"),
        (QReduceMean((4,)), (U8,), "are not all axes"),
        (QLookup(), (U8, np.zeros(255, np.uint8)), r"not u8\[256\]"),
    ],
)
def test_what_does_not_fit_is_refused(op: Op, inputs: tuple[Array, ...], said: str) -> None:
    with pytest.raises(GraphError, match=said):
        op.infer([type_of_array(x) for x in inputs], [None] * len(inputs), 1)


def test_shapes_that_are_not_known_yet() -> None:
    """A symbolic batch goes through; an unknown shape stays unknown."""
    rest = [type_of_array(x) for x in (W, VECTOR, VECTOR)]
    assert QConv().infer([tensor("u8", "N", 4, 5, 5), *rest], [None] * 4, 1) == [tensor("u8", "N", 6, 3, 3)]
    assert QMatMul(float_output=1).infer(
        [tensor("u8", "N", 4), tensor("i8", 4, 6), *rest[1:]], [None] * 4, 1
    ) == [tensor("f32", "N", 6)]
    (unknown,) = QConv().infer([None, *rest], [None] * 4, 1)
    assert str(unknown) == "u8[*]"


def test_multiply_accumulates() -> None:
    conv = next(iter(QConv.examples()))
    types = [None if x is None else type_of_array(x) for x in conv.inputs]
    assert conv.op.macs(types, conv.op.infer(types, [None] * 4, 1)) == 2 * 6 * 5 * 8 * 4 * 3 * 2
    a, b = tensor("u8", 2, 3, 11), tensor("u8", 2, 11, 5)
    assert QBatchMatMul().macs([a, b], [tensor("u8", 2, 3, 5)]) == 2 * 3 * 5 * 11

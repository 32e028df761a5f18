"""The rules of activations, arithmetic, comparisons and reductions say what torch says, in torch and in onnxruntime."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

Check = Callable[..., Any]


@cache
def _rand(*shape: int) -> Tensor:
    """Always the same tensor for the same shape, so that a function traced after a first call finds a constant."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape) + len(shape)))


def _ints(*shape: int, high: int = 5) -> Tensor:
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(1))


X, Y, POSITIVE = _rand(2, 3, 4), _rand(2, 3, 4) + 0.1, _rand(2, 3, 4).abs() + 0.5
UNIT = torch.linspace(-0.9, 0.9, 12).reshape(3, 4)
IMAGE, INDEX, MASK = _rand(2, 4, 9, 8), _ints(2, 3, 4), X > 0

_ANYWHERE = (
    torch.neg,
    torch.abs,
    torch.exp,
    torch.sin,
    torch.cos,
    torch.tan,
    torch.atan,
    torch.sinh,
    torch.cosh,
    torch.tanh,
    torch.asinh,
    torch.sigmoid,
    torch.erf,
    torch.relu,
    torch.floor,
    torch.ceil,
    torch.round,
    torch.trunc,
    torch.sign,
    torch.square,
    torch.expm1,
    torch.isnan,
    torch.isinf,
    torch.logical_not,
)
_ACTIVATIONS = (
    F.relu6,
    F.hardswish,
    F.hardsigmoid,
    F.hardtanh,
    F.mish,
    F.selu,
    F.elu,
    F.celu,
    F.gelu,
    F.silu,
    F.softplus,
    F.logsigmoid,
    F.leaky_relu,
    F.tanhshrink,
    F.softshrink,
    F.hardshrink,
    F.softsign,
)
_OF_POSITIVE = (torch.log, torch.log2, torch.log10, torch.log1p, torch.sqrt, torch.rsqrt, torch.reciprocal)
_OF_TWO = (torch.add, torch.sub, torch.mul, torch.div, torch.maximum, torch.minimum)
_ORDER = (torch.eq, torch.ne, torch.lt, torch.le, torch.gt, torch.ge)

CASES: list[tuple[str, Callable[..., Any], tuple[Tensor, ...]]] = [
    # activations
    *[(f.__name__, f, (X * 3,)) for f in _ANYWHERE],
    *[(f.__name__, f, (X * 4,)) for f in _ACTIVATIONS],
    *[(f.__name__, f, (POSITIVE,)) for f in _OF_POSITIVE],
    *[(f.__name__, f, (UNIT,)) for f in (torch.asin, torch.acos, torch.atanh)],
    ("acosh", torch.acosh, (POSITIVE + 1,)),
    ("gelu tanh", lambda x: F.gelu(x, approximate="tanh"), (X,)),
    ("softplus beta", lambda x: F.softplus(x, beta=3.0), (X,)),
    ("threshold", lambda x: F.threshold(x, 0.1, 20.0), (X,)),
    ("hardtanh bounds", lambda x: F.hardtanh(x, -0.5, 0.25), (X,)),
    ("prelu", F.prelu, (IMAGE, torch.tensor([0.1, 0.2, 0.3, 0.4]))),
    ("prelu one", F.prelu, (IMAGE, torch.tensor([0.1]))),
    ("glu", lambda x: F.glu(x, dim=1), (IMAGE,)),
    ("softmax", lambda x: F.softmax(x, 1), (X,)),
    ("softmax scalar", lambda x: F.softmax(x.sum(), 0), (X,)),
    ("log_softmax", lambda x: F.log_softmax(x, -1), (X,)),
    # arithmetic
    *[(f.__name__, f, (X, Y)) for f in _OF_TWO],
    ("pow", torch.pow, (POSITIVE, Y)),
    ("pow 2", lambda x: x**2, (X,)),
    ("pow 3", lambda x: x**3, (X,)),
    ("pow half", lambda x: x**0.5, (POSITIVE,)),
    ("2 ** x", lambda x: 2**x, (X,)),
    ("add alpha", lambda x, y: torch.add(x, y, alpha=0.5), (X, Y)),
    ("sub alpha", lambda x, y: torch.sub(x, y, alpha=2), (X, Y)),
    ("rsub", lambda x: 1 - x, (X,)),
    ("int + float", lambda x, y: x + y, (INDEX, X)),
    ("int + 0.5", lambda x: x + 0.5, (INDEX,)),
    ("int / int", lambda x: x / 3, (INDEX,)),
    ("int // int", lambda x: (x - 2) // 3, (INDEX,)),
    ("int % int", lambda x: (x - 2) % 3, (INDEX,)),
    ("int32 + int64", lambda x, y: x.int() + y, (INDEX, INDEX)),
    ("bool + int", lambda x, y: (x > 0) + y, (X, INDEX)),
    ("bool * float", lambda x: (x > 0) * x, (X,)),
    ("float // float", lambda x, y: x // y, (X, Y)),
    ("float % float", lambda x: x % 0.75, (X,)),
    ("div trunc", lambda x, y: torch.div(x, y, rounding_mode="trunc"), (X, Y)),
    ("div floor", lambda x, y: torch.div(x, y, rounding_mode="floor"), (X, Y)),
    ("fmod", lambda x: torch.fmod(x, 0.75), (X,)),
    ("float64", lambda x: x.double() * 2 + 1, (X,)),
    ("half", lambda x: (x.half() + 1).float(), (X.round(),)),  # exact: onnxruntime calculates it in float32
    ("0-d operand", lambda x: x * x.sum(), (X,)),
    ("clamp", lambda x: x.clamp(-0.5, 0.5), (X,)),
    ("clamp min", lambda x: x.clamp(min=0.1), (X,)),
    ("clamp max", lambda x: x.clamp(max=0.1), (X,)),
    ("clamp int", lambda x: x.clamp(1, 3), (INDEX,)),
    ("clamp tensors", lambda x, y: torch.clamp(x, min=y, max=y + 1), (X, Y)),
    ("clamp_min tensor", lambda x, y: torch.clamp(x, min=y), (X, Y)),
    ("clamp_max tensor", lambda x, y: torch.clamp(x, max=y), (X, Y)),
    ("torch.clamp_min", lambda x: torch.clamp_min(x, 0.2), (X,)),
    ("torch.clamp_max", lambda x: torch.clamp_max(x, 0.2), (X,)),
    ("lerp", lambda x, y: torch.lerp(x, y, 0.3), (X, Y)),
    ("lerp tensor", lambda x, y: torch.lerp(x, y, x), (X, Y)),
    ("addcmul", lambda x, y: torch.addcmul(x, x, y, value=0.5), (X, Y)),
    ("addcdiv", lambda x, y: torch.addcdiv(x, x, y, value=0.5), (X, POSITIVE)),
    ("nan_to_num", lambda x: torch.nan_to_num(torch.log(x)), (X,)),
    ("where", lambda x, y: torch.where(x > 0, x, y), (X, Y)),
    ("where numbers", lambda x: torch.where(x > 0, 1.0, x), (X,)),
    ("where number", lambda x: torch.where(x > 0, x, -1), (X,)),
    ("masked_fill", lambda x, m: x.masked_fill(m, -math.inf), (X, MASK)),
    ("masked_fill tensor", lambda x, m: x.masked_fill(m, torch.tensor(2.0)), (X, MASK)),
    # comparisons and logic
    *[(f.__name__, f, (X, Y)) for f in _ORDER],
    *[(f"{f.__name__} 0.2", lambda x, f=f: f(x, 0.2), (X,)) for f in _ORDER],
    ("int > 2.5", lambda x: x > 2.5, (INDEX,)),
    ("bool == bool", lambda x, y: (x > 0) == (y > 0), (X, Y)),
    ("bool > bool", lambda x, y: (x > 0) > (y > 0), (X, Y)),
    *[(f.__name__, f, (MASK, Y > 0)) for f in (torch.logical_and, torch.logical_or, torch.logical_xor)],
    ("& | ^ ~", lambda a, b: (a & b, a | b, a ^ b, ~a), (MASK, Y > 0)),
    ("int & | ^ ~", lambda a, b: (a & b, a | b, a ^ b, ~a, a & 3), (INDEX, INDEX.flip(0))),
    # reductions
    ("mean", lambda x: (x.mean(), x.mean(1), x.mean((-1, 1), keepdim=True)), (X,)),
    ("sum", lambda x: (x.sum(), x.sum(1), x.sum((-1, 1), keepdim=True)), (X,)),
    ("sum of bools", lambda x: (x.sum(), x.sum(1)), (MASK,)),
    ("sum to double", lambda x: x.sum(1, dtype=torch.float64), (X,)),
    ("prod", lambda x: (x.prod(), x.prod(1)), (X,)),
    ("amax amin", lambda x: (x.amax(1), x.amin((0, 2), keepdim=True), x.max(), x.min()), (X,)),
    ("max dim", lambda x: x.max(1), (X,)),
    ("min dim", lambda x: x.min(-1, keepdim=True), (X,)),
    ("any all", lambda x: (x.any(), x.all(), x.any(1), x.all(1, keepdim=True)), (MASK,)),
    ("argmax", lambda x: (x.argmax(), x.argmax(1), x.argmin(-1, keepdim=True)), (X,)),
    ("var", lambda x: (x.var(), x.var(1), x.var((0, 2), correction=0, keepdim=True)), (X,)),
    ("std", lambda x: (x.std(), x.std(1, unbiased=False)), (X,)),
    ("var_mean", lambda x: torch.var_mean(x, 1), (X,)),
    ("norm", lambda x: (x.norm(), x.norm(dim=1), torch.linalg.vector_norm(x, 3, 1)), (X,)),
    ("norms", lambda x: (torch.linalg.vector_norm(x, 1, 1), torch.linalg.vector_norm(x, math.inf, 1)), (X,)),
    ("normalize", lambda x: F.normalize(x, dim=1), (X,)),
    ("cosine", lambda x, y: F.cosine_similarity(x, y, dim=1), (X, Y)),
    ("logsumexp", lambda x: torch.logsumexp(x, 1), (X,)),
    ("cumsum", lambda x: x.cumsum(1), (X,)),
    ("cumsum of ints", lambda x: x.cumsum(-1), (INDEX,)),
    ("cumsum of bools", lambda x: x.cumsum(-1), (MASK,)),
    ("topk", lambda x: x.topk(2, 1), (X,)),
    ("sort", lambda x: (x.sort(1), x.sort(0, descending=True), torch.sort(x, stable=True, dim=-1)), (X,)),
    ("argsort", lambda x: x.argsort(1), (X,)),
]


@pytest.mark.parametrize(("function", "inputs"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_rule_gives_what_torch_gives(function: Callable[..., Any], inputs: tuple[Tensor, ...], check: Check) -> None:
    check(function, inputs)

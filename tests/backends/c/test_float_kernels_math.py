"""The elementary functions are as exact as they say, right at every edge, and the same bits from every compiler."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable

import numpy as np
import pytest

from irc.backends.c.emit.sources import KERNELS
from irc.backends.c.isa import host_machine
from irc.backends.c.reference import functions, functions_f64
from irc.backends.c.reference.arithmetic import fma, same_bits
from irc.backends.c.reference.native import Native
from irc.backends.c.reference.variants import VARIANTS, built
from irc.types import Array

SUBNORMAL_ULP = 2.0**-149
EDGES = np.array(
    [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, np.inf, -np.inf, np.nan, 1.1754944e-38, 1e-45, -1e-45, 1e-40, 3.4028235e38,
     -3.4028235e38, 88.72, 88.73, -87.336, -87.34, -103.97, -103.98, 104.0, 9.011, -3.9195, 16777216.0, 0.70710678],
    np.float32,
)  # fmt: skip


# Where exp, log, erf, tanh and sigmoid err most of all floats from 2^-8 to 2^7, found by trying each.
WORST = np.array(
    [float.fromhex(x) for x in ("-0x1.df6002p+5", "0x1.697dc8p+0", "0x1.deb46ap+1", "0x1.b53588p+2", "-0x1.0a111ap+2")],
    np.float32,
)


def _sigmoid(x: float) -> float:
    return 0.0 if x <= -700 else 1 / (1 + math.exp(-x))


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _mish(x: float) -> float:
    return x * math.tanh(_softplus(x))


# name: float64 function, the largest error in ulp that the header states, and where it holds
STATED: dict[str, tuple[Callable[[float], float], float, tuple[float, float]]] = {
    "exp": (math.exp, 1.02, (-math.inf, math.inf)),
    "exp_nonpositive": (math.exp, 1.02, (-87.336, 0.0)),
    "log": (math.log, 1.0, (0.0, math.inf)),
    "erf": (math.erf, 6.0, (-math.inf, math.inf)),
    "tanh": (math.tanh, 5.1, (-math.inf, math.inf)),
    "sigmoid": (_sigmoid, 2.5, (-math.inf, math.inf)),
    "expm1": (math.expm1, 0.51, (-math.inf, math.inf)),
    "softplus": (_softplus, 0.51, (-math.inf, math.inf)),
    "mish": (_mish, 0.51, (-60.0, math.inf)),
    "sinh": (math.sinh, 0.51, (-math.inf, math.inf)),
    "cosh": (math.cosh, 0.51, (-math.inf, math.inf)),
    "asinh": (math.asinh, 0.51, (-math.inf, math.inf)),
    "acosh": (math.acosh, 0.51, (1.0, math.inf)),
    "atanh": (math.atanh, 0.51, (-1.0, 1.0)),
    "sin": (math.sin, 0.51, (-math.inf, math.inf)),
    "cos": (math.cos, 0.51, (-math.inf, math.inf)),
    "tan": (math.tan, 0.51, (-math.inf, math.inf)),
    "asin": (math.asin, 0.51, (-1.0, 1.0)),
    "acos": (math.acos, 0.51, (-1.0, 1.0)),
    "atan": (math.atan, 0.51, (-math.inf, math.inf)),
}
OUTSIDE = {"log": -1.0, "acosh": 0.5, "atanh": 1.5, "asin": 1.5, "acos": -1.5}


@pytest.fixture(scope="module", params=VARIANTS)
def native(request: pytest.FixtureRequest) -> Native:
    if missing := VARIANTS[request.param].missing:
        pytest.skip(f"needs {missing}")
    return built(request.param)


def samples() -> Array:
    """A few floats of every exponent and sign, and many of those around 1."""
    rng = np.random.default_rng(0)
    exponents = np.concatenate([np.arange(255).repeat(4), np.arange(112, 136).repeat(400)])
    mantissas = rng.integers(0, 1 << 23, exponents.size)
    signs = rng.integers(0, 2, exponents.size)
    drawn = ((signs << 31) | (exponents << 23) | mantissas).astype(np.uint32).view(np.float32)
    return np.concatenate([drawn, WORST])


def ulps(y: Array, exact: Array) -> Array:
    """|y - exact| in units in the last place of the exact; where that rounds to an infinity y must be it, too."""
    with np.errstate(over="ignore"):
        overflows = np.isinf(exact.astype(np.float32))
    unit = np.maximum(2.0 ** (np.frexp(exact)[1] - 24.0), SUBNORMAL_ULP)
    error = np.abs(y.astype(np.float64) - np.where(overflows, 0, exact)) / unit
    return np.where(overflows, np.where(y == exact.astype(np.float32), 0, np.inf), error)


def _exact(function: Callable[[float], float], x: float) -> float:
    try:
        return function(x)
    except OverflowError:
        return math.copysign(math.inf, x) if function is math.sinh else math.inf


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize("name", STATED)
def test_error_is_below_what_is_stated(name: str) -> None:
    function, bound, (low, high) = STATED[name]
    x = samples()
    x = x[(x >= low) & (x <= high)]
    y = built("portable")(f"irc_{name}", x, np.empty_like(x))[-1]
    exact = np.array([_exact(function, float(v)) for v in x])
    error = ulps(y, exact)
    assert error.max() <= bound, f"{error.max()} ulp at {x[error.argmax()]!r}"


@pytest.mark.parametrize("name", STATED)
def test_edges(name: str) -> None:
    """Infinities, zeros and NaN as float64 functions have them."""
    function, _, _ = STATED[name]
    x = np.array([0.0, np.inf, -np.inf, np.nan, OUTSIDE.get(name, np.nan)], np.float32)
    y = built("portable")(f"irc_{name}", x, np.empty_like(x))[-1]
    for given, found in zip(x.tolist(), y.tolist(), strict=True):
        try:
            wanted = function(given)
        except (ValueError, OverflowError):
            wanted = -math.inf if (name, given) == ("log", 0.0) else math.nan
        if name == "exp_nonpositive" and given > 0:
            continue
        if name == "mish" and given == -math.inf:
            wanted = -0.0
        assert found == np.float32(wanted) or (math.isnan(found) and math.isnan(wanted)), f"{name}({given}) is {found}"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy, for edges that are wanted
def test_bits(native: Native) -> None:
    x = np.concatenate([EDGES, samples()])
    names = "exp exp_nonpositive log erf tanh sigmoid gelu gelu_tanh silu hard_swish mish"
    for name in names.split():
        given = np.where(x > 0, -x, x) if name == "exp_nonpositive" else x
        same_bits(native(f"irc_{name}", given, np.empty_like(x))[-1], getattr(functions, name)(given))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_bits_through_float64(native: Native) -> None:
    x = np.concatenate([EDGES, samples()])
    x = x[np.abs(x) < 2**20]  # from there on the reduction of angles is in integers
    wide = x.astype(np.float64)
    made = {name: getattr(functions_f64, name)(wide) for name in ("expm1", "softplus", "atan")}
    made["sin"], made["cos"] = functions_f64.sin_cos(wide)
    for name, y in made.items():
        same_bits(native(f"irc_{name}", x, np.empty_like(x))[-1], y.astype(np.float32))


def test_every_variant_has_the_same_bits(native: Native) -> None:
    """Also of the functions that have no reference."""
    x = np.concatenate([EDGES, samples()])
    portable = built("portable")
    one = [name for name, (_, parameters) in portable.functions.items() if len(parameters) == 1]
    assert len(one) >= 27
    for name in one:
        same_bits(native(name, x, np.empty_like(x))[-1], portable(name, x, np.empty_like(x))[-1])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_fmaf_without_hardware(native: Native) -> None:
    """Where the sum of product and addend lies halfway between floats, and for any bits at all."""
    rng = np.random.default_rng(1)
    a, b, c = rng.integers(0, 1 << 32, (3, 20000), np.uint32).view(np.float32)
    near = rng.integers(-40, 40, (3, 20000)).astype(np.float32)
    scale = np.float32(2.0) ** rng.integers(-70, 70, (3, 20000)).astype(np.float32)
    a, b, c = (np.concatenate([u, v]) for u, v in zip((a, b, c), (np.float32(1) + near * 2**-23) * scale, strict=True))
    c[20000:] = a[20000:] * b[20000:] * np.float32(2.0) ** rng.integers(-26, 26, 20000).astype(np.float32)
    same_bits(native("irc_fmaf", a, b, c, np.empty_like(a))[-1], fma(a, b, c))


def test_activations_keep_nan(native: Native) -> None:
    x = np.array([np.nan, -np.inf, np.inf, -0.5, 2.0], np.float32)
    alpha, beta = np.full_like(x, 0.25), np.full_like(x, 0.5)
    for name, factors, wanted in (
        ("relu", (), [np.nan, 0, np.inf, 0, 2]),
        ("thresholded_relu", (alpha,), [np.nan, 0, np.inf, 0, 2]),
        ("leaky_relu", (alpha,), [np.nan, -np.inf, np.inf, -0.125, 2]),
        ("hard_sigmoid", (alpha, beta), [np.nan, 0, 1, 0.375, 1]),
    ):
        found = native(f"irc_{name}", x, *factors, np.empty_like(x))[-1]
        np.testing.assert_array_equal(found, np.array(wanted, np.float32))


def test_extended_precision_is_refused() -> None:
    """The x87 unit rounds to 64 bits: sums that round to whole numbers would not."""
    command = ["gcc", "-std=c99", "-mfpmath=387", f"-I{KERNELS}", "-E", "-x", "c", "-"]
    for header in ("requantize.h", "elementwise.h", "conv_portable.h"):
        found = subprocess.run(command, input=f'#include "{header}"\n', capture_output=True, text=True, check=False)
        assert found.returncode == (1 if host_machine() == "x86-64" else 0)
        assert host_machine() != "x86-64" or "-msse2 -mfpmath=sse" in found.stderr


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_pow(native: Native) -> None:
    rng = np.random.default_rng(2)
    x = np.concatenate([EDGES.repeat(EDGES.size), rng.uniform(-3, 3, 4000).astype(np.float32)])
    y = np.concatenate([np.tile(EDGES, EDGES.size), np.rint(rng.uniform(-40, 40, 4000)).astype(np.float32)])
    x[-2000:], y[-2000:] = np.abs(x[-2000:]), y[-2000:] * np.float32(0.37)
    found = native("irc_pow", x, y, np.empty_like(x))[-1]
    exact = np.power(x.astype(np.float64), y.astype(np.float64))
    defined = ~np.isnan(exact)
    assert (np.isnan(found) == ~defined).all()
    assert (np.signbit(found) == np.signbit(exact))[defined].all()
    assert ulps(found[defined], exact[defined]).max() <= 0.51

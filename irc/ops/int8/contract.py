"""The arithmetic that all integer ops share, stated once: the judge of every kernel.

    requantize(acc, scale, bias, lo, hi) = uint8(clamp(round_half_even(fma32(float32(acc), scale, bias)), lo, hi))

`acc` is an int32 and exact; `float32(acc)` rounds half to even; `fma32` rounds once; all else is float32. What is
rounded may be any float32, infinite too: it is clamped as a float, before it becomes an integer. Activations are uint8
codes: a signed code s is held as s + 128.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from irc.errors import GraphError
from irc.op import Op
from irc.types import Array, DType, Shape, TensorType, Type

LOWEST, HIGHEST = 0, 255  # the codes of an activation
ACCUMULATOR_MAX = (1 << 31) - 1  # of an int32


def fma32(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """a * b + c in float32 with one rounding, half to even, as `fmaf` of C99 computes it.

    Parameters
    ----------
    a, b, c : float32, finite or infinite, of shapes that broadcast

    Returns
    -------
    float32, of the broadcast shape.

    Why it is right: the significands of a and b have 24 bits, so their product has 48 and is exact in float64, whose
    exponents are wide enough for it (|product| is 0 or in [2^-298, 2^256]). s = fl64(product + c) and Knuth's TwoSum
    give `product + c = s + error`, exactly. If the error is not 0, the sum lies strictly between s and its neighbour on
    the error's side; one of the two has an odd significand, and that one is taken: rounding to odd. Rounding to odd
    with p + 2 or more bits and then to p bits is rounding once to p bits (Boldo and Melquiond 2008, "Emulation of FMA
    and correctly rounded sums: proved algorithms using rounding to odd", theorem 1); here p = 24, less where the result
    is subnormal in float32, and float64 has 53.
    """
    product, addend = a.double() * b.double(), c.double()
    total = product + addend
    virtual = total - product
    error = (product - (total - virtual)) + (addend - virtual)
    # an infinite sum has an error of NaN and stays
    inexact = torch.isfinite(total) & (error != 0)
    even = (total.view(torch.int64) & 1) == 0
    toward = torch.where(error > 0, torch.inf, -torch.inf).to(total)
    odd = torch.where(inexact & even, torch.nextafter(total, toward), total)
    return odd.float()


def round_codes(t: torch.Tensor, lo: int, hi: int) -> torch.Tensor:
    """uint8(clamp(round_half_even(t), lo, hi)) of float32 t of any size, infinities included."""
    return torch.round(t).clamp(lo, hi).to(torch.uint8)


def requantize(acc: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor, lo: int, hi: int) -> torch.Tensor:
    """Codes of an accumulator: see the module.

    acc : whole numbers of int32, in float64 or an integer dtype;  scale, bias : float32, broadcast against acc
    """
    return round_codes(fma32(acc.float(), scale, bias), lo, hi)


def float32(value: float) -> torch.Tensor:
    """An attribute as the float32 scalar that it means."""
    return torch.tensor(value, dtype=torch.float32)


def check_clamp(op: Op, lo: int, hi: int, *zero_points: int) -> None:
    """GraphError if a bound or zero point is no uint8, or the bounds cross."""
    if not LOWEST <= lo <= hi <= HIGHEST:
        raise GraphError(f"{op.title}: lo={lo} and hi={hi} are not 0 <= lo <= hi <= 255")
    for zero_point in zero_points:
        if not LOWEST <= zero_point <= HIGHEST:
            raise GraphError(f"{op.title}: zero point {zero_point} is not in [0, 255]")


def typed(op: Op, inputs: Sequence[Type | None], *wanted: DType) -> list[TensorType]:
    """The tensor types of the first inputs, held against the dtypes wanted; an unknown one is of unknown rank.

    Raises
    ------
    GraphError : an input has another dtype, or is no tensor.
    """
    found = []
    for index, dtype in enumerate(wanted):
        type = inputs[index] if index < len(inputs) else None
        if type is not None and (not isinstance(type, TensorType) or type.dtype is not dtype):
            raise GraphError(f"{op.title}: input {index} is {type}, not {dtype}")
        found.append(type or TensorType(dtype))
    return found


def shape_by(like: Op, *types: TensorType) -> Shape | None:
    """The shape that an op of ONNX gives float tensors of these shapes; None if it is not known."""
    given = [TensorType(DType.F32, t.shape) if t.shape is not None else None for t in types]
    made = like.infer(given, [None] * len(given), 1)[0]
    return made.shape if isinstance(made, TensorType) else None


def codes(*shape: int, dtype: str = "uint8") -> Array:
    """Example codes over the whole range of the dtype, both ends included; the same for the same shape."""
    low, high = (0, 256) if dtype == "uint8" else (-128, 128)
    drawn = np.random.default_rng(11).integers(low, high, shape).astype(dtype)
    drawn.reshape(-1)[:2] = (low, high - 1)[: drawn.size]
    return drawn

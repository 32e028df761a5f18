"""Sums and products of codes, element by element."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from irc.op import Example, Op
from irc.ops.binary import Add
from irc.ops.int8.contract import check_clamp, codes, float32, fma32, requantize, round_codes, shape_by, typed
from irc.types import Array, DType, TensorType, Type


@dataclass(frozen=True)
class QAdd(Op):
    """y = clamp(round_half_even(fma32(a, a_scale, fma32(b, b_scale, bias))), lo, hi); a difference by a scale below 0.

    Inputs: a, b uint8, broadcast as by ONNX Add. Output: uint8.

    a_scale, b_scale : scale of the input over that of the output
    bias : z_y - a_scale * z_a - b_scale * z_b
    """

    domain: ClassVar[str] = "irc"

    a_scale: float = 1.0
    b_scale: float = 1.0
    bias: float = 0.0
    lo: int = 0
    hi: int = 255

    def infer(
        self, inputs: Sequence[Type | None], constants: Sequence[Array | None], outputs: int
    ) -> list[Type | None]:
        check_clamp(self, self.lo, self.hi)
        return [TensorType(DType.U8, shape_by(Add(), *typed(self, inputs, DType.U8, DType.U8)))]

    def run(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        inner = fma32(b.float(), float32(self.b_scale), float32(self.bias))
        return round_codes(fma32(a.float(), float32(self.a_scale), inner), self.lo, self.hi)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(0.5, 0.5), (codes(3, 7, 5), codes(3, 7, 5)[::-1].copy()))
        yield Example(cls(0.73, 1.31, -112.7), (codes(2, 3, 7), codes(2, 3, 7)[:, ::-1].copy()))
        yield Example(cls(1.7, -1.1, 99.5, lo=10, hi=249), (codes(2, 3, 7), codes(7)))
        yield Example(cls(0.25, 0.125, 3.0625), (codes(4, 1, 5), codes(3, 1)))  # exact halves
        yield Example(cls(1e30, 1e-30), (codes(1, 9), codes(4, 9)))


@dataclass(frozen=True)
class QMul(Op):
    """y = requantize((a - a_zero_point)(b - b_zero_point), scale, bias, lo, hi).

    Inputs: a, b uint8, broadcast as by ONNX Mul. Output: uint8.

    scale : s_a s_b / s_y;  bias : the zero point of the output
    """

    domain: ClassVar[str] = "irc"

    a_zero_point: int = 0
    b_zero_point: int = 0
    scale: float = 1.0
    bias: float = 0.0
    lo: int = 0
    hi: int = 255

    def infer(
        self, inputs: Sequence[Type | None], constants: Sequence[Array | None], outputs: int
    ) -> list[Type | None]:
        check_clamp(self, self.lo, self.hi, self.a_zero_point, self.b_zero_point)
        return [TensorType(DType.U8, shape_by(Add(), *typed(self, inputs, DType.U8, DType.U8)))]

    def run(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        acc = (a.int() - self.a_zero_point) * (b.int() - self.b_zero_point)
        return requantize(acc, float32(self.scale), float32(self.bias), self.lo, self.hi)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(scale=0.004), (codes(3, 7, 5), codes(3, 7, 5)[::-1].copy()))
        yield Example(cls(128, 3, 0.0061, 120.0), (codes(2, 3, 7), codes(3, 1)))
        yield Example(cls(255, 0, 0.0055, 230.5, lo=4, hi=229), (codes(2, 3, 7), codes(7)))
        yield Example(cls(10, 200, 0.5, 1.0), (codes(2, 3, 7), codes(2, 1, 1)))

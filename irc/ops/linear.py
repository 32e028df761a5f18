"""Matrix products."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from irc.op import ChannelKind, Example, Op, Quant, QuantKind
from irc.ops.tensors import sample
from irc.types import TensorType, Type

_WRAPS = (torch.uint32, torch.uint64)  # products of these are taken in int64, which has the same low bits


def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """numpy's matmul, in every dtype."""
    if a.dtype in _WRAPS:
        low = torch.matmul(a.view(torch.int64) if a.dtype is torch.uint64 else a.long(), _signed(b))
        return low.view(a.dtype) if a.dtype is torch.uint64 else low.to(a.dtype)
    return torch.matmul(a, b)


def _signed(x: torch.Tensor) -> torch.Tensor:
    return x.view(torch.int64) if x.dtype is torch.uint64 else x.long()


def product_macs(a: Type | None, output: Type | None, axis: int) -> int:
    """Multiply-accumulates of a product that sums over `axis` of `a`."""
    if not isinstance(a, TensorType) or not isinstance(output, TensorType) or not a.shape:
        return 0
    depth = a.shape[axis]
    return output.elements() * (depth if isinstance(depth, int) else 1)


@dataclass(frozen=True)
class Gemm(Op):
    """y = alpha * A' B' + beta * C, with A' = A or its transpose, B' likewise. ONNX Gemm-13.

    Inputs: A (M, K) or (K, M); B (K, N) or (N, K); C, optional, broadcast to (M, N). Output: (M, N).
    """

    channels = ChannelKind.CONTRACTION
    since = 7

    alpha: float = 1.0
    beta: float = 1.0
    transA: int = 0  # noqa: N815 - the ONNX attribute
    transB: int = 0  # noqa: N815 - the ONNX attribute

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.CONTRACTION, weight=1, bias=2, weight_axis=0 if self.transB else 1)

    def run(self, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        a = a.mT if self.transA else a
        if self.alpha == self.beta == 1 and c is not None and c.ndim == 1 and a.is_floating_point():
            return torch.nn.functional.linear(a, b if self.transB else b.mT, c)
        y = matmul(a, b.mT if self.transB else b)
        if not y.is_floating_point():
            scaled = y if self.alpha == 1 else (y * self.alpha).to(y.dtype)
            return scaled if c is None else scaled + (c if self.beta == 1 else (c * self.beta).to(c.dtype))
        y = y if self.alpha == 1 else self.alpha * y
        return y if c is None else y + (c if self.beta == 1 else self.beta * c)

    def macs(self, inputs: Sequence[Type | None], outputs: Sequence[Type | None]) -> int:
        return product_macs(inputs[0], outputs[0], 0 if self.transA else 1)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(3, 4), sample(4, 5)))
        yield Example(cls(transB=1), (sample(3, 4), sample(5, 4), sample(5)))
        yield Example(cls(alpha=0.5, beta=2.0, transA=1), (sample(4, 3), sample(4, 5), sample(3, 1)))
        yield Example(cls(transA=1, transB=1), (sample(4, 3), sample(5, 4), sample(3, 5)))


@dataclass(frozen=True)
class MatMul(Op):
    """y = A B over the last two axes, the others broadcast; a vector counts as a row or column. ONNX MatMul-13.

    Inputs: A (*, M, K); B (*, K, N). Output: (*, M, N).
    """

    channels = ChannelKind.CONTRACTION
    since = 1

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.CONTRACTION, weight=1, weight_axis=-1)

    def run(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return matmul(a, b)

    def macs(self, inputs: Sequence[Type | None], outputs: Sequence[Type | None]) -> int:
        return product_macs(inputs[0], outputs[0], -1)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (sample(3, 4), sample(4, 5)))
        yield Example(cls(), (sample(2, 1, 3, 4), sample(6, 4, 5)))
        yield Example(cls(), (sample(4), sample(2, 4, 5)))
        yield Example(cls(), (sample(3, 4, dtype="int32", low=-9, high=9), sample(4, dtype="int32", low=-9, high=9)))

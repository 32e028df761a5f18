"""Activations: elementwise functions of one tensor that networks put behind a contraction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from irc.op import ChannelKind, Example, Op, Quant, QuantKind
from irc.ops.tensors import sample
from irc.types import Array


def _x() -> Array:
    """Inputs on both sides of every bend of the functions here."""
    return np.linspace(-5, 5, 24, dtype=np.float32).reshape(2, 3, 4)


@dataclass(frozen=True)
class Relu(Op):
    """y = max(x, 0). ONNX Relu-14."""

    channels = ChannelKind.ELEMENTWISE
    since = 6

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.ACTIVATION)

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (_x(),))


@dataclass(frozen=True)
class Clip(Op):
    """y = min(max(x, low), high); either bound may be missing, and high wins over a larger low. ONNX Clip-13.

    Inputs: x; low and high, scalars, optional. Output: as x.
    """

    channels = ChannelKind.ELEMENTWISE
    since = 11

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.ACTIVATION)

    def run(self, x: torch.Tensor, low: torch.Tensor | None = None, high: torch.Tensor | None = None) -> torch.Tensor:
        if low is None and high is None:
            return x
        if x.is_floating_point():
            return torch.clamp(
                x,
                None if low is None else low.reshape(()),
                None if high is None else high.reshape(()),
            )
        # an integer torch.clamp with tensors of rank 0 promotes as Python numbers do; these keep the dtype
        x = x if low is None else torch.maximum(x, low.reshape(()))
        return x if high is None else torch.minimum(x, high.reshape(()))

    @classmethod
    def examples(cls) -> Iterable[Example]:
        low, high = np.array(-1, np.float32), np.array(2, np.float32)
        yield Example(cls(), (_x(), low, high))
        yield Example(cls(), (_x(), None, high))
        yield Example(cls(), (_x(), low))
        yield Example(cls(), (_x(), high, low))
        yield Example(cls(), (sample(6, dtype=np.int8, low=-9, high=9), np.array(-2, np.int8), np.array(5, np.int8)))


@dataclass(frozen=True)
class PRelu(Op):
    """y = x if x >= 0 else slope * x, slope broadcast to x. ONNX PRelu-16."""

    channels = ChannelKind.ELEMENTWISE
    since = 7

    def run(self, x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        return torch.where(x < 0, slope * x, x)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (_x(), sample(4)))
        yield Example(cls(), (_x(), sample(3, 1)))


@dataclass(frozen=True)
class LeakyRelu(Op):
    """y = x if x >= 0 else alpha * x. ONNX LeakyRelu-16."""

    channels = ChannelKind.ELEMENTWISE
    since = 6

    alpha: float = 0.01

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.ARITHMETIC)

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(x, self.alpha)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (_x(),))
        yield Example(cls(alpha=0.3), (_x(),))


@dataclass(frozen=True)
class ThresholdedRelu(Op):
    """y = x if x > alpha else 0. ONNX ThresholdedRelu-22."""

    channels = ChannelKind.ELEMENTWISE
    since = 10

    alpha: float = 1.0

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x > self.alpha, x, 0)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (_x(),))
        yield Example(cls(alpha=2.0), (_x(),))


@dataclass(frozen=True)
class Elu(Op):
    """y = x if x >= 0 else alpha * (exp(x) - 1). ONNX Elu-22."""

    channels = ChannelKind.ELEMENTWISE
    since = 6

    alpha: float = 1.0

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.ARITHMETIC)

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return F.elu(x, self.alpha)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (_x(),))
        yield Example(cls(alpha=0.3), (_x(),))


@dataclass(frozen=True)
class Selu(Op):
    """y = gamma * (x if x > 0 else alpha * (exp(x) - 1)). ONNX Selu-22."""

    channels = ChannelKind.ELEMENTWISE
    since = 6

    alpha: float = 1.6732631921768188  # ONNX's defaults are float32 numbers
    gamma: float = 1.0507010221481323

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return self.gamma * F.elu(x, self.alpha)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (_x(),))
        yield Example(cls(alpha=2.0, gamma=3.0), (_x(),))


@dataclass(frozen=True)
class Celu(Op):
    """y = max(0, x) + min(0, alpha * (exp(x / alpha) - 1)). ONNX Celu-12."""

    channels = ChannelKind.ELEMENTWISE
    since = 12

    alpha: float = 1.0

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return F.celu(x, self.alpha)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (_x(),))
        yield Example(cls(alpha=2.0), (_x(),))


@dataclass(frozen=True)
class Sigmoid(Op):
    """y = 1 / (1 + exp(-x)). ONNX Sigmoid-13."""

    channels = ChannelKind.ELEMENTWISE
    since = 6

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.ARITHMETIC)

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(x)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (_x(),))


@dataclass(frozen=True)
class HardSigmoid(Op):
    """y = max(0, min(1, alpha * x + beta)). ONNX HardSigmoid-22."""

    channels = ChannelKind.ELEMENTWISE
    since = 6

    alpha: float = 0.2
    beta: float = 0.5

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.ARITHMETIC)

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return torch.clamp(self.alpha * x + self.beta, 0, 1)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (_x(),))
        yield Example(cls(alpha=1 / 6, beta=0.4), (_x(),))


@dataclass(frozen=True)
class HardSwish(Op):
    """y = x * max(0, min(1, x / 6 + 1/2)). ONNX HardSwish-22."""

    channels = ChannelKind.ELEMENTWISE
    since = 14

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.ARITHMETIC)

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return F.hardswish(x)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (_x(),))


@dataclass(frozen=True)
class Swish(Op):
    """y = x * sigmoid(alpha * x). ONNX Swish-24."""

    channels = ChannelKind.ELEMENTWISE
    since = 24

    alpha: float = 1.0

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.ARITHMETIC)

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return F.silu(x) if self.alpha == 1 else x * torch.sigmoid(self.alpha * x)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (_x(),))
        yield Example(cls(alpha=1.702), (_x(),))


@dataclass(frozen=True)
class SwiGLU(Op):
    """y = a * sigmoid(alpha * a) * b. ONNX SwiGLU-28."""

    channels = ChannelKind.ELEMENTWISE
    since = 28

    alpha: float = 1.0

    def run(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return Swish(self.alpha).run(a) * b

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (_x(), sample(2, 3, 4)))
        yield Example(cls(alpha=1.702), (_x(), sample(2, 3, 4)))


@dataclass(frozen=True)
class Gelu(Op):
    """y = x * Phi(x), Phi the normal distribution, or its tanh approximation. ONNX Gelu-20."""

    channels = ChannelKind.ELEMENTWISE
    since = 20

    approximate: str = "none"

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.ARITHMETIC)

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return F.gelu(x, approximate=self.approximate)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (_x(),))
        yield Example(cls(approximate="tanh"), (_x(),))


@dataclass(frozen=True)
class Mish(Op):
    """y = x * tanh(log(1 + exp(x))). ONNX Mish-22."""

    channels = ChannelKind.ELEMENTWISE
    since = 18

    @property
    def quant(self) -> Quant:
        return Quant(QuantKind.ARITHMETIC)

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return F.mish(x)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (_x(),))


@dataclass(frozen=True)
class Softplus(Op):
    """y = log(1 + exp(x)). ONNX Softplus-22."""

    channels = ChannelKind.ELEMENTWISE
    since = 1

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return F.softplus(x, threshold=40)  # beyond, y = x even in float64

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (_x(),))
        yield Example(cls(), (30 * _x(),))


@dataclass(frozen=True)
class Softsign(Op):
    """y = x / (1 + |x|). ONNX Softsign-22."""

    channels = ChannelKind.ELEMENTWISE
    since = 1

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return F.softsign(x)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (_x(),))


@dataclass(frozen=True)
class Shrink(Op):
    """y = x + bias if x < -lambd, x - bias if x > lambd, else 0. ONNX Shrink-9."""

    channels = ChannelKind.ELEMENTWISE
    since = 9

    bias: float = 0.0
    lambd: float = 0.5

    def run(self, x: torch.Tensor) -> torch.Tensor:
        shrunk = torch.where(x < -self.lambd, x + self.bias, torch.where(x > self.lambd, x - self.bias, 0))
        return shrunk.to(x.dtype)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example(cls(), (_x(),))
        yield Example(cls(bias=1.0, lambd=1.5), (_x(),))

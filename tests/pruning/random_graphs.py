"""Graphs made of random steps, written in irc's own ops: what happens to channels, in any order.

    step   ::= (name, a, b)     `a` and `b` choose operands, sizes and variants, whatever is possible at that place
    state  ::= open values, images (N, C, H, W) or tokens (N, T, C), which later steps may read

A step that cannot be done where it stands does nothing, so that every list of steps is a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np

from irc.graph import Graph, Value
from irc.op import Op
from irc.ops.activation import Gelu, HardSwish, PRelu, Relu, Sigmoid
from irc.ops.binary import Add, Max, Mul
from irc.ops.conv import Conv, ConvTranspose
from irc.ops.index import Concat, Gather, Pad, Slice, Split
from irc.ops.linear import Gemm, MatMul
from irc.ops.norm import (
    BatchNormalization,
    GroupNormalization,
    InstanceNormalization,
    LayerNormalization,
    RMSNormalization,
)
from irc.ops.pool import AveragePool, GlobalAveragePool, MaxPool
from irc.ops.reduce import ReduceMax, ReduceMean
from irc.ops.shape import DepthToSpace, Expand, Flatten, Reshape, SpaceToDepth, Transpose
from irc.ops.softmax import Softmax
from irc.types import tensor

Step = tuple[str, int, int]
EPSILON = 1e-2  # so that norms of one or two survivors do not turn rounding into numbers
WIDEST, LARGEST = 32, 16


class Builder:
    """A graph and the values that are open in it."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.graph.info.opsets[""] = 23  # the first with RMSNormalization
        self.random = np.random.default_rng(0)
        self.open: list[Value] = [self.graph.add_input("x", tensor("f32", 2, 3, 6, 6))]

    # ---- parts

    def weight(self, *shape: int, fan: int = 1) -> Value:
        data = self.random.standard_normal(shape) / np.sqrt(fan)
        return self.graph.add_constant(data.astype(np.float32), "weight")

    def around_one(self, *shape: int) -> Value:
        return self.graph.add_constant(self.random.uniform(0.5, 1.5, shape).astype(np.float32), "scale")

    def ints(self, *numbers: int) -> Value:
        return self.graph.add_constant(np.array(numbers, np.int64), "ints")

    def op(self, op: Op, *inputs: Value | None) -> Value:
        """The op's output, which is not open yet."""
        return self.graph.insert(op, list(inputs)).output

    def shape(self, value: Value) -> tuple[int, ...]:
        type = value.tensor_type
        assert type is not None
        return type.static_shape

    def give(self, *made: Value, instead: Sequence[Value] = ()) -> None:
        """Open new values, in place of those that need not be read any more."""
        self.open = [v for v in self.open if v not in instead] + list(made)

    def conv(self, x: Value, m: int, k: int, group: int = 1) -> None:
        c = self.shape(x)[1]
        op = Conv(group=group, pads=(k // 2,) * 4)
        self.give(self.op(op, x, self.weight(m, c // group, k, k, fan=c // group * k * k), self.weight(m)), instead=[x])

    def linear(self, x: Value, m: int) -> Value:
        c = self.shape(x)[-1]
        return self.op(Add(), self.op(MatMul(), x, self.weight(c, m, fan=c)), self.weight(m))

    def partner(self, x: Value, a: int) -> Value | None:
        """Another open value of the same shape."""
        found = [v for v in self.open if v is not x and self.shape(v) == self.shape(x)]
        return found[a % len(found)] if found else None

    def finished(self) -> Graph:
        """The graph, with everything open in its one output."""
        self.graph.add_output(reduce(lambda a, b: self.op(Add(), a, b), map(self._head, self.open)), "y")
        return self.graph

    def _head(self, x: Value) -> Value:
        if len(self.shape(x)) == 3:
            return self.op(ReduceMean(keepdims=0), self.linear(x, 5), self.ints(1))
        if self.shape(x)[2] <= 3:
            flat = self.op(Flatten(), x)
            fan = self.shape(flat)[1]
            return self.op(Gemm(), flat, self.weight(fan, 5, fan=fan), self.weight(5))
        return self.op(
            Gemm(transB=1), self.op(Flatten(), self.op(GlobalAveragePool(), x)), self.weight(5, self.shape(x)[1])
        )


# ---- steps: each does its own thing to an open value, if it can

STEPS: dict[str, Callable[[Builder, Value, int], None]] = {}
RANKS: dict[str, int] = {}  # of the values that a step is for; 0: of any


def _of_rank(rank: int) -> Callable[[Callable[[Builder, Value, int], None]], None]:
    def register(function: Callable[[Builder, Value, int], None]) -> None:
        STEPS[function.__name__], RANKS[function.__name__] = function, rank

    return register


_any, _image, _tokens = _of_rank(0), _of_rank(4), _of_rank(3)


@_image
def convolution(b: Builder, x: Value, n: int) -> None:
    b.conv(x, (8, 12, 16)[n % 3], (1, 3)[n % 2])


@_image
def grouped(b: Builder, x: Value, n: int) -> None:
    c = b.shape(x)[1]
    group = (2, 4)[n % 2]
    if c % group == 0:
        b.conv(x, group * (3, 4)[n // 2 % 2], 3, group)


@_image
def depthwise(b: Builder, x: Value, n: int) -> None:
    c = b.shape(x)[1]
    if c <= WIDEST // 2:
        b.conv(x, c * (1 + n % 2), 3, c)


@_image
def transposed(b: Builder, x: Value, n: int) -> None:
    c, h = b.shape(x)[1:3]
    group = (1, 2)[n % 2]
    if h * 2 <= LARGEST and c % group == 0:
        op = ConvTranspose(group=group, strides=(2, 2))
        b.give(b.op(op, x, b.weight(c, 8 // group, 2, 2, fan=c), b.weight(8)), instead=[x])


@_image
def batch_norm(b: Builder, x: Value, n: int) -> None:
    c = b.shape(x)[1]
    y = b.op(BatchNormalization(), x, b.around_one(c), b.weight(c), b.weight(c), b.around_one(c))
    b.give(b.op(Relu(), y), instead=[x])


@_image
def group_norm(b: Builder, x: Value, n: int) -> None:
    c = b.shape(x)[1]
    if c % 4 == 0:
        b.give(b.op(GroupNormalization((1, 2, 4)[n % 3], EPSILON), x, b.around_one(c), b.weight(c)), instead=[x])


@_image
def instance_norm(b: Builder, x: Value, n: int) -> None:
    c = b.shape(x)[1]
    if b.shape(x)[2] > 1:
        y = b.op(InstanceNormalization(EPSILON), x, b.around_one(c), b.weight(c))
        b.give(b.op(PRelu(), y, b.weight(c, 1, 1)), instead=[x])


@_any
def activation(b: Builder, x: Value, n: int) -> None:
    ops: tuple[Op, ...] = (Relu(), Sigmoid(), HardSwish(), Gelu())
    b.give(b.op(ops[n % 4], x), instead=[x])


@_any
def residual(b: Builder, x: Value, n: int) -> None:
    """Two open values of one shape as one; a value that has no partner gets one with its own channels."""
    y = b.partner(x, n)
    if y is None:
        shape = b.shape(x)
        y = (
            b.linear(x, shape[-1])
            if len(shape) == 3
            else b.op(Conv(), x, b.weight(shape[1], shape[1], 1, 1, fan=shape[1]))
        )
    ops: tuple[Op, ...] = (Add(), Add(), Mul(), Max())
    b.give(b.op(ops[n % 4], x, y), instead=[x, y])


@_any
def branch(b: Builder, x: Value, n: int) -> None:
    """The value stays open beside what is made of it."""
    if len(b.open) < 4:
        b.give(b.op(Relu(), x))


@_any
def concat(b: Builder, x: Value, n: int) -> None:
    """Channels of two values side by side; with itself if there is no other."""
    axis = 1 if len(b.shape(x)) == 4 else 2
    rest = [k for k in range(len(b.shape(x))) if k != axis]
    fits = [
        v for v in b.open
        if len(b.shape(v)) == len(b.shape(x)) and all(b.shape(v)[k] == b.shape(x)[k] for k in rest)
    ]  # fmt: skip
    y = fits[n % len(fits)]
    if b.shape(x)[axis] + b.shape(y)[axis] <= WIDEST:
        b.give(b.op(Concat(axis=axis), x, y), instead=[x, y])


@_any
def split(b: Builder, x: Value, n: int) -> None:
    """Equal parts, or unequal ones; both stay open."""
    axis = 1 if len(b.shape(x)) == 4 else 2
    c = b.shape(x)[axis]
    first = (c // 2, c // 4, c - 3)[n % 3]
    if 2 <= first <= c - 2 and len(b.open) < 4:
        node = b.graph.insert(Split(axis=axis), [x, b.ints(first, c - first)], outputs=2)
        b.give(*node.outputs, instead=[x])


@_any
def slice_channels(b: Builder, x: Value, n: int) -> None:
    """A part, every other one, or all of them backwards."""
    axis = 1 if len(b.shape(x)) == 4 else 2
    c = b.shape(x)[axis]
    start, end, stride = ((1, c - 1, 1), (0, c, 2), (c - 1, -c - 1, -1))[n % 3]
    if c >= 6:
        b.give(b.op(Slice(), x, b.ints(start), b.ints(end), b.ints(axis), b.ints(stride)), instead=[x])


@_image
def slice_space(b: Builder, x: Value, n: int) -> None:
    h = b.shape(x)[2]
    if h >= 4:
        b.give(b.op(Slice(), x, b.ints(0, 0), b.ints(h, h), b.ints(2, 3), b.ints(2, 2)), instead=[x])


@_any
def gather(b: Builder, x: Value, n: int) -> None:
    """Channels in another order, or some of them twice."""
    axis = 1 if len(b.shape(x)) == 4 else 2
    c = b.shape(x)[axis]
    order = np.random.default_rng(n).permutation(c) if n % 2 else np.arange(c) // 2
    b.give(b.op(Gather(axis=axis), x, b.ints(*order.tolist())), instead=[x])


@_image
def shuffle(b: Builder, x: Value, n: int) -> None:
    """ShuffleNet's."""
    batch, c, h, w = b.shape(x)
    group = (2, 4)[n % 2]
    if c % group == 0 and c > group:
        y = b.op(Reshape(), x, b.ints(batch, group, c // group, h, w))
        b.give(b.op(Reshape(), b.op(Transpose((0, 2, 1, 3, 4)), y), b.ints(batch, -1, h, w)), instead=[x])


@_image
def pad_channels(b: Builder, x: Value, n: int) -> None:
    if b.shape(x)[1] <= WIDEST - 4:
        b.give(b.op(Pad(), x, b.ints(0, n % 3, 0, 0, 0, 2, 0, 0)), instead=[x])


@_image
def pool(b: Builder, x: Value, n: int) -> None:
    if b.shape(x)[2] >= 2:
        ops: tuple[Op, ...] = (MaxPool((2, 2), strides=(2, 2)), AveragePool((2, 2), strides=(2, 2)))
        b.give(b.op(ops[n % 2], x), instead=[x])


@_image
def channels_to_space(b: Builder, x: Value, n: int) -> None:
    c, h = b.shape(x)[1:3]
    if c % 4 == 0 and c >= 8 and h * 2 <= LARGEST:
        b.give(b.op(DepthToSpace(2, mode=("DCR", "CRD")[n % 2]), x), instead=[x])


@_image
def space_to_channels(b: Builder, x: Value, n: int) -> None:
    c, h = b.shape(x)[1:3]
    if h % 2 == 0 and c * 4 <= WIDEST:
        b.give(b.op(SpaceToDepth(2), x), instead=[x])


@_image
def gate(b: Builder, x: Value, n: int) -> None:
    """Squeeze and excite; or a gate for each place, from statistics over channels."""
    c = b.shape(x)[1]
    if n % 3 == 0:
        y = b.op(Relu(), b.op(Conv(), b.op(GlobalAveragePool(), x), b.weight(6, c, 1, 1, fan=c), b.weight(6)))
        y = b.op(Conv(), y, b.weight(c, 6, 1, 1, fan=6), b.weight(c))
    else:
        y = b.op((ReduceMean(), ReduceMax())[n % 3 - 1], x, b.ints(1))
    b.give(b.op(Mul(), x, b.op(Sigmoid(), y)), instead=[x])


@_image
def to_tokens(b: Builder, x: Value, n: int) -> None:
    batch, c, h, w = b.shape(x)
    if h * w > 1:
        b.give(b.op(Transpose((0, 2, 1)), b.op(Reshape(), x, b.ints(batch, c, h * w))), instead=[x])


@_tokens
def to_image(b: Builder, x: Value, n: int) -> None:
    batch, t, c = b.shape(x)
    side = int(t**0.5)
    if side * side == t:
        b.give(b.op(Reshape(), b.op(Transpose((0, 2, 1)), x), b.ints(batch, c, side, side)), instead=[x])


@_image
def channels_last_norm(b: Builder, x: Value, n: int) -> None:
    c = b.shape(x)[1]
    y = b.op(LayerNormalization(epsilon=EPSILON), b.op(Transpose((0, 2, 3, 1)), x), b.around_one(c), b.weight(c))
    b.give(b.op(Transpose((0, 3, 1, 2)), y), instead=[x])


@_tokens
def norm(b: Builder, x: Value, n: int) -> None:
    c = b.shape(x)[2]
    if n % 2:
        b.give(b.op(RMSNormalization(epsilon=EPSILON), x, b.around_one(c)), instead=[x])
    else:
        b.give(b.op(LayerNormalization(epsilon=EPSILON), x, b.around_one(c), b.weight(c)), instead=[x])


@_tokens
def linear(b: Builder, x: Value, n: int) -> None:
    b.give(b.linear(x, (8, 12, 16)[n % 3]), instead=[x])


@_tokens
def mix_tokens(b: Builder, x: Value, n: int) -> None:
    """A layer across tokens, as the Mixer's."""
    t = b.shape(x)[1]
    y = b.op(Gelu(), b.linear(b.op(Transpose((0, 2, 1)), x), 10))
    b.give(b.op(Add(), x, b.op(Transpose((0, 2, 1)), b.linear(y, t))), instead=[x])


@_tokens
def attention(b: Builder, x: Value, n: int) -> None:
    """Two heads, or more queries than keys and values have heads."""
    batch, t, c = b.shape(x)
    heads, size = (2, 4)[n % 2], 4
    shared = n % 3 == 0

    def part(count: int, order: tuple[int, ...]) -> Value:
        y = b.op(Reshape(), b.linear(x, count * size), b.ints(batch, t, count, size))
        return b.op(Transpose(order), y)

    q = part(heads, (0, 2, 1, 3))
    k, v = part(1 if shared else heads, (0, 2, 3, 1)), part(1 if shared else heads, (0, 2, 1, 3))
    y = b.op(MatMul(), b.op(Softmax(), b.op(MatMul(), q, k)), v)
    y = b.op(Reshape(), b.op(Transpose((0, 2, 1, 3)), y), b.ints(batch, t, heads * size))
    b.give(b.op(Add(), x, b.linear(y, c)), instead=[x])


@_tokens
def within_heads(b: Builder, x: Value, n: int) -> None:
    """Channels as (heads, size): a scale for every head or every size, or less the mean of the head."""
    batch, t, c = b.shape(x)
    if c % 4 == 0 and c > 4:
        y = b.op(Reshape(), x, b.ints(0, 0, 4, c // 4))
        other: Value = (b.weight(4, 1), b.weight(c // 4))[n % 2] if n % 3 else b.op(ReduceMean(), y, b.ints(3))
        b.give(b.op(Reshape(), b.op(Mul(), y, other), b.ints(batch, t, c)), instead=[x])


@_tokens
def first_token(b: Builder, x: Value, n: int) -> None:
    """A token of its own before all others."""
    c = b.shape(x)[2]
    if b.shape(x)[1] < 40:
        token = b.op(Expand(), b.weight(1, 1, c), b.ints(b.shape(x)[0], 1, c))
        b.give(b.op(Concat(axis=1), token, x), instead=[x])


def build(steps: Sequence[Step]) -> Graph:
    """The graph of the steps."""
    builder = Builder()
    builder.conv(builder.open[0], 8, 3)
    for name, a, b in steps:
        found = [v for v in builder.open if RANKS[name] in (0, len(builder.shape(v)))]
        if found:
            STEPS[name](builder, found[a % len(found)], b)
    return builder.finished()


def variants(name: str) -> list[list[Step]]:
    """Graphs in which a step stands before a convolution or a layer, in all of its variants."""
    before: list[Step] = [("to_tokens", 0, 0)] if RANKS[name] == 3 else []
    return [[*before, (name, 0, n), ("convolution", 0, 1), ("linear", 0, 1), ("activation", 0, 1)] for n in range(6)]

"""ONNX's integer products, int32 sums of codes less their zero points, and Einstein sums: by generated loops."""

from __future__ import annotations

from irc.backends.c.lowering.accumulate import Sum, accumulate, spread
from irc.backends.c.lowering.builder import Builder
from irc.backends.c.lowering.expressions import Expr
from irc.backends.c.lowering.float_contraction import convolve
from irc.backends.c.lowering.loop_pool import padded
from irc.backends.c.lowering.rules import lowers
from irc.backends.c.views import View
from irc.errors import BackendError
from irc.graph import Node
from irc.ops.integer import ConvInteger, MatMulInteger
from irc.ops.misc import Einsum
from irc.ops.spatial import windows
from irc.types import DType


@lowers(MatMulInteger)
def lower_matmul_integer(b: Builder, node: Node) -> None:
    """y = (a - a_zero_point)(b - b_zero_point); the zero points may be computed, one a row of a and a column of b."""
    a, w = b.input(node, 0), b.input(node, 1)
    if min(a.rank, w.rank) < 2:
        raise BackendError(f"{node!r}: the C backend multiplies matrices here, not vectors; reshape them")
    y = b.output(node.output)
    rank, k = y.rank, a.shape[-1]
    batch, shape = list(range(rank - 2)), (*y.shape, k)
    left, right = a.broadcast((*y.shape[:-2], *a.shape[-2:])), w.broadcast((*y.shape[:-2], *w.shape[-2:]))
    views = [
        spread(left, [*batch, rank - 2, None, rank - 1], shape),
        spread(right, [*batch, None, rank - 1, rank - 2], shape),
    ]
    terms = ["(int32_t)v0", "(int32_t)v1"]
    for i, axis in ((2, rank - 2), (3, rank - 1)):
        if node.input(i) is None:
            continue
        point = b.input(node, i)
        if point.rank > 1:
            raise BackendError(f"{node!r}: the C backend takes zero points of one axis at most")
        strides = [point.strides[0] if point.elements > 1 and d == axis else 0 for d in range(rank + 1)]
        terms[i - 2] = f"({terms[i - 2]} - (int32_t)v{len(views)})"
        views.append(View(point.buffer, shape, tuple(strides), point.offset))
    accumulate(b, node, y, views, Sum(DType.I32, step=f"acc + {terms[0]} * {terms[1]}"), macs=y.elements * k)


@lowers(ConvInteger)
def lower_conv_integer(b: Builder, node: Node) -> None:
    """The convolution of codes less their zero points, which are 16-bit numbers; so padding is zeros."""
    op = node.op
    assert isinstance(op, ConvInteger)
    x, w = _centred(b, node, 0, 2), _centred(b, node, 1, 3)
    axes = windows(x.shape[2:], w.shape[2:], op.strides, op.dilations, op.pads, op.auto_pad)
    y = b.output(node.output)
    strides, dilations = tuple(a.stride for a in axes), tuple(a.dilation for a in axes)
    convolve(b, node, padded(b, node, x, axes, 0), w, None, y, strides, dilations, op.group, Sum(DType.I32))


def _centred(b: Builder, node: Node, index: int, point: int) -> View:
    """An input less its zero point, one number or one for each of the first axis; int16."""
    view = b.input(node, index)
    zero = Expr.literal(0, DType.I32) if node.input(point) is None else b.input(node, point)
    if isinstance(zero, View):
        one = zero.elements == 1
        zero = View(zero.buffer, view.shape, (0 if one else zero.strides[0], *(0,) * (view.rank - 1)), zero.offset)
    return b.materialize(Expr(DType.I16, view.shape, "(int16_t)({0} - {1})", (view, zero)), node)


@lowers(Einsum)
def lower_einsum(b: Builder, node: Node) -> None:
    """One loop a letter: those not in the result are summed over, those that an operand repeats walk its diagonal."""
    op = node.op
    assert isinstance(op, Einsum)
    operands = [b.input(node, i) for i in range(len(node.inputs))]
    terms, result = parse_equation(op.equation, [v.rank for v in operands])
    sizes: dict[str, int] = {}
    for term, view in zip(terms, operands, strict=True):
        for letter, size in zip(term, view.shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1)) if size else 0
    inner = [letter for letter in sizes if letter not in result]
    letters = [*result, *inner]
    shape = tuple(sizes[letter] for letter in letters)
    views = []
    for term, view in zip(terms, operands, strict=True):
        strides = dict.fromkeys(letters, 0)
        for letter, size, stride in zip(term, view.shape, view.strides, strict=True):
            strides[letter] += 0 if size == 1 else stride
        views.append(View(view.buffer, shape, tuple(strides[letter] for letter in letters), view.offset))
    y = b.output(node.output)
    step = "acc + " + " * ".join(f"v{i}" for i in range(len(views)))
    accumulate(b, node, y, views, Sum(y.dtype, step=step), macs=y.elements)


def parse_equation(equation: str, ranks: list[int]) -> tuple[list[list[str]], list[str]]:
    """The letters of each operand and of the result; those of an ellipsis are `.0`, `.1`, ... from the last axis on."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = []
    for term, rank in zip(left.split(","), ranks, strict=True):
        before, dots, after = term.partition("...")
        missing = rank - len(before) - len(after) if dots else 0
        terms.append([*before, *(f".{i}" for i in reversed(range(missing))), *after])
    flat = [letter for term in terms for letter in term]
    spread_letters = sorted({c for c in flat if c[0] == "."}, key=lambda c: -int(c[1:]))
    if not arrow:
        return terms, [*spread_letters, *sorted({c for c in flat if c[0] != "." and flat.count(c) == 1})]
    before, dots, after = right.partition("...")
    return terms, [*before, *(spread_letters if dots else []), *after]

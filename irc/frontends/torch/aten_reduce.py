"""Reductions: sums, means, extrema and their places, norms, cumulative sums, sorting."""

from __future__ import annotations

import math
from collections.abc import Sequence

from irc.frontends.torch.emitter import Emitter, Number, axis_of, dtype, rank, shape
from irc.frontends.torch.rules import Result, Rule, Unsupported, rule
from irc.graph import Value
from irc.types import DType

Axes = Sequence[int] | int | None


def reduce(e: Emitter, op: str, x: Value, dim: Axes = None, keepdim: bool = False, part: str = "") -> Value:
    """Reduce over `dim`, over everything if that is None or empty."""
    axes = [dim] if isinstance(dim, int) else list(dim or ())
    if rank(x) == 0:
        axes = []
    return e.emit(op, x, axes or None, part=part, keepdims=int(keepdim))


def _arithmetic(onnx: str) -> Rule:
    def function(e: Emitter, x: Value, dim: Axes = None, keepdim: bool = False, *, dtype: object = None) -> Value:
        return reduce(e, onnx, e.cast(x, e.out.dtype), dim, keepdim)

    return function


rule("aten.mean.dim", "aten.mean.default")(_arithmetic("ReduceMean"))
rule("aten.sum.dim_IntList", "aten.sum.default")(_arithmetic("ReduceSum"))
rule("aten.prod.dim_int", "aten.prod.default")(_arithmetic("ReduceProd"))
rule("aten.logsumexp.default")(_arithmetic("ReduceLogSumExp"))


def _extremum(onnx: str) -> Rule:
    def function(e: Emitter, x: Value, dim: Axes = None, keepdim: bool = False) -> Value:
        if dtype(x) is DType.BOOL:
            return e.cast(reduce(e, onnx, e.cast(x, DType.U8), dim, keepdim), DType.BOOL)
        return reduce(e, onnx, x, dim, keepdim)

    return function


rule("aten.amax.default", "aten.max.default", "aten.any.default", "aten.any.dim")(_extremum("ReduceMax"))
rule("aten.amin.default", "aten.min.default", "aten.all.default", "aten.all.dim")(_extremum("ReduceMin"))


def _extremum_with_place(reduction: str, place: str) -> Rule:
    def function(e: Emitter, x: Value, dim: int, keepdim: bool = False) -> tuple[Value | None, ...]:
        best = reduce(e, reduction, x, dim, keepdim)
        return best, e.emit(place, x, part="indices", axis=dim, keepdims=int(keepdim))

    return function


rule("aten.max.dim")(_extremum_with_place("ReduceMax", "ArgMax"))
rule("aten.min.dim")(_extremum_with_place("ReduceMin", "ArgMin"))


def _place(onnx: str) -> Rule:
    def function(e: Emitter, x: Value, dim: int | None = None, keepdim: bool = False) -> Value:
        if dim is not None:
            return e.emit(onnx, x, part="", axis=dim, keepdims=int(keepdim))
        y = e.emit(onnx, e.reshape(x, [-1]), part="", axis=0, keepdims=0)
        return e.reshape(y, [1] * rank(x)) if keepdim else y

    return function


rule("aten.argmax.default")(_place("ArgMax"))
rule("aten.argmin.default")(_place("ArgMin"))


@rule("aten.var.correction", "aten.var.dim", "aten.var.default")
def var(
    e: Emitter,
    x: Value,
    dim: Axes | bool = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Number | None = None,
) -> Value:
    """sum((x - mean)^2) / (n - correction)."""
    if isinstance(dim, bool):  # var.default(x, unbiased)
        dim, unbiased = None, dim
    taken = 1 if correction is None else correction
    if unbiased is not None:
        taken = int(unbiased)
    axes = [dim] if isinstance(dim, int) else list(dim or range(rank(x)))
    count = math.prod(e.static([shape(x)[a] for a in axes], "the number of elements of a variance"))
    if count <= taken:
        raise Unsupported("a variance of too few elements")
    centred = e.emit("Sub", x, reduce(e, "ReduceMean", x, axes, True, "mean"), part="centred")
    squares = e.emit("Mul", centred, centred, part="squares")
    if taken == 0:
        return reduce(e, "ReduceMean", squares, axes, keepdim)
    total = reduce(e, "ReduceSum", squares, axes, keepdim, "sum")
    return e.emit("Div", total, e.scalar(count - taken, dtype(x), "count"), part="")


@rule("aten.std.correction", "aten.std.dim", "aten.std.default")
def std(
    e: Emitter,
    x: Value,
    dim: Axes | bool = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Number | None = None,
) -> Value:
    return e.emit("Sqrt", var(e, x, dim, unbiased, keepdim, correction=correction), part="std")


@rule("aten.var_mean.correction")
def var_mean(
    e: Emitter, x: Value, dim: Axes = None, *, correction: Number | None = None, keepdim: bool = False
) -> tuple[Value | None, ...]:
    mean = reduce(e, "ReduceMean", x, dim, keepdim, "average")
    return var(e, x, dim, None, keepdim, correction=correction), mean


@rule("aten.var_mean.dim")
def var_mean_dim(
    e: Emitter, x: Value, dim: Axes, unbiased: bool = True, keepdim: bool = False
) -> tuple[Value | None, ...]:
    return var_mean(e, x, dim, correction=int(unbiased), keepdim=keepdim)


@rule("aten.linalg_vector_norm.default")
def vector_norm(
    e: Emitter, x: Value, ord: Number = 2, dim: Axes = None, keepdim: bool = False, *, dtype: object = None
) -> Value:
    x = e.cast(x, e.out.dtype)
    if ord in (1, 2):
        return reduce(e, f"ReduceL{int(ord)}", x, dim, keepdim)
    if math.isinf(ord):
        return reduce(e, "ReduceMax" if ord > 0 else "ReduceMin", e.emit("Abs", x), dim, keepdim)
    if ord == 0:
        raise Unsupported("a norm of order 0")
    powers = e.emit("Pow", e.emit("Abs", x), e.scalar(ord, e.out.dtype, "order"), part="powers")
    total = reduce(e, "ReduceSum", powers, dim, keepdim, "sum")
    return e.emit("Pow", total, e.scalar(1 / ord, e.out.dtype, "root"), part="")


@rule("aten.norm.ScalarOpt_dim")
def norm_dim(e: Emitter, x: Value, p: Number | None, dim: Axes, keepdim: bool = False) -> Value:
    return vector_norm(e, x, 2 if p is None else p, dim, keepdim)


@rule("aten.norm.Scalar")
def norm(e: Emitter, x: Value, p: Number = 2) -> Value:
    return vector_norm(e, x, p)


@rule("aten.cosine_similarity.default")
def cosine_similarity(e: Emitter, a: Value, b: Value, dim: int = 1, eps: float = 1e-8) -> Value:
    """Sum of a / max(|a|, eps) * b / max(|b|, eps)."""
    a, b = e.promoted(a, b)
    least = e.scalar(eps, dtype(a), "epsilon")
    units = [e.emit("Div", x, e.emit("Max", reduce(e, "ReduceL2", x, dim, True, "norm"), least)) for x in (a, b)]
    return reduce(e, "ReduceSum", e.emit("Mul", *units), dim)


@rule("aten.cumsum.default")
def cumsum(e: Emitter, x: Value, dim: int, *, dtype: object = None) -> Value:
    x = e.cast(x, e.out.dtype)
    return x if rank(x) == 0 else e.emit("CumSum", x, e.scalar(dim, DType.I64, "axis"), part="")


@rule("aten.topk.default")
def topk(e: Emitter, x: Value, k: int | str, dim: int = -1, largest: bool = True, sorted: bool = True) -> Result:
    size = e.sizes([k], "k")
    return e.emit_many(
        "TopK", [x, size], 2, part="", types=e.outputs, axis=dim, largest=int(largest), sorted=int(sorted)
    )


@rule("aten.sort.default")
def sort(e: Emitter, x: Value, dim: int = -1, descending: bool = False) -> Result:
    """TopK of everything."""
    size = shape(x)[axis_of(dim, rank(x))]
    if size is None:
        raise Unsupported("sorting along a size that is not known")
    return topk(e, x, size, dim, descending)


@rule("aten.sort.stable")
def sort_stable(e: Emitter, x: Value, *, stable: bool | None, dim: int = -1, descending: bool = False) -> Result:
    return sort(e, x, dim, descending)


@rule("aten.argsort.default")
def argsort(e: Emitter, x: Value, dim: int = -1, descending: bool = False) -> Result:
    size = shape(x)[axis_of(dim, rank(x))]
    if size is None:
        raise Unsupported("sorting along a size that is not known")
    k = e.sizes([size], "k")
    return e.emit_many("TopK", [x, k], 2, part="", axis=dim, largest=int(descending))[1]

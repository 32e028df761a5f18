"""Selection by index tensors: embedding, gather, advanced indexing, scatter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from irc.frontends.torch.emitter import Emitter, Number, dtype, rank, shape
from irc.frontends.torch.rules import Unsupported, rule
from irc.graph import Value
from irc.types import DType


@rule("aten.embedding.default")
def embedding(
    e: Emitter,
    weight: Value,
    indices: Value,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Value:
    return e.emit("Gather", weight, indices, part="", axis=0)


@rule("aten.index_select.default")
def index_select(e: Emitter, x: Value, dim: int, index: Value) -> Value:
    return e.emit("Gather", x, index, part="", type=e.out, axis=dim)


@rule("aten.gather.default")
def gather(e: Emitter, x: Value, dim: int, index: Value, *, sparse_grad: bool = False) -> Value:
    """GatherElements; torch lets the index be smaller than x, and so does ONNX but for its ranks."""
    return e.emit("GatherElements", x, index, part="", axis=dim)


@rule("aten.scatter.src", "aten.scatter.value", "aten.scatter.value_reduce", "aten.scatter.reduce")
def scatter(
    e: Emitter, x: Value, dim: int, index: Value, source: Value | Number, *, reduce: str | None = None
) -> Value:
    kind = {None: None, "add": "add", "multiply": "mul"}[reduce]
    return _scatter(e, x, dim, index, source, kind)


@rule("aten.scatter_add.default")
def scatter_add(e: Emitter, x: Value, dim: int, index: Value, source: Value) -> Value:
    return _scatter(e, x, dim, index, source, "add")


def _scatter(e: Emitter, x: Value, dim: int, index: Value, source: Value | Number, reduction: str | None) -> Value:
    if not isinstance(source, Value):
        dims = [d for d in shape(index) if d is not None]
        source = e.expand(e.scalar(source, dtype(x), "source"), dims, part="source")
    elif shape(source) != shape(index):
        raise Unsupported("scatter from a source larger than its index")
    return e.emit("ScatterElements", x, index, source, part="", axis=dim, reduction=reduction)


@rule("aten.index.Tensor", "aten._unsafe_index.Tensor")
def index(e: Emitter, x: Value, indices: Sequence[Value | None]) -> Value:
    """x[i, :, j, …]: Gather for one index tensor, GatherND for several."""
    at = [axis for axis, i in enumerate(indices) if i is not None]
    given = [i for i in indices if i is not None]
    if any(dtype(i) in (DType.BOOL, DType.U8) for i in given):
        raise Unsupported("indexing by a mask, whose result has a size that depends on the data")
    if len(at) == 1:
        return e.emit("Gather", x, given[0], part="", type=e.out, axis=at[0])
    others = [a for a in range(rank(x)) if a not in at]
    spread = max(rank(i) for i in given)
    last = [e.unsqueeze(e.cast(i, DType.I64), rank(i)) for i in _broadcast(e, x, given, at)]
    joined = e.emit("Concat", *last, part="indices", axis=-1)
    first = e.transpose(x, [*at, *others], part="indexed.first")
    adjacent = at == list(range(at[0], at[0] + len(at)))
    if not adjacent or at[0] == 0:  # torch puts the indexed dimensions first unless they stand together
        return e.emit("GatherND", first, joined, part="", type=e.out)
    picked = e.emit("GatherND", first, joined, part="picked")
    before = range(spread, spread + at[0])
    after = range(spread + at[0], spread + len(others))
    return e.transpose(picked, [*before, *range(spread), *after], part="")


def _broadcast(e: Emitter, x: Value, given: Sequence[Value], at: Sequence[int]) -> list[Value]:
    """The index tensors in their common shape."""
    if all(shape(i) == shape(given[0]) for i in given):
        return list(given)
    others = len(shape(x)) - len(at)
    spread = max(rank(i) for i in given)
    adjacent = list(at) == list(range(at[0], at[0] + len(at)))
    start = at[0] if adjacent else 0
    dims = e.out_shape[start : start + spread]
    assert len(e.out_shape) == spread + others
    known = [d for d in dims if d is not None]
    if len(known) < len(dims):
        raise Unsupported("indexing whose result has a size that is not known")
    return [e.expand(i, known, part="index") for i in given]


@rule("aten.index_put.default")
def index_put(e: Emitter, x: Value, indices: Sequence[Value | None], values: Value, accumulate: bool = False) -> Value:
    """x[mask] = number, or x[i] = rows with one index tensor for the first axis."""
    given = [i for i in indices if i is not None]
    one = len(indices) == 1 and len(given) == 1
    if one and dtype(given[0]) is DType.BOOL and shape(values) == () and not accumulate:
        mask = e.unsqueeze(given[0], *range(rank(given[0]), rank(x)))
        return e.emit("Where", mask, e.cast(values, dtype(x)), x, part="")
    if not one or dtype(given[0]) is DType.BOOL:
        raise Unsupported("index_put but with one index tensor for the first axis")
    dims = [d for d in (*shape(given[0]), *shape(x)[1:]) if d is not None]
    if len(dims) != rank(given[0]) + rank(x) - 1:
        raise Unsupported("index_put of a size that is not known")
    updates = e.expand(e.cast(values, dtype(x)), dims, part="updates")
    places = e.unsqueeze(e.cast(given[0], DType.I64), rank(given[0]))
    return e.emit("ScatterND", x, places, updates, part="", reduction="add" if accumulate else None)


@rule("aten.tril.default")
def tril(e: Emitter, x: Value, diagonal: int = 0) -> Value:
    return e.emit("Trilu", x, e.scalar(diagonal, DType.I64, "k") if diagonal else None, part="", upper=0)


@rule("aten.triu.default")
def triu(e: Emitter, x: Value, diagonal: int = 0) -> Value:
    return e.emit("Trilu", x, e.scalar(diagonal, DType.I64, "k") if diagonal else None, part="", upper=1)


@rule("aten.one_hot.default")
def one_hot(e: Emitter, x: Value, num_classes: int = -1) -> Value:
    if num_classes < 0:
        raise Unsupported("one_hot without a number of classes")
    values = e.constant(np.array([0, 1], np.int64), "values")
    return e.emit("OneHot", x, e.scalar(num_classes, DType.I64, "depth"), values, part="", type=e.out)

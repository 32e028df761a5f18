"""One stored copy of equal weights.

candidates  ::= constants that agree in dtype, shape (up to transposition) and a few sampled elements
same        ::= candidates of equal hash whose bytes are then compared
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from irc.errors import OptionError
from irc.graph import Graph, Node, Value
from irc.op import Op
from irc.ops.fake_quant import FakeQuant
from irc.ops.linear import Gemm, MatMul
from irc.ops.shape import Transpose
from irc.passes.base import LOSSY, Pass, option
from irc.passes.edit import around, first_reader, moved
from irc.passes.fold_constants import STORED_AS_CODES
from irc.passes.near_duplicates import merge_near
from irc.types import Array

if TYPE_CHECKING:
    from irc.passes.context import Context

_BLOCK = 1 << 20  # bytes hashed or compared at a time: memory-mapped weights never come in whole
_SAMPLES = 16


@dataclass(frozen=True)
class DedupWeights(Pass):
    """Store equal constants once: byte-identical ones, and matrices that are the transpose of another.

        W2 = W1      =>   readers of W2 read W1
        W2 = W1^T    =>   Gemm(x, W2) becomes Gemm(x, W1) with transB flipped; other readers read Transpose(W1)

    Valid because constants cannot be told apart but by their bytes, and bytes are what is compared (so 0.0 is not
    -0.0, and a NaN equals itself); hashes only choose what to compare. Exact. A constant that several bodies hold
    moves to the innermost graph around all of them. The scale and zero point of a FakeQuant stay its own, because
    training moves them. Runs in time linear in the bytes, reads weights in blocks, and reads in full only those that
    agree in shape and a few elements with another.

    With a tolerance also W2 = s W1 but for errors of at most `tolerance` times the largest element of W2: its readers
    then read W1, or Mul(W1, s), which a runtime computes once. That is lossy; put it behind passes that look for
    constant weights.

    Source: hash-consing, Ershov (1958), with blake2b (RFC 7693) for the hash.
    """

    min_bytes: int = option(1024, help="smallest matrix for which a transposed copy, or a near one, is dropped")
    tolerance: float = option(
        0.0, help="merge near copies and multiples too: error allowed, of the largest element", range=(1e-4, 0.1)
    )

    def __post_init__(self) -> None:
        """Exact only without a tolerance."""
        if self.tolerance:
            object.__setattr__(self, "numerics", LOSSY)

    def run(self, graph: Graph, context: Context) -> None:
        if not 0 <= self.tolerance < 1:
            raise OptionError(f"dedup-weights: tolerance={self.tolerance:g} is no part of the largest element, 0 to 1")
        kept = [_merge(group) for group in _equal_groups(_constants(graph), _sample, _hash, _equal)]
        matrices = [v for v in kept if _data(v).ndim == 2 and _data(v).nbytes >= self.min_bytes]
        for group in _equal_groups(matrices, _sample_transposed, _hash_transposed, _equal_transposed):
            if len(group) == 2:  # equal ones are merged by now: at most one is the transpose of the other
                _share_transposed(group, context)
        if self.tolerance:
            large = [v for v in _constants(graph) if _data(v).nbytes >= self.min_bytes]
            merge_near(large, self.tolerance, context)


def _constants(graph: Graph) -> Iterator[Value]:
    """The constants of the nest, outer ones first; neither strings nor parameters of FakeQuant."""
    for inner in graph.graphs():
        for value in inner.constants:
            if _data(value).dtype != object and not _is_fake_quant_parameter(value):
                yield value


def _data(value: Value) -> Array:
    assert value.data is not None
    return value.data


def _is_fake_quant_parameter(value: Value) -> bool:
    return any(isinstance(u, Node) and isinstance(u.op, FakeQuant) and index > 0 for u, index in value.uses)


# ---- which are equal


def _equal_groups(
    values: Iterable[Value],
    sample: Callable[[Array], Hashable],
    hash: Callable[[Array], Hashable],
    equal: Callable[[Array, Array], bool],
) -> Iterator[list[Value]]:
    """The values in groups of equal ones, most of them groups of one; in the order of their first members."""
    groups: list[list[Value]] = []
    for alike in _partition(values, sample):
        if len(alike) == 1:  # the common case: never read in full
            groups.append(alike)
            continue
        for candidates in _partition(alike, hash):
            groups.extend(_confirmed(candidates, equal))
    return iter(groups)


def _partition(values: Iterable[Value], key: Callable[[Array], Hashable]) -> list[list[Value]]:
    parts: defaultdict[Hashable, list[Value]] = defaultdict(list)
    for value in values:
        parts[key(_data(value))].append(value)
    return list(parts.values())


def _confirmed(candidates: list[Value], equal: Callable[[Array, Array], bool]) -> list[list[Value]]:
    """Candidates of one hash in groups of those that are truly equal: one group, but for a collision."""
    groups: list[list[Value]] = []
    for value in candidates:
        for group in groups:
            if equal(_data(group[0]), _data(value)):
                group.append(value)
                break
        else:
            groups.append([value])
    return groups


def _sample(array: Array) -> Hashable:
    if array.size == 0 or array.ndim == 0:
        return array.dtype, array.shape, array.tobytes()
    flat = np.linspace(0, array.size - 1, _SAMPLES).astype(np.int64)
    return array.dtype, array.shape, array[np.unravel_index(flat, array.shape)].tobytes()


def _sample_transposed(array: Array) -> Hashable:
    """The same for a matrix and its transpose: elements of the diagonal."""
    at = np.linspace(0, min(array.shape) - 1, _SAMPLES).astype(np.int64)
    return array.dtype, tuple(sorted(array.shape)), array[at, at].tobytes()


def _hash(array: Array) -> Hashable:
    made = hashlib.blake2b(digest_size=16)
    for block in _blocks(array, flat=array.flags.c_contiguous):
        made.update(block.data)
    return made.digest()


def _hash_transposed(array: Array) -> Hashable:
    """The same for a matrix and its transpose."""
    return frozenset((_hash(array), _hash(array.T)))


def _equal(a: Array, b: Array) -> bool:
    if a is b:
        return True
    flat = a.flags.c_contiguous and b.flags.c_contiguous
    return all(map(np.array_equal, _blocks(a, flat=flat), _blocks(b, flat=flat)))


def _equal_transposed(a: Array, b: Array) -> bool:
    return a.shape == b.shape[::-1] and _equal(a, b.T)


def _blocks(array: Array, *, flat: bool) -> Iterator[Array]:
    """The array's bytes in row-major order, block by block; cut by bytes if `flat`, else by rows."""
    if flat:
        data = array.reshape(-1).view(np.uint8)
        for start in range(0, data.size, _BLOCK):
            yield data[start : start + _BLOCK]
        return
    rows = max(1, _BLOCK // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        yield np.ascontiguousarray(array[start : start + rows]).reshape(-1).view(np.uint8)


# ---- sharing


def _merge(group: Sequence[Value]) -> Value:
    """Make all readers of the equal constants read one."""
    home = around([v.graph for v in group])
    kept = next((v for v in group if v.graph is home), None)
    if kept is None:
        kept = home.add_constant(_data(group[0]), group[0].name)
    for value in group:
        if value is not kept:
            value.replace_uses(kept)
            value.graph.remove_constant(value)
    return kept


def _share_transposed(pair: Sequence[Value], context: Context) -> None:
    """Drop the one of two transposed copies whose readers mind least."""
    kept, dropped = pair
    if len(_reluctant(kept)) < len(_reluctant(dropped)):
        kept, dropped = dropped, kept
    reluctant = _reluctant(dropped)
    for user in reluctant:
        if isinstance(user, Node) and user.op.name in STORED_AS_CODES:
            reason = f"'{dropped.name}' is '{kept.name}' transposed, but a quantized weight stays a constant"
            context.decline(user, reason)
            return
    kept = moved(kept, around([kept.graph, dropped.graph]))
    for user, index in dropped.uses:
        op = _flipped(user, index)
        if op is not None:
            assert isinstance(user, Node)
            user.set_op(op)
            user.set_input(index, kept)
    if dropped.use_count:
        transpose = dropped.graph.insert(
            Transpose(perm=(1, 0)), [kept], before=first_reader(dropped), name=f"{dropped.name}.transposed"
        )
        dropped.replace_uses(transpose.output)
    dropped.graph.remove_constant(dropped)


def _reluctant(value: Value) -> list[Node | Graph]:
    """The readers that would need a Transpose."""
    return [user for user, index in value.uses if _flipped(user, index) is None]


def _flipped(user: Node | Graph, index: int) -> Op | None:
    """The reader's op when its input `index` comes transposed; None if no op does the same."""
    if isinstance(user, Graph):
        return None
    match user.op:
        case Gemm() if index == 0:
            return replace(user.op, transA=1 - user.op.transA)
        case Gemm() if index == 1:
            return replace(user.op, transB=1 - user.op.transB)
        case MatMul() if index == 1:
            data = user.inputs[0].tensor_type if user.inputs[0] is not None else None
            if data is not None and data.rank == 2 and data.dtype.is_float:
                return Gemm(transB=1)
    return None

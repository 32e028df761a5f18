"""Weights of few different numbers as bits, which nodes of ordinary ONNX unpack: the file shrinks, and runs anywhere.

    bytes of all weights  --divide, join planes, Split-->  codes of each
    Codebook  ->  book[codes]
    Sparse    ->  values[CumSum(bits) * bits]             a zero in front of the values

All of it depends on constants only, so that a runtime that folds constants does it once, when it loads the model.
Bits are taken apart by int32 division: OpenVINO (2026.4) saturates and rounds where bytes are shifted.
Codes of as many bits are unpacked together and names are short, so that small models shrink too.
`irc.frontends.onnx.packed` reads it back. ONNX CumSum-11, Div-13, Gather-13, GatherElements-13, Mod-13, Split-13.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field

import numpy as np

from irc.bit_codes import joined_codes, plane_widths, split_codes
from irc.encoding import Codebook, Dense, Encoding, Sparse, encode
from irc.frontends.onnx.packed import PACKED
from irc.graph import Graph, Node, Value
from irc.op import Op
from irc.ops.binary import Add, Div, Mod, Mul
from irc.ops.cast import Cast
from irc.ops.index import Concat, Gather, GatherElements, Slice, Split
from irc.ops.reduce import CumSum
from irc.ops.shape import Reshape, Transpose
from irc.types import AnyDType, Array, DType

OPSET = 13  # the first in which all of the nodes are as they are written here
_TOGETHER = 1 << 24  # codes that are unpacked at a time, four bytes each while a runtime folds them


def pack(graph: Graph) -> None:
    """Store the weights of the nest that have structure as bits, in place; the metadata says what they were called."""
    names: dict[str, str] = {}
    for inner in graph.graphs():
        held: list[tuple[Value, Codebook | Sparse]] = []
        for value in inner.constants:
            encoding = encode(value.data) if value.data is not None and value.uses and not value.is_output else None
            if encoding is not None and not isinstance(encoding, Dense):
                held.append((value, encoding))
        first = next(iter(inner), None)
        for group in _groups(held):
            names |= _Packer(inner, first).pack(group)
    if names:
        graph.info.metadata[PACKED] = json.dumps(names, separators=(",", ":"))


def _groups(held: list[tuple[Value, Codebook | Sparse]]) -> list[list[tuple[Value, Codebook | Sparse]]]:
    """The weights in groups of not too many elements."""
    groups: list[list[tuple[Value, Codebook | Sparse]]] = []
    count = _TOGETHER
    for value, encoding in held:
        count += math.prod(encoding.shape)
        if count > _TOGETHER:
            groups.append([])
            count = math.prod(encoding.shape)
        groups[-1].append((value, encoding))
    return groups


@dataclass
class _Packer:
    """Puts unpacking nodes in front of one graph's own.

    first : of its own
    codes : by object, the codes of each codebook, and the bits of each mask
    """

    graph: Graph
    first: Node | None
    codes: dict[int, Value] = field(default_factory=dict)
    shared: dict[tuple[str, bytes], Value] = field(default_factory=dict)

    def pack(self, held: list[tuple[Value, Codebook | Sparse]]) -> dict[str, str]:
        """Unpack the weights from their bits; what they are called now, and were."""
        self._unpack([encoding for _, encoding in held])
        names = {}
        for value, encoding in held:
            made = self._add(Reshape(), self._decoded(encoding), self._numbers(*encoding.shape))
            value.replace_uses(made)
            self.graph.remove_constant(value)
            names[made.name] = value.name
        return names

    # ---- codes

    def _unpack(self, encodings: list[Codebook | Sparse]) -> None:
        streams: dict[int, list[tuple[int, Array]]] = {}
        for each in encodings:
            if isinstance(each, Sparse):
                mask = joined_codes((each.mask,), 1, math.prod(each.shape))
                streams.setdefault(1, []).append((id(each), mask))
            book = each.values if isinstance(each, Sparse) else each
            if isinstance(book, Codebook):
                codes = joined_codes(book.planes, book.bits, math.prod(book.shape))
                streams.setdefault(book.bits, []).append((id(book), codes))
        for bits, stream in sorted(streams.items()):
            joined = self._joined(np.concatenate([part for _, part in stream]), bits)
            sizes = [part.size for _, part in stream]
            parts = (joined,) if len(stream) == 1 else self._parts(joined, sizes)
            self.codes |= {key: part for (key, _), part in zip(stream, parts, strict=True)}

    def _parts(self, joined: Value, sizes: list[int]) -> tuple[Value, ...]:
        reads = [joined, self._numbers(*sizes)]
        node = self.graph.insert(Split(), reads, before=self.first, name="u", outputs=len(sizes))
        return tuple(node.outputs)

    def _joined(self, codes: Array, bits: int) -> Value:
        """Codes of `bits` bits, int32 in one row, from their planes."""
        made: Value | None = None
        for width, plane in zip(plane_widths(bits), split_codes(codes, bits), strict=True):
            part = self._plane(plane, width, codes.size)
            if made is not None:
                factor = self._constant(np.array(1 << width, np.int32))
                part = self._add(Add(), self._add(Mul(), made, factor), part)
            made = part
        assert made is not None
        return made

    def _plane(self, plane: Array, width: int, size: int) -> Value:
        """One plane of the codes: each byte divided by powers of two, and of that the remainder."""
        packed = self.graph.add_constant(plane.reshape(-1, 1), f"codes{width}")
        codes = self._add(Cast(to=DType.I32.onnx_type), packed)
        if width < 8:
            powers = 1 << np.arange(0, 8, width, dtype=np.int32)
            codes = self._add(Div(), codes, self._constant(powers[None]))
            codes = self._add(Mod(), codes, self._constant(np.array(1 << width, np.int32)))
        flat = self._add(Reshape(), codes, self._numbers(-1))
        if plane.size * (8 // width) == size:
            return flat
        return self._add(Slice(), flat, self._numbers(0), self._numbers(size))

    # ---- elements

    def _decoded(self, encoding: Encoding) -> Value:
        """The elements, in row-major order but for their shape."""
        if isinstance(encoding, Dense):
            return self.graph.add_constant(encoding.values, "u")
        if isinstance(encoding, Sparse):
            return self._spread(encoding)
        codes = self.codes[id(encoding)]
        book = self.graph.add_constant(encoding.book if encoding.axis is not None else encoding.book[0], "u")
        if encoding.axis is None:
            return self._add(Gather(), book, codes)
        made = self._add(
            GatherElements(axis=1), book, self._add(Reshape(), codes, self._numbers(len(encoding.book), -1))
        )
        if encoding.axis == 0:
            return made
        axes = [encoding.axis, *(k for k in range(len(encoding.shape)) if k != encoding.axis)]
        made = self._add(Reshape(), made, self._numbers(*(encoding.shape[k] for k in axes)))
        return self._add(Transpose(perm=tuple(int(k) for k in np.argsort(axes))), made)

    def _spread(self, encoding: Sparse) -> Value:
        """The elements that are not zero at their places: the k-th of them where the k-th bit is set."""
        bits = self.codes[id(encoding)]
        counted = self._add(CumSum(), bits, self._constant(np.array(0, np.int64)))
        places = self._add(Mul(), counted, bits)  # 0 for a zero, which stands in front of the values
        zero = self._constant(np.zeros(1, _dtype(encoding.values)))
        return self._add(Gather(), self._add(Concat(axis=0), zero, self._decoded(encoding.values)), places)

    # ---- nodes

    def _numbers(self, *numbers: int) -> Value:
        return self._constant(np.array(numbers, np.int64))

    def _constant(self, data: Array) -> Value:
        """A constant that all unpacking of this graph shares."""
        key = (f"{data.dtype.name}{data.shape}", data.tobytes())
        if key not in self.shared:
            self.shared[key] = self.graph.add_constant(data, "u")
        return self.shared[key]

    def _add(self, op: Op, *inputs: Value) -> Value:
        return self.graph.insert(op, inputs, before=self.first, name="u").output


def _dtype(encoding: Dense | Codebook) -> AnyDType:
    return (encoding.values if isinstance(encoding, Dense) else encoding.book).dtype

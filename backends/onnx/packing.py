"""Weights of few different numbers as bits, which nodes of ordinary ONNX unpack: the file shrinks, and runs anywhere.

    Codebook  ->  book[codes]                                 codes: bytes, shifted into place, joined plane by plane
    Sparse    ->  values[CumSum(bits) * bits]                 a zero in front of the values

All of it depends on constants only, so that a runtime that folds constants does it once, when it loads the model.
`irc.frontends.onnx.packed` reads it back. ONNX BitShift-11, CumSum-11, Gather-13, GatherElements-13.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field

import numpy as np

from irc.encoding import Codebook, Dense, Encoding, Sparse, encode, plane_widths
from irc.frontends.onnx.packed import PACKED
from irc.graph import Graph, Node, Value
from irc.op import Op
from irc.ops.binary import Add, BitShift, Mul
from irc.ops.cast import Cast
from irc.ops.index import Concat, Gather, GatherElements, Slice
from irc.ops.reduce import CumSum
from irc.ops.shape import Reshape, Transpose
from irc.types import AnyDType, Array, DType

OPSET = 13  # the first in which all of the nodes are as they are written here


def pack(graph: Graph) -> None:
    """Store the weights of the nest that have structure as bits, in place; the metadata says what they were called."""
    names = {}
    for inner in graph.graphs():
        packer = _Packer(inner)
        for value in list(inner.constants):
            encoding = encode(value.data) if value.data is not None and value.uses else None
            if encoding is not None and not isinstance(encoding, Dense) and not value.is_output:
                names[packer.pack(value, encoding)] = value.name
    if names:
        graph.info.metadata[PACKED] = json.dumps(names)


@dataclass
class _Packer:
    """Puts unpacking nodes in front of one graph's own."""

    graph: Graph
    first: Node | None = None
    shared: dict[tuple[str, bytes], Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.first = next(iter(self.graph), None)

    def pack(self, value: Value, encoding: Codebook | Sparse) -> str:
        """Unpack `value` from its bits; what it is called now."""
        name, shape = value.name, encoding.shape
        flat = self._unpacked(encoding, name)
        value.replace_uses(flat)
        self.graph.remove_constant(value)
        reads = [flat, self._numbers(*shape)]
        made = self.graph.insert(
            Reshape(), reads, before=self.first, name=f"{name}.unpack", outputs=[f"{name}.unpacked"]
        )
        flat.replace_uses(made.output, keep=[made])
        return made.output.name

    def _unpacked(self, encoding: Encoding, name: str) -> Value:
        """The elements, in row-major order but for their shape."""
        if isinstance(encoding, Dense):
            return self.graph.add_constant(encoding.values, f"{name}.values")
        if isinstance(encoding, Sparse):
            return self._spread(encoding, name)
        codes = self._codes(encoding.planes, encoding.bits, math.prod(encoding.shape), name)
        book = self.graph.add_constant(encoding.book if encoding.axis is not None else encoding.book[0], f"{name}.book")
        if encoding.axis is None:
            return self._add(Gather(), book, codes)
        sizes = [n for k, n in enumerate(encoding.shape) if k != encoding.axis]
        rows = self._add(Reshape(), codes, self._numbers(len(encoding.book), -1))
        made = self._add(GatherElements(axis=1), book, rows)
        if encoding.axis == 0:
            return made
        made = self._add(Reshape(), made, self._numbers(-1, *sizes))
        order = tuple(np.argsort([encoding.axis, *(k for k in range(len(encoding.shape)) if k != encoding.axis)]))
        return self._add(Transpose(perm=tuple(int(k) for k in order)), made)

    def _spread(self, encoding: Sparse, name: str) -> Value:
        """The elements that are not zero at their places: the k-th of them where the k-th bit is set."""
        bits = self._codes((encoding.mask,), 1, math.prod(encoding.shape), f"{name}.mask")
        counted = self._add(CumSum(), bits, self._constant(np.array(0, np.int64), "axis"))
        places = self._add(Mul(), counted, bits)  # 0 for a zero, which stands in front of the values
        values = self._unpacked(encoding.values, name)
        zero = self._constant(np.zeros(1, _dtype(encoding.values)), "zero")
        return self._add(Gather(), self._add(Concat(axis=0), zero, values), places)

    def _codes(self, planes: tuple[Array, ...], bits: int, size: int, name: str) -> Value:
        """The codes, int32, in one row."""
        made: Value | None = None
        for width, plane in zip(plane_widths(bits), planes, strict=True):
            codes = self._plane(plane, width, size, f"{name}.{width}bit")
            if made is not None:
                factor = self._constant(np.array(1 << width, np.int32), "factor")
                codes = self._add(Add(), self._add(Mul(), made, factor), codes)
            made = codes
        assert made is not None
        return made

    def _plane(self, plane: Array, width: int, size: int, name: str) -> Value:
        """One plane of the codes: each byte shifted up, so that what is above falls out, then down."""
        packed = self.graph.add_constant(plane.reshape(-1, 1), name)
        down = np.arange(0, 8, width, dtype=np.uint8)
        if width < 8:
            up = self._constant((8 - width - down)[None], f"up{width}")
            packed = self._add(BitShift("LEFT"), packed, up)
            shift = self._constant(np.array([[8 - width]], np.uint8), f"down{width}")
            packed = self._add(BitShift("RIGHT"), packed, shift)
        codes = self._add(Cast(to=DType.I32.onnx_type), packed)
        flat = self._add(Reshape(), codes, self._numbers(-1))
        if plane.size * (8 // width) == size:
            return flat
        return self._add(Slice(), flat, self._numbers(0), self._numbers(size))

    def _numbers(self, *numbers: int) -> Value:
        return self._constant(np.array(numbers, np.int64), "numbers")

    def _constant(self, data: Array, name: str) -> Value:
        """A constant that all unpacking of this graph shares."""
        key = (f"{data.dtype.name}{data.shape}", data.tobytes())
        if key not in self.shared:
            self.shared[key] = self.graph.add_constant(data, f"unpack.{name}")
        return self.shared[key]

    def _add(self, op: Op, *inputs: Value) -> Value:
        return self.graph.insert(op, inputs, before=self.first, name=f"unpack.{op.name}").output


def _dtype(encoding: Dense | Codebook) -> AnyDType:
    return (encoding.values if isinstance(encoding, Dense) else encoding.book).dtype

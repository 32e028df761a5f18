"""What a rule writes with: nodes, constants, casts and sizes, named after the user's layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from irc.frontends.torch.onnx_ops import input_name, make_op
from irc.frontends.torch.rules import Unsupported
from irc.frontends.torch.symbols import Size, Symbols
from irc.frontends.torch.weights import dtype_of
from irc.graph import Graph, Origin, Value
from irc.ops.tensors import torch_dtype
from irc.types import Array, DType, Shape, TensorType, Type, product

Number = int | float | bool
Operand = Value | Array | Sequence[int] | None


def dtype(x: Value) -> DType:
    """The element type of a value."""
    if x.tensor_type is None:
        raise Unsupported(f"the element type of '{x.name}' is not known")
    return x.tensor_type.dtype


def shape(x: Value) -> Shape:
    """The shape of a value."""
    if x.tensor_type is None or x.tensor_type.shape is None:
        raise Unsupported(f"the shape of '{x.name}' is not known")
    return x.tensor_type.shape


def rank(x: Value) -> int:
    """The number of dimensions of a value."""
    return len(shape(x))


def axis_of(axis: int, rank: int) -> int:
    """The axis counted from the front."""
    return axis % rank if rank else 0


@dataclass(frozen=True)
class Emitter:
    """Writes the nodes of one ATen operator.

    name : of the main node; parts are called `name.part`
    outputs : the types that the operator gives
    """

    graph: Graph
    symbols: Symbols
    name: str
    origin: Origin
    outputs: tuple[TensorType, ...]

    @property
    def out(self) -> TensorType:
        """The type of the first output."""
        return self.outputs[0]

    @property
    def out_shape(self) -> Shape:
        assert self.out.shape is not None  # torch knows all ranks
        return self.out.shape

    # ---- nodes and constants

    def emit(
        self, op: str, *inputs: Operand, part: str | None = None, type: Type | None = None, **attributes: Any
    ) -> Value:
        """Add a node and return its output. Arrays and lists of ints become constants.

        part : how the node is told from the main one; by its op if None, not at all if empty
        type : the output's type, where onnx's inference may not find it
        """
        return self.emit_many(op, inputs, 1, part=part, types=None if type is None else [type], **attributes)[0]

    def emit_many(
        self,
        op: str,
        inputs: Sequence[Operand],
        outputs: int,
        *,
        part: str | None = None,
        types: Sequence[Type | None] | None = None,
        **attributes: Any,
    ) -> tuple[Value, ...]:
        """Add a node and return its outputs."""
        name = self.name if part == "" else f"{self.name}.{op.lower() if part is None else part}"
        values = [self._operand(v, f"{name}.{input_name(op, k)}") for k, v in enumerate(inputs)]
        node = self.graph.insert(
            make_op(op, **attributes), values, name=name, outputs=outputs, types=types, origin=self.origin
        )
        return node.outputs

    def constant(self, data: Array, role: str) -> Value:
        """A constant named after the node and what it is to it."""
        return self.graph.add_constant(data, f"{self.name}.{role}")

    def scalar(self, number: Number, dtype: DType, role: str = "constant") -> Value:
        """A constant without dimensions."""
        return self.constant(np.array(number).astype(dtype.numpy), role)

    def _operand(self, operand: Operand, name: str) -> Value | None:
        if operand is None or isinstance(operand, Value):
            return operand
        data = operand if isinstance(operand, np.ndarray) else np.array(list(operand), np.int64)
        return self.graph.add_constant(data, name)

    def derived(self, constant: Value, data: Array, suffix: str) -> Value:
        """A constant made from a parameter, `name.suffix`; made once however often it is asked for."""
        name = f"{constant.name}.{suffix}"
        found = self.graph.find(name)
        if found is not None and found.is_constant:
            return found
        return self.graph.add_constant(data, name)

    # ---- element types

    def cast(self, x: Value, to: DType) -> Value:
        """`x` with another element type."""
        return x if dtype(x) is to else self.emit("Cast", x, to=to.onnx_type)

    def tensor(self, x: Value | Number | str, to: DType, role: str = "constant") -> Value:
        """A tensor, number or symbolic size as a value of that element type."""
        if isinstance(x, Value):
            return self.cast(x, to)
        if isinstance(x, str):
            return self.cast(self.size_scalar(x), to)
        return self.scalar(x, to, role)

    def promoted(self, a: Value | Number | str, b: Value | Number | str) -> tuple[Value, Value]:
        """Two operands in the one element type that torch calculates in."""
        common = common_dtype(a, b)
        return self.tensor(a, common), self.tensor(b, common)

    # ---- sizes

    def size(self, dim: Size) -> Value:
        """A size as an int64 tensor of one element."""
        if isinstance(dim, str):
            return self.symbols.value(self.graph, dim)
        return self.constant(np.array([dim], np.int64), "size")

    def size_scalar(self, dim: Size) -> Value:
        """A size as an int64 tensor without dimensions."""
        if isinstance(dim, str):
            return self.emit("Squeeze", self.size(dim), [0], part="size")
        return self.scalar(dim, DType.I64, "size")

    def sizes(self, dims: Sequence[Size], role: str = "shape") -> Value:
        """Sizes as one int64 tensor: a constant if all are numbers, else computed."""
        if all(isinstance(d, int) for d in dims):
            return self.constant(np.array(dims, np.int64), role)
        pieces: list[list[Size]] = []
        for dim in dims:
            if pieces and isinstance(dim, int) and isinstance(pieces[-1][0], int):
                pieces[-1].append(dim)
            else:
                pieces.append([dim])
        values = [self.size(p[0]) if isinstance(p[0], str) else self.sizes(p, "sizes") for p in pieces]
        if len(values) == 1:
            return values[0]
        return self.emit("Concat", *values, part=role, axis=0, type=TensorType(DType.I64, (len(dims),)))

    def static(self, dims: Sequence[Any], what: str) -> list[int]:
        """The sizes, which must be numbers."""
        if not all(isinstance(d, int) for d in dims):
            raise Unsupported(f"{what} depends on a symbolic size")
        return list(dims)

    # ---- shapes

    def reshape(self, x: Value, dims: Sequence[Size], part: str = "reshape") -> Value:
        """`x` in another shape, of which one size may be -1; symbolic sizes stay open (-1, 0) where they can."""
        have, known = shape(x), list(dims)
        if -1 not in known and tuple(known) == have:
            return x
        target: list[Size] = list(dims)
        if sum(isinstance(d, str) for d in known) == 1 and -1 not in known and 0 not in known:
            target = [-1 if isinstance(d, str) else d for d in known]
        elif 0 not in known:
            for i, d in enumerate(known):
                if isinstance(d, str) and i < len(have) and have[i] == d:
                    target[i] = 0
            left = [i for i, d in enumerate(target) if isinstance(d, str)]
            if len(left) == 1 and -1 not in target:
                target[left[0]] = -1
            elif left:
                target = known
        keep_zero = 1 if 0 in known else None
        type = TensorType(dtype(x), tuple(known)) if -1 not in known else None
        return self.emit("Reshape", x, self.sizes(target), part=part, type=type, allowzero=keep_zero)

    def transpose(self, x: Value, permutation: Sequence[int], part: str = "transpose") -> Value:
        """`x` with its dimensions in another order."""
        if list(permutation) == list(range(len(permutation))):
            return x
        return self.emit("Transpose", x, part=part, perm=tuple(permutation))

    def expand(self, x: Value, dims: Sequence[Size], part: str = "expand") -> Value:
        """`x` broadcast to a shape."""
        if tuple(dims) == shape(x):
            return x
        return self.emit("Expand", x, self.sizes(dims), part=part, type=TensorType(dtype(x), tuple(dims)))

    def unsqueeze(self, x: Value, *axes: int) -> Value:
        """`x` with dimensions of size 1 put in."""
        return self.emit("Unsqueeze", x, axes) if axes else x

    def squeeze(self, x: Value, *axes: int) -> Value:
        """`x` without the dimensions of size 1 at `axes`."""
        return self.emit("Squeeze", x, axes) if axes else x

    def slice(self, x: Value, axis: int, start: Size, end: Size, step: int = 1, part: str = "slice") -> Value:
        """`x[..., start:end:step, ...]` along one axis."""
        first, last = self.sizes([start], "starts"), self.sizes([end], "ends")
        return self.emit("Slice", x, first, last, [axis], [step], part=part)


def common_dtype(a: Value | Number | str, b: Value | Number | str) -> DType:
    """The element type that torch calculates in for two operands (its type promotion)."""

    def stand_in(x: Value | Number | str) -> Any:
        if isinstance(x, Value):
            return torch.empty((1,) * rank(x), dtype=torch_dtype(dtype(x)), device="meta")
        return 1 if isinstance(x, str) else x

    return dtype_of(torch.result_type(stand_in(a), stand_in(b)))


def elements(dims: Shape) -> Size:
    """The number of elements of a shape."""
    size = product(dims)
    if size is None:
        raise Unsupported("a size that is not known")
    return size

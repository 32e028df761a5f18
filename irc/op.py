"""What a node does: an `Op` is a value whose fields are the ONNX attributes.

    Op       ::= frozen dataclass, one class per ONNX operator      (irc/ops, one file a family)
    OnnxOp   ::= any other operator, its attributes kept as bytes   (irc/ops/onnx_op.py)

Everything an op *is* stands on its class: `infer` (types), `run` (torch, differentiable), `macs`, `quant`, `channels`
and `examples`. What a target does with it stands in the target.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from irc.types import Array, Type

Attribute = int | float | str | bytes | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | None


class QuantKind(enum.Enum):
    """How an op takes part in integer inference; a target's policy decides whether it does."""

    FLOAT = "float"  # computed in float; quantized values are dequantized for it
    CONTRACTION = "contraction"  # data x weight with an int32 accumulator: Conv, Gemm, MatMul
    ARITHMETIC = "arithmetic"  # inputs and output each with a scale of their own: Add, Mul, AveragePool, Concat
    MOVEMENT = "movement"  # moves or selects elements: output has the scale of the input: Reshape, MaxPool
    ACTIVATION = "activation"  # may be absorbed in the requantization of its producer: Relu, Clip


class ChannelKind(enum.Enum):
    """What an op does to the channels of what it reads; `irc.analysis.channels` follows them by it."""

    OPAQUE = "opaque"  # nobody knows: what it reads stays whole
    MOVEMENT = "movement"  # moves or selects elements of its first input, as its other inputs say
    ELEMENTWISE = "elementwise"  # combines elements of inputs that broadcast: what stands together goes together
    CONTRACTION = "contraction"  # sums over channels, and makes new ones
    REDUCTION = "reduction"  # the axes that input 1 names disappear
    NORMALIZATION = "normalization"  # normalizes over axes, by statistics of what is there
    SOFTMAX = "softmax"  # normalizes along its axis in a way that no element can be missing from
    SCAN = "scan"  # goes along its axis
    WINDOW = "window"  # works on windows over the spatial axes of (N, C, *spatial), channel by channel


@dataclass(frozen=True)
class Quant:
    """Role of each input under quantization.

    data : indices of the inputs that are activations (all inputs past the last one too, if `variadic`)
    weight, bias : index of the weight and of the bias input of a contraction, or None
    weight_axis : output-channel axis of the weight (negative counts from the end)
    """

    kind: QuantKind = QuantKind.FLOAT
    data: tuple[int, ...] = (0,)
    variadic: bool = False
    weight: int | None = None
    bias: int | None = None
    weight_axis: int = 0


@dataclass(frozen=True)
class Example:
    """One way to call an op, for the conformance tests: concrete inputs, None for an omitted optional one."""

    op: Op
    inputs: tuple[Array | None, ...]
    outputs: int = 1


@dataclass(frozen=True)
class Op:
    """Base of all ops. Subclasses are frozen dataclasses whose fields are ONNX attributes with ONNX's defaults.

    `since` is the first opset from which the operator means what the class says; a node of an older version is
    read as an `OnnxOp`, and so is one with an attribute that the class does not have.
    """

    domain: ClassVar[str] = ""
    since: ClassVar[int] = 1
    channels: ClassVar[ChannelKind] = ChannelKind.OPAQUE
    registry: ClassVar[dict[tuple[str, str], type[Op]]] = {}

    def __init_subclass__(cls, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not abstract:
            Op.registry[cls.domain, cls.__name__] = cls

    @property
    def name(self) -> str:
        """The operator's name, as ONNX writes it."""
        return type(self).__name__

    @property
    def title(self) -> str:
        """Name with its domain, as shown to people: `Conv`, `com.microsoft.Gelu`."""
        return f"{self.domain}.{self.name}" if self.domain else self.name

    @property
    def quant(self) -> Quant:
        """How the op takes part in integer inference."""
        return Quant()

    @property
    def deterministic(self) -> bool:
        """Whether equal inputs give equal outputs; passes neither fold nor merge an op that is not."""
        return True

    def attributes(self) -> dict[str, Attribute]:
        """The attributes that differ from their defaults, by ONNX name."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) != f.default}

    def infer(
        self, inputs: Sequence[Type | None], constants: Sequence[Array | None], outputs: int
    ) -> list[Type | None]:
        """Types of the outputs.

        Parameters
        ----------
        inputs : types of the inputs, None where unknown or omitted
        constants : the data of the inputs that are constants, None elsewhere
        outputs : how many outputs the node has

        Returns
        -------
        One type an output, None where nothing is known. The base class asks onnx's shape inference.

        Raises
        ------
        GraphError : the inputs do not fit the op.
        """
        from irc.ops.schema import infer_by_schema  # the ops package imports this module

        return infer_by_schema(self, inputs, constants, outputs)

    def run(self, *inputs: Any, **_: Any) -> Any:
        """Compute the outputs with torch operations, differentiably where the op is.

        A subclass names its inputs: `def run(self, x: Tensor, bias: Tensor | None = None) -> Tensor`. An omitted
        optional input is None; several outputs are a tuple. Constants come as tensors too. An op that may have several
        outputs takes the keyword `outputs`, which is given for a node with more than one.
        """
        raise NotImplementedError(f"{self.title} has no torch semantics")

    def macs(self, inputs: Sequence[Type | None], outputs: Sequence[Type | None]) -> int:
        """Multiply-accumulates of one execution, symbolic dimensions counted as 1; 0 where there are none."""
        return 0

    @classmethod
    def examples(cls) -> Iterable[Example]:
        """Small concrete calls that cover the attributes; the conformance tests run each through everything."""
        return ()

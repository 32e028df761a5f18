"""What a target wants of the passes, as data: passes read it, backends state it.

    Target      ::= name, what its file or code is, QuantPolicy
    QuantPolicy ::= number formats, and which op classes run as integer
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from onnx import FunctionProto

from irc.graph import Graph, Node
from irc.op import Op, QuantKind
from irc.types import DType


@dataclass(frozen=True)
class IntegerFormat:
    """An integer number format: `bits` wide, signed or not, zero point 0 (`symmetric`) or free."""

    bits: int = 8
    signed: bool = True
    symmetric: bool = True

    @property
    def qmin(self) -> int:
        """Smallest code of the type, to which QuantizeLinear clamps."""
        return -self.qmax - 1 if self.signed else 0

    @property
    def narrow_qmin(self) -> int:
        """Smallest code of a weight: symmetric ones leave out the lowest, so that negation is exact."""
        return -self.qmax if self.signed and self.symmetric else self.qmin

    @property
    def qmax(self) -> int:
        """Largest code."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1


def adds_in_32_bits(op: Op, weight: tuple[int, ...]) -> int:
    """What a target does that never adds products in 16 bits."""
    return 0


@dataclass(frozen=True)
class QuantPolicy:
    """What a target quantizes and how; `insert-fake-quant` follows it.

    activation, weight : number formats
    per_channel : one scale per output channel of a weight
    integer_ops : the op classes that the target runs as integer; everything else stays float
    concat_shares_scale : all inputs of a Concat must have the output's scale
    residual_skip_only : at an Add of two branches quantize only the branch that does not come from a contraction
    float_bias : the bias of a contraction stays float (TensorRT), instead of int32 through a DequantizeLinear
    adds_in_16_bits : of an op and its weight's shape, how many products the target adds in 16 bits (x86 without VNNI):
        0, 2 or 4; weights are scaled so that they fit
    adds_by_rows : these products are of one row of a convolution's kernel (irc's C), not one after the other through
        all of it (onnxruntime)
    gemm_output_float : a Gemm or MatMul may give float out, so that a graph's last layer is not requantized
    matmul_right_symmetric : the second of two data that a MatMul multiplies has codes -128 to 127 and zero point 0
    bias_add_fused : a constant that is added to a contraction, one number a channel, is its bias and stays float
    as_convolutions : `quantize` makes convolutions of batch norms that are still there and of some transposed ones
    quantize_embeddings : a table from which Gather takes rows is held as codes, with one scale a row
    """

    activation: IntegerFormat = IntegerFormat(signed=False, symmetric=False)
    weight: IntegerFormat = IntegerFormat()
    per_channel: bool = True
    integer_ops: frozenset[str] = frozenset()
    concat_shares_scale: bool = False
    residual_skip_only: bool = False
    float_bias: bool = False
    adds_in_16_bits: Callable[[Op, tuple[int, ...]], int] = adds_in_32_bits
    adds_by_rows: bool = False
    gemm_output_float: bool = True
    matmul_right_symmetric: bool = False
    bias_add_fused: bool = False
    as_convolutions: bool = False
    quantize_embeddings: bool = False

    def runs_integer(self, op: Op) -> bool:
        """Whether the target runs the op as integer when its inputs are."""
        return not op.domain and op.name in self.integer_ops and op.quant.kind is not QuantKind.FLOAT


def takes_everything(op: Op) -> bool:
    """What a target takes that does not say more."""
    return True


@dataclass(frozen=True)
class Target:
    """Where a compiled model runs.

    name : as given to `compile(target=…)`, e.g. `onnx:arm`
    kind : the backend that writes for it, `onnx` or `c`
    title : one line for `irc targets`
    takes : whether the target can run an op at all, as integer or in float
    refuses : the nodes of a graph that it cannot run, where ops alone do not tell
    packs : whether files for it hold weights of few different numbers, or many zeros, as bits (`irc.encoding`)
    channel_multiple : a number of channels that is a multiple of this wastes nothing in the target's kernels
    latency : milliseconds of one inference of a graph on the target, measured; None where it cannot be measured
    float_compute : the float types of fewer than 32 bits that it computes in
    float_storage : those in which it can hold a weight, for a Cast or DequantizeLinear to read
    float8_by_cast : a float8 weight comes through Cast and Mul, which it computes once as it loads the model, and not
        through DequantizeLinear, which it would run each time
    """

    name: str
    kind: str
    title: str
    policy: QuantPolicy = field(default_factory=QuantPolicy)
    takes: Callable[[Op], bool] = field(default=takes_everything, compare=False)
    refuses: Callable[[Graph, Target], list[Node]] | None = field(default=None, compare=False)
    packs: bool = False
    channel_multiple: int = 1
    latency: Callable[[Graph, Target], float] | None = field(default=None, compare=False)
    float_compute: frozenset[DType] = frozenset((DType.F16, DType.BF16))
    float_storage: frozenset[DType] = frozenset((DType.F16, DType.BF16, DType.F8E4M3FN, DType.F8E5M2))
    float8_by_cast: bool = False

    def missing(self, graph: Graph) -> list[Node]:
        """The nodes of the nest that the target cannot run, calls of the model's own functions aside.

        Raises
        ------
        IrcError : the target cannot compile the graph at all, say for shapes that depend on data.
        """
        if self.refuses is not None:
            return self.refuses(graph, self)
        own = {(f.domain, f.name) for f in map(FunctionProto.FromString, graph.info.functions)}
        return [n for n in graph.walk() if (n.op.domain, n.op.name) not in own and not self.takes(n.op)]

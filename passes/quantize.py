"""Quantize a graph to int8 for its target."""

from __future__ import annotations

from dataclasses import dataclass

from irc.analysis.ranges import METHODS
from irc.graph import Graph
from irc.passes.as_convolutions import as_convolutions
from irc.passes.base import LOSSY, Pass, option
from irc.passes.calibrate import Calibrate
from irc.passes.context import Context
from irc.passes.correct_bias import CorrectBias
from irc.passes.insert_fake_quant import InsertFakeQuant
from irc.passes.optimize_rounding import OptimizeRounding


@dataclass(frozen=True)
class Quantize(Pass):
    """Quantize to what the target computes in: insert fake quantization, calibrate, round and correct the biases.

    Runs `insert-fake-quant`, `calibrate`, `optimize-rounding` (unless rounding=nearest) and `correct-bias`, in this
    order.

    Put `fold-batch-norm` and `fold-pad` before it: a batch norm that is still there is one more range to lose
    precision in. For C targets one between integer layers, as behind DenseNet's Concat, becomes a depthwise convolution
    of one tap, and a transposed convolution whose stride is its kernel a convolution and DepthToSpace.

    Lossy; see the passes themselves for what each does and why it is valid.
    """

    numerics = LOSSY
    after = ("fold-batch-norm", "fold-pad", "fold-constants", "simplify", "common-subexpressions")

    method: str = option("min-max", help="how to choose the range of activations", choices=METHODS)
    percentile: float = option(
        99.999, help="per cent of the elements within the range, for method=percentile", range=(99.0, 100.0)
    )
    rounding: str = option("gptq", help="how to round weights", choices=("gptq", "nearest"))
    correct: bool = option(True, help="correct the biases for the mean error of the weights")
    skip: tuple[str, ...] = option((), help="patterns of node names or layers that stay float")
    weight_bits: int | None = option(None, help="bits of the weights, 2 to 16; the target's own if none", range=(2, 8))
    layer_bits: tuple[str, ...] = option((), help="pattern=bits of nodes or layers with others; the last that fits")
    vnni: bool = option(False, help="x86 only: all machines have VNNI, so weights need not avoid 16-bit saturation")
    keep_structure: bool = option(True, help="zeros of pruned weights stay, and clusters stay one")

    def run(self, graph: Graph, context: Context) -> None:
        policy = context.target.policy
        if policy.as_convolutions and (made := as_convolutions(graph, policy, self.skip)):
            names = ", ".join(node.name for node in made[:4]) + (", …" if len(made) > 4 else "")
            context.note(f"{len(made)} nodes are convolutions now, which the target runs as integer: {names}")
        InsertFakeQuant(skip=self.skip, weight_bits=self.weight_bits, layer_bits=self.layer_bits).run(graph, context)
        Calibrate(method=self.method, percentile=self.percentile, vnni=self.vnni).run(graph, context)
        if self.rounding == "gptq":
            OptimizeRounding(vnni=self.vnni, keep_structure=self.keep_structure).run(graph, context)
        if self.correct:
            CorrectBias().run(graph, context)

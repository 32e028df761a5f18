"""The model in smaller floats."""

from __future__ import annotations

from dataclasses import dataclass

from irc.errors import OptionError
from irc.graph import Graph, Node
from irc.op import ChannelKind
from irc.passes.base import LOSSY, Pass, option
from irc.passes.context import Context
from irc.passes.float_rules.compute import compute_in
from irc.passes.float_rules.delicate import Reasons, delicate, hot, sizes
from irc.passes.float_rules.formats import FORMATS
from irc.passes.float_rules.keep import becomes, is_f32, reads_any_type, refusal, touches_floats
from irc.passes.float_rules.storage import store_as
from irc.target import Target
from irc.types import DType

_FLOAT8_OPSET = 19


@dataclass(frozen=True)
class CastFloat(Pass):
    """Compute in float16, or store the weights in float16, bfloat16 or float8: half or a quarter of the bytes.

        compute=true    x -> Cast -> op -> op -> Cast -> y      nodes, their weights and what passes between them
        compute=false   Cast(W), or DequantizeLinear(W, scale)  weights alone; the model computes in float32

    float16 computes; bfloat16 and float8 store, because onnxruntime has hardly a kernel for them on a CPU, unless
    compute says otherwise. float8 is e4m3fn, with a scale for each output channel; it cannot be computed in.

    In float32 stay, each with its reason in the ledger: ops that overflow or lose precision (`float_rules.keep.KEEP`:
    exponentials, powers, sums over many numbers, norms); what `keep` names; what ONNX does not define on the type;
    what reads a constant beyond the type's range, such as a mask's -3.4e38, or below its normal numbers, such as an
    epsilon; what computes with shapes; with calibration, what comes within half of the type's largest number. The
    graph's inputs and outputs keep their types unless `io`.

    Put it last: other passes look for float32, and for weights that are constants. `fold-constants{widen=true}` makes
    stored weights float32 again. Lossy: rounds to 11 (float16), 8 (bfloat16), 4 or 3 bits (float8). Source:
    Micikevicius et al. 2018, "Mixed precision training"; ONNX Cast-28, DequantizeLinear-28.
    """

    numerics = LOSSY
    after = ("fold-constants", "simplify", "fold-batch-norm", "fold-pad", "low-rank", "prune-channels", "prune-weights",
             "cluster-weights", "smooth-quant", "insert-fake-quant", "quantize", "fine-tune", "distill")  # fmt: skip

    to: str = option(help="the float type", choices=tuple(FORMATS))
    compute: bool | None = option(None, help="compute in it (float16's default), or only store weights in it")
    keep: tuple[str, ...] = option((), help="patterns of nodes, layers, ops or weights that stay float32, as well")
    io: bool = option(False, help="the graph's inputs and outputs take the type too")

    def run(self, graph: Graph, context: Context) -> None:
        dtype = FORMATS[self.to]
        compute = self._computes(dtype, context.target)
        if dtype.bits == 8 and graph.info.opsets.get("", 1) < _FLOAT8_OPSET:
            raise OptionError(f"cast-float: the model has no float8 before opset {_FLOAT8_OPSET}; take bfloat16")
        if not compute:
            stored = store_as(graph, dtype, self.keep, context)
            context.note(f"{stored} weights are stored as {dtype.numpy.name}; everything computes in float32")
            return
        reasons = self._reasons(graph, dtype, context)
        small = [n for n in graph.walk() if touches_floats(n) and n not in reasons and not _only_reads(n)]
        small = _without_islands(small, graph if self.io else None)
        casts = compute_in(graph, dtype, small, io=self.io)
        context.note(f"{len(small)} nodes compute in {dtype.numpy.name}, {len(reasons)} in float32; {casts} casts")

    def _computes(self, dtype: DType, target: Target) -> bool:
        """Whether nodes compute in the type, or weights are stored in it; OptionError where the target has neither."""
        name = dtype.numpy.name
        if dtype not in target.float_storage:
            raise OptionError(
                f"cast-float: target '{target.name}' has no {name}; compile for target 'onnx', or make the model "
                "small with 'quantize'"
            )
        compute = dtype is DType.F16 and dtype in target.float_compute if self.compute is None else self.compute
        if compute and dtype not in target.float_compute:
            raise OptionError(
                f"cast-float: target '{target.name}' does not compute in {name}; leave compute out, and the weights "
                "are stored in it"
            )
        if self.io and not compute:
            raise OptionError(f"cast-float: io=true is for models that compute in {name}, and this one only stores it")
        return compute

    def _reasons(self, graph: Graph, dtype: DType, context: Context) -> Reasons:
        """Why each of the nodes that stay in float32 does; noted as declined."""
        opset = graph.info.opsets.get("", 1)
        numbers = sizes(graph) | delicate(graph, dtype)
        if context.calibration is not None:
            numbers |= hot(graph, dtype, context.samples("cast-float"))
        reasons = {}
        for node in graph.walk():
            if not touches_floats(node) or _only_reads(node):
                continue
            reason = refusal(node, dtype, self.keep, opset) or numbers.get(node)
            if reason is not None:
                reasons[node] = reason
                context.decline(node, reason)
        return reasons


def _only_reads(node: Node) -> bool:
    """Whether the node makes no floats of what it reads in any float type."""
    return reads_any_type(node) and not becomes(node)


def _without_islands(small: list[Node], own: Graph | None) -> list[Node]:
    """Without the movements all of whose neighbours stay in float32: they would be cast there and back.

    own : the graph, if its inputs and outputs have the small type
    """
    held = set(small)
    while True:
        islands = {n for n in held if n.op.channels is ChannelKind.MOVEMENT and _is_island(n, held, own)}
        if not islands:
            return [node for node in small if node in held]
        held -= islands


def _is_island(node: Node, held: set[Node], own: Graph | None) -> bool:
    floats = [v for v in node.inputs if is_f32(v) and v is not None]
    if own is not None and any(v in own.inputs or v in own.outputs for v in (*floats, *node.outputs)):
        return False
    return all(v.producer not in held and not v.is_constant for v in floats) and not any(
        user in held for value in node.outputs for user in value.users
    )

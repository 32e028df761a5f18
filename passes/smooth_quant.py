"""Make the inputs of linear layers easy to quantize, by giving their large channels to the weights (SmoothQuant)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from irc.analysis.contraction import rows_of_weight
from irc.analysis.integer_plan import integer_refusal, matches
from irc.analysis.smoothing import ALPHAS, ChannelRange, relative_errors, smoothing_factors
from irc.errors import OptionError
from irc.execution import Executable
from irc.execution.convert import to_torch
from irc.graph import Graph, Node, Value
from irc.op import QuantKind
from irc.ops.binary import Mul
from irc.ops.linear import Gemm, MatMul
from irc.passes.base import Pass, option, within
from irc.passes.context import Context
from irc.passes.edit import other_reader, set_constant
from irc.passes.smooth_folding import folding
from irc.target import QuantPolicy
from irc.types import Array, DType

_FOLDS = 4  # parts of the calibration data, each of which is tried on what the others suggest
_INPUTS = 512  # rows of each input that alpha is tried on
_ROWS = 256  # rows of each weight that alpha is tried on
_BUDGET = 256 << 20  # bytes of inputs held at once; more than fit take another stream over the samples

# behind these a Mul in float pays off even where the target could compute them in integers
_FUNCTIONS = ("Elu", "Gelu", "HardSwish", "Mish", "Mul", "Selu", "Sigmoid", "Softplus", "Swish", "Tanh")


@dataclass
class _Group:
    """An input and the linear layers that read it, which therefore share their factors.

    rows : float32, shape (N, K), some rows of their weights; weights : shape (K,), largest magnitudes of all
    ranges, inputs : of each fold of the samples
    """

    source: Value
    layers: list[Node]
    rows: torch.Tensor
    weights: torch.Tensor
    ranges: dict[int, ChannelRange] = field(default_factory=dict)
    inputs: dict[int, list[torch.Tensor]] = field(default_factory=dict)

    @property
    def seen(self) -> ChannelRange:
        """The range over all samples."""
        first, *others = self.ranges.values()
        for other in others:
            first |= other
        return first


@dataclass(frozen=True)
class SmoothQuant(Pass):
    """Divide the input channels of linear layers by factors that make them alike, and multiply the weights by these.

        W x = (W diag(s)) (diag(1/s) x),     s[k] = max|x[k]|^alpha / max|W[:, k]|^(1 - alpha)

    An activation has one scale for all channels; a few large ones, as transformers have them, leave the others few
    codes. A weight has a scale for each row and takes the difference more easily. Layers that read the same input share
    s. The division goes into what makes the input where that is exact: scale and bias of a normalization, or weight and
    bias of a linear layer with nothing but Relu, Add and Mul in between; each time only if nothing else reads the
    value. Otherwise it is a Mul, which `quantize` leaves in float in front of the quantization. Inputs that come as
    integers, like those behind the product of attention, are left alone.

    Valid for Gemm and MatMul with constant weights that the target runs as integer; a weight that something else reads
    too is copied. Within 1e-4 of the largest output:
    constants are multiplied in float64 and rounded once, an error of 1e-7 that the depth of the network adds up.

    Without `alpha`, each of 0.5, 0.55 ... 0.95 is tried: the one for all layers is taken for which the mean over the
    layers of log(error of the quantized product / its energy) is least. The samples are split in 4, and each part is
    quantized by the ranges of the others. One stream over the samples for the ranges, and one for each 256 MiB of
    inputs; memory does not grow with their number.

    Source: Xiao et al. 2022, "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language
    Models", section 4.
    """

    numerics = within(1e-4)
    after = ("fold-constants", "simplify", "fold-batch-norm", "common-subexpressions")
    before = ("quantize", "insert-fake-quant", "lower-to-integer")

    alpha: float | None = option(
        None, help="share of the difficulty that goes to the weights, 0 to 1; tried if none", range=(0.0, 1.0)
    )
    skip: tuple[str, ...] = option((), help="patterns of node names or layers that are left alone")

    def run(self, graph: Graph, context: Context) -> None:
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise OptionError(f"smooth-quant: alpha={self.alpha:g} is not in [0, 1]")
        groups = _groups(graph, context, self.skip)
        if not groups:
            context.note("there is no linear layer to smooth")
            return
        count = _collect_ranges(groups, graph, context)
        groups = [group for group in groups if _is_seen(group, context)]
        alpha = self.alpha
        if alpha is None and groups:
            alpha = _best_alpha(groups, graph, context, count)
            context.note(f"alpha={alpha:g} is the best of {ALPHAS[0]:g} to {ALPHAS[-1]:g}")
        for group in groups:
            _smooth(group, smoothing_factors(group.seen.largest, group.weights, alpha or 0.0).numpy(), context)


# ---- which layers


def _groups(graph: Graph, context: Context, skip: tuple[str, ...]) -> list[_Group]:
    found: dict[Value, list[Node]] = {}
    for node in graph.walk():
        source = node.input(0)
        if not isinstance(node.op, Gemm | MatMul) or node.constant(1) is None or source is None or source.is_constant:
            continue
        reason = _refusal(node, source, context.target.policy, skip)
        if reason is None:
            found.setdefault(source, []).append(node)
        else:
            context.decline(node, reason)
    groups = []
    for source, layers in found.items():
        maker = _integer_maker(source, context.target.policy)
        if maker is None or folding(source, layers) is not None:
            groups.append(_group(source, layers))
            continue
        for node in layers:
            context.decline(node, f"its input comes as integers from {maker!r}; a Mul would make them floats")
    return groups


def _refusal(node: Node, source: Value, policy: QuantPolicy, skip: tuple[str, ...]) -> str | None:
    """Why the layer's input cannot or need not be smoothed; None if it can."""
    if (reason := integer_refusal(node, policy)) is not None:
        return reason
    if any(matches(node, pattern) for pattern in skip):
        return "it is on the list of layers to leave alone"
    weight, type = node.constant(1), source.tensor_type
    assert weight is not None
    if type is None or type.rank is None or type.dtype is not DType.F32 or weight.dtype != np.float32:
        return "its input or its weight is not float32, or of unknown rank"
    if weight.ndim != 2 or type.rank < 2 or getattr(node.op, "transA", 0) != 0:
        return "its input channels are not the last axis of its input"
    return None


def _integer_maker(value: Value, policy: QuantPolicy) -> Node | None:
    """The node that the target computes in integers and whose codes the value is, moved or clamped at most."""
    while (maker := value.producer) is not None:
        kind = maker.op.quant.kind
        before = maker.input(0)
        if kind is QuantKind.CONTRACTION or (maker.op.name not in _FUNCTIONS and kind is QuantKind.ARITHMETIC):
            return maker if policy.runs_integer(maker.op) else None
        if kind not in (QuantKind.MOVEMENT, QuantKind.ACTIVATION) or before is None:
            return None
        value = before
    return None


def _rows(node: Node) -> torch.Tensor:
    weight = node.constant(1)
    assert weight is not None
    return rows_of_weight(node, to_torch(weight))[0]


def _group(source: Value, layers: list[Node]) -> _Group:
    rows = [_rows(node) for node in layers]
    largest = torch.stack([r.abs().amax(0) for r in rows]).amax(0)
    stride = -(-sum(len(r) for r in rows) // _ROWS)
    return _Group(source, layers, torch.cat([r[::stride] for r in rows]), largest)


# ---- statistics


def _collect_ranges(groups: list[_Group], graph: Graph, context: Context) -> int:
    """Note the ranges of the groups' inputs, fold by fold; how many samples there were."""
    of, run, count = {group.source: group for group in groups}, Executable(graph), 0

    def note(value: Value, x: torch.Tensor) -> None:
        if x.numel():
            ranges, found = of[value].ranges, ChannelRange.of(x)
            ranges[count % _FOLDS] = ranges[count % _FOLDS] | found if count % _FOLDS in ranges else found

    for sample in context.samples("smooth-quant"):
        run.observe(sample, of.keys(), note)
        count += 1
    return count


def _is_seen(group: _Group, context: Context) -> bool:
    reason = "" if group.ranges else "no calibration sample reached it"
    if group.ranges and not bool(torch.isfinite(group.seen.largest).all() and torch.isfinite(group.weights).all()):
        reason = "its input or its weight holds NaN or infinite values"
    for node in group.layers if reason else ():
        context.decline(node, reason)
    return not reason


def _best_alpha(groups: list[_Group], graph: Graph, context: Context, count: int) -> float:
    """The alpha of the least mean log of the layers' relative errors."""
    logs = torch.zeros(len(ALPHAS), dtype=torch.double)
    for batch in _batches(groups):
        _collect_inputs(batch, graph, context, max(1, _INPUTS // count))
        for group in context.progress(batch, "smooth-quant (alpha)", len(batch)):
            folds = [(group.ranges[fold], torch.cat(inputs)) for fold, inputs in sorted(group.inputs.items())]
            errors = relative_errors(folds, group.rows, group.weights, context.target.policy)
            logs += errors.clamp_min(1e-12).log()  # a layer without any error has no say
            group.inputs.clear()
    return ALPHAS[int(logs.argmin())]


def _batches(groups: list[_Group]) -> Iterator[list[_Group]]:
    """The groups in order, as many at a time as their inputs fit the budget."""
    batch: list[_Group] = []
    for group in groups:
        if batch and sum(len(g.weights) for g in [*batch, group]) * _INPUTS * 4 > _BUDGET:
            yield batch
            batch = []
        batch.append(group)
    if batch:
        yield batch


def _collect_inputs(groups: list[_Group], graph: Graph, context: Context, each: int) -> None:
    """Keep `each` rows of the groups' inputs for a sample, evenly spread, until there are enough of them."""
    of, run, number = {group.source: group for group in groups}, Executable(graph), 0

    def note(value: Value, x: torch.Tensor) -> None:
        rows = x.reshape(-1, x.shape[-1]) if x.numel() else x.new_zeros(0, 1)
        if len(rows) and number < _INPUTS:
            chosen = torch.linspace(0, len(rows) - 1, min(each, len(rows))).round().long()
            of[value].inputs.setdefault(number % _FOLDS, []).append(rows[chosen])

    for sample in context.samples("smooth-quant (inputs)"):
        run.observe(sample, of.keys(), note)
        number += 1


# ---- the change


def _smooth(group: _Group, factors: Array, context: Context) -> None:
    """Divide the input by the factors (float64, shape (K,)), and multiply the weights by them."""
    edits, source = folding(group.source, group.layers), group.source
    for edit in edits or ():
        edit.apply(1 / factors)
    if edits is None:
        source = _divided(source, 1 / factors)
    for node in group.layers:
        node.set_input(0, source)
        weight, held, turned = node.constant(1), node.input(1), getattr(node.op, "transB", 0)
        assert weight is not None
        assert held is not None
        if held.use_count > 1:
            reader = other_reader(held, node)
            context.note(f"the weight of {node!r} is copied ({weight.nbytes:,} bytes): {reader} reads it")
        scaled = np.asarray(weight, np.float64) * (factors if turned else factors[:, None])
        set_constant(node, 1, scaled.astype(weight.dtype), node.name)
        node.set_op(node.op)  # so that its origin tells


def _divided(source: Value, inverse: Array) -> Value:
    """The value times one number a channel, right behind what makes it."""
    graph, first = source.graph, next(iter(source.graph))
    constant = graph.add_constant(inverse.astype(np.float32), f"{source.name}.smoothing")
    made = graph.insert(
        Mul(), [source, constant], before=first if source.producer is None else None, after=source.producer,
        name=f"{source.name}.smoothed", types=[source.type],
    )  # fmt: skip
    return made.output

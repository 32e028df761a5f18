"""Give every FakeQuant its scale and zero point, from the weights and from typical inputs."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np

from irc.analysis.integer_plan import MASK, is_mask
from irc.analysis.ranges import METHODS, choose_range
from irc.analysis.saturation import LARGEST_ADDED
from irc.errors import ModelError, OptionError
from irc.execution.statistics import Histogram, Range, collect_histograms, collect_ranges
from irc.graph import Graph, Node, Value
from irc.op import QuantKind
from irc.ops.fake_quant import FakeQuant
from irc.passes.base import LOSSY, Pass, option
from irc.passes.context import Context
from irc.passes.scale_limits import reads_weight, scale_against_saturation, scale_for_bias
from irc.target import QuantPolicy
from irc.types import Array

WEIGHTS = ("largest", "mean")
_SMALLEST_SCALE = 1e-12


@dataclass(frozen=True)
class Calibrate(Pass):
    """Give every FakeQuant that has none its scale and zero point.

    Weights: symmetric, `scale[c] = max|w[c]| / qmax`, one for each output channel; larger where two neighbouring
    weights would saturate on x86 without VNNI (`irc.analysis.saturation`). Activations: the range of the value over the
    calibration samples, by `method`, widened to hold 0; `scale = (high - low) / (qmax - qmin)`,
    `zero_point = round(qmin - low / scale)`. What only moves elements shares the scale of its input. A channel's scale
    is kept large enough that its bias fits an int32 of `scale_x * scale_w[c]`.

    Valid for any graph with FakeQuants; lossy by its nature. The samples are streamed once for min-max and twice
    otherwise; memory does not grow with their number. A FakeQuant that no sample reaches, or that sees infinities or
    magnitudes of a mask, is taken out again, and the report says so.
    """

    numerics = LOSSY
    after = ("insert-fake-quant",)
    before = ("correct-bias",)

    method: str = option("min-max", help="how to choose the range of activations", choices=METHODS)
    percentile: float = option(
        99.999, help="per cent of the elements within the range, for method=percentile", range=(99.0, 100.0)
    )
    vnni: bool = option(False, help="x86 only: all machines have VNNI, so weights need not avoid 16-bit saturation")
    weights: str = option(
        "largest", help="what scales of weights follow: the largest, or the mean (to train few bits)", choices=WEIGHTS
    )

    def run(self, graph: Graph, context: Context) -> None:
        if not 50 < self.percentile <= 100:
            raise OptionError(f"calibrate: percentile={self.percentile:g} is not in (50, 100]")
        open_ones = [n for n in graph.walk() if isinstance(n.op, FakeQuant) and n.input(1) is None]
        if not open_ones:
            context.note("there is no FakeQuant to calibrate; insert-fake-quant makes them")
            return
        constants = [n for n in open_ones if n.constant(0) is not None]
        self._activations([n for n in open_ones if n.constant(0) is None], graph, context)
        for node in constants:  # last, so that the ranges of activations are the float model's
            _calibrate_constant(node, self.vnni, self.weights, context)
        _floor_weight_scales(graph)

    def _activations(self, nodes: list[Node], graph: Graph, context: Context) -> None:
        followers = {n: leader for n in nodes if (leader := _shares_with(n)) is not None}
        watched = [n for n in nodes if n not in followers]
        values = {_source(n) for n in watched}
        ranges = collect_ranges(graph, values, context.samples("calibrate"))
        histograms: dict[Value, Histogram] = {}
        if self.method != "min-max":
            histograms = collect_histograms(graph, ranges, context.samples("calibrate (histograms)"))
        policy = context.target.policy
        removed = []
        chosen: dict[Node, tuple[float, float]] = {}
        for node in watched:
            reason = _unusable(ranges.get(_source(node)))
            if reason is None:
                chosen[node] = self._range(node, ranges[_source(node)], histograms.get(_source(node)), policy)
            else:
                context.decline(node, reason)
                removed.append(node)
        if policy.concat_shares_scale:
            _join_concats(graph, chosen)
        for node, (low, high) in chosen.items():
            scale, zero_point = scale_of_range(low, high, _op(node), symmetric=is_symmetric(_op(node), policy))
            set_scale(node, np.float32(scale), np.int32(zero_point))
        for node, leader in followers.items():
            _follow(node, leader, removed, context)
        for node in removed:
            node.graph.replace(node, [_source(node)])

    def _range(self, node: Node, seen: Range, histogram: Histogram | None, policy: QuantPolicy) -> tuple[float, float]:
        if histogram is None:
            return seen.low, seen.high
        op = _op(node)
        return choose_range(histogram, self.method, self.percentile, op.qmax - op.qmin + 1, is_symmetric(op, policy))


def is_symmetric(op: FakeQuant, policy: QuantPolicy) -> bool:
    """Whether an activation's zero point must be 0: a signed one among unsigned ones is the right side of a MatMul."""
    return policy.activation.symmetric or (op.qmin < 0 and not policy.activation.signed)


def scale_of_range(low: float, high: float, op: FakeQuant, *, symmetric: bool = False) -> tuple[float, int]:
    """Scale and zero point that spread [low, high], widened to hold 0, over the codes of `op`.

    symmetric : the zero point must be 0, as it is where the codes are symmetric themselves
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if symmetric or op.qmin == -op.qmax:
        return max(max(-low, high) / op.qmax, _SMALLEST_SCALE), 0
    scale = max((high - low) / (op.qmax - op.qmin), _SMALLEST_SCALE)
    return scale, int(np.clip(np.round(op.qmin - low / scale), op.qmin, op.qmax))


def set_scale(node: Node, scale: Array | np.float32, zero_point: Array | np.int32) -> None:
    """Give a FakeQuant its scale and zero point, as constants named after it."""
    for index, (kind, data) in enumerate((("scale", scale), ("zero_point", zero_point)), 1):
        value = node.graph.add_constant(np.asarray(data), f"{node.output.name}.{kind}")
        node.set_input(index, value)


def _source(node: Node) -> Value:
    value = node.input(0)
    assert value is not None
    return value


def _op(node: Node) -> FakeQuant:
    assert isinstance(node.op, FakeQuant)
    return node.op


def _join_concats(graph: Graph, chosen: dict[Node, tuple[float, float]]) -> None:
    """Give the FakeQuants around each Concat one range, that of all of them, through chains of Concats too."""
    groups: nx.Graph[Node] = nx.Graph()
    for node in graph.walk():
        if node.op.name == "Concat":
            around = [v.producer for v in node.inputs if v is not None] + node.output.users
            nx.add_path(groups, [n for n in around if n in chosen])
    for group in nx.connected_components(groups):
        low, high = min(chosen[n][0] for n in group), max(chosen[n][1] for n in group)
        chosen.update(dict.fromkeys(group, (low, high)))


def _calibrate_constant(node: Node, vnni: bool, weights: str, context: Context) -> None:
    data, op = node.constant(0), _op(node)
    assert data is not None
    is_weight = any(reads_weight(u, node.output) for u in node.output.users)
    if np.isnan(data).any() or (is_weight and not np.isfinite(data).all()):
        readers = ", ".join(repr(u) for u in node.output.users)
        raise ModelError(f"weight '{_source(node).name}' of {readers} holds NaN or infinite values; cannot quantize it")
    if is_mask(data) and not is_weight:
        context.decline(node, "it holds a mask's magnitudes, which must not get a scale")
        node.graph.replace(node, [_source(node)])
        return
    if not is_weight and op.axis is None:  # else it is an embedding table, whose rows have scales like a weight's
        low, high = float(data.min(initial=0)), float(data.max(initial=0))
        scale, zero_point = scale_of_range(low, high, op, symmetric=is_symmetric(op, context.target.policy))
        set_scale(node, np.float32(scale), np.int32(zero_point))
        return
    axes = tuple(a for a in range(data.ndim) if a != op.axis)
    largest = np.abs(data).max(axis=axes, initial=0)
    if is_weight and weights == "mean" and data.size:
        largest = 2 * np.abs(data).mean(axis=axes) * np.sqrt(op.qmax)
    if is_weight and not vnni and op.qmax <= LARGEST_ADDED:
        users = [user for user in node.output.users if reads_weight(user, node.output)]
        policy = context.target.policy
        needed = np.max([scale_against_saturation(user, data, policy) for user in users], axis=0) * op.qmax
        largest = np.maximum(largest, needed if op.axis is not None else needed.max(initial=0))
    scales = np.asarray(np.maximum(largest / op.qmax, _SMALLEST_SCALE), np.float32)
    set_scale(node, scales, np.zeros(scales.shape, np.int32))


def _shares_with(node: Node) -> Node | None:
    """The FakeQuant whose scale this one must have, because its value is that one's, or only a rearrangement of it."""
    made = _source(node).producer
    if made is None or isinstance(made.op, FakeQuant):
        return made
    if made.op.quant.kind is not QuantKind.MOVEMENT:
        return None
    before = made.input(0)
    maker = before.producer if before is not None else None
    if maker is None or not isinstance(maker.op, FakeQuant) or maker.op.axis is not None:
        return None  # what is taken out of an embedding table has not one scale
    return maker


def _follow(node: Node, leader: Node, removed: list[Node], context: Context) -> None:
    scale, zero_point = leader.input(1), leader.input(2)
    if scale is None or leader in removed:
        context.decline(node, f"'{leader.name}', whose scale it shares, has none")
        removed.append(node)
        return
    node.set_input(1, scale)
    node.set_input(2, zero_point)


def _unusable(seen: Range | None) -> str | None:
    if seen is None:
        return "no calibration sample reached it"
    if not seen.is_finite:
        return "it saw NaN or infinite values during calibration"
    if seen.largest >= MASK:
        return f"it saw a magnitude of {seen.largest:.3g}: a mask, which must not get a scale"
    return None


def _floor_weight_scales(graph: Graph) -> None:
    """Raise the scales of channels whose bias would not fit an int32 of scale_x * scale_w (onnxruntime #11415)."""
    for node in graph.walk():
        quant = node.op.quant
        if quant.kind is not QuantKind.CONTRACTION or quant.bias is None or quant.weight is None:
            continue
        bias = node.constant(quant.bias)
        data, weight = _fake_quant(node, quant.data[0]), _fake_quant(node, quant.weight)
        if bias is None or data is None or weight is None:
            continue
        data_scale, scale = data.constant(1), weight.constant(1)
        if data_scale is None or scale is None:
            continue
        needed = scale_for_bias(bias, float(data_scale), scale.shape)
        floored = np.asarray(np.maximum(scale, needed), np.float32)
        held = weight.input(1)
        if held is not None and held.use_count == 1:
            held.data = floored
        elif (floored > scale).any():
            weight.set_input(1, weight.graph.add_constant(floored, f"{weight.output.name}.scale"))


def _fake_quant(node: Node, index: int) -> Node | None:
    value = node.input(index)
    maker = value.producer if value is not None else None
    return maker if maker is not None and isinstance(maker.op, FakeQuant) else None

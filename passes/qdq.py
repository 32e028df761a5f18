"""FakeQuant to QuantizeLinear and DequantizeLinear, as runtimes want to see them.

    FakeQuant(constant)     ->  DequantizeLinear(integer constant)
    FakeQuant(x)            ->  DequantizeLinear(QuantizeLinear(x))
    bias of a contraction   ->  DequantizeLinear(int32 constant), scale = scale_x * scale_w
    Relu, Clip -> Quantize  ->  Quantize, where the codes already end where the activation clamps
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from irc.analysis.codes import limits, quantize_array, storage_dtype
from irc.graph import Graph, Node, Value
from irc.op import QuantKind
from irc.ops.activation import Clip
from irc.ops.fake_quant import FakeQuant
from irc.ops.quantize import DequantizeLinear, QuantizeLinear
from irc.target import QuantPolicy
from irc.types import Array, DType

_INT32 = np.iinfo(np.int32)


def lower_fake_quant(graph: Graph, policy: QuantPolicy) -> None:
    """Replace every FakeQuant of the nest, in place; those without a scale are dropped."""
    nodes = [n for n in graph.walk() if isinstance(n.op, FakeQuant)]
    for node in nodes:
        _drop_activation(node)
    if not policy.float_bias:
        for node in list(graph.walk()):
            _quantize_bias(node)
    shared: dict[Hashable, Value] = {}
    for node in nodes:
        _lower(node, shared)
    for inner in graph.graphs():
        for value in inner.constants:
            if not value.uses:  # the float weights
                inner.remove_constant(value)


def _drop_activation(node: Node) -> None:
    """Take out the Relu or Clip in front of a FakeQuant whose codes reach no further than it lets through."""
    source = node.input(0)
    activation = source.producer if source is not None else None
    scale, zero_point, op = node.constant(1), node.constant(2), node.op
    if activation is None or activation.op.quant.kind is not QuantKind.ACTIVATION or len(activation.output.uses) != 1:
        return
    before = activation.input(0)
    maker = before.producer if before is not None else None
    if before is None or maker is None or maker.op.quant.kind not in (QuantKind.CONTRACTION, QuantKind.ARITHMETIC):
        return
    if scale is None or zero_point is None or scale.ndim or not isinstance(op, FakeQuant) or len(before.uses) != 1:
        return
    bounds = activation_bounds(activation)
    if bounds is None:
        return
    step, half = float(scale), float(scale) * (0.5 + 1e-4)  # a range like [-1, 1] ends on half a step, give or take
    low, high = (op.qmin - int(zero_point)) * step, (op.qmax - int(zero_point)) * step
    if bounds[0] <= low + half and high - half <= bounds[1]:
        node.set_input(0, before)
        activation.graph.remove(activation)


def activation_bounds(node: Node) -> tuple[float, float] | None:
    """Between which numbers a Relu or a Clip with constant bounds lets values through; None for anything else."""
    if node.op.name == "Relu":
        return 0.0, float("inf")
    if node.op.name != "Clip":
        return None
    bounds = []
    for index, default in ((1, -np.inf), (2, np.inf)):
        value = node.input(index)
        if value is not None and value.data is None:
            return None
        bounds.append(float(default if value is None or value.data is None else value.data))
    return bounds[0], bounds[1]


def _quantize_bias(node: Node) -> None:
    """Store the bias of an integer contraction as int32, in units of scale_x * scale_w."""
    quant = node.op.quant
    if quant.kind is not QuantKind.CONTRACTION or quant.bias is None or quant.weight is None:
        return
    bias = node.input(quant.bias)
    scales = [_scale_behind(node.input(quant.data[0])), _scale_behind(node.input(quant.weight))]
    if bias is None or bias.data is None or scales[0] is None or scales[1] is None:
        return
    unit = (scales[0].astype(np.float64) * scales[1].astype(np.float64)).astype(np.float32)
    channels = _channels(node)
    if bias.data.size != 1 and (*bias.data.shape[-1:], bias.data.size) != (channels, channels):
        return  # a Gemm may add a whole matrix
    if unit.size > 1:
        unit = np.tile(unit, channels // unit.size)  # a ConvTranspose has the same scales in every group
    data = np.broadcast_to(bias.data.reshape(-1), (channels,))
    codes = np.clip(np.rint(data / unit.astype(np.float64)), _INT32.min, _INT32.max).astype(np.int32)
    stored = node.graph.add_constant(codes, f"{bias.name}.int32")
    scale = node.graph.add_constant(unit.reshape(-1) if unit.size > 1 else unit.reshape(()), f"{bias.name}.scale")
    made = node.graph.insert(
        DequantizeLinear(axis=0),
        [stored, scale],
        before=node,
        name=f"{bias.name}.dequantize",
        outputs=[f"{bias.name}.float"],
    )
    node.set_input(quant.bias, made.output)


def _channels(node: Node) -> int:
    assert node.op.quant.weight is not None
    weight = node.input(node.op.quant.weight)
    type = weight.tensor_type if weight is not None else None
    assert type is not None
    channels = type.static_shape[node.op.quant.weight_axis]
    return channels * getattr(node.op, "group", 1) if node.op.name == "ConvTranspose" else channels


def _scale_behind(value: Value | None) -> Array | None:
    maker = value.producer if value is not None else None
    return maker.constant(1) if maker is not None and isinstance(maker.op, FakeQuant) else None


def _lower(node: Node, shared: dict[Hashable, Value]) -> None:
    op, source = node.op, node.input(0)
    assert isinstance(op, FakeQuant)
    assert source is not None
    scale, zero_point = node.constant(1), node.constant(2)
    if scale is None or zero_point is None:
        node.graph.replace(node, [source])
        return
    graph, dtype = node.graph, storage_dtype(op)
    stored_zero = _zero_point(graph, zero_point.astype(dtype), shared, source.name)
    parameters = [node.input(1), stored_zero]
    axis = op.axis if op.axis is not None else 1
    if source.data is not None:
        integer = _codes(node, source, shared)
    else:
        quantize = graph.insert(
            QuantizeLinear(axis=axis),
            [_clamped(node, source), *parameters],
            before=node,
            name=f"{source.name}.quantize",
            outputs=[f"{source.name}.{dtype.name}"],
        )
        integer = quantize.output
    dequantize = graph.insert(
        DequantizeLinear(axis=axis),
        [integer, *parameters],
        before=node,
        name=f"{source.name}.dequantize",
        outputs=[f"{source.name}.dequantized"],
    )
    graph.replace(node, [dequantize.output])


def _codes(node: Node, source: Value, shared: dict[Hashable, Value]) -> Value:
    """The codes of a constant; one copy for all readers of a shared weight whose scales are the same."""
    op, scale, zero_point = node.op, node.constant(1), node.constant(2)
    assert isinstance(op, FakeQuant)
    assert source.data is not None
    assert scale is not None
    assert zero_point is not None
    key = (node.graph, source, op, scale.tobytes(), zero_point.tobytes())
    if key not in shared:
        codes = quantize_array(source.data, scale, zero_point, op)
        shared[key] = node.graph.add_constant(codes, f"{source.name}.{codes.dtype.name}")
    return shared[key]


def _clamped(node: Node, source: Value) -> Value:
    """The value itself, or clipped where the type that stores the codes would let more of them through.

    A symmetric format leaves out the lowest code only so that negation is exact: that one may come.
    """
    op, scale, zero_point = node.op, node.constant(1), node.constant(2)
    assert isinstance(op, FakeQuant)
    lowest, highest = limits(DType.of_numpy(storage_dtype(op)))
    if (op.qmax == highest and op.qmin <= lowest + 1) or scale is None or zero_point is None or scale.ndim:
        return source
    reads = []
    for code, end in ((op.qmin, "low"), (op.qmax, "high")):
        bound = np.asarray((code - int(zero_point)) * float(scale), np.float32)
        reads.append(node.graph.add_constant(bound, f"{source.name}.{end}"))
    clip = node.graph.insert(Clip(), [source, *reads], before=node, name=f"{source.name}.clip", types=[source.type])
    return clip.output


def _zero_point(graph: Graph, data: Array, shared: dict[Hashable, Value], name: str) -> Value:
    """The zero point as a constant; one for all weights of the same number of channels."""
    if data.any():
        return graph.add_constant(data, f"{name}.zero_point")
    key = (graph, data.dtype.name, data.size if data.ndim else -1)
    if key not in shared:
        shape = "x".join(map(str, data.shape)) or "scalar"
        shared[key] = graph.add_constant(data, f"zero_point.{data.dtype.name}.{shape}")
    return shared[key]

"""Graph to the graph that the ONNX file holds: FakeQuants as Q/DQ, at the opset that was asked for."""

from __future__ import annotations

from irc.backends.onnx import packing
from irc.backends.onnx.opset import at_opset
from irc.errors import OptionError
from irc.graph import Graph
from irc.ops.fake_quant import FakeQuant
from irc.passes.qdq import lower_fake_quant
from irc.signature import OWN_DOMAIN
from irc.target import Target
from irc.types import DType

_QDQ_OPSET = 13  # the first with a scale per channel
_NARROW_OPSET = 21  # the first to quantize to 4 and to 16 bits
_LATE_DTYPES = (DType.I4, DType.U4, DType.I16, DType.U16)


def lower(graph: Graph, target: Target, opset: int | None = None) -> Graph:
    """A copy of the graph, of ONNX ops only, ready to be written.

    Raises
    ------
    OptionError : the model cannot be brought to that opset, or holds integer ops, which ONNX has not.
    """
    lowered = graph.copy()
    for node in lowered.walk():
        if node.op.domain == OWN_DOMAIN and not isinstance(node.op, FakeQuant):
            raise OptionError(
                f"{node!r} is no operator of ONNX, whose files hold quantization as QuantizeLinear and "
                "DequantizeLinear; leave out 'lower-to-integer', or compile for a target of C"
            )
    quantized = any(isinstance(n.op, FakeQuant) and n.input(1) is not None for n in lowered.walk())
    lower_fake_quant(lowered, target.policy)
    have = lowered.info.opsets.get("", 1)
    wanted = have if opset is None else opset
    if quantized and wanted in range(7, _QDQ_OPSET):
        raise OptionError(f"opset {wanted} has no quantization per channel; give an opset of at least {_QDQ_OPSET}")
    if wanted in range(_QDQ_OPSET, _NARROW_OPSET) and (dtype := _late_dtype(lowered)) is not None:
        name = dtype.numpy.name
        raise OptionError(f"opset {wanted} has no quantization to {name}; give an opset of at least {_NARROW_OPSET}")
    made = lowered if wanted == have else at_opset(lowered, wanted)
    if target.packs and wanted >= packing.OPSET:
        packing.pack(made)
    return made


def _late_dtype(graph: Graph) -> DType | None:
    """A type of 4 or 16 bits that the graph quantizes to; None if it has none."""
    for node in graph.walk():
        for index in range(2) if node.op.name == "DequantizeLinear" else ():
            value = node.input(index)
            type = value.tensor_type if value is not None else None
            if type is not None and type.dtype in _LATE_DTYPES:
                return type.dtype
    return None

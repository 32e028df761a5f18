"""Graph to the graph that the ONNX file holds: FakeQuants as Q/DQ, the opset that was asked for, onnx's checker passed."""

from __future__ import annotations

import onnx

from irc.backends.onnx.qdq import lower_fake_quant
from irc.errors import OptionError
from irc.frontends.onnx.load import graph_of_slim, without_weights
from irc.graph import Graph
from irc.ops.fake_quant import FakeQuant
from irc.proto.writer import model_proto
from irc.target import Target

_QDQ_OPSET = 13  # the first with a scale per channel


def lower(graph: Graph, target: Target, opset: int | None = None) -> Graph:
    """A copy of the graph, of ONNX ops only, ready to be written.

    Raises
    ------
    OptionError : the model cannot be brought to that opset.
    """
    lowered = graph.copy()
    quantized = any(isinstance(n.op, FakeQuant) and n.input(1) is not None for n in lowered.walk())
    lower_fake_quant(lowered, target.policy)
    have = lowered.info.opsets.get("", 1)
    if opset is not None and opset != have:
        lowered = _at_opset(lowered, opset)
    if quantized and lowered.info.opsets.get("", 1) < _QDQ_OPSET:
        raise OptionError(
            f"opset {lowered.info.opsets.get('', 1)} has no quantization per channel; give an opset of at least {_QDQ_OPSET}"
        )
    return lowered


def _at_opset(graph: Graph, opset: int) -> Graph:
    """The graph at another opset, by onnx's version converter, the weights kept out of its hands."""
    newest = onnx.defs.onnx_opset_version()
    if not 7 <= opset <= newest:
        raise OptionError(f"opset {opset} is not known; this onnx knows 7 to {newest}")
    slim, arrays = without_weights(model_proto(graph), None)
    try:
        converted = onnx.version_converter.convert_version(slim, opset)
        onnx.checker.check_model(converted)
    except Exception as error:  # the converter raises whatever its C++ adapters throw
        said = str(error).strip().splitlines()[0]
        raise OptionError(f"the model cannot be brought to opset {opset}: {said}") from None
    known = {o.domain for o in converted.opset_import}
    converted.opset_import.extend(o for o in slim.opset_import if o.domain not in known | {"ai.onnx"})
    return graph_of_slim(converted, arrays, None)

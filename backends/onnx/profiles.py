"""What each runtime that reads the ONNX file fuses into integer kernels, as quantization policies.

The sets of operators are what the runtime was seen to fuse: onnxruntime by loading QDQ models of one operator
(`benchmarks/fusion_table.py` prints that table), the others by their documentation.
"""

from __future__ import annotations

from functools import cache

import onnx
import onnxruntime as ort

from irc.analysis.saturation import adds_pairs
from irc.backends.measure import onnx_latency
from irc.op import Op
from irc.signature import OWN_DOMAIN
from irc.target import IntegerFormat, QuantPolicy, Target
from irc.types import DType

_U8 = IntegerFormat(bits=8, signed=False, symmetric=False)
_S8 = IntegerFormat(bits=8, signed=True, symmetric=True)
_S8_ASYMMETRIC = IntegerFormat(bits=8, signed=True, symmetric=False)
_HALF = frozenset([DType.F16])  # onnxruntime 1.32 has hardly a kernel for bfloat16 on a CPU, and refuses such models

_MOVEMENT = frozenset(["DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Slice"])
_MOVEMENT |= {"Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
_ACTIVATIONS = frozenset({"Relu", "Clip"})

# onnxruntime 1.32, CPU: Pad, Sub, Div, linear Resize, ReduceMean, HardSwish, Gelu and LayerNormalization stay float;
# there is no integer ConvTranspose; Softmax has an integer kernel that costs more accuracy than it saves time
_ONNXRUNTIME = (
    _MOVEMENT
    | _ACTIVATIONS
    | frozenset(["Add", "AveragePool", "Concat", "Conv", "Gemm", "GlobalAveragePool", "LeakyRelu", "MatMul", "Mul"])
    | frozenset(["ReduceMax", "ReduceMin", "Resize", "Sigmoid"])
)
_TENSORRT = (
    _MOVEMENT
    | _ACTIVATIONS
    | frozenset(["Add", "AveragePool", "Concat", "Conv", "ConvTranspose", "Gemm", "GlobalAveragePool", "MatMul"])
)
_OPENVINO = _TENSORRT | frozenset(["Mul", "ReduceMax", "Resize"])
_QNN = _OPENVINO | frozenset(["HardSwish", "Pad", "Sigmoid", "Softmax", "SpaceToDepth", "Sub", "Div", "Tanh"])


def has_schema(op: Op) -> bool:
    """Whether onnx or onnxruntime defines the operator, or irc lowers it; runtimes with custom operators take more."""
    return op.domain == OWN_DOMAIN or onnx.defs.has(op.name, op.domain) or (op.domain, op.name) in _contributed()


@cache
def _contributed() -> frozenset[tuple[str, str]]:
    """The operators that onnxruntime adds to ONNX's, by domain and name."""
    return frozenset((s.domain, s.name) for s in ort.capi.onnxruntime_pybind11_state.get_all_operator_schema())


TARGETS = {
    t.name: t
    for t in (
        Target(
            "onnx",
            "onnx",
            "ONNX for onnxruntime on x86: uint8 activations, int8 weights",
            QuantPolicy(activation=_U8, weight=_S8, integer_ops=_ONNXRUNTIME, adds_in_16_bits=adds_pairs),
            has_schema,
            packs=True,
            channel_multiple=8,
            float_compute=_HALF,
            float8_by_cast=True,
            latency=onnx_latency,
        ),
        Target(
            "onnx:arm",
            "onnx",
            "ONNX for onnxruntime on ARM: int8 activations, int8 weights",
            QuantPolicy(activation=_S8_ASYMMETRIC, weight=_S8, integer_ops=_ONNXRUNTIME),
            has_schema,
            packs=True,
            channel_multiple=8,
            float_compute=_HALF,
            float8_by_cast=True,
        ),
        Target(
            "onnx:tensorrt",
            "onnx",
            "ONNX for TensorRT: int8 with zero points 0, one scale through a Concat, residual Adds fused",
            QuantPolicy(
                activation=_S8,
                weight=_S8,
                integer_ops=_TENSORRT,
                concat_shares_scale=True,
                residual_skip_only=True,
                float_bias=True,
            ),
            has_schema,
            channel_multiple=8,
        ),
        Target(
            "onnx:openvino",
            "onnx",
            "ONNX for OpenVINO: uint8 activations, int8 weights",
            QuantPolicy(activation=_U8, weight=_S8, integer_ops=_OPENVINO, adds_in_16_bits=adds_pairs),
            has_schema,
            packs=True,
            channel_multiple=8,
            float_compute=_HALF,
        ),
        Target(
            "onnx:qnn",
            "onnx",
            "ONNX for Qualcomm QNN: uint8 activations, complete quantized node units",
            QuantPolicy(activation=_U8, weight=_S8, integer_ops=_QNN, gemm_output_float=False),
            has_schema,
            channel_multiple=8,
            float_compute=_HALF,
        ),
    )
}

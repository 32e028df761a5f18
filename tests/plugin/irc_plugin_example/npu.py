"""A target that multiplies signed by signed and has no zero points."""

from __future__ import annotations

from irc.target import IntegerFormat, QuantPolicy, Target

EXAMPLE_NPU = Target(
    name="example-npu",
    kind="onnx",
    title="an imaginary accelerator: int8 x int8, symmetric, one scale a tensor",
    policy=QuantPolicy(
        activation=IntegerFormat(signed=True, symmetric=True),
        weight=IntegerFormat(signed=True, symmetric=True),
        per_channel=False,
        integer_ops=frozenset({"Conv", "Gemm", "MatMul"}),
    ),
)

"""`OnnxOp`: an operator that irc keeps without knowing what it does.

It is typed by onnx's shape inference, run by onnxruntime, written back byte for byte, and opaque to every pass.
"""

from __future__ import annotations

from dataclasses import dataclass

from irc.op import Attribute, Op

_RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}


@dataclass(frozen=True)
class OnnxOp(Op, abstract=True):
    """Any operator: its domain, type and the opset it was written for, and its attributes as serialized protos.

    Bodies (of If, Loop, Scan) are not among the attributes: they are graphs, and stand on the node.
    """

    op_domain: str
    type: str
    opset: int
    serialized: tuple[tuple[str, bytes], ...] = ()

    # `domain` is a class's constant for typed ops and this op's own field here
    @property
    def domain(self) -> str:  # type: ignore[override]
        return self.op_domain

    @property
    def name(self) -> str:
        return self.type

    @property
    def deterministic(self) -> bool:
        return self.type not in _RANDOM and (not self.op_domain or self.op_domain == "ai.onnx.ml")

    def attributes(self) -> dict[str, Attribute]:
        return dict(self.serialized)

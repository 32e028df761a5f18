"""Which nodes onnxruntime really runs as integer: read from the graph that it makes of the file.

    file --onnxruntime--> optimized graph --compare by the names of values--> one line for each node
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from onnx import AttributeProto, GraphProto, NodeProto

from irc.backends.onnx.session import make_session
from irc.op import QuantKind
from irc.ops.schema import op_of_proto
from irc.target import Target

_INTEGER = {
    "QLinearConv",
    "ConvInteger",
    "QLinearMatMul",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "QGemm",
    "QLinearAdd",
    "QLinearMul",
    "QLinearAveragePool",
    "QLinearGlobalAveragePool",
    "QLinearConcat",
    "QLinearSigmoid",
    "QLinearLeakyRelu",
    "QLinearSoftmax",
    "QLinearReduceMean",
    "QLinearWhere",
    "MatMulNBits",
}
_SHOWN = ["Conv", "ConvTranspose", "Add", "Gemm", "MatMul", "Mul"]
_SHOWN += ["AveragePool", "GlobalAveragePool", "Concat", "Sigmoid"]
_NHWC = re.compile(r"_token_\d+$")  # what onnxruntime adds to the name of a node that it moves to channels last
_QDQ = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class FusedNode:
    """One node of the file: whether onnxruntime runs it as integer, and if not, why."""

    name: str
    op: str
    integer: bool
    reason: str = ""


@dataclass(frozen=True)
class FusionReport:
    """What onnxruntime made of a file.

    nodes : the contractions and arithmetic nodes of the file, bodies' too
    left : QuantizeLinear and DequantizeLinear nodes that onnxruntime still runs, at the graph's ends and elsewhere
    """

    nodes: list[FusedNode] = field(default_factory=list)
    left_at_ends: int = 0
    left_inside: int = 0

    def counts(self) -> dict[str, tuple[int, int]]:
        """For each operator: how many run as integer, of how many."""
        whole, integer = Counter(n.op for n in self.nodes), Counter(n.op for n in self.nodes if n.integer)
        return {op: (integer[op], whole[op]) for op in _SHOWN if whole[op]}

    def summary(self) -> str:
        """`49 of 49 Conv, 9 of 9 Add, 1 of 1 Gemm run as integer in onnxruntime`, and the Q/DQ left over."""
        parts = ", ".join(f"{done} of {of} {op}" for op, (done, of) in self.counts().items())
        return (
            f"{parts or 'no quantizable node'} run as integer in onnxruntime; Quantize/DequantizeLinear left: "
            f"{self.left_at_ends} at the graph's ends, {self.left_inside} inside"
        )

    def __str__(self) -> str:
        return "\n".join([self.summary(), *(f"  {n.op} '{n.name}' runs in float: {n.reason}" for n in self.refused())])

    def refused(self) -> list[FusedNode]:
        """The nodes that do not run as integer."""
        return [n for n in self.nodes if not n.integer]


def fusion_report(path: Path, target: Target) -> FusionReport:
    """Load the file in onnxruntime and say what became of its nodes.

    Raises
    ------
    ExecutionError : onnxruntime refuses the file.
    """
    with tempfile.TemporaryDirectory(prefix="irc-") as folder:
        optimized_path = Path(folder) / "optimized.onnx"
        make_session(path, threads=1, optimized=optimized_path, signed=target.policy.activation.signed)
        optimized = onnx.load(optimized_path, load_external_data=False).graph
    original = onnx.load(path, load_external_data=False)
    opset = next((o.version for o in original.opset_import if o.domain in ("", "ai.onnx")), 1)
    judge = _Judge(original.graph, optimized, target, opset)
    ends = judge.ends()
    left = [n for n in judge.optimized if n.op_type in _QDQ]
    return FusionReport(judge.nodes(), len(ends), len(left) - len(ends))


def _all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """The nodes of a graph and, after each, those of its bodies."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _all_nodes(attribute.g)


def _folded(graph: GraphProto, known: set[str]) -> set[str]:
    """The names of the constants, and of what nodes make of constants alone, which is done when a model is loaded."""
    found = known | {i.name for i in graph.initializer}
    for node in graph.node:
        bodies = [a.g for a in node.attribute if a.type == AttributeProto.GRAPH]
        for body in bodies:
            found |= _folded(body, found)
        if node.op_type == "Constant" or (
            node.input and not bodies and node.op_type not in _QDQ and all(not i or i in found for i in node.input)
        ):
            found.update(node.output)
    return found


def _outputs(graph: GraphProto) -> set[str]:
    """The names of the values that a graph or one of its bodies gives out."""
    found = {o.name for o in graph.output}
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                found |= _outputs(attribute.g)
    return found


class _Judge:
    """Compares the file's graph with the one that onnxruntime runs."""

    def __init__(self, original: GraphProto, optimized: GraphProto, target: Target, opset: int) -> None:
        self.original = list(_all_nodes(original))
        self.optimized = list(_all_nodes(optimized))
        self.inputs = {v.name for v in optimized.input}
        self.target = target
        self.opset = opset
        self.maker = {o: n for n in self.original for o in n.output if o}
        self.readers: dict[str, list[NodeProto]] = {}
        for node in self.original:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.left_readers: dict[str, list[NodeProto]] = {}
        for node in self.optimized:
            for name in node.input:
                self.left_readers.setdefault(name, []).append(node)
        self.integer_values = {o for n in self.optimized if n.op_type in _INTEGER for o in n.output}
        self.integer_names = {_NHWC.sub("", n.name) for n in self.optimized if n.op_type in _INTEGER and n.name}
        self.outputs = _outputs(original)
        self.folded = _folded(original, set())

    def nodes(self) -> list[FusedNode]:
        found = []
        for node in self.original:
            if node.op_type not in _SHOWN or node.domain or node.output[0] in self.folded:
                continue
            integer = self._is_integer(node)
            reason = "" if integer else self._reason(node)
            found.append(FusedNode(node.name or node.output[0], node.op_type, integer, reason))
        return found

    def ends(self) -> list[NodeProto]:
        """The Q of graph inputs and the DQ of graph outputs that onnxruntime still runs."""
        inputs = self.inputs | self._moved(self.inputs)
        return [
            n
            for n in self.optimized
            if (n.op_type == "QuantizeLinear" and n.input[0] in inputs)
            or (n.op_type == "DequantizeLinear" and self._reaches_output(n.output[0]))
        ]

    def _moved(self, names: set[str]) -> set[str]:
        """Values that are only rearranged inputs, such as what a Transpose to NHWC makes."""
        moved: set[str] = set()
        for node in self.optimized:
            if node.op_type in ("Transpose", "Reshape", "Cast") and node.input[0] in names | moved:
                moved.update(node.output)
        return moved

    def _reaches_output(self, name: str) -> bool:
        """Whether whatever reads the value, and so on to the outputs of the graph, is float."""
        seen, todo, ended = {name}, [name], False
        while todo:
            at = todo.pop()
            ended = ended or at in self.outputs
            for reader in self.left_readers.get(at, ()):
                if reader.op_type in _INTEGER or reader.op_type in _QDQ:
                    return False
                new = set(reader.output) - seen
                seen |= new
                todo.extend(new)
        return ended

    def _is_integer(self, node: NodeProto) -> bool:
        """Its own output, or what the activation and QuantizeLinear behind it give, is made by an integer kernel."""
        names = {node.output[0]}
        for _ in range(2):
            names |= {o for n in names for r in self.readers.get(n, ()) if self._continues(r) for o in r.output}
        return bool(names & self.integer_values) or node.name in self.integer_names

    def _continues(self, reader: NodeProto) -> bool:
        return reader.op_type in ("Relu", "Clip", "QuantizeLinear")

    def _reason(self, node: NodeProto) -> str:
        op = op_of_proto(node, self.opset)
        if not self.target.policy.runs_integer(op):
            return f"{node.op_type} has no integer kernel for target '{self.target.name}'"
        count = 2 if op.quant.kind is QuantKind.CONTRACTION else len(node.input)
        for index, name in enumerate(node.input[:count]):
            maker = self.maker.get(name)
            if maker is None or maker.op_type != "DequantizeLinear":
                return f"input {index} ('{name}') is not quantized"
        readers = self.readers.get(node.output[0], [])
        if node.output[0] in self.outputs:
            return "its result is an output of the graph; a QuantizeLinear must come between"
        if len(readers) > 1:
            return f"its result is read by {len(readers)} nodes, not by one QuantizeLinear"
        if readers and not self._continues(readers[0]):
            return f"its result goes to {readers[0].op_type}, not to a QuantizeLinear"
        return "onnxruntime chose not to fuse it"

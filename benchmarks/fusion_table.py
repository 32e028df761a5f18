"""Which operators onnxruntime computes on integers between Q and DQ: python benchmarks/fusion_table.py

For each operator a model of it alone goes to onnxruntime, its inputs dequantized and its output quantized, in uint8 and
in int8. It is integer if in the graph that onnxruntime makes of that no Q or DQ is left but those at the ends, and if
that graph gives what the model says, to one code. The table is compared with what the target `onnx` believes
(`backends/onnx/profiles.py`); exit code 1 if the two disagree.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from irc.backends.onnx.session import make_session
from irc.backends.registry import find_target

SHAPE = (1, 4, 8, 8)
SCALE, OUTPUT_SCALE, WEIGHT_SCALE = 0.02, 0.03, 0.01
QDQ = ("QuantizeLinear", "DequantizeLinear")
DTYPES = (np.uint8, np.int8)
OPTIONAL = ""  # an input that is left out

# integer in onnxruntime, and float in the profile by choice
CHOSEN_FLOAT = {"Softmax": "the integer kernel costs more accuracy than it saves time"}
# float alone, and integer in the profile because the QuantizeLinear behind a Conv or Add absorbs them
ABSORBED = ("Relu", "Clip")


@dataclass(frozen=True)
class Case:
    """One operator and how to call it.

    data : inputs that are quantized activations
    constants : float32 or int64 arrays behind them, not quantized; OPTIONAL leaves one out
    weights : int8 arrays behind the data, dequantized per tensor
    moves : only moves elements or chooses among them, so that the output has the input's scale
    """

    op: str
    data: int = 1
    constants: tuple[NDArray[Any] | str, ...] = ()
    weights: tuple[NDArray[np.int8], ...] = ()
    outputs: int = 1
    moves: bool = False
    shape: tuple[int, ...] = SHAPE
    attributes: dict[str, Any] = field(default_factory=dict)


def ints(*values: int) -> NDArray[np.int64]:
    """A constant of shapes, axes and the like."""
    return np.array(values, np.int64)


def floats(*values: float) -> NDArray[np.float32]:
    """A constant of floats, one-dimensional."""
    return np.array(values, np.float32)


def weight(*shape: int) -> NDArray[np.int8]:
    """A weight; what is in it does not matter."""
    return np.ones(shape, np.int8)


BOUNDS = (np.array(0, np.float32), np.array(6, np.float32))
DOUBLE = (floats(), floats(1, 1, 2, 2))  # Resize's roi and scales

CASES = (
    Case("Conv", weights=(weight(6, 4, 3, 3),)),
    Case("ConvTranspose", weights=(weight(4, 6, 3, 3),)),
    Case("Gemm", weights=(weight(8, 6),), shape=(1, 8)),
    Case("MatMul", data=2),
    *(Case(op, data=2) for op in ("Add", "Sub", "Mul", "Div", "Min", "Max", "Pow")),
    *(Case(op) for op in ("Relu", "LeakyRelu", "Elu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Gelu")),
    *(Case(op) for op in ("Softmax", "Exp", "Sqrt", "Neg", "Abs")),
    Case("PRelu", constants=(np.full((4, 1, 1), 0.1, np.float32),)),
    Case("Clip", constants=BOUNDS),
    Case("LayerNormalization", constants=(np.ones(8, np.float32),)),
    Case("AveragePool", attributes={"kernel_shape": [2, 2]}),
    Case("GlobalAveragePool"),
    Case("MaxPool", moves=True, attributes={"kernel_shape": [2, 2]}),
    Case("GlobalMaxPool", moves=True),
    *(Case(op, constants=(ints(2, 3),)) for op in ("ReduceMean", "ReduceSum")),
    *(Case(op, constants=(ints(2, 3),), moves=True) for op in ("ReduceMax", "ReduceMin")),
    Case("Concat", data=2, attributes={"axis": 1}),
    Case("Split", outputs=2, moves=True, attributes={"axis": 1, "num_outputs": 2}),
    Case("Slice", constants=(ints(0), ints(2), ints(1)), moves=True),
    Case("Gather", constants=(ints(0, 1),), moves=True, attributes={"axis": 1}),
    Case("Pad", constants=(ints(0, 0, 1, 1, 0, 0, 1, 1),), moves=True),
    Case("Expand", constants=(ints(2, 4, 8, 8),), moves=True),
    Case("Tile", constants=(ints(2, 1, 1, 1),), moves=True),
    Case("Identity", moves=True),
    Case("Reshape", constants=(ints(1, -1),), moves=True),
    Case("Flatten", moves=True),
    Case("Transpose", moves=True, attributes={"perm": [0, 2, 3, 1]}),
    *(Case(op, constants=(ints(0),), moves=True) for op in ("Squeeze", "Unsqueeze")),
    *(Case(op, moves=True, attributes={"blocksize": 2}) for op in ("DepthToSpace", "SpaceToDepth")),
    Case("Resize", constants=DOUBLE, moves=True, attributes={"mode": "nearest"}),
    Case("Resize", constants=DOUBLE, attributes={"mode": "linear"}),
)


def model(case: Case, dtype: type[np.generic]) -> ModelProto:
    """The operator alone between DequantizeLinear and QuantizeLinear."""
    zero = 128 if dtype is np.uint8 else 0
    initializers: dict[str, Any] = {
        "scale": np.float32(SCALE),
        "out_scale": np.float32(SCALE if case.moves else OUTPUT_SCALE),
        "zero": dtype(zero),
    }
    nodes: list[NodeProto] = []
    reads: list[str] = []
    for i in range(case.data):
        nodes.append(helper.make_node("QuantizeLinear", [f"x{i}", "scale", "zero"], [f"x{i}.q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"x{i}.q", "scale", "zero"], [f"x{i}.d"]))
        reads.append(f"x{i}.d")
    for i, data in enumerate(case.weights):
        initializers |= {f"w{i}": data, "w.scale": np.float32(WEIGHT_SCALE), "w.zero": np.int8(0)}
        nodes.append(helper.make_node("DequantizeLinear", [f"w{i}", "w.scale", "w.zero"], [f"w{i}.d"]))
        reads.append(f"w{i}.d")
    for i, constant in enumerate(case.constants):
        reads.append(OPTIONAL if isinstance(constant, str) else f"c{i}")
        if not isinstance(constant, str):
            initializers[f"c{i}"] = constant
    made = [f"y{i}" for i in range(case.outputs)]
    nodes.append(helper.make_node(case.op, reads, made, **case.attributes))
    for y in made:
        nodes.append(helper.make_node("QuantizeLinear", [y, "out_scale", "zero"], [f"{y}.q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{y}.q", "out_scale", "zero"], [f"{y}.d"]))
    graph = helper.make_graph(
        nodes,
        case.op,
        [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, case.shape) for i in range(case.data)],
        [helper.make_tensor_value_info(f"{y}.d", TensorProto.FLOAT, None) for y in made],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in initializers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def optimized(proto: ModelProto) -> list[str]:
    """The operators of the graph that onnxruntime makes of the model."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        make_session(proto.SerializeToString(), threads=1, optimized=path)
        return [node.op_type for node in onnx.load(path).graph.node]


def gives_the_same(proto: ModelProto, case: Case) -> bool:
    """Whether the graph that onnxruntime makes of the model gives what the model says, to one code of the output."""
    plain = onnxruntime.SessionOptions()
    plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    sessions = (
        onnxruntime.InferenceSession(proto.SerializeToString(), plain, providers=["CPUExecutionProvider"]),
        make_session(proto.SerializeToString(), threads=1),
    )
    random = np.random.default_rng(0)
    inputs = {f"x{i}": random.uniform(-2, 2, case.shape).astype(np.float32) for i in range(case.data)}
    wanted, got = (session.run(None, inputs) for session in sessions)
    return all(np.abs(a - b).max() <= 1.01 * OUTPUT_SCALE for a, b in zip(wanted, got, strict=True))


def is_integer(operators: list[str], case: Case) -> bool:
    """Whether nothing but the Q of each input and the DQ of each output is left around the operator."""
    return operators.count("QuantizeLinear") == case.data and operators.count("DequantizeLinear") == case.outputs


@dataclass(frozen=True)
class Verdict:
    """What became of an operator.

    found : whether it is integer, in uint8 and in int8
    believed : whether the profile takes it for integer
    runs_as : the operators that onnxruntime runs in its place, in uint8
    remark : why the profile differs, where it does so on purpose
    """

    found: tuple[bool, bool]
    believed: bool
    runs_as: str
    remark: str

    @property
    def as_expected(self) -> bool:
        """Whether onnxruntime does what the profile says; the contrary, where the profile differs on purpose."""
        expected = self.believed != bool(self.remark)
        return self.found == (expected, expected)


def judge(case: Case) -> Verdict:
    """Try the operator."""
    protos = [model(case, dtype) for dtype in DTYPES]
    left = [optimized(proto) for proto in protos]
    found = [is_integer(ops, case) and gives_the_same(proto, case) for ops, proto in zip(left, protos, strict=True)]
    believed = case.op in find_target("onnx").policy.integer_ops and case.attributes.get("mode") != "linear"
    remark = CHOSEN_FLOAT.get(case.op, "absorbed by the quantization behind it" if case.op in ABSORBED else "")
    return Verdict((found[0], found[1]), believed, " ".join(op for op in left[0] if op not in QDQ), remark)


def untried() -> list[str]:
    """The operators that the profile takes for integer and that have no case here."""
    return sorted(find_target("onnx").policy.integer_ops - {case.op for case in CASES})


def main() -> int:
    """Print the table; 1 if the profile says otherwise."""
    print(f"onnxruntime {onnxruntime.__version__}\n")
    print(f"{'operator':<28}{'uint8':<9}{'int8':<9}{'profile':<9}runs as (uint8)")
    wrong = []
    for case in CASES:
        name = f"{case.op} ({case.attributes['mode']})" if "mode" in case.attributes else case.op
        verdict = judge(case)
        words = ["integer" if each else "float" for each in (*verdict.found, verdict.believed)]
        remark = f"  ({verdict.remark})" if verdict.remark else ""
        print(f"{name:<28}{words[0]:<9}{words[1]:<9}{words[2]:<9}{verdict.runs_as}{remark}")
        if not verdict.as_expected:
            wrong.append(name)
    for name in wrong:
        print(f"\n{name}: backends/onnx/profiles.py says otherwise; put it right there")
    for name in untried():
        print(f"\n{name} is in backends/onnx/profiles.py and has no case here; add one")
    return 1 if wrong or untried() else 0


if __name__ == "__main__":
    sys.exit(main())

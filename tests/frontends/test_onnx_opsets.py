"""A model of any opset from 7 on computes, once it is read, what onnxruntime makes of the original file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from irc.execution import Executable
from irc.frontends.onnx import read_onnx
from irc.graph import Graph
from irc.proto.writer import model_proto
from irc.verify import verify

Array = npt.NDArray[Any]
Arrays = dict[str, Array]

IR_VERSIONS = {
    7: 3,
    8: 3,
    9: 4,
    10: 5,
    11: 6,
    12: 7,
    15: 8,
    19: 9,
    21: 10,
    23: 11,
    24: 12,
    26: 13,
}  # onnx's Versioning.md
NEWEST = 28
RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((2, 3, 4, 5)).astype(np.float32)
BLOCKS = RANDOM.random((1, 8, 2, 3)).astype(np.float32)
SEQUENCE = RANDOM.random((5, 2, 3)).astype(np.float32)
WIDE = RANDOM.standard_normal((1, 1, 11, 13)).astype(np.float32)
PADS = [0, 0, 1, 2, 0, 0, 2, 1]


def weights(*shape: int) -> Array:
    return RANDOM.standard_normal(shape).astype(np.float32)


def floats(*values: float) -> Array:
    return np.array(values, np.float32)


def model(opset: int, nodes: Sequence[onnx.NodeProto], feed: Arrays, constants: Arrays) -> onnx.ModelProto:
    """A valid model of that opset's time: in IR version 3 initializers are inputs too."""
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in feed.items()],
        [],
        [onnx.numpy_helper.from_array(a, n) for n, a in constants.items()],
    )
    version = IR_VERSIONS[max(o for o in IR_VERSIONS if o <= opset)]
    if version < 4:
        graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in graph.initializer)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=version)
    made.graph.output.extend(onnx.ValueInfoProto(name=o) for n in nodes for o in n.output if o[0] == "y")
    for value, array in zip(made.graph.output, run(made, feed), strict=True):
        dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
        value.CopyFrom(helper.make_tensor_value_info(value.name, dtype, array.shape))
    onnx.checker.check_model(made)
    return made


def run(proto: onnx.ModelProto, feed: Arrays) -> list[Array]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feed))


def read_and_compare(opset: int, nodes: Sequence[onnx.NodeProto], feed: Arrays, constants: Arrays) -> Graph:
    """The graph read, whose export and execution must both agree with onnxruntime on the original."""
    original = model(opset, nodes, feed, constants)
    wanted = run(original, feed)
    graph = read_onnx(original)
    verify(graph)
    ours = model_proto(graph)
    onnx.checker.check_model(ours)
    for got in (run(ours, feed), list(Executable(graph).run_numpy(feed).values())):
        for a, b in zip(got, wanted, strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    return graph


def node(op: str, inputs: str, outputs: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, [i if i != "_" else "" for i in inputs.split()], outputs.split(), **attributes)


# ---- name: (first opset, last opset, nodes, inputs, constants); X alone is the input where none is given

Case = tuple[int, int, list[onnx.NodeProto], Arrays, Arrays]
CASES: dict[str, Case] = {}


def case(
    name: str, opsets: tuple[int, int], *nodes: onnx.NodeProto, feed: Arrays | None = None, **constants: Any
) -> None:
    CASES[name] = (*opsets, list(nodes), feed or {"x": X}, constants)


NORM: dict[str, Any] = {
    "s": RANDOM.random(3).astype(np.float32),
    "b": weights(3),
    "m": weights(3),
    "v": RANDOM.random(3).astype("f") + 1,
}

case("softmax", (7, NEWEST), node("Softmax", "x", axis=1))
case("softmax by default", (7, NEWEST), node("Softmax", "x"))
case("log-softmax by default", (7, NEWEST), node("LogSoftmax", "x"))
case("hardmax", (7, NEWEST), node("Hardmax", "x"))
case("dropout 7", (7, 11), node("Dropout", "x", ratio=0.3))
case("dropout 12", (12, NEWEST), node("Dropout", "x"))
case("dropout's mask", (10, 11), node("Dropout", "x", "y y2"))
case("batch norm", (7, NEWEST), node("BatchNormalization", "x s b m v", epsilon=1e-3), **NORM)
case("batch norm 7, spatial", (7, 8), node("BatchNormalization", "x s b m v", spatial=1), **NORM)
case("upsample 7, nearest", (7, 8), node("Upsample", "x", scales=[1.0, 1.0, 2.0, 3.0]))
case("upsample 7, linear", (7, 8), node("Upsample", "x", scales=[1.0, 1.0, 2.0, 3.0], mode="linear"))
case("upsample 9, nearest", (9, 9), node("Upsample", "x r"), r=floats(1, 1, 1.5, 1.3))
case("upsample 9, linear", (9, 9), node("Upsample", "x r", mode="linear"), r=floats(1, 1, 2, 3))
case("upsample 9 by an input", (9, 9), node("Upsample", "x r"), feed={"x": X, "r": floats(1, 1, 1.5, 1.3)})
for mode in ("nearest", "linear"):
    case(f"resize 10 up, {mode}", (10, 10), node("Resize", "x r", mode=mode), r=floats(1, 1, 1.5, 1.3))
    case(
        f"resize 10 down, {mode}",
        (10, 10),
        node("Resize", "x r", mode=mode),
        r=floats(1, 1, 0.6, 0.7),
        feed={"x": WIDE},
    )
    case(f"resize 10 up and down, {mode}", (10, 10), node("Resize", "x r", mode=mode), r=floats(1, 1, 0.6, 1.3))
    case(f"resize 11, {mode}", (11, NEWEST), node("Resize", "x e r", mode=mode), e=floats(), r=floats(1, 1, 2, 3))
case("resize 10 far up", (10, 10), node("Resize", "x r"), r=floats(1, 1, 1.6, 2.7), feed={"x": WIDE})
case("resize 10 by an input", (10, 10), node("Resize", "x r"), feed={"x": WIDE, "r": floats(1, 1, 0.6, 0.7)})
case("clip 6", (7, 10), node("Clip", "x", min=-0.5, max=0.25))
case("clip 6, one side", (7, 10), node("Clip", "x", min=-0.5))
case("clip 11", (11, NEWEST), node("Clip", "x lo hi"), lo=np.array(-0.5, "f"), hi=np.array(0.25, "f"))
case("slice 1", (7, 9), node("Slice", "x", axes=[1, 3], starts=[1, -3], ends=[3, 100]))
case("slice 1, first axes", (7, 9), node("Slice", "x", starts=[0, 1], ends=[1, 3]))
case(
    "slice 10",
    (10, NEWEST),
    node("Slice", "x f t a p"),
    f=np.array([3]),
    t=np.array([-9]),
    a=np.array([2]),
    p=np.array([-1]),
)
for mode in ("constant", "reflect", "edge"):
    case(f"pad 2, {mode}", (7, 10), node("Pad", "x", pads=PADS, mode=mode, value=1.5))
    case(f"pad 11, {mode}", (11, NEWEST), node("Pad", "x p", mode=mode), p=np.array(PADS))
case("squeeze 1", (7, 12), node("Unsqueeze", "x", "u", axes=[0, 2]), node("Squeeze", "u", axes=[0]))
case(
    "squeeze 13",
    (13, NEWEST),
    node("Unsqueeze", "x a", "u"),
    node("Squeeze", "u b"),
    a=np.array([0, 2]),
    b=np.array([0]),
)
for kind in ("Mean", "Max", "L2", "LogSumExp", "Prod"):
    case(f"reduce {kind}", (7, 17), node(f"Reduce{kind}", "x", axes=[1, 3], keepdims=0))
case("reduce sum 1", (7, 12), node("ReduceSum", "x", axes=[1, 3], keepdims=0))
case("reduce all", (7, NEWEST), node("ReduceSum", "x", keepdims=1))
case("split 2", (7, 12), node("Split", "x", "y y2", axis=3, split=[2, 3]))
case("split equally", (7, 17), node("Split", "x", "y y2", axis=2))
case("top-k 1", (7, 9), node("TopK", "x", "y y2", k=2, axis=3))
case("top-k 10", (10, 10), node("TopK", "x k", "y y2", axis=1), k=np.array([2]))
case(
    "gemm", (7, NEWEST), node("Gemm", "x w b", transB=1, alpha=0.5), feed={"x": X[0, 0]}, w=weights(6, 5), b=weights(6)
)
case("average pool", (7, NEWEST), node("AveragePool", "x", kernel_shape=[2, 2], pads=[1] * 4, count_include_pad=1))
case("max pool", (7, NEWEST), node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER"))
case("conv", (7, NEWEST), node("Conv", "x w", pads=[1] * 4), w=weights(4, 3, 3, 3))
case("conv transpose", (7, NEWEST), node("ConvTranspose", "x w", strides=[2, 2]), w=weights(3, 4, 3, 3))
case("prelu", (7, NEWEST), node("PRelu", "x w"), w=weights(3, 1, 1))
case("cast", (7, NEWEST), node("Cast", "x", to=TensorProto.INT32))
case("depth to space", (7, NEWEST), node("DepthToSpace", "x", blocksize=2), feed={"x": BLOCKS})
case("scatter 9", (9, 10), node("Scatter", "x i u", axis=1), i=np.array([[[[0, 1]]]]), u=weights(1, 1, 1, 2))
case(
    "group norm 21",
    (21, NEWEST),
    node("GroupNormalization", "x s b", num_groups=2),
    feed={"x": BLOCKS},
    s=weights(8),
    b=weights(8),
)
case("lstm", (7, NEWEST), node("LSTM", "x w r b", "y y2", hidden_size=4), feed={"x": SEQUENCE},
     w=weights(1, 16, 3), r=weights(1, 16, 4), b=weights(1, 32))  # fmt: skip
case("roi align", (10, 20), node("RoiAlign", "x r i", output_height=3, output_width=3, sampling_ratio=2),
     r=np.array([[0, 0, 3, 3], [1, 1, 4, 3.5]], np.float32), i=np.array([0, 1]))  # fmt: skip
case("grid sample", (16, NEWEST), node("GridSample", "x g"), g=RANDOM.uniform(-1, 1, (2, 3, 3, 2)).astype("f"))
case("dft 17", (17, 19), node("DFT", "x", axis=2), feed={"x": X[..., :1]})
case(
    "quantize",
    (10, 27),
    node("QuantizeLinear", "x s z", "q"),
    node("DequantizeLinear", "q s z"),
    s=np.array(0.1, "f"),
    z=np.array(3, np.int8),
)


def in_body(op: str, extra: str = "", **attributes: Any) -> onnx.NodeProto:
    """An If both of whose branches do the op."""
    branches = {
        f"{key}_branch": helper.make_graph(
            [node(op, f"x {extra}", f"o_{key}", **attributes)], key, [], [onnx.ValueInfoProto(name=f"o_{key}")]
        )
        for key in ("then", "else")
    }
    for branch in branches.values():
        branch.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    return node("If", "c", **branches)


IF = {"x": X, "c": np.array(True)}
case("if: softmax", (11, NEWEST), in_body("Softmax", axis=1), feed=IF)
case("if: softmax by default", (11, NEWEST), in_body("Softmax"), feed=IF)
case("if: hardmax", (11, NEWEST), in_body("Hardmax"), feed=IF)
case("if: unsqueeze 11", (11, 12), in_body("Unsqueeze", axes=[0]), feed=IF)
case("if: squeeze 11", (11, 12), in_body("Squeeze", axes=[0]), feed=IF | {"x": X[:1]})
case("if: reduce sum 11", (11, 12), in_body("ReduceSum", axes=[0]), feed=IF)
case("if: clip 6", (7, 10), in_body("Clip", min=0.0, max=0.5), feed=IF)
case("if: dropout 7", (7, 11), in_body("Dropout", ratio=0.4), feed=IF)
case("if: batch norm", (9, NEWEST), in_body("BatchNormalization", "s b m v"), feed=IF, **NORM)


@pytest.mark.parametrize(
    ("name", "opset"),
    [(n, o) for n, (first, last, *_) in CASES.items() for o in sorted({first, last, max(first, min(last, 20))})],
)
def test_ends_of_the_range(name: str, opset: int) -> None:
    _, _, nodes, feed, constants = CASES[name]
    read_and_compare(opset, nodes, feed, constants)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_opset(name: str) -> None:
    first, last, nodes, feed, constants = CASES[name]
    for opset in range(first, last + 1):
        read_and_compare(opset, nodes, feed, constants)


@pytest.mark.parametrize("opset", range(7, NEWEST + 1))
def test_models_are_raised_to_21_and_newer_ones_stay(opset: int) -> None:
    graph = read_and_compare(opset, [node("Relu", "x")], {"x": X}, {})
    assert graph.info.opsets == {"": max(opset, 21)}
    assert graph.info.notes == ()


def test_a_raised_upsample_is_a_typed_resize() -> None:
    graph = read_and_compare(9, [node("Upsample", "x r")], {"x": X}, {"r": floats(1, 1, 1.5, 1.3)})
    assert [type(n.op).__name__ for n in graph] == ["Resize"]
    assert graph.info.opsets == {"": 21}


@pytest.mark.parametrize("opset", [7, 9, 10])
def test_resizes_in_the_middle_are_raised(opset: int) -> None:
    if opset == 7:
        up, constants = node("Upsample", "x", "up", scales=[1.0, 1.0, 1.5, 1.3]), {}
    else:
        up = node("Upsample" if opset == 9 else "Resize", "x r", "up")
        constants = {"r": floats(1, 1, 1.5, 1.3)}
    nodes = [up, node("Relu", "up", "a")]
    if opset == 10:
        nodes += [node("Resize", "a q", "down"), node("Relu", "down")]
        constants["q"] = floats(1, 1, 0.6, 0.7)
    else:
        nodes[-1] = node("Relu", "up")
    graph = read_and_compare(opset, nodes, {"x": X}, constants)
    assert graph.info.opsets == {"": 21}
    modes = [getattr(n.op, "nearest_mode", "") for n in graph if n.op.name == "Resize"]
    assert modes == (["floor", "ceil"] if opset == 10 else ["floor"])


@pytest.mark.parametrize(
    ("name", "opset", "why"),
    [
        ("hardmax", 12, "Hardmax flattened its input before opset 13"),
        ("if: hardmax", 12, "Hardmax flattened its input before opset 13"),
        ("dropout's mask", 10, "Dropout's mask meant something else before opset 12"),
        ("resize 10 up and down, nearest", 10, "Resize 'y' may grow and shrink at once"),
        ("resize 10 by an input", 10, "Resize 'y' may grow and shrink at once"),
    ],
)
def test_what_the_converter_gets_wrong_stays_and_is_noted(name: str, opset: int, why: str) -> None:
    _, _, nodes, feed, constants = CASES[name]
    graph = read_and_compare(opset, nodes, feed, constants)
    assert graph.info.opsets == {"": opset}
    assert why in graph.info.notes[0]


def test_scan_8_stays() -> None:
    body = helper.make_graph(
        [node("Add", "s e", "s2"), node("Identity", "s2", "o")],
        "body",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [5]) for n in "se"],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [5]) for n in ("s2", "o")],
    )
    scan = node("Scan", "_ z x", "y y2", body=body, num_scan_inputs=1)
    graph = read_and_compare(8, [scan], {"x": X[0], "z": X[0, :, 0]}, {})
    assert "Scan meant something else before opset 9" in graph.info.notes[0]

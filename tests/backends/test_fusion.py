"""The fusion report says what onnxruntime really runs as integer, and why it does not run the rest so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import irc
from irc.backends.onnx.fusion import FusionReport, fusion_report
from irc.backends.registry import find_target
from irc.errors import ExecutionError
from irc.graph import Graph

GraphMaker = Callable[..., Graph]
ONNX = find_target("onnx")


@pytest.mark.parametrize(
    ("name", "summary", "inside"),
    [
        ("residual", "2 of 2 Conv, 1 of 1 Add", 0),
        ("concat", "2 of 2 Conv, 1 of 1 Gemm, 1 of 1 Concat", 0),
        ("depthwise", "2 of 2 Conv, 1 of 1 Gemm, 1 of 1 GlobalAveragePool", 0),
        ("branches", "3 of 3 Conv", None),
    ],
)
def test_all_is_integer(
    name: str, summary: str, inside: int | None, net: GraphMaker, typical: Any
) -> None:
    graph = net(name)
    artifact = irc.compile(graph, "quantize", calibration=typical(graph))
    report: FusionReport = artifact.fusion
    assert report.summary().startswith(f"{summary} run as integer in onnxruntime; ")
    assert report.refused() == []
    if inside is not None:
        assert report.left_inside == inside
        assert 1 <= report.left_at_ends <= 2


def test_attention_runs_its_products_as_integer(net: GraphMaker, typical: Any) -> None:
    graph = net("attention")
    report: FusionReport = irc.compile(graph, "quantize", calibration=typical(graph)).fusion
    assert report.counts()["MatMul"] == (5, 5)
    assert [(n.name, n.op) for n in report.refused()] == [("add", "Add")]


def test_a_target_without_a_kernel(net: GraphMaker, typical: Any, tmp_path: Path) -> None:
    graph = net("transposed")
    path = tmp_path / "m.onnx"
    irc.compile(graph, "quantize", calibration=typical(graph)).save(path)
    report = fusion_report(path, ONNX)
    (refused,) = report.refused()
    assert refused.name == "up"
    assert refused.reason == "ConvTranspose has no integer kernel for target 'onnx'"
    assert f"  ConvTranspose 'up' runs in float: {refused.reason}" in str(report).splitlines()


class Model:
    """A QDQ model by hand, so that it can be wrong in one place."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.held: list[onnx.TensorProto] = []
        self.outputs = ["y"]
        self.constant("s", np.array(0.05, np.float32))
        self.constant("z", np.array(128, np.uint8))
        self.constant("sw", np.full(4, 0.01, np.float32))
        self.constant("zw", np.zeros(4, np.int8))
        self.constant("w8", np.ones((4, 4, 1, 1), np.int8))

    def constant(self, name: str, array: Any) -> None:
        self.held.append(numpy_helper.from_array(array, name))

    def add(self, op: str, inputs: str, output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(op, inputs.split(), [output], output, **attributes))

    def quantized(self, value: str) -> str:
        self.add("QuantizeLinear", f"{value} s z", f"{value}.q")
        self.add("DequantizeLinear", f"{value}.q s z", f"{value}.d")
        return f"{value}.d"

    def weight(self) -> str:
        self.add("DequantizeLinear", "w8 sw zw", "w", axis=0)
        return "w"

    def report(self, path: Path) -> FusionReport:
        shape: list[str | int | None] = ["N", 4, 8, 8]
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(o, TensorProto.FLOAT, shape) for o in self.outputs],
            self.held,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)
        return fusion_report(path, ONNX)


def reason(report: FusionReport, name: str) -> str:
    return next(n.reason for n in report.refused() if n.name == name)


def test_by_hand_all_is_well(tmp_path: Path) -> None:
    model = Model()
    model.add("Conv", f"{model.quantized('x')} {model.weight()}", "c")
    model.add("Identity", model.quantized("c"), "y")
    report = model.report(tmp_path / "m.onnx")
    assert report.counts() == {"Conv": (1, 1)}
    assert (report.left_at_ends, report.left_inside) == (2, 0)


def test_a_result_that_is_read_twice(tmp_path: Path) -> None:
    model = Model()
    model.add("Conv", f"{model.quantized('x')} {model.weight()}", "c")
    model.add("Softmax", "c", "f")
    model.add("Add", f"{model.quantized('c')} f", "y")
    report = model.report(tmp_path / "m.onnx")
    assert reason(report, "c") == "its result is read by 2 nodes, not by one QuantizeLinear"
    assert reason(report, "y") == "input 1 ('f') is not quantized"


def test_a_result_that_goes_out(tmp_path: Path) -> None:
    model = Model()
    model.add("Conv", f"{model.quantized('x')} {model.weight()}", "y")
    report = model.report(tmp_path / "m.onnx")
    assert reason(report, "y") == "its result is an output of the graph; a QuantizeLinear must come between"


def test_a_result_that_is_not_quantized(tmp_path: Path) -> None:
    model = Model()
    model.add("Conv", f"{model.quantized('x')} {model.weight()}", "c")
    model.add("Softmax", "c", "y")
    assert reason(model.report(tmp_path / "m.onnx"), "c") == "its result goes to Softmax, not to a QuantizeLinear"


def test_inputs_that_are_not_quantized(tmp_path: Path) -> None:
    model = Model()
    model.add("Conv", f"x {model.weight()}", "c")
    model.add("Identity", model.quantized("c"), "y")
    assert reason(model.report(tmp_path / "m.onnx"), "c") == "input 0 ('x') is not quantized"


def test_a_float_island_is_inside_and_not_at_an_end(tmp_path: Path) -> None:
    model = Model()
    model.add("Conv", f"{model.quantized('x')} {model.weight()}", "c")
    model.add("Exp", model.quantized("c"), "f")
    model.add("Conv", f"{model.quantized('f')} w", "d")
    model.add("Identity", model.quantized("d"), "y")
    report = model.report(tmp_path / "m.onnx")
    assert report.counts() == {"Conv": (2, 2)}
    assert (report.left_at_ends, report.left_inside) == (2, 2)  # around the Exp: one DQ and one Q


def test_a_file_that_onnxruntime_refuses(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no model")
    with pytest.raises(ExecutionError, match="onnxruntime refuses the model"):
        fusion_report(tmp_path / "m.onnx", ONNX)


def test_a_model_without_anything_to_quantize(net: GraphMaker) -> None:
    float_report: FusionReport = irc.compile(net("residual"), passes=[]).fusion
    assert float_report.counts() == {"Conv": (0, 2), "Add": (0, 1)}
    assert {n.reason for n in float_report.refused() if n.op == "Conv"} >= {"input 0 ('x') is not quantized"}

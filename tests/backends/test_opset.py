"""A model is written at the opset that was asked for, or refused with the reason; it computes the same at every one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import irc
from irc.backends.registry import find_target
from irc.errors import OptionError
from irc.graph import Graph
from irc.target import IntegerFormat, Target

GraphMaker = Callable[..., Graph]
NEWEST = onnx.defs.onnx_opset_version()
RUNNABLE = 25  # the newest that every onnxruntime this project allows can run


@pytest.mark.parametrize("opset", range(13, NEWEST + 1))
@pytest.mark.parametrize("name", ["residual", "concat", "depthwise"])
def test_every_opset_from_13(
    name: str, opset: int, net: GraphMaker, typical: Any, tmp_path: Path, in_onnxruntime: Any
) -> None:
    graph = net(name)
    samples = typical(graph)
    path, own = tmp_path / "m.onnx", tmp_path / "own.onnx"
    irc.compile(graph, "quantize", calibration=samples, opset=opset).save(path)
    irc.compile(graph, "quantize", calibration=samples).save(own)
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path)
    assert {o.domain: o.version for o in model.opset_import} == {"": opset}
    assert [v.name for v in (*model.graph.input, *model.graph.output)] == ["x", "y"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    if opset <= RUNNABLE:
        np.testing.assert_array_equal(
            in_onnxruntime(path, samples[0])["y"], in_onnxruntime(own, samples[0])["y"]
        )


@pytest.mark.parametrize("opset", [7, 10, 12])
def test_too_old_for_a_scale_per_channel(opset: int, net: GraphMaker, typical: Any) -> None:
    graph = net("residual")
    with pytest.raises(OptionError, match=r"at least 13|cannot be brought to opset"):
        irc.compile(graph, "quantize", calibration=typical(graph), opset=opset)


@pytest.mark.parametrize("opset", [0, 6, NEWEST + 1, -1])
def test_an_opset_that_does_not_exist(opset: int, net: GraphMaker) -> None:
    with pytest.raises(OptionError, match=f"opset {opset} is not known; this onnx knows 7 to {NEWEST}"):
        irc.compile(net("residual"), passes=[], opset=opset)


@pytest.mark.parametrize(("bits", "name"), [(4, "int4"), (16, "int16")])
def test_widths_that_an_old_opset_does_not_have(bits: int, name: str, net: GraphMaker, typical: Any) -> None:
    policy = replace(find_target("onnx").policy, weight=IntegerFormat(bits=bits))
    graph = net("residual")
    target = Target("custom", "onnx", "", policy)
    with pytest.raises(OptionError, match=f"opset 19.*{name}.*21"):
        irc.compile(graph, "quantize", calibration=typical(graph), target=target, opset=19)


def test_an_operator_that_an_old_opset_does_not_have(net: GraphMaker, typical: Any) -> None:
    graph = net("attention")  # Gelu is of opset 20
    with pytest.raises(OptionError, match="cannot be brought to opset 17"):
        irc.compile(graph, "quantize", calibration=typical(graph), opset=17)


def test_functions_are_not_lost() -> None:
    twice = onnx.helper.make_node("Add", ["x", "x"], ["y"])
    function = onnx.helper.make_function("own", "Twice", ["x"], ["y"], [twice], [onnx.helper.make_opsetid("", 18)])
    x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [2]) for n in "xy")
    model = onnx.helper.make_model(
        onnx.helper.make_graph([onnx.helper.make_node("Twice", ["x"], ["y"], domain="own")], "main", [x], [y]),
        opset_imports=[onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("own", 1)],
        functions=[function],
        ir_version=10,
    )
    sample = np.array([1, 2], np.float32)
    np.testing.assert_array_equal(irc.compile(model, [], opset=18)(sample), 2 * sample)
    with pytest.raises(OptionError, match="cannot be brought to opset 21: it has functions"):
        irc.compile(model, [], opset=21)


def test_a_float_model_may_be_older(net: GraphMaker, typical: Any, tmp_path: Path, in_onnxruntime: Any) -> None:
    graph = net("residual")
    sample = typical(graph)[0]
    irc.compile(graph, passes=[], opset=9).save(tmp_path / "old.onnx")
    irc.compile(graph, passes=[]).save(tmp_path / "own.onnx")
    assert onnx.load(tmp_path / "old.onnx").opset_import[0].version == 9
    np.testing.assert_array_equal(
        in_onnxruntime(tmp_path / "old.onnx", sample)["y"], in_onnxruntime(tmp_path / "own.onnx", sample)["y"]
    )

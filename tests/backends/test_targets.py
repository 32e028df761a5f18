"""Targets are data: found by name, and able to say what they cannot run before anything is built."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

import onnx
import pytest
import torch
from typer.testing import CliRunner

import irc
from irc.backends import registry
from irc.backends.registry import all_targets, find_target
from irc.cli.app import app
from irc.errors import OptionError
from irc.graph import Graph
from irc.op import Op, QuantKind
from irc.ops.fake_quant import FakeQuant
from irc.ops.onnx_op import OnnxOp
from irc.passes import InsertFakeQuant
from irc.passes.context import plain_context
from irc.target import IntegerFormat, Target
from irc.types import tensor

GraphMaker = Callable[..., Graph]


def graph_of(op: Op) -> Graph:
    graph = Graph()
    x = graph.add_input("x", tensor("f32", 2, 3))
    graph.add_output(graph.insert(op, [x], name="node", types=[tensor("f32", 2, 3)]).output, "y")
    return graph


def test_the_five_of_onnx() -> None:
    assert list(all_targets())[:5] == ["onnx", "onnx:arm", "onnx:tensorrt", "onnx:openvino", "onnx:qnn"]
    for name, target in all_targets().items():
        assert target.name == name
        known = {n for (domain, n), cls in Op.registry.items() if not domain}
        assert target.policy.integer_ops <= known  # no misspelt operator


def test_every_integer_operator_has_a_role() -> None:
    """An operator that is FLOAT on its class would never be quantized, whatever the target's table says."""
    for target in all_targets().values():
        for name in target.policy.integer_ops:
            cls = Op.registry["", name]
            example = next(iter(cls.examples()))
            assert example.op.quant.kind is not QuantKind.FLOAT, (target.name, name)


@pytest.mark.parametrize("name", ["onnx", "onnx:arm", "onnx:tensorrt", "onnx:openvino", "onnx:qnn"])
def test_missing(name: str, net: GraphMaker, net_names: tuple[str, ...]) -> None:
    target = find_target(name)
    for each in net_names:
        assert target.missing(net(each)) == []
    assert target.missing(graph_of(OnnxOp("com.microsoft", "FastGelu", 1))) == []
    assert target.missing(graph_of(OnnxOp("ai.onnx.ml", "Normalizer", 1))) == []
    for op in (OnnxOp("my.domain", "Mystery", 1), OnnxOp("", "Mystery", 21)):
        graph = graph_of(op)
        assert target.missing(graph) == [graph.node("node")]


def test_a_models_own_functions_are_not_missing() -> None:
    function = onnx.helper.make_function("my.domain", "Mystery", ["a"], ["b"], [], [onnx.helper.make_opsetid("", 21)])
    graph = graph_of(OnnxOp("my.domain", "Mystery", 1))
    graph.info.functions = (function.SerializeToString(),)
    assert find_target("onnx").missing(graph) == []


def test_a_target_that_says_nothing_takes_everything() -> None:
    assert Target("t", "onnx", "").missing(graph_of(OnnxOp("my.domain", "Mystery", 1))) == []
    only = Target("t", "onnx", "", takes=lambda op: op.name == "Relu")
    assert [n.name for n in only.missing(graph_of(OnnxOp("my.domain", "Mystery", 1)))] == ["node"]


def test_what_is_missing_is_noted_and_not_refused() -> None:
    graph = graph_of(OnnxOp("my.domain", "Mystery", 1))
    graph.info.opsets["my.domain"] = 1
    artifact = irc.compile(graph, passes=[])
    assert "my.domain.Mystery 'node' is not defined by ONNX or onnxruntime" in str(artifact.report)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("onnx:amr", "there is no target 'onnx:amr'; did you mean 'onnx:arm'?"),
        ("xyz", "there is no target 'xyz'; there are onnx, onnx:arm, "),
    ],
)
def test_an_unknown_target(name: str, said: str) -> None:
    with pytest.raises(OptionError) as caught:
        find_target(name)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("value", "said"), [("no_such_module:T", "cannot be loaded"), ("json:dumps", "is not an irc.target.Target")]
)
def test_a_bad_entry_point(value: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = [EntryPoint("thing", value, "irc.targets")]
    monkeypatch.setattr(registry, "entry_points", lambda group: found)
    all_targets.cache_clear()
    try:
        with pytest.raises(OptionError, match=said):
            all_targets()
    finally:
        all_targets.cache_clear()


@pytest.mark.parametrize(
    ("format", "codes"),
    [
        (IntegerFormat(), (-128, -127, 127)),
        (IntegerFormat(symmetric=False), (-128, -128, 127)),
        (IntegerFormat(signed=False, symmetric=False), (0, 0, 255)),
        (IntegerFormat(bits=4), (-8, -7, 7)),
        (IntegerFormat(bits=16, signed=False), (0, 0, 65535)),
    ],
)
def test_codes_of_a_format(format: IntegerFormat, codes: tuple[int, int, int]) -> None:
    assert (format.qmin, format.narrow_qmin, format.qmax) == codes


@pytest.mark.parametrize("name", sorted(all_targets()))
def test_the_codes_that_are_shown_are_those_that_are_inserted(name: str, net: GraphMaker) -> None:
    graph = net("residual")
    InsertFakeQuant().run(graph, plain_context(graph, target=find_target(name)))
    fakes = [(n.constant(0) is not None, n.op) for n in graph if isinstance(n.op, FakeQuant)]
    shown = CliRunner().invoke(app, ["targets", name]).output.splitlines()
    for is_weight, title in ((False, "activations"), (True, "weights")):
        (line,) = [text for text in shown if text.startswith(title)]
        found = {f"codes {op.qmin} to {op.qmax}" for constant, op in fakes if constant is is_weight}
        assert len(found) == 1
        assert found.pop() in line


def test_a_kind_that_no_backend_writes(net: GraphMaker) -> None:
    with pytest.raises(OptionError, match="of kind 'fpga', which no backend writes"):
        irc.compile(net("residual"), passes=[], target=Target("mine", "fpga", ""))


class Halves(torch.nn.Module):
    """A convolution, and a pooling that says where its maxima were."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3)
        self.pool = torch.nn.MaxPool2d(2, return_indices=True)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pooled: tuple[torch.Tensor, torch.Tensor] = self.pool(self.conv(x))
        return pooled


@pytest.mark.parametrize(("dtype", "wanted"), [(torch.float32, ["MaxPool"]), (torch.float16, ["Conv", "MaxPool"])])
def test_c_misses_what_quantization_could_not_help(dtype: torch.dtype, wanted: list[str]) -> None:
    """Ops that have a rule in float32 without further outputs are named where they are something else."""
    graph = irc.load(Halves().eval().to(dtype), torch.zeros(1, 3, 8, 8, dtype=dtype))
    missing = find_target("c:portable").missing(graph)
    assert [node.op.name for node in missing] == wanted
    assert all(graph.node(node.name) is node for node in missing)

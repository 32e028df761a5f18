"""`compile`, `load` and `open` take every kind of model, and what they give runs, reports and saves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import fx, nn

import irc
from irc.errors import DataError, IrcError, ModelError, OptionError
from irc.graph import Graph
from irc.passes.quantize import Quantize
from irc.passes.simplify import Simplify
from irc.report.ledger import DeclinedSite, Ledger, Row
from irc.report.report import Report
from irc.text import save_text
from irc.types import Array

GraphMaker = Callable[..., Graph]


class Network(nn.Module):
    """Two inputs, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3)
        self.linear = nn.Linear(4, 2)

    def forward(self, image: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = torch.relu(self.conv(image)).mean((2, 3))
        return self.linear(features) + bias, features


INPUTS = (torch.linspace(-1, 1, 192).reshape(1, 3, 8, 8), torch.tensor([[0.5, -0.5]]))


@pytest.fixture(scope="module")
def network() -> Network:
    return Network().eval()


@pytest.fixture(scope="module")
def onnx_file(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("api") / "network.onnx"
    irc.compile(network, passes=[], example_inputs=INPUTS).save(path)
    return path


def models(kind: str, network: Network, path: Path) -> Any:
    match kind:
        case "ExportedProgram":
            return torch.export.export(network, INPUTS)
        case "GraphModule":
            return fx.symbolic_trace(network)
        case "path":
            return path
        case "text of a path":
            return str(path)
        case "ModelProto":
            return onnx.load(path)
        case "Graph":
            return irc.load(path)
        case ".irc":
            text = path.with_suffix(".irc")
            save_text(irc.load(path), text)
            return text
    return network


KINDS = ["Module", "ExportedProgram", "GraphModule", "path", "text of a path", "ModelProto", "Graph", ".irc"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model(kind: str, network: Network, onnx_file: Path) -> None:
    model = models(kind, network, onnx_file)
    artifact = irc.compile(model, example_inputs=INPUTS if kind in ("Module", "GraphModule") else None)
    wanted = network(*INPUTS)
    for a, b in zip(artifact(*INPUTS), wanted, strict=True):
        np.testing.assert_allclose(a, b.detach().numpy(), atol=1e-5)


def test_what_is_no_model() -> None:
    with pytest.raises(ModelError, match="a dict is no model that irc knows"):
        irc.compile({}, passes=[])  # type: ignore[arg-type]


def test_ways_to_call(network: Network, onnx_file: Path) -> None:
    artifact = irc.compile(onnx_file, passes=[])
    names = [v.name for v in artifact.graph.inputs]
    arrays = [x.numpy() for x in INPUTS]
    ways = [
        artifact(*INPUTS),
        artifact(*arrays),
        artifact(tuple(arrays)),
        artifact(list(arrays)),
        artifact(dict(zip(names, arrays, strict=True))),
    ]
    for made in ways:
        assert isinstance(made, tuple)
        for a, b in zip(made, ways[0], strict=True):
            np.testing.assert_array_equal(a, b)


def test_one_output_comes_alone(net: GraphMaker, typical: Any) -> None:
    graph = net("residual")
    made = irc.compile(graph, passes=[])(typical(graph)[0]["x"])
    assert isinstance(made, np.ndarray)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((np.zeros((1, 3, 8, 8), np.float32),), "input '.*' is missing"),
        ((np.zeros((1, 3, 8, 8)), np.zeros((1, 2), np.float32)), "is float64, the model takes float32"),
        ((np.zeros((1, 3, 9, 8), np.float32), np.zeros((1, 2), np.float32)), r"has shape \[1, 3, 9, 8\]"),
        (({"nonsense": 1},), "the model has no input 'nonsense'"),
        ((1, 2, 3), "3 values for 2 inputs"),
    ],
)
def test_a_call_that_does_not_fit(arguments: tuple[Any, ...], said: str, onnx_file: Path) -> None:
    with pytest.raises(DataError, match=said):
        irc.compile(onnx_file, passes=[])(*arguments)


@pytest.mark.parametrize("target", ["onnx", "onnx:qnn"])
def test_open_brings_a_saved_artifact_back(target: str, net: GraphMaker, typical: Any, tmp_path: Path) -> None:
    graph = net("residual")
    samples = typical(graph)
    artifact = irc.compile(graph, "quantize", calibration=samples, target=target)
    artifact.save(tmp_path / "a.onnx")
    back = irc.open(tmp_path / "a.onnx")
    assert back.target is artifact.target
    np.testing.assert_array_equal(back(samples[0]), artifact(samples[0]))
    back.save(tmp_path / "b.onnx")
    again = irc.open(tmp_path / "b.onnx")
    np.testing.assert_array_equal(again(samples[0]), artifact(samples[0]))
    assert [r.name for r in back.report.rows] == ["opened"]


def test_open_takes_any_onnx_file(net: GraphMaker, typical: Any, tmp_path: Path) -> None:
    graph = net("residual")
    graph.info.metadata["irc.target"] = "a target of a package that is not here"
    path = tmp_path / "m.onnx"
    irc.compile(graph, passes=[]).save(path)
    model = onnx.load(path)
    for entry in model.metadata_props:
        if entry.key == "irc.target":
            entry.value = "vendor:chip"
    onnx.save(model, path)
    assert irc.open(path).target.name == "onnx"


@pytest.mark.parametrize("content", [b"", b"\x08\x0a\x12", b"not a model at all"])
def test_open_refuses_what_is_no_model(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelError):
        irc.open(tmp_path / "m.onnx")
    with pytest.raises(ModelError):
        irc.open(tmp_path / "nowhere.onnx")


def test_the_callers_graph_is_not_touched(net: GraphMaker, typical: Any) -> None:
    from irc.text import print_graph

    graph = net("residual")
    before = print_graph(graph)
    irc.compile(graph, "quantize", calibration=typical(graph))
    assert print_graph(graph) == before


def test_passes_as_text_or_as_objects(net: GraphMaker, typical: Any) -> None:
    graph = net("residual")
    samples = typical(graph)
    one = irc.compile(graph, "simplify, quantize{method=mse}", calibration=samples)
    two = irc.compile(graph, [Simplify(), Quantize(method="mse")], calibration=samples)
    np.testing.assert_array_equal(one(samples[0]), two(samples[0]))
    assert [r.name for r in one.report.rows] == ["original", "simplify", "quantize{method=mse}"]
    assert one.graph.info.metadata["irc.passes"] == two.graph.info.metadata["irc.passes"]


def test_evaluate_is_asked_after_every_pass_that_changed_something(net: GraphMaker, typical: Any) -> None:
    graph = net("residual")
    samples = typical(graph)

    def mean(run: Callable[[Any], Array]) -> float:
        return float(np.mean([run(s["x"]).mean() for s in samples]))

    report = irc.compile(graph, "simplify, quantize", calibration=samples, evaluate=mean).report
    metrics = [row.metric for row in report.rows]
    assert metrics[0] is not None
    assert metrics[1] is None
    assert metrics[2] is not None
    assert 0 < abs(metrics[2] - metrics[0]) < 0.05 * metrics[0]
    assert "metric" in str(report).splitlines()[0]
    assert f"{metrics[2]:.4f}" in str(report)


def test_print_after_shows_the_graph(net: GraphMaker, capsys: pytest.CaptureFixture[str]) -> None:
    irc.compile(net("residual"), "simplify, eliminate-dead", print_after=["simplify"])
    shown = capsys.readouterr().out
    assert shown.startswith("// after simplify\ngraph main(")
    assert "eliminate-dead" not in shown


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"passes": "quantise"}, OptionError),
        ({"target": "onyx"}, OptionError),
        ({"check": "all"}, OptionError),
        ({"print_after": ["simplify"], "passes": "eliminate-dead"}, OptionError),
        ({"passes": "quantize"}, DataError),
        ({"passes": "quantize", "calibration": []}, DataError),
        ({"passes": "quantize", "calibration": [np.zeros((1, 5, 8, 8), np.float32)]}, DataError),
        ({"passes": "quantize", "calibration": [np.zeros((1, 4, 8, 8))]}, DataError),
        ({"passes": "quantize", "calibration": np.zeros(())}, IrcError),
    ],
)
def test_what_compile_does_not_take(options: dict[str, Any], error: type[IrcError], net: GraphMaker) -> None:
    with pytest.raises(error):
        irc.compile(net("residual"), **options)


def test_the_report_reads_as_a_table() -> None:
    declined = [DeclinedSite(f"n{i}", "Conv", "too small") for i in range(3)]
    declined += [DeclinedSite(f"m{i}", "Add", f"reason {i}") for i in range(5)]
    rows = [Row("original", notes=["[bold]a note[/bold]"]), Row("prune{keep=[head]}", 1.234, declined=declined)]
    lines = str(Report(Ledger(rows))).splitlines()
    title = ["pass", "nodes", "parameters", "bytes", "MACs", "peak", "memory", "SQNR", "dB", "seconds"]
    assert lines[0].split() == title
    assert lines[2].startswith("prune{keep=[head]}")  # names are text and not markup
    assert lines[2].endswith("1.23")
    assert lines[3] == "original: [bold]a note[/bold]"
    assert lines[4] == "prune{keep=[head]}: left Conv 'n0' and 2 more: too small"
    assert lines[-1] == "prune{keep=[head]}: 3 more reasons in the ledger"
    assert Ledger(rows).declined("prune") == declined

"""Models of every kind are measured alike, whatever brings them; what cannot be measured is an error with a name."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import irc
from irc.analysis.energy import EnergyCosts
from irc.errors import DataError, ExecutionError, IrcError, ModelError, OptionError
from irc.text import save_text
from irc.types import Array
from tests.evaluation.conftest import Residual, classes, images

EXAMPLE = (torch.zeros(1, 3, 16, 16),)
QUIET: dict[str, Any] = {"latency": False}


def numbers(row: Any) -> tuple[Any, ...]:
    """What does not depend on how a model is stored."""
    return row.nodes, row.parameters, row.macs, row.peak_memory, row.activation_bytes


def test_a_module_a_graph_an_artifact_and_files_are_one_model(tmp_path: Path, module: Residual) -> None:
    artifact = irc.compile(module, "fold-constants, simplify", example_inputs=EXAMPLE)
    artifact.save(tmp_path / "a.onnx")
    save_text(artifact.graph, tmp_path / "a.irc")
    proto = onnx.load(tmp_path / "a.onnx")
    graph = irc.load(tmp_path / "a.onnx")
    made = irc.compare(tmp_path / "a.onnx", tmp_path / "a.irc", artifact, proto, graph, data=images(3), **QUIET)
    assert {numbers(row) for row in map(_frozen, made.rows)} == {numbers(_frozen(made.rows[0]))}
    assert [row.quality.sqnr_db for row in made.rows] == [None, *[math.inf] * 4]
    assert [row.quality.agreement for row in made.rows] == [None, *[1.0] * 4]
    beside = (tmp_path / "a.safetensors").stat().st_size
    assert made.rows[1].file_bytes == (tmp_path / "a.irc").stat().st_size + beside
    assert made.rows[2].file_bytes == (tmp_path / "a.onnx").stat().st_size
    assert made.to_dict()["models"][1]["sqnr_db"] == "exact"
    assert [row.name for row in made.rows][2:] == ["3: OnnxArtifact", "4: ModelProto", "5: Graph"]


def _frozen(row: Any) -> Any:
    return replace(row, macs=tuple(row.macs.items()))


def test_a_torch_module_with_its_example_inputs(module: Residual) -> None:
    made = irc.compare((module, EXAMPLE), module, example_inputs=EXAMPLE, names=["a", "b"], **QUIET)
    assert made.rows[0].parameters == made.rows[1].parameters == sum(p.numel() for p in module.parameters())
    assert [row.name for row in made.rows] == ["a", "b"]


def test_a_folder_of_c_and_its_artifact(tmp_path: Path, models: tuple[Path, Path], module: Residual) -> None:
    artifact = irc.compile(
        module, "fold-constants, simplify, quantize", example_inputs=EXAMPLE, calibration=images(), target="c:host"
    )
    artifact.save(tmp_path / "c")
    made = irc.compare(models[0], tmp_path / "c", artifact, data=images(), turns=1)
    folder, in_memory = made.rows[1:]
    size = sum(path.stat().st_size for path in (tmp_path / "c").rglob("*") if path.is_file())
    assert folder.file_bytes == in_memory.file_bytes == size
    assert numbers(_frozen(folder)) == numbers(_frozen(in_memory))
    assert folder.macs == {"int8": made.rows[0].all_macs}
    tensors = onnx.load(tmp_path / "c" / "model.onnx").graph.initializer
    assert folder.weight_bytes == sum(numpy_helper.to_array(t).nbytes for t in tensors)
    wanted = np.stack([irc.open(models[0])(x) for x in images()]).astype(np.float64)
    got = np.stack([artifact(x) for x in images()]).astype(np.float64)
    sqnr = 10 * np.log10((wanted**2).sum() / ((wanted - got) ** 2).sum())
    for row in (folder, in_memory):
        assert row.quality.sqnr_db == pytest.approx(sqnr, abs=0.01)  # one thread and several add in another order
        assert row.latency_ms is not None
        assert "C source" in row.notes[0]


def test_files_are_compiled_for_a_c_target(models: tuple[Path, Path]) -> None:
    made = irc.compare(*models, data=images(4), target="c:host", **QUIET)
    on_onnx = irc.compare(*models, data=images(4), **QUIET)
    assert [numbers(_frozen(row)) for row in made.rows] == [numbers(_frozen(row)) for row in on_onnx.rows]
    assert [row.file_bytes for row in made.rows] == [path.stat().st_size for path in models]
    assert made.rows[1].quality.sqnr_db == pytest.approx(on_onnx.rows[1].quality.sqnr_db, abs=3)  # other arithmetic


def test_external_data_counts_with_the_file(tmp_path: Path, models: tuple[Path, Path]) -> None:
    proto = onnx.load(models[0])
    path = tmp_path / "other" / "big.onnx"
    path.parent.mkdir()
    onnx.save(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (path.parent / "unrelated").write_bytes(bytes(100))
    row, inside = irc.compare(path, models[0], **QUIET).rows
    assert row.file_bytes == path.stat().st_size + (path.parent / "weights.bin").stat().st_size
    assert row.weight_bytes == inside.weight_bytes


def test_constants_in_nodes_and_of_four_bits_count(tmp_path: Path) -> None:
    codes = np.arange(-8, 7).astype(ml_dtypes.int4).reshape(5, 3)
    nodes = [
        helper.make_node("Constant", [], ["s"], value=numpy_helper.from_array(np.array(0.5, np.float32))),
        helper.make_node("DequantizeLinear", ["w", "s"], ["d"]),
        helper.make_node("MatMul", ["x", "d"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])],
        [numpy_helper.from_array(codes, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "m.onnx")
    (row,) = irc.compare(tmp_path / "m.onnx", **QUIET).rows
    assert row.weight_bytes == 8 + 4  # 15 codes of four bits, and a scale
    assert (row.parameters, row.macs, row.nodes) == (15, {"float32": 2 * 3 * 5}, 1)


def dynamic(path: Path) -> Path:
    """x (N, 4, T) -> MatMul with (T, T')... a model whose sizes depend on two symbols."""
    nodes = [helper.make_node("MatMul", ["x", "x2"], ["s"]), helper.make_node("MatMul", ["s", "w"], ["y"])]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x", TensorProto.FLOAT, ["N", "T", 8]), info("x2", TensorProto.FLOAT, ["N", 8, 4])],
        [info("y", TensorProto.FLOAT, ["N", "T", 6])],
        [numpy_helper.from_array(np.ones((4, 6), np.float32), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


def test_sizes_are_those_asked_for_or_of_the_first_sample_or_one(tmp_path: Path) -> None:
    path = dynamic(tmp_path / "m.onnx")

    def macs(n: int, t: int) -> dict[str, int]:
        return {"float32": n * t * 4 * 8 + n * t * 6 * 4}

    sample = {"x": np.ones((2, 5, 8), np.float32), "x2": np.ones((2, 8, 4), np.float32)}
    assert irc.compare(path, **QUIET).rows[0].macs == macs(1, 1)
    assert irc.compare(path, dims={"T": 7}, **QUIET).rows[0].macs == macs(1, 7)
    by_data = irc.compare(path, data=[sample], turns=1)
    assert by_data.rows[0].macs == macs(2, 5)
    assert by_data.dims == {"N": 2, "T": 5}
    assert "sizes: N=2, T=5" in str(by_data)
    both = irc.compare(path, data=[sample], dims={"T": 7}, turns=1)
    assert (both.rows[0].macs, both.rows[0].peak_memory) == (macs(2, 7), 4 * (2 * 7 * 8 + 2 * 8 * 4 + 2 * 7 * 4))
    with pytest.raises(OptionError, match="no dimension 'K'; they have N, T"):
        irc.compare(path, dims={"K": 7}, **QUIET)
    with pytest.raises(OptionError, match="cannot be 0"):
        irc.compare(path, dims={"T": 0}, **QUIET)


def test_shapes_that_the_sizes_do_not_tell_are_seen_when_it_runs(tmp_path: Path) -> None:
    """NonZero gives as many columns as the sample has numbers that are not zero."""
    nodes = [
        helper.make_node("NonZero", ["x"], ["n"]),
        helper.make_node("Cast", ["n"], ["c"], to=1),
        helper.make_node("MatMul", ["w", "c"], ["y"]),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x", TensorProto.FLOAT, [9])],
        [info("y", TensorProto.FLOAT, [6, None])],
        [numpy_helper.from_array(np.ones((6, 1), np.float32), "w")],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    seen = irc.compare(path, data=[np.array([0, 1, 2, 0, 3, 4, 0, 5, 6], np.float32)], **QUIET).rows[0]
    assert (seen.macs, seen.notes) == ({"float32": 6 * 6}, ())
    assert seen.peak_memory == 4 * 6 + 4 * 6 * 6  # what MatMul reads and gives


def test_models_of_other_inputs_are_compared_but_for_their_outputs(models: tuple[Path, Path], tmp_path: Path) -> None:
    path = dynamic(tmp_path / "m.onnx")
    made = irc.compare(models[0], path, data=images(2), turns=1)
    assert made.rows[1].quality.sqnr_db is None
    assert made.rows[1].latency_ms is not None  # on a made-up sample
    assert f"{path}: it is not run on the data: it takes 2 inputs, not 1" in str(made)


def test_outputs_of_another_shape_are_noted(models: tuple[Path, Path]) -> None:
    torch.manual_seed(1)
    other = nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 7)).eval()
    made = irc.compare(models[0], (other, EXAMPLE), data=images(2), labels=[0, 1], **QUIET)
    quality = made.rows[1].quality
    assert (quality.sqnr_db, quality.agreement) == (None, None)
    assert quality.accuracy == np.mean([k == label[0] for k, label in enumerate(classes(other, images(2)))])
    assert "is [1, 7], and [1, 10] in the first model; they are not compared" in quality.notes[0]


def test_inputs_of_other_names_go_by_place(models: tuple[Path, Path], tmp_path: Path) -> None:
    proto = onnx.load(models[0])
    old = proto.graph.input[0].name
    for node in proto.graph.node:
        node.input[:] = ["picture" if name == old else name for name in node.input]
    proto.graph.input[0].name = "picture"
    onnx.save(proto, tmp_path / "renamed.onnx")
    made = irc.compare(models[0], tmp_path / "renamed.onnx", data=images(2), turns=1)
    assert made.rows[1].quality.sqnr_db == math.inf


def test_labels_of_batches(models: tuple[Path, Path], module: Residual, tmp_path: Path) -> None:
    batches = images(3, batch=4)
    example = (torch.zeros(4, 3, 16, 16),)
    labels = classes(module, batches)
    labels[1] = (labels[1] + np.array([1, 0, 3, 0])) % 10
    made = irc.compare((module, example), data=iter(batches), labels=iter(labels), **QUIET)  # data that is read once
    assert made.rows[0].quality.accuracy == 10 / 12
    assert made.samples == 3


class Nan(nn.Module):
    """Gives NaN in the place of a score."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.log(x.mean((2, 3)) * 0 - 1)


def test_scores_that_are_nan_are_never_right(tmp_path: Path) -> None:
    made = irc.compare((Nan(), EXAMPLE), (Nan(), EXAMPLE), data=images(2), labels=[0, 0], **QUIET)
    assert [row.quality.accuracy for row in made.rows] == [0, 0]
    assert made.rows[1].quality.agreement == 0


def test_a_metric_that_is_nan_is_shown(models: tuple[Path, Path]) -> None:
    values = iter([0.5, math.nan])
    made = irc.compare(*models, evaluate=lambda run: next(values), names=["a", "b"], **QUIET)
    assert [str(each) for each in (row.metric for row in made.rows)] == ["0.5", "nan"]
    assert made.to_dict()["models"][1]["metric"] == "nan"
    assert str(made).splitlines()[1].split() == ["metric", "0.5000", "nan"]


def test_types_without_a_cost_leave_the_energy_open(models: tuple[Path, Path]) -> None:
    made = irc.compare(*models, energy=EnergyCosts(mac={"int8": 1.0}), **QUIET)
    assert made.rows[0].energy is None
    assert made.rows[1].energy is not None
    assert "there is no energy cost for one of float32" in str(made)


def test_an_input_that_nobody_can_make_up_is_no_obstacle_to_counting(tmp_path: Path) -> None:
    nodes = [helper.make_node("SequenceAt", ["s", "i"], ["a"]), helper.make_node("MatMul", ["a", "w"], ["y"])]
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, [2, 3])
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_value_info("s", helper.make_sequence_type_proto(tensor))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 5])],
        [numpy_helper.from_array(np.ones((3, 5), np.float32), "w"), numpy_helper.from_array(np.array(0), "i")],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    assert irc.compare(path, **QUIET).rows[0].macs == {"float32": 30}
    with pytest.raises(DataError, match="has no known shape; give example inputs"):
        irc.compare(path)


def test_an_operator_that_nobody_counts_is_noted() -> None:
    lstm = nn.LSTM(4, 5).eval()
    made = irc.compare((lstm, (torch.zeros(3, 1, 4),)), **QUIET)
    if made.rows[0].all_macs == 0:
        assert "the multiply-accumulates of LSTM are not counted" in str(made)
    else:
        assert made.rows[0].all_macs == 3 * 4 * 5 * (4 + 5)


def good(run: Any) -> float:
    return float(run(images(1)[0]).sum())


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"labels": [1]}, OptionError, "labels and no data"),
        ({"data": images(2), "labels": [1]}, DataError, "there are 1 labels and more samples"),
        ({"data": images(2), "labels": [1, 2, 3]}, DataError, "there are 2 samples and more labels"),
        ({"data": images(1), "labels": [10]}, DataError, "label 10 is none of the 10 classes"),
        ({"data": images(1), "labels": [-1]}, DataError, "label -1 is none of the 10 classes"),
        ({"data": images(1), "labels": [[1, 2]]}, DataError, r"2 labels \(int64\) for 1 rows"),
        ({"data": images(1), "labels": ["cat"]}, DataError, "1 labels .* for 1 rows; give an integer each"),
        ({"data": []}, DataError, "not a single sample"),
        ({"data": [np.zeros((1, 3, 8, 8), np.float32)]}, DataError, "has shape"),
        ({"evaluate": lambda run: 1 / 0}, DataError, "float.onnx': evaluate failed: ZeroDivisionError"),
        ({"evaluate": lambda run: run(0)}, DataError, "float.onnx': sample 0"),
        ({"evaluate": lambda run: None}, DataError, "evaluate returned a NoneType, not a number"),
        ({"turns": 0}, OptionError, "turns=0"),
        ({"names": ["a"]}, OptionError, "1 names for 2 models"),
        ({"target": "tpu"}, OptionError, "no target 'tpu'"),
    ],
)
def test_what_cannot_be_is_named(
    models: tuple[Path, Path], options: dict[str, Any], error: type[IrcError], said: str
) -> None:
    with pytest.raises(error, match=said):
        irc.compare(*models, **{**QUIET, **options})


def test_models_that_cannot_be_read_or_run_are_named(models: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    nodes = [helper.make_node("Mystery", ["x"], ["y"], domain="nowhere")]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value("x", TensorProto.FLOAT, [1])], [value("y", TensorProto.FLOAT, [1])])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("nowhere", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "odd.onnx")
    with pytest.raises(OptionError, match="no model to compare"):
        irc.compare()
    with pytest.raises(ModelError, match=r"no file '.*none.onnx'"):
        irc.compare(models[0], tmp_path / "none.onnx")
    with pytest.raises(ModelError, match=r"junk.onnx' is not an ONNX model"):
        irc.compare(models[0], tmp_path / "junk.onnx")
    with pytest.raises(ExecutionError, match=r"odd.onnx': onnxruntime refuses the model"):
        irc.compare(models[0], tmp_path / "odd.onnx", turns=1)
    with pytest.raises(ModelError, match=r"2: tuple.*a tuple holds"):
        irc.compare(models[0], (1, 2, 3, 4), names=["a", "2: tuple"])
    with pytest.raises(ModelError, match="a int is no model"):
        irc.compare(models[0], 3)


def test_a_graph_with_ops_that_only_irc_has_runs_in_irc(models: tuple[Path, Path], tmp_path: Path) -> None:
    made = irc.compile(models[1], "fold-constants, lower-to-integer", target="c:host")
    save_text(made.graph, tmp_path / "integer.irc")
    assert any(node.op.domain == "irc" for node in made.graph)
    compared = irc.compare(models[1], tmp_path / "integer.irc", made.graph, data=images(3), turns=1)
    assert compared.rows[1].macs == compared.rows[2].macs == {"int8": compared.rows[0].all_macs}
    for row in compared.rows[1:]:
        assert row.quality.sqnr_db is not None
        assert row.quality.sqnr_db > 30  # a code may round the other way
    assert [len(row.notes) for row in compared.rows] == [0, 1, 2]
    assert "torch runs it" in compared.rows[1].notes[0]
    assert "it has no file" in compared.rows[2].notes[1]


def test_arrays_are_not_touched(models: tuple[Path, Path]) -> None:
    data: list[Array] = images(2)
    before = [x.copy() for x in data]
    irc.compare(*models, data=data, turns=1)
    for a, b in zip(data, before, strict=True):
        np.testing.assert_array_equal(a, b)

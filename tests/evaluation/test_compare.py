"""Every number that `irc.compare` shows of a model and of its int8 form is what an independent count gives.

The counts here come of torch's modules, of the bytes and protos of the files, and of what onnxruntime computes; nothing
of irc takes part in them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import NodeProto, numpy_helper, shape_inference
from torch import nn

import irc
from irc.analysis.energy import EnergyCosts
from irc.backends.latency import Timed
from irc.evaluation import measures
from irc.evaluation.comparison import Comparison
from irc.types import Array
from tests.evaluation.conftest import Residual, classes, images

QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
COSTS = EnergyCosts(mac={"int8": 0.25, "float32": 4.0}, dram=200.0, sram=10.0, source="made up")


def macs_by_torch(module: nn.Module, x: torch.Tensor) -> int:
    """Multiply-accumulates of convolutions and linear layers, by hooks."""
    total = 0

    def hook(layer: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += output.numel() * layer.in_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
        elif isinstance(layer, nn.Linear):
            total += output.numel() * layer.in_features

    hooks = [layer.register_forward_hook(hook) for layer in module.modules()]
    module(x)
    for each in hooks:
        each.remove()
    return total


class File:
    """An ONNX file, and what one can read off it: Q/DQ pairs hold one value, which is there as codes of a byte."""

    def __init__(self, path: Path) -> None:
        model = shape_inference.infer_shapes(onnx.load(path), strict_mode=True)
        graph = model.graph
        self.arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.nodes = list(graph.node)
        self.inputs, self.outputs = [v.name for v in graph.input], [v.name for v in graph.output]
        values = (*graph.value_info, *graph.input, *graph.output)
        self.elements = {v.name: int(np.prod([d.dim_value or 1 for d in v.type.tensor_type.shape.dim])) for v in values}
        self.maker = {name: node for node in self.nodes for name in node.output}

    def work(self) -> list[NodeProto]:
        return [node for node in self.nodes if node.op_type not in QUANTIZERS]

    def runs_in_int8(self, node: NodeProto) -> bool:
        return all(name in self.maker and self.maker[name].op_type in QUANTIZERS for name in node.input[:2])

    def parameters(self) -> int:
        """Elements of the weights and biases."""
        names = [name for node in self.nodes if node.op_type in ("Conv", "Gemm") for name in node.input[1:]]
        return sum(self.arrays[name if name in self.arrays else self.maker[name].input[0]].size for name in names)

    def is_stored(self, name: str) -> bool:
        """Whether a value is a weight, dequantized or not."""
        return name in self.arrays or (name in self.maker and all(i in self.arrays for i in self.maker[name].input))

    def held(self) -> dict[str, tuple[str, int]]:
        """For each activation its place in memory, and the bytes of that: a float, and its codes, are one place."""
        place: dict[str, str] = {name: name for name in self.inputs}
        for node in self.nodes:
            for name in node.output:
                same = node.op_type in QUANTIZERS and node.input[0] in self.maker and not self.is_stored(name)
                place[name] = place[node.input[0]] if same else name
        coded = {place[name] for node in self.nodes if node.op_type in QUANTIZERS for name in node.output}
        given_out = {place[name] for name in self.outputs}
        return {
            name: (at, self.elements[at] * (1 if at in coded - given_out else 4))
            for name, at in place.items()
            if not self.is_stored(name)
        }

    def peak(self) -> int:
        """The largest number of bytes alive at one of the nodes that work, tried one by one."""
        held = self.held()
        steps: list[set[str]] = [set(self.inputs)]
        steps += [{held[name][0] for name in (*n.input, *n.output) if name in held} for n in self.work()]
        size = dict(held.values())
        end = {held[name][0] for name in self.outputs}
        peak = 0
        for now in range(len(steps)):
            before, after = set().union(*steps[: now + 1]), set().union(*steps[now:], end)
            peak = max(peak, sum(size[place] for place in before & after))
        return peak


@pytest.fixture
def latencies(monkeypatch: pytest.MonkeyPatch) -> list[Timed]:
    """What the models seem to take."""
    made = [Timed([[4.0, 6.0, 5.0], [3.0, 9.0, 8.0]], [[0.0]]), Timed([[2.0, 3.0, 1.0], [2.5, 3.5, 1.5]], [[0.0]])]

    def interleaved(calls: Mapping[str, Any], *, turns: int, runs: int) -> dict[str, Timed]:
        assert (turns, runs) == (7, measures.RUNS)
        for call in calls.values():
            call()
        return dict(zip(calls, made, strict=True))

    monkeypatch.setattr(measures, "interleaved", interleaved)
    return made


def outputs(path: Path, samples: list[Array]) -> Array:
    """What onnxruntime gives, shape (samples, 1, classes)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (name,) = (value.name for value in session.get_inputs())
    return np.stack([session.run(None, {name: x})[0] for x in samples])


@pytest.fixture
def compared(models: tuple[Path, Path], module: Residual, latencies: list[Timed]) -> Comparison:
    labels = [label if k else 9 - label for k, label in enumerate(classes(module, images()))]  # the first one is wrong

    def first_score(run: Any) -> float:
        return float(run(images()[0])[0, 0])

    return irc.compare(*models, data=images(), labels=labels, evaluate=first_score, energy=COSTS, turns=7)


def test_bytes_and_nodes(compared: Comparison, models: tuple[Path, Path]) -> None:
    for row, path in zip(compared.rows, models, strict=True):
        file = File(path)
        assert row.file_bytes == path.stat().st_size
        assert row.weight_bytes == sum(array.nbytes for array in file.arrays.values())
        assert row.nodes == len(file.work())
    assert compared.compression(compared.rows[1]) == models[0].stat().st_size / models[1].stat().st_size > 1.5


def test_parameters_and_macs(compared: Comparison, models: tuple[Path, Path], module: Residual) -> None:
    parameters = sum(p.numel() for p in module.parameters())  # quantize corrects by a bias what `down` had none for
    macs = macs_by_torch(module, torch.zeros(1, 3, 16, 16))
    by_hand = 256 * 16 * 27 + 256 * 16 * 144 + 64 * 16 * 9 + 16 * 10
    assert macs == by_hand
    for row, path, width in zip(compared.rows, models, ("float32", "int8"), strict=True):
        file = File(path)
        assert {file.runs_in_int8(n) for n in file.work() if n.op_type in ("Conv", "Gemm")} == {width == "int8"}
        assert row.parameters == file.parameters() == parameters + (16 if width == "int8" else 0)
        assert row.macs == {width: macs}
        assert row.flops == 2 * macs


def test_memory(compared: Comparison, models: tuple[Path, Path]) -> None:
    plane = 16 * 16 * 16
    assert [File(path).peak() for path in models] == [3 * 4 * plane, 3 * plane]  # the sum, and what it adds
    assert [row.peak_memory for row in compared.rows] == [3 * 4 * plane, 3 * plane]


def test_energy(compared: Comparison, module: Residual) -> None:
    first, second = compared.rows
    plane, small = 16 * 16 * 16, 8 * 8 * 16
    # the input, what stem, the sum, down, the mean and head hand on; an activation is part of what is before it
    moved = 4 * (3 * 256 + plane + plane + plane + small + 16 + 10)
    assert first.activation_bytes == moved
    # the input as it comes, and as codes; the rest in codes but for the output
    coded = 4 * 3 * 256 + 3 * 256 + plane + plane + plane + small + 16 + 4 * 10
    assert second.activation_bytes == coded
    macs = macs_by_torch(module, torch.zeros(1, 3, 16, 16))
    for row, each, moves in ((first, 4.0, moved), (second, 0.25, coded)):
        assert row.energy is not None
        assert row.energy.arithmetic == pytest.approx(macs * each / 1e6)
        assert row.energy.weights == pytest.approx(row.weight_bytes * 200 / 1e6)
        assert row.energy.activations == pytest.approx(2 * moves * 10 / 1e6)
        assert row.energy_uj == pytest.approx((macs * each + row.weight_bytes * 200 + 20 * moves) / 1e6)


def test_what_the_outputs_are_worth(compared: Comparison, models: tuple[Path, Path], module: Residual) -> None:
    wanted, got = (outputs(path, images()).astype(np.float64) for path in models)
    labels = np.stack(classes(module, images()))
    labels[0] = 9 - labels[0]
    first, second = (row.quality for row in compared.rows)
    assert first.accuracy == (wanted.argmax(-1) == labels).mean() == 11 / 12
    assert second.accuracy == (got.argmax(-1) == labels).mean()
    assert (first.agreement, first.sqnr_db, first.max_abs_error) == (None, None, None)
    assert second.agreement == (wanted.argmax(-1) == got.argmax(-1)).mean()
    assert second.sqnr_db == pytest.approx(10 * np.log10((wanted**2).sum() / ((wanted - got) ** 2).sum()))
    assert 20 < float(second.sqnr_db or 0) < 80
    assert second.max_abs_error == pytest.approx(np.abs(wanted - got).max())
    assert [row.metric for row in compared.rows] == [wanted[0, 0, 0], got[0, 0, 0]]


def test_latency(compared: Comparison) -> None:
    first, second = compared.rows
    assert (first.latency_ms, first.least_latency_ms, first.latency_ratio) == (5.5, 3.0, 1.0)
    assert (second.latency_ms, second.least_latency_ms) == (2.25, 1.0)
    assert second.latency_ratio == np.median([1 / 4, 1.5 / 3])


def cells(text: str) -> Iterator[tuple[str, list[str]]]:
    for line in text.splitlines():
        yield line[:24].strip(), line[24:].split()


def test_the_table_shows_these_numbers(compared: Comparison, models: tuple[Path, Path]) -> None:
    first, second = compared.rows
    table = dict(cells(str(compared).split("\noutputs:")[0]))
    sizes = [path.stat().st_size for path in models]
    assert table["file bytes"] == [f"{sizes[0]:,}", f"{sizes[1]:,}", f"{sizes[1] / sizes[0]:.3f}"]
    assert table["compression ratio"] == ["1.00", f"{sizes[0] / sizes[1]:.2f}"]
    assert table["MACs"] == [f"{first.all_macs:,}", f"{first.all_macs:,}", "1.000"]
    assert table["int8"] == ["0", f"{first.all_macs:,}"]
    assert table["FLOPs"] == [f"{2 * first.all_macs:,}"] * 2 + ["1.000"]
    assert table["peak memory"] == ["49,152", "12,288", "0.250"]
    assert table["latency ms, median"] == ["5.500", "2.250", "0.375"]
    assert table["latency ms, least"] == ["3.000", "1.000"]
    assert table["energy uJ, estimate"][1] == f"{second.energy_uj:,.2f}"
    assert table["top-1 accuracy"][0] == f"{11 / 12:.4f}"
    assert table["SQNR dB"] == [f"{second.quality.sqnr_db:.1f}"]
    assert "12 samples, held against" in str(compared)
    assert "an estimate, costs of made up" in str(compared)


def test_the_dict_holds_these_numbers(compared: Comparison) -> None:
    held = compared.to_dict()
    assert held["samples"] == 12
    assert held["energy_costs"]["mac"] == COSTS.mac
    for row, each in zip(compared.rows, held["models"], strict=True):
        assert each["macs"] == row.macs
        assert each["flops"] == row.flops
        assert each["sqnr_db"] == row.quality.sqnr_db
        assert each["energy_uj"] == row.energy_uj
        assert each["compression_ratio"] == compared.rows[0].file_bytes / row.file_bytes
        assert each["notes"] == []


def test_the_real_clock_is_one(models: tuple[Path, Path]) -> None:
    """Of a model against itself the ratio is about one, and the fastest run is no slower than the median."""
    made = irc.compare(models[0], models[0], turns=4)
    for row in made.rows:
        assert row.latency_ms is not None
        assert row.least_latency_ms is not None
        assert row.latency_ratio is not None
        assert 0 < row.least_latency_ms <= row.latency_ms
        assert 0.2 < row.latency_ratio < 5


def test_counts_by_operator(models: tuple[Path, Path]) -> None:
    """What the independent count stands on: each operator is there as often as torch has it."""
    for path in models:
        counted = Counter(node.op_type for node in File(path).work())
        assert (counted["Conv"], counted["Gemm"], counted["Add"]) == (3, 1, 1)

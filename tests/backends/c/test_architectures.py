"""The networks that people run compile whole, in float and quantized, and compute what their lowered graph says.

The same bits with one thread and with three, in plain C and with the best instruction set of this machine.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

import irc
import openset
from irc.api import DEFAULT_PASSES
from irc.backends.c.artifact import CArtifact
from irc.backends.c.reference.graph import run_reference
from irc.backends.c.specialize import symbols
from irc.execution import Executable
from irc.graph import Graph, Node
from irc.op import QuantKind
from irc.types import Array, DType
from tests.backends.c.architectures import ARCHITECTURES

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the model libraries' own
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

# Of the largest magnitude of an output, against the reference of the float kernels. Float: what it leaves to torch,
# above all products, sums in another order, through dozens of layers; the largest seen is 2.1e-5. Mixed: such a
# difference may turn a number on the edge between two codes into the other, and a code is 1/255 of a range: a few of
# them. All integer: none.
FLOAT, MIXED = 1e-4, 4 / 255
FAST = {"mobilenet_v2", "tagger"}  # the others are slow to compile
Sample = dict[str, Array]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def samples_for(graph: Graph, count: int, seed: int = 5) -> list[Sample]:
    """Inputs: noise, words below 99, masks whose last two places are padding."""
    random, made = np.random.default_rng(seed), []
    for _ in range(count):
        sample: Sample = {}
        for value in graph.inputs:
            type = value.tensor_type
            assert type is not None
            shape = type.static_shape
            if type.dtype.is_float:
                sample[value.name] = random.standard_normal(shape).astype(np.float32)
            elif "mask" in value.name:
                sample[value.name] = np.broadcast_to(np.arange(shape[-1]) < shape[-1] - 2, shape).astype(np.int64)
            else:
                sample[value.name] = random.integers(1, 99, shape)
        made.append(sample)
    return made


def computes_floats(node: Node) -> bool:
    """Whether rounding of float32 decides what the node gives: all but what moves, quantizes, or sums integers."""
    types = [v.tensor_type for v in node.outputs]
    exact = node.op.domain == "irc" or node.op.name in ("QuantizeLinear", "DequantizeLinear", "Gather")
    moves = node.op.quant.kind is QuantKind.MOVEMENT
    return not exact and not moves and any(t is not None and t.dtype is DType.F32 for t in types)


def outputs(made: Any) -> list[Array]:
    return list(made) if isinstance(made, tuple) else [made]


def check(artifact: CArtifact, sample: Sample) -> None:
    """The bits do not depend on threads and instruction sets, and are those of the lowered graph, within tolerance."""
    got = outputs(artifact(sample))
    parts = artifact.graph, artifact.target, artifact.report
    plain = CArtifact(*parts, isa="portable", threads=3, dims=artifact.dims)
    for array, other in zip(got, outputs(plain(sample)), strict=True):
        assert np.array_equal(array, other)
    nodes = list(artifact.lowered.walk())
    by_torch = len(list(artifact.lowered.graphs())) > 1 or any(node.op.name in ("LSTM", "GRU") for node in nodes)
    run = Executable(artifact.lowered).run_numpy if by_torch else partial(run_reference, artifact.lowered)
    wanted = list(run(sample).values())
    mixed = any(n.op.name == "QuantizeLinear" for n in nodes)
    tolerance = (MIXED if mixed else FLOAT) if any(map(computes_floats, nodes)) else 0.0
    for array, want in zip(got, wanted, strict=True):
        assert np.abs(array - want).max() <= tolerance * np.abs(want).max()
        assert np.abs(want).max() > 0


def load(name: str) -> Graph:
    module, arguments = ARCHITECTURES[name]()
    return irc.load(module, example_inputs=arguments)


def compiled(graph: Graph, kind: str, calibration: list[Sample]) -> CArtifact:
    quantized = kind == "int8"
    made = irc.compile(
        graph,
        passes=DEFAULT_PASSES + (", quantize" if quantized else ""),
        calibration=calibration if quantized else None,
        target="c:host",
    )
    assert isinstance(made, CArtifact)
    return made


@pytest.mark.parametrize("kind", ["float", "int8"])
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in ARCHITECTURES], ids=str
)
def test_architecture_compiles_whole(name: str, kind: str) -> None:
    graph = load(name)
    check(compiled(graph, kind, samples_for(graph, 6)), samples_for(graph, 1)[0])


# what is integer from the first layer to the last, and so gives the bits of the contract
WHOLE = ["resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3", "efficientnet", "shufflenet_v2", "squeezenet"]


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_image_networks_are_all_integer(name: str) -> None:
    graph = load(name)
    assert not [n for n in compiled(graph, "int8", samples_for(graph, 4)).lowered.walk() if computes_floats(n)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["float", "int8"])
@pytest.mark.parametrize("name", [*openset.REAL, *(n for n in openset.MTCNN if n not in openset.REAL)])
def test_open_model_compiles_whole(name: str, kind: str) -> None:
    model = openset.load(name)
    example = tuple(torch.from_numpy(v) for v in model.example_inputs.values())
    graph = irc.load(model.model, example_inputs=None if isinstance(model.model, str) else example)
    samples = [_named(graph, s) for s in (model.example_inputs, *model.calibration(4))]
    made = irc.compile(
        graph,
        passes=DEFAULT_PASSES + (", quantize" if kind == "int8" else ""),
        calibration=samples[1:] if kind == "int8" else None,
        target="c:host",
        dims=_sizes(graph, samples[0]),
    )
    assert isinstance(made, CArtifact)
    check(made, samples[0])


def _named(graph: Graph, sample: openset.Inputs) -> Sample:
    names = [v.name for v in graph.inputs]
    return dict(sample) if set(sample) == set(names) else dict(zip(names, sample.values(), strict=True))


def _sizes(graph: Graph, sample: Sample) -> dict[str, int]:
    """What each symbol is in a sample."""
    shapes = [(v.tensor_type.shape or (), sample[v.name].shape) for v in graph.inputs if v.tensor_type is not None]
    found = {d: size for dims, sizes in shapes for d, size in zip(dims, sizes, strict=True) if isinstance(d, str)}
    assert set(found) == set(symbols(graph))
    return found


# vgg19, alexnet and zfnet are left out for the hundreds of megabytes of one number each that their weights are
@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet", "squeezenet"]
)
def test_light_model_gives_the_shipped_output(name: str) -> None:
    model = openset.load(f"light_{name}")
    made = irc.compile(model.model, target="c:host")
    error = model.evaluate(lambda inputs: outputs(made(dict(inputs))))["max_abs_error"]
    assert error <= 1e-5, "the outputs are probabilities of 0.001; onnx's own test allows 1e-3 relative"


class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Samples as onnxruntime wants to be fed."""

    def __init__(self, samples: list[Sample]) -> None:
        self.left = iter(samples)

    def get_next(self) -> Sample | None:
        return next(self.left, None)


@pytest.mark.slow
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("name", ["resnet18", "squeezenet"])
def test_operator_form_becomes_integer(name: str, per_channel: bool, tmp_path: Path) -> None:
    graph = load(name)
    samples = samples_for(graph, 4)
    irc.compile(graph).save(tmp_path / "float.onnx")
    quantize_static(
        tmp_path / "float.onnx",
        tmp_path / "int8.onnx",
        Reader(samples),
        quant_format=QuantFormat.QOperator,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=per_channel,
    )
    made = irc.compile(tmp_path / "int8.onnx", target="c:host")
    assert isinstance(made, CArtifact)
    assert not [n for n in made.lowered.walk() if computes_floats(n)]
    check(made, samples[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["squeezenet", "conv1d", "bert"])
def test_dynamically_quantized_file(name: str, tmp_path: Path) -> None:
    graph = load(name)
    irc.compile(graph).save(tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "int8.onnx", op_types_to_quantize=["MatMul", "Conv", "Gemm"])
    made = irc.compile(tmp_path / "int8.onnx", target="c:host")
    assert isinstance(made, CArtifact)
    assert {"MatMulInteger", "ConvInteger"} & {n.op.name for n in made.lowered.walk()}
    check(made, samples_for(graph, 1)[0])

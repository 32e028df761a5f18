"""AddressSanitizer and UBSan find nothing in the code of the networks that people run, built with warnings as errors.

Inputs and outputs are allocated to the byte, the context by its stated size: reads and writes past them are seen.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from c_program import build_program

import irc
import openset
from irc.api import DEFAULT_PASSES
from irc.backends.c.artifact import CArtifact
from tests.backends.c.architectures import ARCHITECTURES
from tests.backends.c.test_architectures import Sample, compiled, load, outputs, samples_for

SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-g")
FAST = {"mobilenet_v2"}  # the others are slow to compile

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


def check(artifact: CArtifact, sample: Sample, folder: Path) -> None:
    """Plain C with one thread and the best instruction set with two, against the usual build."""
    program = build_program(artifact, folder, flags=SANITIZE)
    inputs = [np.ascontiguousarray(sample[port.name]) for port in artifact.program.inputs]
    wanted = outputs(artifact(sample))
    for isa, threads in (("portable", 1), (artifact.runner.isa, 2)):
        code, said, got = program.run(inputs, threads=threads, isa=isa)
        assert code == 0, said[-3000:]
        assert said == isa
        for array, want in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(array, want)


@pytest.mark.parametrize("kind", ["float", "int8"])
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in ARCHITECTURES], ids=str
)
def test_architectures(name: str, kind: str, tmp_path: Path) -> None:
    graph = load(name)
    check(compiled(graph, kind, samples_for(graph, 4)), samples_for(graph, 1)[0], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist_cnn", "effnet_lite0"])
def test_real_models(name: str, tmp_path: Path) -> None:
    model = openset.load(name)
    graph = irc.load(model.model, tuple(model.example_inputs.values()))
    samples = [dict(zip((v.name for v in graph.inputs), s.values(), strict=True)) for s in model.calibration(4)]
    artifact = irc.compile(graph, f"{DEFAULT_PASSES}, quantize", calibration=samples, target="c:host")
    assert isinstance(artifact, CArtifact)
    check(artifact, samples[0], tmp_path)

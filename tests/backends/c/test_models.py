"""Whole real models: the reference, portable C and the best instruction set of this machine give the same bits."""

from __future__ import annotations

import numpy as np
import pytest

import irc
import openset
from irc.api import DEFAULT_PASSES
from irc.backends.c.artifact import CArtifact
from irc.backends.c.isa import host_isas
from irc.backends.c.reference.graph import run_reference


@pytest.mark.slow
@pytest.mark.parametrize(("name", "integer"), [("effnet_lite0", 51), ("minilm", 40), ("mnist_cnn", 4)])
def test_bits(name: str, integer: int) -> None:
    model = openset.load(name)
    graph = irc.load(model.model, tuple(model.example_inputs.values()))
    names = [value.name for value in graph.inputs]
    passes = f"{DEFAULT_PASSES}, quantize{{rounding=nearest}}"
    calibration = [tuple(arrays.values()) for arrays in model.calibration(4)]
    quantized = irc.compile(graph, passes, calibration=calibration, target="c:x86-64").graph
    artifacts = [make(quantized, isa, threads) for isa, threads in [("portable", 1), ("", 1), ("", 2)]]
    assert artifacts[1].runner.isa == host_isas()[-1].name
    assert sum(n.op.domain == "irc" for n in artifacts[0].lowered) >= integer
    for arrays in model.validation(2):
        inputs = dict(zip(names, arrays.values(), strict=True))
        (wanted,) = run_reference(artifacts[0].lowered, inputs).values()
        assert np.isfinite(wanted).all()
        assert wanted.std() > 0
        for artifact in artifacts:
            np.testing.assert_array_equal(artifact(inputs), wanted)


def make(graph: irc.Graph, isa: str, threads: int) -> CArtifact:
    artifact = irc.compile(graph, [], target="c:host", isa=isa, threads=threads)
    assert isinstance(artifact, CArtifact)
    return artifact

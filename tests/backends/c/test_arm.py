"""The aarch64 code gives the bits of x86's, with the instruction set that each processor has, chosen at load."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from c_program import CROSS, MISSING, PROCESSORS, QEMU, Program, build_program

import irc
import openset
from irc.api import DEFAULT_PASSES
from irc.backends.c.artifact import CArtifact
from tests.backends.c.conftest import Compile, images

needs_arm = pytest.mark.skipif(QEMU is None or CROSS is None, reason=MISSING)


@pytest.fixture(scope="module")
def program(compile_small: Compile, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The small network as a program for aarch64."""
    return build_program(compile_small("c:aarch64"), tmp_path_factory.mktemp("arm"))


@needs_arm
@pytest.mark.parametrize("isa", PROCESSORS)
def test_bits(program: Program, compile_small: Compile, isa: str) -> None:
    here = compile_small("c:portable")
    for threads, image in enumerate(images(2, seed=5), 1):
        code, chosen, (got,) = program.run([image], cpu=PROCESSORS[isa], threads=threads)
        assert (code, chosen) == (0, isa)
        np.testing.assert_array_equal(got, here(image))


@needs_arm
@pytest.mark.parametrize("isa", PROCESSORS)
def test_forced(program: Program, compile_small: Compile, isa: str) -> None:
    (image,) = images(1, seed=6)
    code, chosen, (got,) = program.run([image], cpu="max", isa=isa)
    assert (code, chosen) == (0, isa)
    np.testing.assert_array_equal(got, compile_small("c:portable")(image))


@needs_arm
def test_what_the_processor_lacks_is_refused(program: Program) -> None:
    (image,) = images(1)
    assert program.run([image], cpu="cortex-a72", isa="i8mm")[0] == 3


@needs_arm
@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist_cnn", "effnet_lite0", "minilm"])
def test_whole_models(name: str, tmp_path: Path) -> None:
    """Real models on each processor, bit by bit what portable C gives here."""
    model = openset.load(name)
    graph = irc.load(model.model, tuple(model.example_inputs.values()))
    passes = f"{DEFAULT_PASSES}, quantize{{rounding=nearest}}"
    calibration = [tuple(arrays.values()) for arrays in model.calibration(4)]
    quantized = irc.compile(graph, passes, calibration=calibration, target="c:aarch64").graph
    there, here = (irc.compile(quantized, [], target=target) for target in ("c:aarch64", "c:portable"))
    assert isinstance(there, CArtifact)
    assert isinstance(here, CArtifact)
    program = build_program(there, tmp_path)
    (arrays,) = model.validation(1)
    inputs = [np.ascontiguousarray(array) for array in arrays.values()]
    wanted = here(dict(zip((v.name for v in graph.inputs), inputs, strict=True)))
    assert isinstance(wanted, np.ndarray)
    assert wanted.std() > 0
    for isa, cpu in PROCESSORS.items():
        code, chosen, (got,) = program.run(inputs, cpu=cpu)
        assert (code, chosen) == (0, isa)
        np.testing.assert_array_equal(got, wanted)


def test_ci_has_what_the_tests_need() -> None:
    """Where IRC_CI is set, nothing here may be skipped."""
    if os.environ.get("IRC_CI"):
        assert QEMU is not None
        assert CROSS is not None

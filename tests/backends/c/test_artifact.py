"""A C artifact computes what the torch reference of its integer ops computes, bit for bit, however it is called."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import irc
from irc.backends.c.artifact import CArtifact
from irc.backends.c.isa import host_isas, host_machine
from irc.backends.c.manifest import Tuning
from irc.backends.c.runner import Runner
from irc.errors import BackendError, DataError, OptionError, OutputError
from irc.execution import Executable
from irc.graph import Graph
from irc.ops.shape import Expand
from irc.ops.unary import Neg
from irc.types import Array, DType, TensorType
from tests.backends.c.conftest import Compile, images

ISAS = [isa.name for isa in host_isas()]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_bits(compile_small: Compile, isa: str, threads: int) -> None:
    artifact = compile_small(isa=isa, threads=threads)
    assert artifact.runner.isa == isa
    reference = Executable(artifact.lowered)
    integer = [n for n in artifact.lowered if n.op.domain == "irc"]
    assert len(integer) > 8, "the network is not integer"
    for image in images(3, seed=1):
        (wanted,) = reference.run_numpy({"x": image}).values()
        for _ in range(3):
            np.testing.assert_array_equal(artifact(image), wanted)


def test_close_to_fake_quantization(compile_small: Compile) -> None:
    artifact = compile_small()
    fake = Executable(artifact.graph)
    for image in images(3, seed=2):
        (wanted,) = fake.run_numpy({"x": image}).values()
        made = artifact(image)
        assert 10 * np.log10((wanted**2).sum() / ((made - wanted) ** 2).sum()) > 25


def test_saved_and_opened(compile_small: Compile, tmp_path: Path) -> None:
    artifact = compile_small(name="Small Net!")
    (image,) = images(1, seed=3)
    artifact.save(tmp_path / "net")
    assert (tmp_path / "net" / "small_net.h").is_file()
    opened = irc.open(tmp_path / "net")
    np.testing.assert_array_equal(opened(image), artifact(image))
    artifact.save(tmp_path / "net")  # its own folder is replaced
    assert [p.name for p in tmp_path.iterdir()] == ["net"]


def test_a_foreign_folder_stays(compile_small: Compile, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="holds something else"):
        compile_small().save(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_same_bytes(compile_small: Compile) -> None:
    assert compile_small("c:x86-64").sources.files == compile_small("c:x86-64").sources.files


def test_inputs(compile_small: Compile) -> None:
    artifact = compile_small()
    (image,) = images(1)
    wanted = artifact(image)
    np.testing.assert_array_equal(artifact({"x": image}), wanted)
    np.testing.assert_array_equal(artifact(torch.from_numpy(image)), wanted)
    turned = np.asfortranarray(image)
    assert not turned.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(artifact(turned), wanted)
    with pytest.raises(DataError, match=r"has shape \[1, 3, 26, 20\]"):
        artifact(image[..., :20])
    with pytest.raises(DataError, match="float64"):
        artifact(image.astype(np.float64))


def test_many_at_once(compile_small: Compile) -> None:
    """Contexts share nothing: four that run at the same time give what one gives."""
    artifacts = [compile_small(threads=1 + i % 2) for i in range(4)]
    inputs = images(8, seed=4)
    wanted = [artifacts[0](image) for image in inputs]

    def run(index: int) -> None:
        for _ in range(20):
            for image, output in zip(inputs, wanted, strict=True):
                np.testing.assert_array_equal(artifacts[index](image), output)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))


def test_one_from_many_threads(compile_small: Compile) -> None:
    """Python threads that call one artifact get each its own result."""
    artifact = compile_small()
    inputs = images(4, seed=5)
    wanted = [artifact(image) for image in inputs]

    def run(index: int) -> int:
        return sum(not np.array_equal(artifact(inputs[index]), wanted[index]) for _ in range(200))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(4))) == [0] * 4


@pytest.mark.parametrize("threads", [0, 65, -1, 1.5])
def test_wrong_numbers_of_threads(compile_small: Compile, threads: float) -> None:
    with pytest.raises(OptionError, match=f"threads cannot be {threads}; it must be 1 to 64"):
        compile_small(threads=threads)


def test_another_machine(compile_small: Compile) -> None:
    other = "x86-64" if host_machine() == "aarch64" else "aarch64"
    (image,) = images(1)
    with pytest.raises(BackendError, match=rf"'c:{other}' is for {other} and this machine is {host_machine()}"):
        compile_small(f"c:{other}")(image)


def test_no_library(tmp_path: Path) -> None:
    (tmp_path / "a.so").write_text("text")
    with pytest.raises(BackendError, match=r"a\.so' cannot be loaded"):
        Runner(tmp_path / "a.so", "a", 0, [])


def test_more_memory_than_there_is() -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, (1 << 20, 1)))
    shape = graph.add_constant(np.array([1 << 20, 1 << 36], np.int64), "shape")
    y = graph.insert(Expand(), [x, shape]).output
    graph.add_output(graph.insert(Neg(), [y]).output)
    with pytest.raises(BackendError, match=r"needs [\d,]{20,} bytes at once"):
        irc.compile(graph, [], target="c:portable")(np.zeros((1 << 20, 1), np.float32))


def test_name_comes_back(compile_small: Compile, tmp_path: Path) -> None:
    compile_small(name="Small Net!").save(tmp_path / "net")
    opened = irc.open(tmp_path / "net", threads=2, isa="portable")
    assert isinstance(opened, CArtifact)
    assert (opened.name, opened.threads, opened.runner.isa) == ("small_net", 2, "portable")
    opened.save(tmp_path / "again")
    names = [sorted(p.name for p in (tmp_path / folder).iterdir()) for folder in ("net", "again")]
    assert names[0] == names[1]
    with pytest.raises(OptionError, match="no instruction set 'mmx'"):
        irc.open(tmp_path / "net", isa="mmx")


def test_tuning_comes_back(compile_small: Compile, tmp_path: Path) -> None:
    plain = compile_small()
    isa = "avx2" if "avx2" in ISAS else ISAS[-1]
    choices = tuple(len(step.candidates(isa)) - 1 for step in plain.program.steps)
    last = CArtifact(plain.graph, plain.target, plain.report, tuning=Tuning(isa, choices))
    last.save(tmp_path / "net")
    opened = irc.open(tmp_path / "net")
    assert isinstance(opened, CArtifact)
    assert opened.tuning == Tuning(isa, choices)
    assert opened.sources.files == last.sources.files
    assert (opened.sources.files != plain.sources.files) == any(choices)


def test_unknown_isa(compile_small: Compile) -> None:
    with pytest.raises(OptionError, match="no instruction set 'mmx'; it carries portable"):
        compile_small(isa="mmx")


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("c:host", {"isa": "mmx"}, "target 'c:host' has no instruction set 'mmx'; it carries portable"),
        ("c:host", {"threads": 0}, "threads cannot be 0; it must be 1 to 64"),
        ("foreign", {"tune": True}, "cannot be tuned here: this processor is"),
    ],
)
def test_options_are_refused_before_passes_run(
    small_graph: Graph, target: str, options: dict[str, Any], said: str
) -> None:
    """They may take minutes: not one sample is read."""
    if target == "foreign":
        target = "c:x86-64" if host_machine() == "aarch64" else "c:aarch64"

    def samples() -> Iterator[Array]:
        raise AssertionError("the passes are running")
        yield

    with pytest.raises(OptionError, match=said):
        irc.compile(small_graph, "quantize", calibration=samples(), target=target, **options)


def test_tensors_in_tensors_out(compile_small: Compile) -> None:
    """A tensor brings tensors, whichever way it is given; arrays bring arrays."""
    artifact, (image,) = compile_small(), images(1, seed=3)
    wanted = artifact(image)
    assert isinstance(wanted, np.ndarray)
    (name,) = (port.name for port in artifact.program.inputs)
    tensor = torch.from_numpy(image)
    for given in (tensor, {name: tensor}, (tensor,)):
        made = artifact(given)
        assert isinstance(made, torch.Tensor)
        np.testing.assert_array_equal(made.numpy(), wanted)

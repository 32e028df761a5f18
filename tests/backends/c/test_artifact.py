"""A C artifact computes what the torch reference of its integer ops computes, bit for bit, however it is called."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import irc
from irc.backends.c.isa import host_isas
from irc.errors import DataError, OptionError, OutputError
from irc.execution import Executable
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


def test_unknown_isa(compile_small: Compile) -> None:
    with pytest.raises(OptionError, match="no instruction set 'mmx'; it carries portable"):
        compile_small(isa="mmx")

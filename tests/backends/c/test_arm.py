"""The aarch64 code gives the bits of x86's, with the instruction set that each processor has, chosen at load."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from irc.backends.c.artifact import CArtifact
from irc.backends.c.toolchain import WARNINGS, find_compiler, write_files
from irc.types import Array
from tests.backends.c.conftest import Compile, images

QEMU = shutil.which("qemu-aarch64")
CROSS = shutil.which("aarch64-linux-gnu-gcc")
needs_arm = pytest.mark.skipif(
    QEMU is None or CROSS is None,
    reason="needs qemu-aarch64 (qemu-user) and aarch64-linux-gnu-gcc (gcc-aarch64-linux-gnu)",
)

# reads the input from a file, prints the instruction set and the outputs; arguments: file, threads, instruction set
MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include "model.h"
int main(int count, char **arguments) {
    static float x[IRC_MODEL_X_ELEMENTS], y[10];
    const int threads = atoi(arguments[2]);
    FILE *file = fopen(arguments[1], "rb");
    if (!file || fread(x, sizeof x, 1, file) != 1) return 10;
    fclose(file);
    const size_t size = irc_model_size(threads);
    void *memory = aligned_alloc(64, (size + 63) / 64 * 64);
    irc_model *net = NULL;
    int code = irc_model_init(memory, size, threads, count > 3 ? arguments[3] : NULL, &net);
    if (!code) code = irc_model_run(net, x, y);
    if (code) return code;
    printf("%s", irc_model_isa(net));
    for (int i = 0; i < 10; ++i) printf(" %a", (double)y[i]);
    irc_model_free(net);
    free(memory);
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(compile_small: Compile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network as a program for aarch64."""
    folder = tmp_path_factory.mktemp("arm")
    artifact = compile_small("c:aarch64")
    return build(artifact, folder)


def build(artifact: CArtifact, folder: Path) -> Path:
    sources = artifact.sources
    write_files(folder, sources.files)
    (folder / "main.c").write_text(MAIN)
    compiler = find_compiler("aarch64")
    objects = []
    for path, flags in {**sources.objects, "main.c": ()}.items():
        objects.append(path[:-2] + ".o")
        standard = ["-std=c11"] if path == "main.c" else []
        command = [*compiler.command, *WARNINGS, *compiler.flags, *standard, *flags, "-c", path, "-o", objects[-1]]
        subprocess.run(command, cwd=folder, check=True, timeout=300)
    link = [*compiler.command, "-static", *objects, "-o", "main", "-lm", "-lpthread"]
    subprocess.run(link, cwd=folder, check=True, timeout=60)
    return folder / "main"


def run(program: Path, image: Array, cpu: str, *arguments: str) -> tuple[int, str, Array]:
    """Exit code, instruction set and outputs."""
    assert QEMU is not None
    image.tofile(program.with_name("x.bin"))
    command = [QEMU, "-cpu", cpu, str(program), str(program.with_name("x.bin")), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    isa, *numbers = done.stdout.split() or [""]
    return done.returncode, isa, np.array([float.fromhex(n) for n in numbers], np.float32)


@needs_arm
@pytest.mark.parametrize(("cpu", "isa"), [("cortex-a72", "neon"), ("neoverse-n1", "dotprod"), ("max", "i8mm")])
def test_bits(program: Path, compile_small: Compile, cpu: str, isa: str) -> None:
    here = compile_small("c:portable")
    for index, image in enumerate(images(2, seed=5)):
        code, chosen, got = run(program, image, cpu, str(1 + index))
        assert (code, chosen) == (0, isa)
        np.testing.assert_array_equal(got, here(image)[0])


@needs_arm
@pytest.mark.parametrize("isa", ["neon", "dotprod", "i8mm"])
def test_forced(program: Path, compile_small: Compile, isa: str) -> None:
    (image,) = images(1, seed=6)
    code, chosen, got = run(program, image, "max", "1", isa)
    assert (code, chosen) == (0, isa)
    np.testing.assert_array_equal(got, compile_small("c:portable")(image)[0])


@needs_arm
def test_what_the_processor_lacks_is_refused(program: Path) -> None:
    (image,) = images(1)
    assert run(program, image, "cortex-a72", "1", "i8mm")[0] == 3


def test_ci_has_what_the_tests_need() -> None:
    """Where IRC_CI is set, nothing here may be skipped."""
    if os.environ.get("IRC_CI"):
        assert QEMU is not None
        assert CROSS is not None

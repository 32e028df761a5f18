"""A compiled model as a program, run by qemu for ARM, or here, say with sanitizers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from irc.backends.c.compilers import WARNINGS, find_compiler
from irc.backends.c.toolchain import write_files
from irc.types import Array

if TYPE_CHECKING:
    from irc.backends.c.artifact import CArtifact

QEMU = shutil.which("qemu-aarch64")
CROSS = shutil.which("aarch64-linux-gnu-gcc")
MISSING = "needs qemu-aarch64 (qemu-user) and aarch64-linux-gnu-gcc (gcc-aarch64-linux-gnu)"

# one processor for each instruction set, as qemu calls them
PROCESSORS = {"neon": "cortex-a72", "dotprod": "neoverse-n1", "i8mm": "max"}

_MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "@.h"

static const size_t input_bytes[] = {INPUTS}, output_bytes[] = {OUTPUTS};
enum { inputs = sizeof input_bytes / sizeof *input_bytes, outputs = sizeof output_bytes / sizeof *output_bytes };

/* arguments: file of inputs, file of outputs, threads, instruction set or "best", runs */
int main(int count, char **arguments)
{
    const void *x[inputs + 1];
    void *y[outputs + 1];
    const int threads = count == 6 ? atoi(arguments[3]) : 1, runs = count == 6 ? atoi(arguments[5]) : 0;
    const char *isa = count == 6 && strcmp(arguments[4], "best") ? arguments[4] : NULL;
    FILE *file = count == 6 ? fopen(arguments[1], "rb") : NULL;
    irc_@ *net = NULL;
    void *memory;
    int code;
    if (!file)
        return 100;
    for (int i = 0; i < inputs; i++) {
        void *data = malloc(input_bytes[i]); /* not a byte more: a sanitizer sees what is read past it */
        if (fread(data, 1, input_bytes[i], file) != input_bytes[i])
            return 101;
        x[i] = data;
    }
    fclose(file);
    for (int i = 0; i < outputs; i++)
        y[i] = malloc(output_bytes[i]);
    memory = aligned_alloc(64, (irc_@_size(threads) + 63) / 64 * 64);
    code = irc_@_init(memory, irc_@_size(threads), threads, isa, &net);
    for (int i = 0; !code && i < runs; i++)
        code = irc_@_run_array(net, x, y);
    if (code)
        return code;
    puts(irc_@_isa(net));
    irc_@_free(net);
    file = fopen(arguments[2], "wb");
    for (int i = 0; file && i < outputs; i++)
        fwrite(y[i], 1, output_bytes[i], file);
    code = file && !fclose(file) ? 0 : 102;
    for (int i = 0; i < inputs; i++)
        free((void *)x[i]);
    for (int i = 0; i < outputs; i++)
        free(y[i]);
    free(memory);
    return code;
}
"""


@dataclass(frozen=True)
class Program:
    """An executable.

    shapes : of the outputs, with their NumPy dtypes
    """

    path: Path
    shapes: tuple[tuple[tuple[int, ...], str], ...]

    def command(self, inputs: Sequence[Array], *, threads: int = 1, isa: str = "best") -> list[str]:
        """What runs it, but for the number of runs, which comes last. The inputs are written to a file beside it."""
        data = b"".join(np.ascontiguousarray(array).tobytes() for array in inputs)
        self.path.with_name("inputs").write_bytes(data)
        files = str(self.path.with_name("inputs")), str(self.path.with_name("outputs"))
        return [str(self.path), *files, str(threads), isa]

    def run(
        self, inputs: Sequence[Array], *, cpu: str = "", threads: int = 1, isa: str = "best"
    ) -> tuple[int, str, list[Array]]:
        """Exit code, the instruction set that was chosen or what went wrong, and the outputs if the code is 0.

        cpu : qemu's name of the ARM processor to run it on; this machine's own if empty
        """
        emulator = [QEMU or "qemu-aarch64", "-cpu", cpu] if cpu else []
        command = [*emulator, *self.command(inputs, threads=threads, isa=isa), "1"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            return done.returncode, done.stderr, []
        return 0, done.stdout.strip(), self.outputs()

    def outputs(self) -> list[Array]:
        """What the last run wrote."""
        data, at, arrays = self.path.with_name("outputs").read_bytes(), 0, []
        for shape, dtype in self.shapes:
            arrays.append(np.frombuffer(data, dtype, int(np.prod(shape)), at).reshape(shape))
            at += arrays[-1].nbytes
        return arrays


def build_program(artifact: CArtifact, folder: Path, *, flags: Sequence[str] = ()) -> Program:
    """Compile an artifact's C, warnings being errors, and link it with a main function.

    flags : for compiling and linking, after the compiler's own
    """
    sources, ports = artifact.sources, artifact.program
    sizes = [
        ", ".join(str(p.view.elements * np.dtype(p.view.dtype.numpy).itemsize) for p in of)
        for of in (ports.inputs, ports.outputs)
    ]
    main = (
        _MAIN.replace("@", sources.name).replace("{INPUTS}", f"{{{sizes[0]}}}").replace("{OUTPUTS}", f"{{{sizes[1]}}}")
    )
    write_files(folder, sources.files)
    (folder / "main.c").write_text(main)
    compiler, objects = find_compiler(artifact.machine), []
    for path, own in {**sources.objects, "main.c": ()}.items():
        objects.append(path[:-2] + ".o")
        standard = ["-std=c11"] if path == "main.c" else []
        command = [*compiler.command, *WARNINGS, *compiler.flags, *standard, *own, *flags]
        subprocess.run([*command, "-c", path, "-o", objects[-1]], cwd=folder, check=True, timeout=600)
    static = ["-static"] if artifact.machine == "aarch64" else []
    link = [*compiler.command, *static, *flags, *objects, "-o", "main", "-lm", "-lpthread"]
    subprocess.run(link, cwd=folder, check=True, timeout=60)
    shapes = tuple((p.view.shape, np.dtype(p.view.dtype.numpy).str) for p in ports.outputs)
    return Program(folder / "main", shapes)

"""Kernels in a process of their own: for a processor that qemu emulates, or with instructions that C functions emulate.

Remote(command) starts the process and calls kernels in it; the protocol is that of server.c.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from irc.backends.c.isa import MACHINES, host_isas
from irc.types import Array
from tests.backends.c import kernel_driver as driver

FOLDER = Path(__file__).parent
CONV, CONV_SCRATCH, WINOGRAD, DEPTHWISE, PACK_B, ROW_SUMS = range(6)
FLAGS = {isa.name: isa.flags for machine in MACHINES.values() for isa in machine}
OPTIMIZE = ("-O2", "-ftree-vectorize", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off")
CROSS = {
    "gcc": ("aarch64-linux-gnu-gcc",),
    "clang": ("clang", "--target=aarch64-linux-gnu", "-I/usr/aarch64-linux-gnu/include"),
}


class Pointer:
    """What driver.pointer gives while a process stands in for a library: the array, so that it can be sent."""

    def __init__(self, array: Array | None) -> None:
        self.array = array


class Remote:
    """A process that serves kernels, with the functions of driver.library."""

    def __init__(self, command: Sequence[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        atexit.register(self.close)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()

    def scratch_bytes(self) -> int:
        return 1  # the process has its own

    def run_conv(self, made: Any, *rest: Any) -> None:
        *inputs, output, scratch, threads = rest
        function = CONV if scratch.array is None else CONV_SCRATCH
        self._call(function, threads, [*_conv(made), *inputs], [output])

    def run_winograd(self, made: Any, *rest: Any) -> None:
        x, w, scale, bias, residual, output, _, threads = rest
        nothing = Pointer(None)
        self._call(WINOGRAD, threads, [*_conv(made), x, w, nothing, nothing, scale, bias, residual], [output])

    def run_depthwise(self, made: Any, *rest: Any) -> None:
        *inputs, output, threads = rest
        self._call(DEPTHWISE, threads, [_struct(made), *inputs], [output])

    def run_pack_b(self, made: Any, *rest: Any) -> None:
        b, packed, columns, threads = rest
        self._call(PACK_B, threads, [_struct(made), b], [packed, columns])

    def run_row_sums(self, made: Any, *rest: Any) -> None:
        a, rows, threads = rest
        self._call(ROW_SUMS, threads, [_struct(made), a], [rows])

    def _call(self, function: int, threads: int, inputs: Sequence[Pointer], outputs: Sequence[Pointer]) -> None:
        """Send a call, and write what comes back into the outputs; the bytes around them must be as they were."""
        into, out = self.process.stdin, self.process.stdout
        assert into is not None
        assert out is not None
        guard = bytes([driver.GUARD]) * driver.SLACK
        into.write(struct.pack("<iii", function, threads, len(inputs) + len(outputs)))
        for pointer in inputs:
            data = None if pointer.array is None else pointer.array.tobytes()
            into.write(struct.pack("<q", -1) if data is None else struct.pack("<q", len(data)) + data)
        sent = [array for p in outputs if (array := p.array) is not None]
        for array in sent:
            into.write(struct.pack("<q", array.nbytes + 2 * len(guard)) + guard + array.tobytes() + guard)
        into.flush()
        for array in sent:
            data = out.read(array.nbytes + 2 * len(guard))
            assert len(data) == array.nbytes + 2 * len(guard), f"the process ended with {self.process.wait(5)}"
            assert data.startswith(guard), "a kernel wrote before its output"
            assert data.endswith(guard), "a kernel wrote behind its output"
            array.reshape(-1).view(np.uint8)[:] = np.frombuffer(data[len(guard) : -len(guard)], np.uint8)


def _struct(made: Any) -> Pointer:
    return Pointer(np.frombuffer(bytes(made._obj), np.uint8))


def _conv(made: Any) -> tuple[Pointer, Pointer]:
    """The struct and its table of runs."""
    table = ctypes.string_at(made._obj.run_offset, 4 * made._obj.runs)
    return _struct(made), Pointer(np.frombuffer(table, np.uint8))


@contextmanager
def standing_in(process: Remote) -> Iterator[None]:
    """While this holds, driver.library is the process."""
    with (
        mock.patch.object(driver, "library", return_value=process),
        mock.patch.object(driver, "pointer", Pointer),
        mock.patch.object(driver, "scratch", return_value=np.zeros(1, np.uint8)),
    ):
        yield


def build(command: Sequence[str], isa: str, *flags: str) -> Path:
    """The server with the kernels of `isa`."""
    program = Path(tempfile.mkdtemp(prefix="irc-kernels-")) / isa
    wide = ["-Wno-pedantic", f'-DISA_HEADER="isa_{isa}.h"', f"-I{driver.KERNELS}", str(FOLDER / "server.c")]
    subprocess.run([*command, *driver.WARNINGS, *OPTIMIZE, *flags, *wide, "-o", str(program), "-lm"], check=True)
    return program


def missing_for_arm(compiler: str) -> str:
    """What must be installed to run ARM kernels here; empty if nothing is missing."""
    return ", ".join(
        tool for tool in ("qemu-aarch64", "aarch64-linux-gnu-gcc", CROSS[compiler][0]) if not shutil.which(tool)
    )


@functools.cache
def arm(isa: str, cpu: str, compiler: str = "gcc") -> Remote:
    """The kernels of an ARM instruction set on a processor of qemu's, built once a session."""
    return Remote(["qemu-aarch64", "-cpu", cpu, str(build(CROSS[compiler], isa, "-static", *FLAGS[isa]))])


@functools.cache
def x86(isa: str, compiler: str = "gcc") -> Remote:
    """The kernels of an x86 instruction set: on the processor if it has it, else by emulation/immintrin.h."""
    if isa in {one.name for one in host_isas()}:
        return Remote([str(build((compiler,), isa, *FLAGS[isa]))])
    flags = ("-O1", "-mavx2", "-mfma", f"-isystem{FOLDER}", "-Wno-psabi")  # -O1: half the time of compiling
    return Remote([str(build((compiler,), isa, *flags))])

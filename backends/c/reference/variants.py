"""The kernels built in the ways that must give the same bits: plain C with sanitizers, AVX2, NEON in an emulator."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from irc.backends.c.compilers import COMMON_FLAGS, GCC_FLAGS, WARNINGS
from irc.backends.c.isa import host_isas
from irc.backends.c.reference.native import Native

# -O1 keeps what they say readable; no kernel relies on integers that wrap, which they would not see otherwise
_SANITIZED = ("-O1", "-fno-wrapv", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@dataclass(frozen=True)
class Variant:
    """A way to build and run the kernels, and what of the machine it needs."""

    compiler: str
    flags: tuple[str, ...]
    run: tuple[str, ...] = ()
    isa: str = "portable"

    @property
    def missing(self) -> str:
        """What this machine lacks, '' if nothing."""
        absent = [tool for tool in (self.compiler, *self.run) if shutil.which(tool) is None]
        if not self.run and self.isa not in {isa.name for isa in host_isas()}:
            absent.append(f"a processor with {self.isa}")
        return " and ".join(absent)

    def build(self) -> Native:
        """Compile and start it."""
        folder = Path(tempfile.mkdtemp(prefix="irc-kernels-"))
        atexit.register(shutil.rmtree, folder)
        return Native((self.compiler, *WARNINGS, *COMMON_FLAGS, *self.flags), folder, self.run)


VARIANTS = {
    "portable": Variant("gcc", _SANITIZED),
    "avx2": Variant("gcc", (*GCC_FLAGS, "-mavx2", "-mfma"), isa="avx2"),
    "clang": Variant("clang", ("-mavx2", "-mfma"), isa="avx2"),
    "neon": Variant("aarch64-linux-gnu-gcc", (*GCC_FLAGS, "-static"), ("qemu-aarch64",), "neon"),
}


@cache
def _builds() -> dict[str, Future[Native]]:
    pool = ThreadPoolExecutor(2)
    return {name: pool.submit(v.build) for name, v in VARIANTS.items() if not v.missing}


def built(name: str) -> Native:
    """A variant that is not missing, built once in a process; all begin to build with the first."""
    return _builds()[name].result()

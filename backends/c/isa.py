"""The instruction sets that there are kernels for, and how a compiler is told to use each.

Isa     ::= name, machine, compiler flags, the features a processor must have (as Linux names them)
MACHINES  the instruction sets of each machine, from the plainest to the best
"""

from __future__ import annotations

import platform
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Isa:
    """An instruction set.

    name : as in file names and in `IRC_ISA_<NAME>`
    flags : for gcc and clang
    features : what /proc/cpuinfo must list
    test : C expression over `irc_cpu`, true if the processor has it
    """

    name: str
    flags: tuple[str, ...] = ()
    features: frozenset[str] = frozenset()
    test: str = "1"


PORTABLE = Isa("portable")
AVX2 = Isa("avx2", ("-mavx2", "-mfma"), frozenset({"avx2", "fma"}), "cpu.avx2")
AVXVNNI = Isa("avxvnni", ("-mavx2", "-mfma", "-mavxvnni"), frozenset({"avx2", "fma", "avx_vnni"}), "cpu.avxvnni")
_AVX512 = ("-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni", "-mavx512vbmi")
_AVX512_FEATURES = frozenset(
    {"avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_vbmi"}
)
AVX512VNNI = Isa("avx512vnni", (*_AVX512, "-mprefer-vector-width=512"), _AVX512_FEATURES, "cpu.avx512vnni")
AMX = Isa(
    "amx",
    (*_AVX512, "-mprefer-vector-width=512", "-mamx-tile", "-mamx-int8"),
    _AVX512_FEATURES | {"amx_tile", "amx_int8"},
    "cpu.amx",
)
NEON = Isa("neon", ("-march=armv8-a",), frozenset({"asimd"}))
DOTPROD = Isa("dotprod", ("-march=armv8.2-a+dotprod",), frozenset({"asimd", "asimddp"}), "cpu.dotprod")
I8MM = Isa("i8mm", ("-march=armv8.2-a+dotprod+i8mm",), frozenset({"asimd", "asimddp", "i8mm"}), "cpu.i8mm")

MACHINES: dict[str, tuple[Isa, ...]] = {
    "x86-64": (PORTABLE, AVX2, AVXVNNI, AVX512VNNI, AMX),
    "aarch64": (NEON, DOTPROD, I8MM),
    "portable": (PORTABLE,),
}
_ALIASES = {"x86_64": "x86-64", "amd64": "x86-64", "arm64": "aarch64"}


def host_machine() -> str:
    """The machine that this process runs on, as in MACHINES; `portable` for any other."""
    name = platform.machine().lower()
    name = _ALIASES.get(name, name)
    return name if name in MACHINES else "portable"


def host_isas() -> tuple[Isa, ...]:
    """The instruction sets that this machine's processor has; those of its kind if it does not say."""
    known = MACHINES[host_machine()]
    features = _cpu_features()
    return tuple(isa for isa in known if isa.features <= features) if features else known


def _cpu_features() -> frozenset[str]:
    with suppress(OSError), Path("/proc/cpuinfo").open() as lines:
        for line in lines:  # no further than the first processor: the text of hundreds takes long to make
            key, _, text = line.partition(":")
            if key.strip() in ("flags", "Features"):
                return frozenset(text.split())
    return frozenset()

"""How fast this machine could be: int8 operations a second of one core, from registers, for each instruction set."""

from __future__ import annotations

import ctypes
from functools import cache

from irc.backends.c.compilers import find_compiler
from irc.backends.c.emit.sources import KERNELS
from irc.backends.c.isa import MACHINES, host_machine
from irc.backends.c.toolchain import build_library


@cache
def peak_gops(isa: str) -> float:
    """Operations, two a multiply-accumulate, in 1e9 a second: the best of several short loops of `limit.h`."""
    machine = host_machine()
    flags = next(each.flags for each in MACHINES[machine] if each.name == isa)
    text = (KERNELS / "limit.h").read_text()
    source = f"{text}\ndouble irc_limit(void);\ndouble irc_limit(void) {{ return irc_peak_gops(); }}\n"
    library = build_library({"limit.c": source}, {"limit.c": flags}, find_compiler(machine))
    limit = ctypes.CDLL(str(library)).irc_limit
    limit.restype = ctypes.c_double
    return float(limit())

"""The C targets: which machine each is for, what it quantizes, and which ops it can run."""

from __future__ import annotations

from dataclasses import replace

from irc.backends.c.isa import MACHINES, Isa, host_isas, host_machine
from irc.backends.c.lowering import is_covered
from irc.op import Op
from irc.ops.fake_quant import FakeQuant
from irc.passes.integer_rules import INTEGER_OPS, INTEGER_POLICY
from irc.target import Target


def takes(op: Op) -> bool:
    """Whether the C backend has a rule for the op, or lowers it to ops that have one."""
    return is_covered(op) or isinstance(op, FakeQuant) or op.name in INTEGER_OPS


def isas_of(target: Target) -> tuple[str, tuple[Isa, ...]]:
    """The machine that a C target is for, and the instruction sets that its code carries."""
    machine = target.name.partition(":")[2]
    if machine == "host":
        return host_machine(), host_isas()
    return machine, MACHINES[machine]


def _saturates(isas: tuple[Isa, ...]) -> bool:
    """Whether the best kernels of one of the instruction sets want weights whose products fit 16 bits in pairs."""
    return "avx2" in {isa.name for isa in isas[-1:]} or len(isas) > 1 and "avx2" in {isa.name for isa in isas}


def _target(machine: str, title: str, isas: tuple[Isa, ...]) -> Target:
    return Target(f"c:{machine}", "c", title, replace(INTEGER_POLICY, saturating_pairs=_saturates(isas)), takes)


TARGETS = {
    t.name: t
    for t in (
        _target("portable", "C99 without intrinsics, for any compiler", MACHINES["portable"]),
        _target("x86-64", "C for x86-64: AVX2, AVX-VNNI, AVX-512 VNNI and AMX, chosen at load", MACHINES["x86-64"]),
        _target("aarch64", "C for 64-bit ARM: NEON, dotprod and i8mm, chosen at load", MACHINES["aarch64"]),
        _target("host", "C for the processor of this machine", host_isas()),
    )
}

"""The C targets: which machine each is for, what it quantizes, and which ops it can run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from irc.backends.c.isa import MACHINES, Isa, host_isas, host_machine
from irc.backends.c.lowering import is_covered
from irc.backends.c.packing import is_winograd_shape
from irc.backends.measure import c_latency
from irc.graph import Graph, Node
from irc.op import Op
from irc.ops.fake_quant import FakeQuant
from irc.passes.integer_rules import INTEGER_OPS, INTEGER_POLICY
from irc.target import Target, adds_in_32_bits


def takes(op: Op) -> bool:
    """Whether the C backend has a rule for the op, or lowers it to ops that have one."""
    return is_covered(op) or isinstance(op, FakeQuant) or op.name in INTEGER_OPS


def refuses(graph: Graph, target: Target) -> list[Node]:
    """The nodes without a rule that quantization could not help, of the graph itself where cleaning it keeps them."""
    from irc.backends.c.lower import missing_early  # which needs the registry of targets, and with it this module

    named = {node.name: node for node in graph.walk()}
    return [named.get(node.name, node) for node in missing_early(graph, target)]


def isas_of(target: Target) -> tuple[str, tuple[Isa, ...]]:
    """The machine that a C target is for, and the instruction sets that its code carries."""
    machine = target.name.partition(":")[2]
    if machine == "host":
        return host_machine(), host_isas()
    return machine, MACHINES[machine]


def adds_four(op: Op, weight: tuple[int, ...]) -> int:
    """What AVX2's kernels add in 16 bits where weights allow it: a quarter faster, for 1.2 to 1.7 dB (decision 9)."""
    return 0 if _is_exact(op, weight) else 4


def adds_two(op: Op, weight: tuple[int, ...]) -> int:
    """The same for code that AVX2 shares with better instruction sets: less speed there, less lost elsewhere."""
    return 0 if _is_exact(op, weight) else 2


def _is_exact(op: Op, weight: tuple[int, ...]) -> bool:
    """Whether the kernel of a contraction multiplies in 16 bits and adds in 32, whatever the weights are."""
    if op.name != "Conv":
        return False
    depthwise = weight[1] == 1 and getattr(op, "group", 1) == weight[0] > 1
    steps = (*(getattr(op, "strides", None) or ()), *(getattr(op, "dilations", None) or ()))
    return depthwise or is_winograd_shape(weight, getattr(op, "group", 1), steps)


def _adds(machine: str, isas: tuple[Isa, ...]) -> Callable[[Op, tuple[int, ...]], int]:
    """What the target adds in 16 bits: code for the host runs on its best instruction set, other code on any."""
    names = [isa.name for isa in isas]
    if machine == "host":
        return adds_four if names[-1] == "avx2" else adds_in_32_bits
    return adds_two if "avx2" in names else adds_in_32_bits


def _target(machine: str, title: str, isas: tuple[Isa, ...]) -> Target:
    policy = replace(INTEGER_POLICY, adds_in_16_bits=_adds(machine, isas), adds_by_rows=True)
    latency = c_latency if machine in ("host", "portable", host_machine()) else None
    return Target(
        f"c:{machine}",
        "c",
        title,
        policy,
        takes,
        refuses,
        channel_multiple=8,
        latency=latency,
        float_compute=frozenset(),
        float_storage=frozenset(),
    )


TARGETS = {
    t.name: t
    for t in (
        _target("portable", "C99 without intrinsics, for any compiler", MACHINES["portable"]),
        _target("x86-64", "C for x86-64: AVX2, AVX-VNNI, AVX-512 VNNI and AMX, chosen at load", MACHINES["x86-64"]),
        _target("aarch64", "C for 64-bit ARM: NEON, dotprod and i8mm, chosen at load", MACHINES["aarch64"]),
        _target("host", "C for the processor of this machine", host_isas()),
    )
}

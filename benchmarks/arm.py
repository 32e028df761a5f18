"""EfficientNet-Lite0 as ARM code under qemu: instructions of one inference, and the same bits as here.

    PYTHONPATH=examples python benchmarks/arm.py [--model NAME] [--functions N]

qemu executes each instruction of the processor that it stands for, but not in that processor's time: the counts compare
instruction sets and versions of the kernels, and repeat exactly. Needs qemu-aarch64 and aarch64-linux-gnu-gcc.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from arm_instructions import build_plugin, per_call
from c_program import CROSS, MISSING, PROCESSORS, QEMU, build_program

import irc
import openset
from irc.api import DEFAULT_PASSES
from irc.backends.c.artifact import CArtifact


def main() -> int:
    """Print a row an instruction set; 1 if one gives other bits."""
    parser = argparse.ArgumentParser(description="instructions of an inference on ARM")
    parser.add_argument("--model", default="effnet_lite0", help="a name of the open set")
    parser.add_argument("--functions", type=int, default=0, metavar="N", help="list the N functions that executed most")
    options = parser.parse_args()
    if QEMU is None or CROSS is None:
        sys.exit(MISSING)
    model = openset.load(options.model)
    graph = irc.load(model.model, tuple(model.example_inputs.values()))
    calibration = [tuple(arrays.values()) for arrays in model.calibration(32)]
    there = irc.compile(graph, f"{DEFAULT_PASSES}, quantize", calibration=calibration, target="c:aarch64")
    here = irc.compile(there.graph, [], target="c:portable")
    assert isinstance(there, CArtifact)
    assert isinstance(here, CArtifact)
    (arrays,) = model.validation(1)
    inputs = [np.ascontiguousarray(array) for array in arrays.values()]
    wanted = here(dict(zip((v.name for v in graph.inputs), inputs, strict=True)))
    macs, same = sum(step.macs for step in there.program.steps), True
    with tempfile.TemporaryDirectory(prefix="irc-arm-") as folder:
        plugin, program = build_plugin(Path(folder)), build_program(there, Path(folder) / "net")
        print(f"{options.model}: {macs / 1e6:.0f} MMAC; one inference under qemu")
        print(f"{'':10}{'processor':14}{'instructions':>14}{'MAC each':>10}  bits")
        for isa, cpu in PROCESSORS.items():
            code, chosen, got = program.run(inputs, cpu=cpu)
            equal = code == 0 and chosen == isa and np.array_equal(got[0], wanted)
            found = per_call(program.command(inputs, isa=isa), cpu, plugin, 2)
            total = sum(found.values())
            print(f"{isa:10}{cpu:14}{total:>14,}{macs / total:>10.1f}  {'as here' if equal else 'DIFFERENT'}")
            for name in sorted(found, key=lambda each: -found[each])[: options.functions]:
                print(f"    {found[name]:>16,} {name}")
            same &= equal
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())

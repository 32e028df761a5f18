"""All files of a compiled model, as text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from irc.backends.c.emit.body import body_source
from irc.backends.c.emit.cmake import cmake_source
from irc.backends.c.emit.constants import Constants
from irc.backends.c.emit.header import header_source, internal_source, main_source
from irc.backends.c.isa import Isa
from irc.backends.c.memory import MemoryPlan, plan_memory
from irc.backends.c.program import Program, Scratch

KERNELS = Path(__file__).resolve().parent.parent / "kernels"
_INCLUDE = re.compile(r'^\s*#\s*include\s+"(?:kernels/)?([\w.]+)"', re.MULTILINE)


class Sources:
    """A model in C.

    name : what its files and functions are named by
    files : by path in the folder, text, or bytes of constants
    objects : for each .c file, the flags that it is compiled with
    plan, constants : sizes
    """

    def __init__(self, name: str, program: Program, isas: Sequence[Isa], machine: str) -> None:
        self.name = name
        self.machine = machine
        self.plan: MemoryPlan = plan_memory(program)
        self.constants = Constants(program.constants())
        self.files: dict[str, str | bytes] = {}
        self.objects: dict[str, tuple[str, ...]] = {}
        scratch = -(-_scratch(program, isas) // 64) * 64
        self._add(f"{name}.c", main_source(name, program, self.plan, isas, machine, scratch))
        for isa in isas:
            text = body_source(name, program, self.plan, self.constants, isa)
            self._add(f"{name}_{isa.name}.c", text, isa.flags)
        if machine == "portable":
            self._add(f"{name}_constants.c", self.constants.array_source(name))
        else:
            self._add(f"{name}_constants.c", self.constants.file_source(name))
            self.files[f"{name}_constants.bin"] = self.constants.blob()
        self.files[f"{name}.h"] = header_source(name, program, self.plan, self.constants)
        self.files[f"{name}_internal.h"] = internal_source(name, isas)
        self._add_kernels()
        self.files["CMakeLists.txt"] = cmake_source(name, self.objects, binary=machine != "portable")

    def _add(self, path: str, text: str, flags: tuple[str, ...] = ()) -> None:
        self.files[path] = text
        self.objects[path] = flags

    def _add_kernels(self) -> None:
        """The hand-written headers that the files include, and those that these include."""
        waiting = [name for text in self.files.values() if isinstance(text, str) for name in included(text)]
        while waiting:
            name = waiting.pop()
            path = f"kernels/{name}"
            if path not in self.files and (KERNELS / name).is_file():
                text = self.files[path] = (KERNELS / name).read_text()
                waiting += included(text)


def included(text: str) -> list[str]:
    """The files that a C file includes by name in quotes."""
    return _INCLUDE.findall(text)


def _scratch(program: Program, isas: Sequence[Isa]) -> int:
    """The most that a call of one of the instruction sets wants for a thread."""
    sizes = [
        argument.bytes
        for isa in isas
        for step in program.steps
        for argument in step.for_isa(isa.name).arguments
        if isinstance(argument, Scratch)
    ]
    return max(sizes, default=0)

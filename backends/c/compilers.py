"""C compilers: which there are, what each is called with, and what tells one from another.

What the compiler warns of is an error where the environment has IRC_CI; elsewhere newer compilers may warn of more.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from irc.backends.c.isa import host_machine
from irc.errors import ToolchainError

# -O2 with the vectorizer; contraction off, since an fma is only where the contract says one; integers wrap as in numpy
COMMON_FLAGS = ("-O2", "-ftree-vectorize", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-fwrapv")
# gcc alone: its full cost model, and loops left as they are written, which vectorize better; no result changes
GCC_FLAGS = ("-fvect-cost-model=dynamic", "-fno-thread-jumps", "-fno-tree-loop-distribute-patterns")
STANDARD = ("-std=c99",)
WARNINGS = (*STANDARD, "-Wall", "-Wextra", "-Werror", "-pedantic")  # what the code is held to
_CROSS = {"aarch64": ("aarch64-linux-gnu-gcc",), "x86-64": ("x86_64-linux-gnu-gcc",)}
# zig names processors and their extensions in its own way
_ZIG_FLAGS = {
    "-march=armv8-a": "-mcpu=generic",
    "-march=armv8.2-a+dotprod": "-mcpu=generic+v8_2a+dotprod",
    "-march=armv8.2-a+dotprod+i8mm": "-mcpu=generic+v8_2a+dotprod+i8mm",
}
_ZIG_TARGETS = {"aarch64": "aarch64-linux-gnu", "x86-64": "x86_64-linux-gnu"}


@dataclass(frozen=True)
class Compiler:
    """A C compiler: the command to which flags and files are added, and what it says of its version."""

    command: tuple[str, ...]
    version: str

    @property
    def flags(self) -> tuple[str, ...]:
        """What every file is compiled with."""
        return COMMON_FLAGS + (GCC_FLAGS if "Free Software Foundation" in self.version else ())

    def translated(self, flags: Sequence[str]) -> list[str]:
        """Flags for gcc and clang in the compiler's own words."""
        return [_ZIG_FLAGS.get(flag, flag) for flag in flags] if "ziglang" in self.command else list(flags)


def standard() -> tuple[str, ...]:
    """The flags for the language's standard and for warnings."""
    return WARNINGS if os.environ.get("IRC_CI") else STANDARD


def find_compiler(machine: str) -> Compiler:
    """The compiler for a machine: $CC, cc, gcc, clang or zig; for another machine than this one its cross compiler.

    Raises
    ------
    ToolchainError : there is none, with what to install.
    """
    command = _command(machine)
    if command is not None:
        return _asked(command)
    native = _is_native(machine)
    what = "a C compiler: gcc or clang" if native else f"a cross compiler for {machine}: {' or '.join(_names(machine))}"
    raise ToolchainError(
        f"there is no C compiler for {machine}; install {what} (on Debian: apt install "
        f"{'gcc' if native else f'gcc-{_ZIG_TARGETS.get(machine, machine)}'}), or pip install 'irc-compiler[zig]'"
    )


def compiler_stamp() -> list[str]:
    """What changes with this machine's compiler, told without running it.

    Returns
    -------
    Its command and flags, and sizes and times of its files.
    """
    command = _command(host_machine()) or ()
    spec = importlib.util.find_spec("ziglang") if "ziglang" in command else None
    found = [spec.origin if spec is not None else None, *map(shutil.which, command)]
    stats = [Path(path).stat() for path in found if path is not None]
    return [*command, *standard(), *(f"{each.st_size} {each.st_mtime_ns}" for each in stats)]


def _is_native(machine: str) -> bool:
    return machine in (host_machine(), "portable")


def _names(machine: str) -> tuple[str, ...]:
    return ("cc", "gcc", "clang") if _is_native(machine) else _CROSS.get(machine, ())


def _command(machine: str) -> tuple[str, ...] | None:
    """How the compiler for a machine is called; None if there is none."""
    given = os.environ.get("CC", "").strip()
    if _is_native(machine) and given:
        return tuple(shlex.split(given))
    for name in _names(machine):
        if shutil.which(name):
            return (name,)
    if importlib.util.find_spec("ziglang") is None:
        return None
    target = () if _is_native(machine) else ("-target", _ZIG_TARGETS.get(machine, machine))
    return (sys.executable, "-m", "ziglang", "cc", *target)


@cache
def _asked(command: tuple[str, ...]) -> Compiler:
    import subprocess  # here, as a saved model is opened without asking

    try:
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True, timeout=120)
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolchainError(f"the C compiler '{shlex.join(command)}' does not run: {error}") from error
    return Compiler(command, done.stdout)

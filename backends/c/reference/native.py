"""The float kernels as Python functions: compiled from their headers into a program that runs them on request.

A program of its own, spoken to through pipes, runs for another machine under an emulator or under the sanitizers as
well as natively, and a kernel that crashes takes no test run with it. Memory of each argument is exactly its bytes.

    request ::= function u32, count u32, argument ...         answer ::= the bytes of each array, in order
    argument::= "n" | "i" int64 | "f" float64 | "a" size u64, bytes | "s" size u64, bytes, pointers u32, pointer ...
    pointer ::= offset in the struct u64, size u64, bytes
"""

from __future__ import annotations

import atexit
import re
import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from irc.backends.c.emit.sources import KERNELS
from irc.types import Array

Argument = Mapping[str, Any] | Array | float | None  # a struct by its fields, an array, a number, NULL

HEADERS = (
    "irc_math_f64.h", "activation.h", "rows.h", "quantize.h", "lookup.h", "pool.h", "reduce.h", "matmul_f32.h",
    "conv_f32.h", "resize.h", "recurrent.h",
)  # fmt: skip
_FUNCTION = re.compile(r"static inline (\w+) (irc_\w+)\(([^()]*)\)\s*\{")
_STRUCT = re.compile(r"typedef struct (irc_\w+) \{([^{}]*)\} \1;")
_FORMAT = {"int32_t": "i", "int64_t": "q", "float": "f", "uint8_t": "B"}
_MAIN = r"""
#include <stdio.h>
#include <stdlib.h>

typedef struct { void *p, *inner[8]; int64_t i; double f; uint64_t bytes; uint32_t pointers; char kind; } argument;

static void take(void *to, size_t n) { if (n && fread(to, 1, n, stdin) != n) exit(0); }

static void *memory(uint64_t *bytes)
{
    take(bytes, 8);
    void *p = malloc((size_t)*bytes);
    take(p, (size_t)*bytes);
    return p;
}

static void read_argument(argument *a)
{
    take(&a->kind, 1);
    a->p = 0;
    a->pointers = 0;
    if (a->kind == 'i') take(&a->i, 8);
    if (a->kind == 'f') take(&a->f, 8);
    if (a->kind == 'a' || a->kind == 's') a->p = memory(&a->bytes);
    if (a->kind == 's') take(&a->pointers, 4);
    for (uint32_t k = 0; k < a->pointers; k++) {
        uint64_t offset, bytes;
        take(&offset, 8);
        a->inner[k] = memory(&bytes);
        memcpy((char *)a->p + offset, &a->inner[k], sizeof(void *));
    }
}

static void answer(argument *a)
{
    if (a->kind == 'a') fwrite(a->p, 1, (size_t)a->bytes, stdout);
    for (uint32_t k = 0; k < a->pointers; k++) free(a->inner[k]);
    free(a->p);
}

@WRAPPERS@
static void (*const functions[])(argument *) = { @NAMES@ };

int main(void)
{
    static argument a[32];
    for (;;) {
        uint32_t head[2];
        take(head, sizeof head);
        for (uint32_t k = 0; k < head[1]; k++) read_argument(&a[k]);
        functions[head[0]](a);
        for (uint32_t k = 0; k < head[1]; k++) answer(&a[k]);
        fflush(stdout);
    }
}
"""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a kernel: its C type without `const` and `*`, and whether it is a pointer."""

    type: str
    pointer: bool


def _fields(body: str) -> list[tuple[str, str]]:
    """Name and format of each field of a struct; 'P' of a pointer."""
    found = []
    for declaration in body.split(";"):
        words = declaration.replace("*", " * ").replace("const", " ").split()
        for name in " ".join(words[1:]).split(",") if words else ():
            kind = "P" if "*" in declaration else _FORMAT.get(words[0], "P")
            found.append((name.replace("*", "").strip(), kind))
    return found


def _parameters(text: str) -> list[Parameter]:
    made = []
    for part in text.split(","):
        bare = part.replace("const", "").replace("restrict", "")
        made.append(Parameter(bare.replace("*", " ").split()[0], "*" in part))
    return made


def _wrapper(name: str, result: str, parameters: Sequence[Parameter]) -> str:
    """C: a kernel called with an array of arguments; a function of floats mapped over arrays, the last its results."""
    if result == "void":
        given = [
            f"a[{i}].p" if p.pointer else f"({p.type})a[{i}].{'f' if p.type == 'float' else 'i'}"
            for i, p in enumerate(parameters)
        ]
        return f"static void run_{name}(argument *a) {{ {name}({', '.join(given)}); }}\n"
    n = len(parameters)
    given = [f"((const float *)a[{i}].p)[k]" for i in range(n)]
    return (
        f"static void run_{name}(argument *a) {{ for (uint64_t k = 0; k < a[{n}].bytes / 4; k++) "
        f"((float *)a[{n}].p)[k] = {name}({', '.join(given)}); }}\n"
    )


class Native:
    """The kernels of HEADERS, compiled by a command such as ("gcc", "-O2") and run by a command such as qemu's.

    Raises
    ------
    subprocess.CalledProcessError : the compiler refuses.
    """

    def __init__(self, compiler: Sequence[str], folder: Path, run: Sequence[str] = ()) -> None:
        includes = "".join(f'#include "{h}"\n' for h in HEADERS)
        source, program = folder / "kernels.c", folder / "kernels"
        source.write_text(includes)
        command = [*compiler, f"-I{KERNELS}"]
        preprocess = [*command, "-E", "-P", str(source)]
        text = subprocess.run(preprocess, check=True, capture_output=True, text=True, timeout=60).stdout
        self.structs = {name: _fields(body) for name, body in _STRUCT.findall(text)}
        self.functions: dict[str, tuple[int, list[Parameter]]] = {}
        wrappers = ""
        for result, name, given in _FUNCTION.findall(text):
            parameters = _parameters(given)
            kernel = result == "void" and parameters[0].type in self.structs and "threads" in given
            if kernel or (result == "float" and all(p == Parameter("float", False) for p in parameters)):
                self.functions[name] = (len(self.functions), parameters)
                wrappers += _wrapper(name, result, parameters)
        names = ", ".join(f"run_{name}" for name in self.functions)
        source.write_text(includes + _MAIN.replace("@WRAPPERS@", wrappers).replace("@NAMES@", names))
        subprocess.run([*command, str(source), "-o", str(program), "-lm"], check=True, timeout=300)
        self.process = subprocess.Popen([*run, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        atexit.register(self.close)

    def close(self) -> None:
        """End the program."""
        self.process.communicate(timeout=60)

    def __call__(self, name: str, *arguments: Argument) -> list[Array]:
        """Run a kernel with the arguments of its C function; its arrays come back as they are afterwards."""
        index, parameters = self.functions[name]
        assert len(arguments) <= len(parameters) + 1, f"{name} takes {len(parameters)} arguments"
        message = b"".join(self._message(a, p.type) for a, p in zip(arguments, parameters, strict=False))
        message += b"".join(self._message(a, "") for a in arguments[len(parameters) :])
        return self._exchange(name, struct.pack("=II", index, len(arguments)) + message, arguments)

    def _exchange(self, name: str, message: bytes, arguments: Sequence[Argument]) -> list[Array]:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(message)
        stdin.flush()
        found = []
        for array in arguments:
            if isinstance(array, np.ndarray):
                raw = stdout.read(array.nbytes)
                assert len(raw) == array.nbytes, f"{name} crashed"
                found.append(np.frombuffer(raw, array.dtype).reshape(array.shape))
        return found

    def _message(self, value: Argument, type: str) -> bytes:
        if value is None:
            return b"n"
        if isinstance(value, Mapping):
            return self._struct(type, value)
        if isinstance(value, np.ndarray):
            return b"a" + struct.pack("=Q", value.nbytes) + value.tobytes()
        return b"f" + struct.pack("=d", value) if isinstance(value, float) else b"i" + struct.pack("=q", value)

    def _struct(self, type: str, fields: Mapping[str, Any]) -> bytes:
        """A struct of parameters; fields left out are 0, arrays are pointed to."""
        known = self.structs[type]
        unknown = set(fields) - {name for name, _ in known}
        assert not unknown, f"{type} has no {unknown}"
        layout, values, pointers = "@", [], []
        for name, kind in known:
            value = fields.get(name, 0)
            if isinstance(value, np.ndarray):
                offset = struct.calcsize(layout + "0" + kind)
                pointers.append(struct.pack("=QQ", offset, value.nbytes) + value.tobytes())
                value = 0
            layout += kind
            values.append(float(value) if kind == "f" else int(value))
        raw = struct.pack(layout, *values)
        raw += bytes(-len(raw) % 8)
        return b"s" + struct.pack("=Q", len(raw)) + raw + struct.pack("=I", len(pointers)) + b"".join(pointers)

    def threads(self, name: str, count: int, *arguments: Argument) -> list[Array]:
        """Run a kernel as `count` threads do, one after another, each in what the others left."""
        for thread in range(count):
            found = iter(self(name, *arguments, thread, count))
            arguments = tuple(next(found) if isinstance(a, np.ndarray) else a for a in arguments)
        return [a for a in arguments if isinstance(a, np.ndarray)]

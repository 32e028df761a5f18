"""The float kernels as Python functions: compiled from their headers into a program that runs them on request.

A program of its own, spoken to through pipes, runs for another machine under an emulator or under the sanitizers as
well as natively, and a kernel that crashes takes no test run with it. Memory of each argument is exactly its bytes.
"""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from irc.types import Array

KERNELS = Path(__file__).resolve().parent.parent / "kernels"
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

typedef struct { void *p; int64_t i; double f; uint64_t bytes; char kind; } argument;

static void take(void *to, size_t n) { if (n && fread(to, 1, n, stdin) != n) exit(0); }

@WRAPPERS@
static void (*const functions[])(argument *) = { @NAMES@ };

int main(void)
{
    for (;;) {
        uint32_t head[2];
        argument a[32];
        take(head, sizeof head);
        for (uint32_t k = 0; k < head[1]; k++) {
            take(&a[k].kind, 1);
            a[k].p = 0;
            if (a[k].kind == 'i') take(&a[k].i, 8);
            if (a[k].kind == 'f') take(&a[k].f, 8);
            if (a[k].kind == 'a') {
                take(&a[k].bytes, 8);
                a[k].p = malloc(a[k].bytes);
                take(a[k].p, a[k].bytes);
            }
        }
        functions[head[0]](a);
        for (uint32_t k = 0; k < head[1]; k++)
            if (a[k].kind == 'a') {
                fwrite(a[k].p, 1, a[k].bytes, stdout);
                free(a[k].p);
            }
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
            kind = "P" if "*" in name else _FORMAT[words[0]]
            found.append((name.replace("*", "").strip(), kind))
    return found


def _parameters(text: str) -> list[Parameter]:
    made = []
    for part in text.split(","):
        bare = part.replace("const", "").replace("restrict", "")
        made.append(Parameter(bare.replace("*", " ").split()[0], "*" in part))
    return made


def _wrapper(name: str, result: str, parameters: Sequence[Parameter]) -> str:
    """C: a function of an array of arguments; a function of floats alone maps arrays, the last the result."""
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
    """The kernels of the headers, compiled by a command such as ("gcc", "-O2") and run by a command such as qemu's.

    Raises
    ------
    subprocess.CalledProcessError : the compiler refuses.
    """

    def __init__(
        self, compiler: Sequence[str], folder: Path, run: Sequence[str] = (), headers: Sequence[str] = HEADERS
    ) -> None:
        includes = "".join(f'#include "{h}"\n' for h in headers)
        source, program = folder / "kernels.c", folder / "kernels"
        source.write_text(includes)
        command = [*compiler, f"-I{KERNELS}"]
        text = subprocess.run(
            [*command, "-E", "-P", str(source)], check=True, capture_output=True, text=True, timeout=60
        ).stdout
        self.structs = {name: _fields(body) for name, body in _STRUCT.findall(text)}
        self.functions: dict[str, tuple[int, list[Parameter]]] = {}
        wrappers = ""
        for result, name, given in _FUNCTION.findall(text):
            parameters = _parameters(given)
            kernel = result == "void" and parameters[0].type in self.structs and name[-4:] != "_row"
            scalar = result == "float" and all(p == Parameter("float", False) for p in parameters)
            if (kernel and "threads" in given) or scalar:
                self.functions[name] = (len(self.functions), parameters)
                wrappers += _wrapper(name, result, parameters)
        names = ", ".join(f"run_{name}" for name in self.functions)
        source.write_text(includes + _MAIN.replace("@WRAPPERS@", wrappers).replace("@NAMES@", names))
        subprocess.run([*command, str(source), "-o", str(program), "-lm"], check=True, timeout=300)
        self.process = subprocess.Popen([*run, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def close(self) -> None:
        """End the program."""
        self.process.communicate(timeout=60)

    def struct(self, type: str, fields: Mapping[str, Any]) -> Array:
        """The bytes of a struct of parameters; fields left out are 0."""
        unknown = set(fields) - {name for name, _ in self.structs[type]}
        assert not unknown, f"{type} has no {unknown}"
        values = [fields.get(name, 0) for name, _ in self.structs[type]]
        layout = "".join(kind for _, kind in self.structs[type])
        raw = struct.pack(
            "@" + layout, *(float(v) if k == "f" else int(v) for v, k in zip(values, layout, strict=True))
        )
        return np.frombuffer(raw + bytes(-len(raw) % 8), np.uint8)

    def __call__(self, name: str, *arguments: Mapping[str, Any] | Array | float | None) -> list[Array]:
        """Run a kernel: a mapping is its struct, arrays are copied in and all of them come back, None is NULL."""
        index, parameters = self.functions[name]
        message, arrays = bytearray(), []  # what comes back: structs too, which nobody asked for
        for i, given in enumerate(arguments):
            value = self.struct(parameters[i].type, given) if isinstance(given, Mapping) else given
            if value is None:
                message += b"n"
            elif isinstance(value, np.ndarray):
                value = np.ascontiguousarray(value)
                message += b"a" + struct.pack("=Q", value.nbytes) + value.tobytes()
                arrays.append((value, isinstance(given, np.ndarray)))
            elif isinstance(value, float):
                message += b"f" + struct.pack("=d", value)
            else:
                message += b"i" + struct.pack("=q", int(value))  # type: ignore[call-overload]  # an int by now
        pipes = self.process.stdin, self.process.stdout
        assert pipes[0] is not None
        assert pipes[1] is not None
        pipes[0].write(struct.pack("=II", index, len(arguments)) + bytes(message))
        pipes[0].flush()
        found = []
        for array, wanted in arrays:
            raw = pipes[1].read(array.nbytes)
            assert len(raw) == array.nbytes, f"{name} crashed"
            if wanted:
                found.append(np.frombuffer(raw, array.dtype).reshape(array.shape))
        return found

    def threads(self, name: str, count: int, *arguments: Mapping[str, Any] | Array | float | None) -> list[Array]:
        """Run a kernel as `count` threads do, one after another, each in what the others left."""
        arguments = tuple(arguments)
        for thread in range(count):
            found = iter(self(name, *arguments, thread, count))
            arguments = tuple(next(found) if isinstance(a, np.ndarray) else a for a in arguments)
        return [a for a in arguments if isinstance(a, np.ndarray)]

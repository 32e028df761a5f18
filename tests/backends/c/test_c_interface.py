"""What a C program may rely on: the header, the codes it returns, and names that no model can misuse."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import irc
from irc.backends.c.artifact import CArtifact
from irc.backends.c.compilers import WARNINGS, find_compiler
from irc.backends.c.emit.names import comment, identifier
from irc.backends.c.emit.sources import KERNELS
from irc.backends.c.isa import host_machine
from irc.backends.c.toolchain import write_files
from irc.ops.binary import Add
from tests.backends.c.conftest import Compile, images

HOSTILE = 'x"); system("touch pwned"); //*/ \n#include </etc/passwd> %s ü'

_PLAIN = "x_system_touch_pwned_include_etc_passwd_s"  # the same as an identifier


def library(artifact: CArtifact) -> ctypes.CDLL:
    found = ctypes.CDLL(str(artifact.library))
    found.irc_model_size.restype = ctypes.c_size_t
    found.irc_model_error.restype = ctypes.c_char_p
    return found


def test_codes(compile_small: Compile) -> None:
    artifact = compile_small()
    c = library(artifact)
    assert c.irc_model_abi() == 1
    assert c.irc_model_size(0) == c.irc_model_size(65) == 0
    size = c.irc_model_size(1)
    assert size >= artifact.sources.plan.arena
    memory = np.zeros(size + 64, np.uint8)
    start = memory.ctypes.data + -memory.ctypes.data % 64
    net = ctypes.c_void_p()

    def init(at: int | None, bytes: int, threads: int = 1, isa: bytes | None = None) -> int:
        return int(c.irc_model_init(ctypes.c_void_p(at), ctypes.c_size_t(bytes), threads, isa, ctypes.byref(net)))

    assert init(None, size) == 1
    assert init(start, size - 1) == 1
    assert init(start + 8, size) == 1
    assert init(start, size, threads=0) == 2
    assert init(start, size, isa=b"mmx") == 3
    assert init(start, size) == 0
    assert c.irc_model_run_array(net, None, None) == 2
    c.irc_model_free(net)
    assert c.irc_model_run_array(net, (ctypes.c_void_p * 1)(start), (ctypes.c_void_p * 1)(start)) == 5
    c.irc_model_free(None)
    said = {c.irc_model_error(code) for code in range(7)}
    assert len(said) == 7


def test_header_is_cpp(compile_small: Compile, tmp_path: Path) -> None:
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    write_files(tmp_path, compile_small().sources.files)
    (tmp_path / "main.cpp").write_text(
        '#include "model.h"\nint main() { irc_model *net = nullptr; float x = 0, y = 0;\n'
        "    return irc_model_run(net, &x, &y) == IRC_MODEL_BAD_ARGUMENT ? 0 : 1; }\n"
    )
    command = [compiler, "-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-c", "main.cpp"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)


NAMES = [
    ("in", "net", "out"), ("Net", "net_", "net"), ("out", "in", "In"), ("requires", "concept", "noexcept"),
    ("uint8_t", "int64_t", "float"), ("input1", "input0", "irc_model_run_array"), ("unix", "irc_model", "errno"),
]  # fmt: skip


@pytest.mark.parametrize("names", NAMES)
def test_any_names_of_ports(names: tuple[str, str, str], tmp_path: Path) -> None:
    """What a model calls its inputs and outputs meets no name of the interface, of C or of C++."""
    graph = irc.Graph()
    kind = irc.load(Named(), torch.zeros(2, 3)).inputs[0].type
    inputs = [graph.add_input(name, kind) for name in names[:2]]
    graph.add_output(graph.insert(Add(), inputs, name="add").output, name=names[2])
    artifact = irc.compile(graph, [], target="c:portable")
    assert isinstance(artifact, CArtifact)
    one, two = np.arange(6, dtype=np.float32).reshape(2, 3), np.full((2, 3), 2, np.float32)
    np.testing.assert_array_equal(artifact(one, two)[0], one[0] + 2)
    write_files(tmp_path, artifact.sources.files)
    program = (
        '#include <errno.h>\n#include <stdio.h>\n#include "model.h"\nint main(void) { float a[6] = {0}, b[6] = {0}, '
        "c[6] = {0};\n    return irc_model_run(NULL, a, b, c) == IRC_MODEL_BAD_ARGUMENT ? 0 : 1; }\n"
    )
    for name, command in (("main.c", ("cc", "-std=gnu11")), ("main.cpp", ("c++", "-std=c++20"))):
        (tmp_path / name).write_text(program)
        flags = ("-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only")
        subprocess.run([*command, *flags, name], cwd=tmp_path, check=True, timeout=60)


FORK = """
import ctypes, os, sys

c = ctypes.CDLL(sys.argv[1])
c.irc_model_size.restype = ctypes.c_size_t
size = c.irc_model_size(2)
memory = ctypes.create_string_buffer(size + 64)
at, net = ctypes.addressof(memory), ctypes.c_void_p()
x, y = (ctypes.c_float * 1638)(), (ctypes.c_float * 10)()
taken, made = ((ctypes.c_void_p * 1)(ctypes.addressof(a)) for a in (x, y))

def init(threads):
    start = ctypes.c_void_p(at + -at % 64)
    assert c.irc_model_init(start, ctypes.c_size_t(size), threads, None, ctypes.byref(net)) == 0

def run():
    return c.irc_model_run_array(net, taken, made)

init(2)
assert run() == 0
child = os.fork()
if child == 0:
    lost = run()
    c.irc_model_free(net)
    init(2)
    os._exit(0 if (lost, run()) == (5, 0) else 1)
assert os.waitpid(child, 0)[1] == 0
assert run() == 0
c.irc_model_free(net)
init(1)
child = os.fork()
if child == 0:
    os._exit(run())
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_fork(compile_small: Compile) -> None:
    """A child is told that the threads are its parent's, and may make its own; without threads nothing changes."""
    command = [sys.executable, "-c", FORK, str(compile_small().library)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


TILES = """
#define syscall counted
#include "detect_x86.h"
static int asked;
long counted(long number, ...) { asked += number == SYS_arch_prctl; return 0; }
int main(void) {
    const irc_cpu cpu = irc_detect();
    if (!irc_granted("portable") || !irc_granted("avx2") || !irc_granted("avx512vnni") || asked) return 1;
    return irc_granted("amx") && asked == 1 && cpu.amx <= cpu.avx2 ? 0 : 2;
}
"""


@pytest.mark.skipif(platform.system() != "Linux" or host_machine() != "x86-64", reason="only Linux on x86 is asked")
def test_tiles_are_asked_for_only_with_amx(tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text(TILES)
    command = [*find_compiler("x86-64").command, *WARNINGS, f"-I{KERNELS}", "main.c", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    subprocess.run([str(tmp_path / "main")], check=True, timeout=60)


class Named(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x) + 1


def test_hostile_names() -> None:
    graph = irc.load(Named(), torch.zeros(2, 3))
    names = [HOSTILE, "int", "main", "1st"]
    made = CArtifact.__new__(CArtifact)
    del made
    renamed = irc.Graph()
    value = renamed.add_input(names[0], graph.inputs[0].type)
    for node in graph:
        value = (
            renamed.insert(node.op, [value, *node.inputs[1:]][: len(node.inputs)], name=HOSTILE).output
            if (len(node.inputs) == 1)
            else renamed.insert(
                node.op, [value, renamed.add_constant(np.array(1.0, np.float32), "one")], name=HOSTILE + "2"
            ).output
        )
    renamed.add_output(value, name="return")
    artifact = irc.compile(renamed, [], target="c:portable", name=HOSTILE)
    assert isinstance(artifact, CArtifact)
    for path, text in artifact.sources.files.items():
        assert re.fullmatch(r"[\w./]+", path), path
        assert isinstance(text, str)
        assert "pwned" not in text or "touch?pwned" in text or "touch_pwned" in text or "touch pwned" in text
        assert 'system("' not in text
        assert "/etc/passwd" not in text
    np.testing.assert_array_equal(artifact(np.ones((2, 3), np.float32)), np.full((2, 3), 2, np.float32))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Input:0", "input_0"), ("class", "class_"), ("noexcept", "noexcept_"), ("3d", "x_3d"), ("", "x"), ("ü", "x"),
        (HOSTILE, _PLAIN),
    ],
)  # fmt: skip
def test_identifier(text: str, name: str) -> None:
    assert identifier(text, "x") == name


def test_comment() -> None:
    assert '"' not in comment(HOSTILE)
    assert "*/" not in comment(HOSTILE)
    assert "\n" not in comment(HOSTILE)


MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include "model.h"
int main(void) {
    static float x[IRC_MODEL_X_ELEMENTS];
    float y[10];
    for (int i = 0; i < IRC_MODEL_X_ELEMENTS; ++i) x[i] = (float)(i % 37) / 9.0f - 2.0f;
    for (int threads = 1; threads <= 3; ++threads) {
        const size_t size = irc_model_size(threads);
        void *memory = aligned_alloc(64, (size + 63) / 64 * 64);
        irc_model *net = NULL;
        if (irc_model_init(memory, size, threads, NULL, &net)) return 1;
        for (int i = 0; i < 3; ++i)
            if (irc_model_run(net, x, y)) return 2;
        irc_model_free(net);
        free(memory);
    }
    for (int i = 0; i < 10; ++i) printf("%a\\n", (double)y[i]);
    return 0;
}
"""


def test_sanitizers(compile_small: Compile, tmp_path: Path) -> None:
    """AddressSanitizer and UBSan find nothing, for every instruction set that this machine has."""
    artifact = compile_small()
    sources = artifact.sources
    write_files(tmp_path, sources.files)
    (tmp_path / "main.c").write_text(MAIN)
    compiler = find_compiler(artifact.machine)
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-g"]
    objects = []
    for path, flags in {**sources.objects, "main.c": ()}.items():
        objects.append(path[:-2] + ".o")
        command = [*compiler.command, *WARNINGS, "-std=c11" if path == "main.c" else "-std=c99", *sanitize, *flags]
        subprocess.run([*command, "-c", path, "-o", objects[-1]], cwd=tmp_path, check=True, timeout=300)
    link = [*compiler.command, *sanitize, *objects, "-o", "main", "-lm", "-lpthread"]
    subprocess.run(link, cwd=tmp_path, check=True, timeout=60)
    done = subprocess.run(["./main"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    x = ((np.arange(3 * 26 * 21) % 37).astype(np.float32) / np.float32(9) - np.float32(2)).reshape(1, 3, 26, 21)
    got = np.array([float.fromhex(line) for line in done.stdout.split()], np.float32)
    np.testing.assert_array_equal(got, artifact(x)[0])


def test_valgrind(compile_small: Compile, tmp_path: Path) -> None:
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        pytest.skip("there is no valgrind")
    artifact = compile_small()
    shutil.copy(artifact.library, tmp_path / "libmodel.so")
    write_files(tmp_path, artifact.sources.files)
    (tmp_path / "main.c").write_text(MAIN)
    compiler = find_compiler(artifact.machine)
    command = [*compiler.command, "-std=c11", "main.c", "./libmodel.so", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    done = subprocess.run(
        [valgrind, "-q", "--error-exitcode=9", "./main"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout.split()) == 10
    assert images(1)[0].size == 3 * 26 * 21

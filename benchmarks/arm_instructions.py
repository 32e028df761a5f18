"""How many instructions an ARM program executes, counted by qemu: figures that repeat exactly, unlike times.

    python benchmarks/arm_instructions.py [options] PROGRAM [ARGUMENTS ...]

prints the executed instructions of the whole process. With `--per-call N` the program is run twice, its last argument
being 1 and then 1 + N, and the difference divided by N is printed: the instructions of one call, without
the start of the process. `--functions` lists the functions that executed most, `--macs M` prints how many
multiply-accumulates an instruction does.

qemu is asked through a small plugin, which is compiled at the first use. Needs qemu-aarch64 and a C compiler.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

# the few declarations of qemu's plugin interface, version 1, that are used
PLUGIN = r"""
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t, void (*)(uint64_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_atexit_cb(uint64_t, void (*)(uint64_t, void *), void *);

int qemu_plugin_version = 1;

#define FUNCTIONS 65536
static struct { char name[96]; uint64_t executed; } functions[FUNCTIONS];
static size_t count;
static char path[4096];

static uint64_t *counter(const char *name)
{
    size_t i = 0;
    while (i < count && strncmp(functions[i].name, name, sizeof functions[i].name - 1))
        i++;
    if (i == count && count < FUNCTIONS - 1)
        strncpy(functions[count++].name, name, sizeof functions[i].name - 1);
    return &functions[i].executed;
}

static void translated(uint64_t id, struct qemu_plugin_tb *block)
{
    const char *name = qemu_plugin_insn_symbol(qemu_plugin_tb_get_insn(block, 0));
    uint64_t *executed = counter(name && *name ? name : "?");
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, 0, executed, qemu_plugin_tb_n_insns(block));
}

static void finished(uint64_t id, void *data)
{
    FILE *file = fopen(path, "w");
    (void)id;
    (void)data;
    for (size_t i = 0; file && i < count; i++)
        fprintf(file, "%llu %s\n", (unsigned long long)functions[i].executed, functions[i].name);
    if (file)
        fclose(file);
}

int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
    (void)info;
    if (argc != 1 || strncmp(argv[0], "out=", 4))
        return 1;
    snprintf(path, sizeof path, "%s", argv[0] + 4);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, finished, NULL);
    return 0;
}
"""


def build_plugin(folder: Path) -> Path:
    """The plugin, compiled into `folder`."""
    source, library = folder / "count.c", folder / "count.so"
    source.write_text(PLUGIN)
    subprocess.run(
        [shutil.which("cc") or "gcc", "-O2", "-shared", "-fPIC", str(source), "-o", str(library)], check=True
    )
    return library


def count(command: Sequence[str], cpu: str, plugin: Path) -> dict[str, int]:
    """Executed instructions of a program by function."""
    found = plugin.parent / "found.txt"
    found.unlink(missing_ok=True)
    run = ["qemu-aarch64", "-cpu", cpu, "-plugin", f"{plugin},out={found}", *command]
    subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
    rows = [line.split(" ", 1) for line in found.read_text().splitlines()]
    return {name: int(executed) for executed, name in rows}


def per_call(command: Sequence[str], cpu: str, plugin: Path, calls: int) -> dict[str, int]:
    """Executed instructions of one call by function: those of 1 + calls less those of 1, divided."""
    one, many = count([*command, "1"], cpu, plugin), count([*command, str(1 + calls)], cpu, plugin)
    return {name: (many[name] - one.get(name, 0)) // calls for name in many}


def main() -> None:
    parser = argparse.ArgumentParser(description="count the instructions that an ARM program executes")
    parser.add_argument("--cpu", default="max", help="qemu's name of the processor")
    parser.add_argument("--per-call", type=int, default=0, metavar="N")
    parser.add_argument("--functions", type=int, default=0, metavar="N", help="list the N functions that executed most")
    parser.add_argument("--macs", type=float, default=0, help="multiply-accumulates of the program, or of a call")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="PROGRAM [ARGUMENTS ...]")
    options = parser.parse_args()
    if not options.command:
        parser.error("which program?")
    if not shutil.which("qemu-aarch64"):
        sys.exit("qemu-aarch64 is not installed (on Debian: apt install qemu-user)")
    with tempfile.TemporaryDirectory(prefix="irc-count-") as folder:
        plugin = build_plugin(Path(folder))
        if options.per_call:
            found = per_call(options.command, options.cpu, plugin, options.per_call)
        else:
            found = count(options.command, options.cpu, plugin)
    total = sum(found.values())
    print(f"{total:,} instructions" + (f", {options.macs / total:.2f} MAC each" if options.macs else ""))
    for name in sorted(found, key=lambda each: -found[each])[: options.functions]:
        print(f"{found[name]:>16,} {name}")


if __name__ == "__main__":
    main()

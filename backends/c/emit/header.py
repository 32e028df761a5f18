"""The header that a C or C++ program includes, and the file behind it."""

from __future__ import annotations

from collections.abc import Sequence

from irc.backends.c.emit.constants import Constants
from irc.backends.c.emit.names import comment, identifiers
from irc.backends.c.isa import Isa
from irc.backends.c.lowering.expressions import c_type
from irc.backends.c.memory import MemoryPlan
from irc.backends.c.program import Port, Program

ABI = 1  # of the functions below; changes when a program that was written for one version breaks with another


def ports_c(program: Program) -> tuple[list[str], list[str]]:
    """C names of the inputs and of the outputs, all different."""
    names = identifiers([p.name for p in (*program.inputs, *program.outputs)], "tensor", taken=("net",))
    return names[: len(program.inputs)], names[len(program.inputs) :]


def _parameters(program: Program, inputs: Sequence[str], outputs: Sequence[str]) -> str:
    taken = [f"const {c_type(p.view.dtype)} *{n}" for n, p in zip(inputs, program.inputs, strict=True)]
    made = [f"{c_type(p.view.dtype)} *{n}" for n, p in zip(outputs, program.outputs, strict=True)]
    return ", ".join([*taken, *made])


def _describe(ports: Sequence[Port], names: Sequence[str]) -> list[str]:
    made = []
    for port, name in zip(ports, names, strict=True):
        shape = ", ".join(map(str, port.view.shape))
        made.append(f" *   {name}: {c_type(port.view.dtype)}, shape ({shape}), {port.view.elements} elements, dense")
    return made


def header_source(name: str, program: Program, plan: MemoryPlan, constants: Constants) -> str:
    """`<name>.h`."""
    inputs, outputs = ports_c(program)
    guard = f"IRC_{name.upper()}_H"
    sizes = [
        f"#define IRC_{name.upper()}_{n.upper()}_ELEMENTS {p.view.elements}"
        for n, p in zip((*inputs, *outputs), (*program.inputs, *program.outputs), strict=True)
    ]
    return f"""/* A compiled neural network. Arena: {plan.arena} bytes; constants: {constants.bytes} bytes.
 *
 * Inputs
{chr(10).join(_describe(program.inputs, inputs))}
 * Outputs
{chr(10).join(_describe(program.outputs, outputs))}
 *
 * Everything that changes lies in memory that the caller gives: one context for each call that runs at the same time.
 * Threads do not survive a fork: in the child a context with more than one is NOT_READY, and init makes another.
 *
 *     irc_{name} *net;
 *     void *memory = aligned_alloc(64, irc_{name}_size(1));
 *     if (irc_{name}_init(memory, irc_{name}_size(1), 1, NULL, &net)) ...
 *     irc_{name}_run(net, ...);
 *     irc_{name}_free(net);
 *     free(memory);
 */
#ifndef {guard}
#define {guard}

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define IRC_{name.upper()}_ABI {ABI}
{chr(10).join(sizes)}

typedef struct irc_context irc_{name};

/* What the functions return. */
enum {{
    IRC_{name.upper()}_OK = 0,
    IRC_{name.upper()}_NO_MEMORY = 1,     /* the memory is NULL, too small or not aligned to 64 bytes */
    IRC_{name.upper()}_BAD_ARGUMENT = 2,  /* a null pointer, or a number of threads outside 1..64 */
    IRC_{name.upper()}_NO_ISA = 3,        /* this processor does not have the instruction set that was asked for */
    IRC_{name.upper()}_NO_THREADS = 4,    /* the system does not give as many threads, or it was built without */
    IRC_{name.upper()}_NOT_READY = 5      /* the context was not made by init, was freed, or lost its threads by fork */
}};

/* ABI of the library that is linked; should equal IRC_{name.upper()}_ABI. */
int irc_{name}_abi(void);

/* Bytes of memory that a context with so many threads (1 to 64) needs; 0 for another number. */
size_t irc_{name}_size(int threads);

/* Makes a context in `memory` (`size` bytes, aligned to 64), starts its threads, and gives it in *net.
 * isa: NULL for the best that the processor has, or one of those that irc_{name}_isas lists. */
int irc_{name}_init(void *memory, size_t size, int threads, const char *isa, irc_{name} **net);

/* Runs the network once. Not for one context in two threads at the same time; for two contexts, yes. */
int irc_{name}_run(irc_{name} *net, {_parameters(program, inputs, outputs)});

/* The same with arrays of pointers, in the order above. */
int irc_{name}_run_array(irc_{name} *net, const void *const *inputs, void *const *outputs);

/* Ends the threads, if they are this process's; afterwards the memory is the caller's again. NULL is allowed. */
void irc_{name}_free(irc_{name} *net);

/* The instruction set in use; and all that are built in, separated by spaces. */
const char *irc_{name}_isa(const irc_{name} *net);
const char *irc_{name}_isas(void);

/* What a code means, in words. */
const char *irc_{name}_error(int code);

#ifdef __cplusplus
}}
#endif

#endif
"""


def internal_source(name: str, isas: Sequence[Isa]) -> str:
    """`<name>_internal.h`: what the files of the model share."""
    declared = "\n".join(f"IRC_LOCAL void irc_{name}_run_{isa.name}(irc_context *c, int thread);" for isa in isas)
    return f"""#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#if defined(__APPLE__) && !defined(_DARWIN_C_SOURCE)
#define _DARWIN_C_SOURCE 1 /* POSIX alone hides what <sys/sysctl.h> needs */
#endif
#ifndef IRC_{name.upper()}_INTERNAL_H
#define IRC_{name.upper()}_INTERNAL_H

#include "kernels/runtime.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the constants are little-endian"
#endif

extern IRC_LOCAL const uint64_t irc_{name}_constants[];

{declared}

#endif
"""


def main_source(name: str, program: Program, plan: MemoryPlan, isas: Sequence[Isa], machine: str, scratch: int) -> str:
    """`<name>.c`: the functions of the header, and the choice of the instruction set."""
    inputs = [f"input{i}" for i in range(len(program.inputs))]
    outputs = [f"output{i}" for i in range(len(program.outputs))]
    upper = name.upper()
    rows = "\n".join(f'    {{"{isa.name}", irc_{name}_run_{isa.name}}},' for isa in isas)
    tests = "\n".join(f"        case {i}: return {isa.test};" for i, isa in enumerate(isas))
    detect = {"x86-64": "detect_x86.h", "aarch64": "detect_aarch64.h"}.get(machine, "detect_none.h")
    pointers = ", ".join(inputs) or "NULL"
    homes = ", ".join(outputs) or "NULL"
    steps = ",\n    ".join(f'"{step.node.op.name} {comment(step.node.name)}"' for step in program.steps) or '""'
    macs = ", ".join(f"INT64_C({step.macs})" for step in program.steps) or "0"
    return f"""#include "{name}_internal.h"

#include <string.h>

#include "kernels/{detect}"
#include "kernels/pool_of_threads.h"
#include "{name}.h"

#define MAGIC 0x49524331u
#define ARENA ((size_t){plan.arena})
#define SCRATCH ((size_t){scratch})
#define ISAS {len(isas)}

static const struct {{
    const char *name;
    irc_run_function *run;
}} isas[ISAS] = {{
{rows}
}};

static int has_isa(const irc_cpu cpu, int index) {{
    (void)cpu;
    switch (index) {{
{tests}
    }}
    return 0;
}}

/* The index of the instruction set of that name, or of the best one; -1 if the processor does not have it. */
static int choose(const char *isa) {{
    const irc_cpu cpu = irc_detect();
    for (int i = ISAS - 1; i >= 0; --i)
        if ((!isa || !strcmp(isa, isas[i].name)) && has_isa(cpu, i) && irc_granted(isas[i].name)) return i;
    return -1;
}}

static size_t aligned(size_t size) {{ return (size + 63) / 64 * 64; }}

int irc_{name}_abi(void) {{ return IRC_{upper}_ABI; }}

const char *irc_{name}_isas(void) {{ return "{" ".join(isa.name for isa in isas)}"; }}

size_t irc_{name}_size(int threads) {{
    if (threads < 1 || threads > IRC_MAX_THREADS) return 0;
    return aligned(sizeof(irc_context)) + ARENA + (size_t)threads * SCRATCH;
}}

int irc_{name}_init(void *memory, size_t size, int threads, const char *isa, irc_{name} **net) {{
    irc_context *c = memory;
    if (!net || threads < 1 || threads > IRC_MAX_THREADS) return IRC_{upper}_BAD_ARGUMENT;
    if (!memory || (uintptr_t)memory % 64 || size < irc_{name}_size(threads)) return IRC_{upper}_NO_MEMORY;
    const int chosen = choose(isa);
    if (chosen < 0) return IRC_{upper}_NO_ISA;
    memset(c, 0, irc_{name}_size(threads)); /* kernels may read, and ignore, bytes that no step has written */
    c->threads = threads;
    c->isa = isas[chosen].name;
    c->run = isas[chosen].run;
    c->arena = (uint8_t *)memory + aligned(sizeof *c);
    c->scratch = c->arena + ARENA;
    c->scratch_bytes = SCRATCH;
    if (irc_start_threads(c)) return IRC_{upper}_NO_THREADS;
    c->magic = MAGIC;
    *net = c;
    return IRC_{upper}_OK;
}}

int irc_{name}_run_array(irc_{name} *net, const void *const *inputs, void *const *outputs) {{
    if (!net || !inputs || !outputs) return IRC_{upper}_BAD_ARGUMENT;
    if (net->magic != MAGIC || irc_is_forked(net)) return IRC_{upper}_NOT_READY;
    for (int i = 0; i < {len(inputs)}; ++i)
        if (!inputs[i]) return IRC_{upper}_BAD_ARGUMENT;
    for (int i = 0; i < {len(outputs)}; ++i)
        if (!outputs[i]) return IRC_{upper}_BAD_ARGUMENT;
    net->inputs = inputs;
    net->outputs = outputs;
#ifdef IRC_PROFILE
    net->clock = irc_nanoseconds();
#endif
    if (net->threads > 1) irc_wake(net, 0);
    net->run(net, 0);
    return IRC_{upper}_OK;
}}

/* The header has the model's own names; here they could be those of other things. */
int irc_{name}_run(irc_{name} *net, {_parameters(program, inputs, outputs)}) {{
    const void *const in[] = {{{pointers}}};
    void *const out[] = {{{homes}}};
    return irc_{name}_run_array(net, in, out);
}}

void irc_{name}_free(irc_{name} *net) {{
    if (!net || net->magic != MAGIC) return;
    irc_end_threads(net);
    net->magic = 0;
}}

const char *irc_{name}_isa(const irc_{name} *net) {{ return net && net->magic == MAGIC ? net->isa : ""; }}

const char *irc_{name}_error(int code) {{
    switch (code) {{
        case IRC_{upper}_OK: return "ok";
        case IRC_{upper}_NO_MEMORY: return "the memory is NULL, too small or not aligned to 64 bytes";
        case IRC_{upper}_BAD_ARGUMENT: return "a null pointer, or a number of threads outside 1 to 64";
        case IRC_{upper}_NO_ISA: return "this processor does not have that instruction set";
        case IRC_{upper}_NO_THREADS: return "the system does not give as many threads";
        case IRC_{upper}_NOT_READY: return "the context was not made by init, was freed, or lost its threads by fork";
    }}
    return "unknown code";
}}

#ifdef IRC_PROFILE
/* For the profiler: what each step is, its multiply-accumulates, and where to add up its nanoseconds. */
static const char *const step_names[] = {{
    {steps}
}};
static const int64_t step_macs[] = {{{macs}}};
int irc_{name}_steps(void);
const char *irc_{name}_step_name(int step);
int64_t irc_{name}_step_macs(int step);
void irc_{name}_profile(irc_{name} *net, int64_t *nanoseconds);
int irc_{name}_steps(void) {{ return {len(program.steps)}; }}
const char *irc_{name}_step_name(int step) {{ return step_names[step]; }}
int64_t irc_{name}_step_macs(int step) {{ return step_macs[step]; }}
void irc_{name}_profile(irc_{name} *net, int64_t *nanoseconds) {{ net->profile = nanoseconds; }}
#endif
"""

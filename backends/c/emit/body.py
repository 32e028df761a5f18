"""The file of one instruction set: the kernels compiled for it, and the model's steps as calls of them."""

from __future__ import annotations

import numpy as np

from irc.backends.c.emit.constants import Constants
from irc.backends.c.emit.names import comment
from irc.backends.c.isa import Isa
from irc.backends.c.lowering.expressions import c_literal, c_type
from irc.backends.c.memory import MemoryPlan
from irc.backends.c.program import Argument, Call, Flow, Function, Program, Scratch, Step, Struct, Table
from irc.backends.c.views import Place, View
from irc.types import DType


def body_source(name: str, program: Program, plan: MemoryPlan, constants: Constants, isa: Isa) -> str:
    """The C of one instruction set."""
    calls = [step.for_isa(isa.name) for step in program.steps]
    body = _Body(plan, constants)
    lines = []
    for index, (step, call) in enumerate(zip(program.steps, calls, strict=True)):
        lines.append(f"    /* {index}: {step.node.op.name} {comment(step.node.name)} */")
        lines += (
            body.mark(step)
            if step.flow is not Flow.CALL
            else [f"    {body.call(call)};", f"    irc_step_done(c, thread, {index});"]
        )
    headers = dict.fromkeys(call.header for call in calls if call.header)
    return "\n".join(
        [
            f'#include "{name}_internal.h"',
            "",
            f'#include "kernels/isa_{isa.name}.h"',
            *(f'#include "kernels/{header}"' for header in headers),
            "",
            *body.declarations,
            f"void irc_{name}_run_{isa.name}(irc_context *c, int thread) {{",
            "    const int threads = c->threads;",
            "    uint8_t *const arena = c->arena;",
            f"    const uint8_t *const constants = (const uint8_t *)irc_{name}_constants;",
            "    (void)threads, (void)arena, (void)constants;",
            *lines,
            "}",
            "",
        ]
    )


class _Body:
    """Calls as text, and the constant structs and generated functions that they need, each once."""

    def __init__(self, plan: MemoryPlan, constants: Constants) -> None:
        self.plan = plan
        self.constants = constants
        self.declarations: list[str] = []
        self._names: dict[object, str] = {}

    def mark(self, step: Step) -> list[str]:
        """The text of a mark of a branch."""
        if step.flow is Flow.IF:
            return [f"    if (*{self._argument(step.call.arguments[0])}) {{"]
        # the barrier: whoever goes on may write where others are still to read the condition
        return ["    } else {"] if step.flow is Flow.ELSE else ["    }", "    irc_barrier(c);"]

    def call(self, call: Call) -> str:
        arguments = [self._argument(a) for a in call.arguments]
        name = call.function if isinstance(call.function, str) else self._function(call.function)
        return f"{name}({', '.join([*arguments, 'thread', 'threads'])})"

    def _argument(self, argument: Argument) -> str:
        match argument:
            case None:
                return "NULL"
            case View():
                return self._pointer(argument)
            case Struct():
                return f"&{self._struct(argument)}"
            case Scratch():
                return "(void *)(c->scratch + (size_t)thread * c->scratch_bytes)"
        return _number(argument)

    def _pointer(self, view: View) -> str:
        buffer, type = view.buffer, c_type(view.dtype)
        match buffer.place:
            case Place.INPUT:
                base, const, offset = f"((const {type} *)c->inputs[{buffer.index}])", "", view.offset
            case Place.OUTPUT:
                base, const, offset = f"(({type} *)c->outputs[{buffer.index}])", "", view.offset
            case Place.CONSTANT:
                at = self.constants.offsets[buffer] + view.offset * (view.dtype.bits // 8)
                return f"((const {type} *)(constants + {at}))"
            case Place.ARENA:
                at = self.plan.offsets[buffer] + view.offset * (view.dtype.bits // 8)
                return f"(({type} *)(arena + {at}))"
        return f"({base}{const} + {offset})"

    def _struct(self, struct: Struct) -> str:
        if struct not in self._names:
            fields = [f".{key} = {self._field(value)}" for key, value in struct.fields]
            name = self._names[struct] = f"parameters_{len(self._names)}"
            self.declarations.append(f"static const {struct.type} {name} = {{{', '.join(fields)}}};\n")
        return self._names[struct]

    def _field(self, value: int | float | Table | None) -> str:
        if isinstance(value, Table):
            return self._table(value)
        return "NULL" if value is None else _number(value)

    def _table(self, table: Table) -> str:
        if table not in self._names:
            name = self._names[table] = f"table_{len(self._names)}"
            values = ", ".join(map(_number, table.values))
            self.declarations.append(f"static const {table.type} {name}[] = {{{values}}};\n")
        return self._names[table]

    def _function(self, function: Function) -> str:
        if function not in self._names:
            name = self._names[function] = f"loop_{len(self._names)}"
            parameters = ", ".join(function.parameters)
            self.declarations.append(f"static void {name}({parameters}) {{\n{function.body}\n}}\n")
        return self._names[function]


def _number(value: int | float) -> str:
    if isinstance(value, float | np.floating):
        return c_literal(value, DType.F32)
    return f"{value}" if abs(value) < 1 << 31 else f"INT64_C({value})"

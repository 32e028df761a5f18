"""What the C code does, in order.

    Program ::= inputs, outputs, Step ...
    Step    ::= Call, and what it reads and writes | if (condition) { | } else { | }
    Call    ::= function(argument ...), run by every thread with its own share
    argument::= View (a pointer) | Struct (a pointer to constant parameters) | number | None (a null pointer)

Between two steps all threads wait for each other; within a step no two threads write the same byte.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from irc.backends.c.views import Buffer, Place, View
from irc.graph import Node
from irc.types import TensorType


@dataclass(frozen=True)
class Struct:
    """Constant parameters of a kernel: a C struct type and its fields, in the order of their names in C."""

    type: str
    fields: tuple[tuple[str, int | float | Table | None], ...]

    @staticmethod
    def of(type: str, fields: Mapping[str, int | float | Table | None]) -> Struct:
        return Struct(type, tuple(fields.items()))


@dataclass(frozen=True)
class Table:
    """A constant array in a Struct, such as the offsets of a window's runs."""

    type: str
    values: tuple[int | float, ...]


@dataclass(frozen=True)
class Scratch:
    """Memory that a call needs for itself: `bytes` for each thread."""

    bytes: int


Argument = View | Struct | Scratch | int | float | None


@dataclass(frozen=True)
class Function:
    """A function that was generated for a step: its parameters and body in C, without a name; equal ones are one."""

    parameters: tuple[str, ...]
    body: str


@dataclass(frozen=True)
class Call:
    """One call: of a kernel by its name and header, or of a generated function."""

    function: str | Function
    arguments: tuple[Argument, ...]
    header: str = ""


class Flow(enum.Enum):
    """Whether a step is done, or says which of the steps behind it are.

    IF : those up to the ELSE or END are done if the one element of its call's argument is not 0; all threads read it
    """

    CALL = "call"
    IF = "if"
    ELSE = "else"
    END = "end"


@dataclass
class Step:
    """A call for every ISA, or a better one for some, and the memory it touches.

    node : where it came from, for profiles and comments
    special : the calls of the ISAs, by name, that do it another way
    others : further calls of an ISA with the same result, among which tuning chooses
    reads, writes : buffers in the arena or the caller's
    in_place : a buffer that is read element by element just before the same element is written
    macs : multiply-accumulates, for profiles
    flow : a call, or a mark of a branch; memory that is read after a branch is listed at its END too
    """

    call: Call
    node: Node
    reads: tuple[Buffer, ...] = ()
    writes: tuple[Buffer, ...] = ()
    in_place: Buffer | None = None
    special: dict[str, Call] = field(default_factory=dict)
    others: dict[str, tuple[Call, ...]] = field(default_factory=dict)
    macs: int = 0
    flow: Flow = Flow.CALL

    def for_isa(self, isa: str) -> Call:
        """What does the step on an instruction set."""
        return self.special.get(isa, self.call)

    def candidates(self, isa: str) -> tuple[Call, ...]:
        """All that could do it there, what `for_isa` says first."""
        return (self.for_isa(isa), *self.others.get(isa, ()))


@dataclass(frozen=True)
class Port:
    """An input or output of the model as the caller sees it: dense, in ONNX's order of axes."""

    name: str
    view: View


@dataclass
class Program:
    """A whole model: what it takes, what it gives, and the steps in between."""

    inputs: list[Port]
    outputs: list[Port]
    steps: list[Step]

    @property
    def output_types(self) -> list[TensorType]:
        """What it gives; all shapes are numbers."""
        return [TensorType(port.view.dtype, port.view.shape) for port in self.outputs]

    def constants(self) -> Iterable[Buffer]:
        """The constant buffers in the order in which they are first read."""
        seen: dict[Buffer, None] = {}
        for step in self.steps:
            for call in (step.call, *step.special.values()):
                for argument in call.arguments:
                    if isinstance(argument, View) and argument.buffer.place is Place.CONSTANT:
                        seen.setdefault(argument.buffer)
        return seen

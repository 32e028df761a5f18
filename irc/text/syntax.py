"""What the parser reads before it is a graph: definitions and references by name, each with its offset in the text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from irc.graph import ModelInfo, Origin
from irc.op import Op
from irc.types import Array, Type


class Definition(NamedTuple):
    """`%name: type`"""

    name: str
    type: Type | None
    offset: int


class Reference(NamedTuple):
    """`%name`"""

    name: str
    offset: int


class InputSyntax(NamedTuple):
    """`input %x: f32[N, 3] default f32[1, 3] = [1.0, 2.0, 3.0]`"""

    value: Definition
    default: Array | None


class WeightSyntax(NamedTuple):
    """`weight %w: i64[2] = [1, -1]`"""

    value: Definition
    data: Array


class NodeSyntax(NamedTuple):
    """`%y: f32[2] = Relu(%x) {body = {...}} @"name" from "layer" by pass-name`"""

    outputs: list[Definition]
    op: Op
    inputs: list[Reference | None]
    bodies: dict[str, GraphSyntax]
    name: str
    origin: Origin
    offset: int


@dataclass
class GraphSyntax:
    """A graph or a body: its statements in order, then `return %y as "output"`."""

    name: str
    info: ModelInfo = field(default_factory=ModelInfo)
    statements: list[InputSyntax | WeightSyntax | NodeSyntax] = field(default_factory=list)
    outputs: list[tuple[Reference, str]] = field(default_factory=list)

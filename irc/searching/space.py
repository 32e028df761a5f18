"""A pipeline with holes: passes whose options are open, and passes that may be left out.

    Space ::= Step*        Step ::= a pass, its options or holes in their place, and whether it may be left out

A point of the space is a list of passes. Every hole is a parameter, named `pass.option`, `pass.option[layer]`, or
`pass?`; where a pass stands twice its second place is `pass#2`.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from types import UnionType
from typing import Any

from irc.analysis.integer_plan import weight_input
from irc.errors import OptionError
from irc.graph import Graph
from irc.op import QuantKind
from irc.passes.base import Pass
from irc.passes.options import format_value, is_default, make_pass, name_of_object, takes_objects
from irc.passes.pipeline import check_order
from irc.searching.holes import Declared, Draws, Hole, PerLayer, fitted


@dataclass(frozen=True)
class Maybe:
    """A pass that may be left out."""

    each: Pass


@dataclass(frozen=True)
class Step:
    """A pass of a space; `options` holds values and holes."""

    cls: type[Pass]
    options: tuple[tuple[str, Any], ...] = ()
    optional: bool = False

    @classmethod
    def of(cls, each: Pass | Maybe) -> Step:
        """The step of an instance whose fields hold values or holes."""
        instance = each.each if isinstance(each, Maybe) else each
        if not isinstance(instance, Pass):
            raise OptionError(f"{instance!r} is not a pass; a space is of passes, Maybe(pass), or is text")
        found, hints = {}, typing.get_type_hints(type(instance))
        for f in fields(instance):  # type: ignore[arg-type]  # every concrete pass is a dataclass
            value = getattr(instance, f.name)
            if not is_default(value, f.default):
                an_object = not isinstance(value, Hole | str) and any(map(takes_objects, _types(hints[f.name])))
                found[f.name] = name_of_object(value) if an_object else value
        return cls(type(instance), tuple(found.items()), isinstance(each, Maybe)).checked()

    def checked(self) -> Step:
        """The step with every hole fitted to its option; OptionError if the option does not take what a hole gives."""
        declared = {f.name: f for f in fields(self.cls)}  # type: ignore[arg-type]  # every concrete pass is a dataclass
        hints = typing.get_type_hints(self.cls)
        found = {}
        for name, value in self.options:
            if isinstance(value, Hole) and name in declared:
                where = f"pass '{self.cls.pass_name()}', option '{name}'"
                types = _types(hints[name])
                hole = value.resolved(declared[name].metadata, types, where) if isinstance(value, Declared) else value
                value = fitted(hole, types, where)
            found[name] = value
        step = replace(self, options=tuple(found.items()))
        firsts = {name: v.extremes()[0] if isinstance(v, Hole) else v for name, v in found.items()}
        make_pass(self.cls, dict(firsts))
        for name, value in found.items():
            for extreme in value.extremes() if isinstance(value, Hole) else ():
                make_pass(self.cls, {**firsts, name: extreme})
        return step

    def __str__(self) -> str:
        shown = (f"{name}={v if isinstance(v, Hole) else format_value(v)}" for name, v in self.options)
        options = f"{{{', '.join(shown)}}}" if self.options else ""
        return self.cls.pass_name() + ("?" if self.optional else "") + options


@dataclass(frozen=True)
class Space:
    """The steps, in order."""

    steps: tuple[Step, ...]

    @classmethod
    def of(cls, given: str | Sequence[Pass | Maybe] | Space) -> Space:
        """The space of a text or of instances.

        Raises
        ------
        TextError, OptionError : it cannot be read, or an option does not take what a hole gives.
        """
        from irc.searching.text import parse_space  # which knows this module

        if isinstance(given, Space):
            return given
        space = parse_space(given) if isinstance(given, str) else cls(tuple(map(Step.of, given)))
        if not any(step.optional or any(isinstance(v, Hole) for _, v in step.options) for step in space.steps):
            raise OptionError(
                f"the space '{space}' leaves nothing open; write a range macs=0.2..1, a choice weight_bits=4|8, or a "
                "pass that may go, quantize?"
            )
        check_order(space.draw(Corner(last=False)))
        return space

    def draw(self, draws: Draws) -> list[Pass]:
        """A point of the space."""
        passes: list[Pass] = []
        seen: dict[str, int] = {}
        for step in self.steps:
            name = step.cls.pass_name()
            seen[name] = seen.get(name, 0) + 1
            label = name if seen[name] == 1 else f"{name}#{seen[name]}"
            if step.optional and not draws.suggest_categorical(f"{label}?", [True, False]):
                continue
            drawn = {key: v.draw(draws, f"{label}.{key}") if isinstance(v, Hole) else v for key, v in step.options}
            passes.append(make_pass(step.cls, drawn))
        return passes

    def for_graph(self, graph: Graph) -> Space:
        """The space with the model's layers in place of the pattern `?`."""
        layers = _layers(graph)

        def expanded(value: Any) -> Any:
            return value.expanded(layers) if isinstance(value, PerLayer) else value

        return Space(tuple(replace(s, options=tuple((k, expanded(v)) for k, v in s.options)) for s in self.steps))

    def __str__(self) -> str:
        return ", ".join(map(str, self.steps))


class Corner:
    """Draws the first or the last value of everything; passes stay. `drawn` holds what it drew."""

    def __init__(self, *, last: bool) -> None:
        self.last = last
        self.drawn: dict[str, Any] = {}

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        stays = name.endswith("?")
        self.drawn[name] = choices[-1 if self.last and not stays else 0]
        return self.drawn[name]

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        self.drawn[name] = low + (high - low) // step * step if self.last else low
        return int(self.drawn[name])

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        steps = (high - low) // step * step if step else high - low
        self.drawn[name] = low + steps if self.last else low
        return float(self.drawn[name])


def _types(hint: Any) -> tuple[Any, ...]:
    """The types that an option takes, none aside."""
    union = isinstance(hint, UnionType) or typing.get_origin(hint) is typing.Union
    return tuple(t for t in (typing.get_args(hint) if union else (hint,)) if t is not type(None))


def _layers(graph: Graph) -> list[str]:
    """Patterns of the layers with constant weights, in order, each once."""
    found = [
        node.origin.layer or node.name
        for node in graph.walk()
        if node.op.quant.kind is QuantKind.CONTRACTION and weight_input(node) is not None
    ]
    return [name.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]") for name in dict.fromkeys(found)]

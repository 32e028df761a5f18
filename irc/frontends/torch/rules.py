"""The table of ATen rules: how each operator of an exported program is said in ONNX.

    Rule ::= function(emitter, *arguments of the ATen schema) -> Value | tuple of Values | None

A rule's arguments are those of the ATen operator, tensors as `Value`s and sizes as ints or symbols; its result
is what the operator gives. A rule that does not cover some arguments raises `Unsupported`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from irc.graph import Value

Result = Value | tuple[Value | None, ...] | list[Value] | None
Rule = Callable[..., Result]

RULES: dict[str, Rule] = {}


class Unsupported(Exception):  # noqa: N818  # not an error: it sends the model another way
    """A rule does not cover these arguments; the text says why. The whole model then goes another way."""


_Function = TypeVar("_Function", bound=Rule)


def rule(*targets: str) -> Callable[[_Function], _Function]:
    """Enter a function in the table for the given operators: `@rule("aten.conv2d.default")`."""

    def register(function: _Function) -> _Function:
        for target in targets:
            if target in RULES:
                raise ValueError(f"two rules for {target}")
            RULES[target] = function
        return function

    return register


def rule_for(target: Any) -> Rule | None:
    """The rule of an fx target; an in-place operator has that of the operator it is the in-place form of."""
    name = str(target)
    found = RULES.get(name)
    if found is None and name.startswith("aten."):
        _, base, overload = name.split(".")
        if base.endswith("_") and not base.endswith("__"):
            found = RULES.get(f"aten.{base[:-1]}.{overload}")
    return found

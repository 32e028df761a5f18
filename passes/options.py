"""The text form of passes: `fold-batch-norm, prune-channels{macs=0.5, keep=[head, "odd name"]}`.

    pipeline ::= pass ("," pass)*          pass  ::= name [ "{" name "=" value ("," name "=" value)* "}" ]
    value    ::= true | false | none | number | word | "text" | "[" value ("," value)* "]"

Which values an option takes follows from the type of the dataclass field that declares it. Some options take Python
objects too, such as a data set. A function of a module prints as `package.module:function`, which reads back where the
option takes that; any other object as "<object …>", which says what it was and is refused when it is read.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
import types
import typing
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

from irc.errors import OptionError, TextError
from irc.passes.base import Pass
from irc.passes.registry import find_pass

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_CONSTANTS = {"true": True, "false": False, "none": None}
_OBJECT = re.compile(r"<object .*>", re.DOTALL)  # what stands for an object that only Python can give
_PLAIN = (bool, int, float, str, types.NoneType, tuple)


def parse_pipeline(text: str) -> list[Pass]:
    """The passes that the text lists.

    Raises
    ------
    TextError : the text is not of the form above.
    OptionError : a pass or an option is unknown, or a value is not one that the option takes.
    """
    return PipelineParser(text).pipeline()


def format_pipeline(passes: Sequence[Pass]) -> str:
    """The passes as text that `parse_pipeline` reads back."""
    return ", ".join(format_pass(p) for p in passes)


def format_pass(instance: Pass) -> str:
    """The pass with the options that differ from their defaults."""
    shown = [
        f"{f.name}={format_value(value)}"
        for f in fields(instance)  # type: ignore[arg-type]  # every concrete pass is a dataclass
        if not is_default(value := getattr(instance, f.name), f.default)
    ]
    return instance.pass_name() + (f"{{{', '.join(shown)}}}" if shown else "")


def is_default(value: Any, default: Any) -> bool:
    """Whether they are equal; objects are not asked, for an array answers with an array."""
    return value is default or (isinstance(value, _PLAIN) and isinstance(default, _PLAIN) and bool(value == default))


def format_value(value: Any) -> str:
    """A value of an option as text that `parse_pipeline` reads back; an object as text that it refuses."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, str):
        plain = _WORD.fullmatch(value) and value not in _CONSTANTS and not _is_number(value)
        return value if plain else json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple | list) and all(isinstance(v, bool | int | float | str) or callable(v) for v in value):
        return f"[{', '.join(format_value(v) for v in value)}]"
    return repr(value) if isinstance(value, int | float) else json.dumps(name_of_object(value), ensure_ascii=False)


def name_of_object(value: Any) -> str:
    """How text names an object: a function by module and name if it is found there, else by its type."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    found: Any = sys.modules.get(module) if isinstance(module, str) and module != "__main__" else None
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is value and callable(value):
        return f"{module}:{name}"
    return f"<object {name or type(value).__qualname__}>"


def _is_number(word: str) -> bool:
    """Whether the word would be read as a number, as `inf` and `nan` would."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def make_pass(cls: type[Pass], options: dict[str, Any]) -> Pass:
    """An instance of the pass with these options, checked against the declared types."""
    hints = typing.get_type_hints(cls)
    declared = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]  # every concrete pass is a dataclass
    name = cls.pass_name()
    for key, value in options.items():
        if key not in declared:
            near = difflib.get_close_matches(key, declared, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"it takes {', '.join(declared) or 'none'}"
            raise OptionError(f"pass '{name}' has no option '{key}'; {hint}")
        options[key] = fit(value, hints[key], f"pass '{name}', option '{key}'")
    instance = cls(**options) if not _missing(declared, options) else None
    if instance is None:
        raise OptionError(f"pass '{name}' needs option '{_missing(declared, options)[0]}'")
    check_choices(instance)
    return instance


def check_choices(instance: Pass) -> None:
    """OptionError if an option that must be one of some words is another."""
    for f in fields(instance):  # type: ignore[arg-type]  # every concrete pass is a dataclass
        choices, value = f.metadata.get("choices"), getattr(instance, f.name)
        if choices and value not in choices:
            raise OptionError(
                f"pass '{instance.pass_name()}', option '{f.name}': '{value}' is not one of {', '.join(choices)}"
            )


def _missing(declared: dict[str, Any], options: dict[str, Any]) -> list[str]:
    required = [n for n, f in declared.items() if f.default is MISSING and f.default_factory is MISSING]
    return [n for n in required if n not in options]


def type_text(hint: Any) -> str:
    """A type as shown to people: `float`, `list of text`, `whole number or none`."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return " or ".join(dict.fromkeys(type_text(part) for part in typing.get_args(hint)))
    if typing.get_origin(hint) is tuple:
        return f"list of {type_text(typing.get_args(hint)[0])}"
    if takes_objects(hint):
        return "Python object"
    names = {int: "whole number", float: "number", bool: "true or false", str: "text", types.NoneType: "none"}
    return names.get(hint, str(hint))


def takes_objects(hint: Any) -> bool:
    """Whether a type, that is no union, is one whose values text cannot give."""
    return hint is Any or (typing.get_origin(hint) or hint) not in (int, float, bool, str, types.NoneType, tuple)


def fit(value: Any, hint: Any, where: str) -> Any:
    """The value as the type wants it (3 is a float too), or OptionError."""
    if isinstance(value, str) and _OBJECT.fullmatch(value):
        raise OptionError(
            f"{where}: '{value}' stands for an object that Python gave; text cannot: name a function of a module, as "
            "package.module:function, or call irc.compile from Python"
        )
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        for part in typing.get_args(hint):
            try:
                return fit(value, part, where)
            except OptionError:
                continue
    elif typing.get_origin(hint) is tuple:
        items = value if isinstance(value, tuple | list) else (value,)
        return tuple(fit(v, typing.get_args(hint)[0], where) for v in items)
    elif hint is float and isinstance(value, int) and not isinstance(value, bool):
        with suppress(OverflowError):  # it is then no number that a float can be
            return float(value)
    elif hint is types.NoneType and value is None:
        return None
    elif isinstance(hint, type) and type(value) is hint:
        return value
    raise OptionError(f"{where}: {value!r} is not a {type_text(hint)}")


@dataclass
class PipelineParser:
    """Recursive descent over the tokens of one pipeline.

    tokens : what a token is, spaces before it
    symbols : the tokens that are no words
    """

    tokens: ClassVar[re.Pattern[str]] = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[A-Za-z0-9_.+*/:?^$|-]+|[{}\[\],=])')
    symbols: ClassVar[str] = "{}[],="

    text: str
    position: int = 0

    def pipeline(self) -> list[Pass]:
        passes = []
        while self.peek():
            passes.append(self.pass_())
            if self.peek():
                self.expect(",")
        return passes

    def pass_(self) -> Pass:
        return make_pass(find_pass(self.word("the name of a pass")), self.options())

    def options(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self.peek() == "{":
            self.expect("{")
            while self.peek() != "}":
                key = self.word("the name of an option")
                if key in options:
                    raise self.error(f"option '{key}' stands here twice")
                self.expect("=")
                options[key] = self.value()
                if self.peek() != "}":
                    self.expect(",")
            self.expect("}")
        return options

    def value(self) -> Any:
        token = self.peek()
        if token == "[":
            self.expect("[")
            items = []
            while self.peek() != "]":
                items.append(self.value())
                if self.peek() != "]":
                    self.expect(",")
            self.expect("]")
            return tuple(items)
        token = self.next("a value")
        if token.startswith('"'):
            try:
                return json.loads(token)
            except ValueError:
                raise self.error(f"{token} is not a text that can be read") from None
        if token in _CONSTANTS:
            return _CONSTANTS[token]
        for number in (int, float):
            try:
                return number(token)
            except ValueError:
                continue
        return token

    def peek(self) -> str:
        match = self.tokens.match(self.text, self.position)
        if match is None and self.text[self.position :].strip():
            raise self.error("this character has no place here")
        return match.group(1) if match else ""

    def next(self, wanted: str) -> str:
        token = self.peek()
        if not token or token in self.symbols:
            raise self.error(f"expected {wanted}, found {token or 'the end'!r}")
        self._advance()
        return token

    def word(self, wanted: str) -> str:
        token = self.next(wanted)
        if token.startswith('"'):
            raise self.error(f"expected {wanted}, found {token}")
        return token

    def expect(self, symbol: str) -> None:
        token = self.peek()
        if token != symbol:
            raise self.error(f"expected '{symbol}', found {token or 'the end'!r}")
        self._advance()

    def error(self, message: str) -> TextError:
        rest = self.text[self.position :]
        column = self.position + len(rest) - len(rest.lstrip()) + 1
        return TextError(f"pipeline, column {column}: {message} in '{self.text}'")

    def _advance(self) -> None:
        match = self.tokens.match(self.text, self.position)
        assert match is not None
        self.position = match.end()

"""The text of a space: a pipeline's (`irc.passes.options`), in which values may be holes and passes optional.

    pass  ::= name ["?"] ["{" name "=" hole ("," name "=" hole)* "}"]
    hole  ::= "?" | item ("|" item)*                   ? is what the option's declaration says
    item  ::= number ".." number [":" (number | "log")] | "[" pattern "=" hole ("," …)* "]" | value
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from irc.errors import TextError
from irc.passes.options import PipelineParser
from irc.passes.registry import find_pass
from irc.searching.holes import Choice, Declared, Hole, PerLayer, Range
from irc.searching.space import Space, Step

_RANGE = re.compile(r"([^:]+?)\.\.([^:]+?)(?::([^:]+))?")


def parse_space(text: str) -> Space:
    """The space that the text describes.

    Raises
    ------
    TextError : the text is not of the form above.
    OptionError : a pass or an option is unknown, or does not take what a hole gives.
    """
    return Space(tuple(SpaceParser(text).steps()))


class SpaceParser(PipelineParser):
    """Recursive descent over the tokens of one space."""

    tokens: ClassVar[re.Pattern[str]] = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[A-Za-z0-9_.+*/:?^$-]+|[{}\[\],=|])')
    symbols: ClassVar[str] = "{}[],=|"

    def steps(self) -> list[Step]:
        """The steps of the whole text."""
        found = []
        while self.peek():
            name = self.word("the name of a pass")
            optional = name.endswith("?")
            cls = find_pass(name.removesuffix("?"))
            found.append(Step(cls, tuple(self.options().items()), optional).checked())
            if self.peek():
                self.expect(",")
        return found

    def value(self) -> Any:
        items = [self.item()]
        while self.peek() == "|":
            self.expect("|")
            items.append(self.item())
        if len(items) == 1:
            return items[0]
        if any(isinstance(item, Hole) for item in items):
            raise self.error("a choice is among values; a range has no place in it")
        return Choice(*items)

    def item(self) -> Any:
        """A value, a range, or a list of pattern=hole."""
        token = self.peek()
        if token == "?":
            self.expect("?")
            return Declared()
        if token == "[":
            return self.list_()
        match = _RANGE.fullmatch(token)
        if match is None or token.startswith('"'):
            return super().value()
        try:
            made = _range(*match.groups())
        except ValueError:
            raise self.error(f"'{token}' is no range such as 0.2..1.0, 8..64:8 or 1e-4..1e-1:log") from None
        self.expect(token)
        return made

    def list_(self) -> Any:
        """A list of values, or of pattern=hole."""
        self.expect("[")
        items: list[Any] = []
        layers: dict[str, Any] = {}
        while self.peek() != "]":
            item = self.item()
            if self.peek() == "=":
                self.expect("=")
                layers["?" if isinstance(item, Declared) else str(item)] = self.value()
            else:
                items.append(item)
            if self.peek() != "]":
                self.expect(",")
        self.expect("]")
        if (layers and items) or any(isinstance(item, Hole) for item in items):
            raise self.error("a list holds values, or pattern=choice for every entry; a hole takes a whole option")
        return PerLayer(layers) if layers else tuple(items)

    def error(self, message: str) -> TextError:
        return TextError(str(super().error(message)).replace("pipeline,", "space,", 1))


def _range(low: str, high: str, more: str | None) -> Range:
    log = more == "log"
    return Range(_number(low), _number(high), None if more is None or log else _number(more), log)


def _number(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        return float(text)

"""The place in the text where the parser is, and the steps it can make from there."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeVar

import numpy as np

from irc.text.lexer import Token, error, tokens
from irc.text.names import unquoted

T = TypeVar("T")
_DEPTH = 64  # of bodies and of lists in one another


class Cursor:
    """Tokens taken from left to right; every complaint is a TextError with the place."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokens(text)
        self.at = 0
        self.depth = 0

    @property
    def token(self) -> Token:
        """The token at hand."""
        return self.tokens[self.at]

    def fail(self, offset: int, message: str) -> NoReturn:
        """Complain about the place at `offset`."""
        raise error(self.text, offset, message)

    def expected(self, what: str) -> NoReturn:
        """Complain that the token at hand is not `what`."""
        token = self.token
        shown = token.text if len(token.text) <= 40 else f"{token.text[:40]}..."
        self.fail(token.offset, f"{what} was expected, found {shown or 'the end'}")

    def sees(self, kind: str) -> bool:
        """Whether the token at hand is of that kind."""
        return self.tokens[self.at].kind == kind

    def accept(self, kind: str, text: str = "") -> Token | None:
        """Take the token if it is of that kind."""
        token = self.tokens[self.at]
        if token.kind != kind or (text and token.text != text):
            return None
        self.at += 1
        return token

    def expect(self, kind: str, what: str = "", text: str = "") -> Token:
        """Take the token, which must be of that kind."""
        token = self.accept(kind, text)
        if token is None:
            self.expected(what or f"'{text or kind}'")
        return token

    def listed(self, end: str, item: Callable[[], T]) -> list[T]:
        """Items between commas up to the sign `end`, which is taken too."""
        found: list[T] = []
        while not self.accept(end):
            if found:
                self.expect(",", f"',' or '{end}'")
            found.append(item())
        return found

    def nested(self, item: Callable[[], T]) -> T:
        """An item within another, unless it lies too deep."""
        self.depth += 1
        if self.depth > _DEPTH:
            self.fail(self.token.offset, f"nested deeper than {_DEPTH}")
        found = item()
        self.depth -= 1
        return found

    def string(self, what: str = "a string") -> str:
        """Take a string; what it stands for."""
        return self.content(self.expect("string", what))

    def content(self, token: Token) -> str:
        """What the quoted token stands for."""
        try:
            return unquoted(token.text[1:] if token.kind == "value" else token.text)
        except (ValueError, OverflowError) as problem:
            self.fail(token.offset, str(problem))

    def name(self, what: str) -> str:
        """Take a name, bare or quoted."""
        return self.string(what) if self.sees("string") else self.expect("word", what).text

    def integer(self, what: str) -> int:
        """Take an integer."""
        token = self.expect("number", what)
        value = self.number(token)
        if not isinstance(value, int):
            self.fail(token.offset, f"{what} was expected, found {token.text}")
        return value

    def number(self, token: Token) -> int | float:
        """What the number stands for; `0.1f` for the float32 nearest to 0.1."""
        text = token.text
        if text.endswith("f") and text != "-inf":
            with np.errstate(over="ignore"):
                return float(np.float32(float(text[:-1])))
        return int(text) if text.lstrip("-").isdigit() else float(text)

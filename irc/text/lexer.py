"""Text into tokens, and places in it into line and column.

Token ::= kind, text, offset;   kind ::= word | value | string | number | bytes | one of the signs | end
"""

from __future__ import annotations

import re
from typing import NamedTuple

from irc.errors import TextError

_STRING = r'"(?:[^"\\\n]++|\\[^\n])*+"'
_NUMBER = r"(?:-?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?f?|-inf)(?![A-Za-z0-9_])"
_TOKEN = re.compile(
    rf"""(?P<space>(?:[ \t\r\n]++|//[^\n]*+)++)
      | (?P<bytes>0x(?:[0-9a-f][0-9a-f])*+(?![A-Za-z0-9_]))
      | (?P<number>{_NUMBER})
      | (?P<value>%(?:[A-Za-z_][A-Za-z0-9_.]*+|{_STRING}))
      | (?P<string>{_STRING})
      | (?P<word>[A-Za-z_][A-Za-z0-9_.-]*+)
      | (?P<sign>[{{}}()\[\],:=@?*<>.])""",
    re.VERBOSE,
)
_LONGEST_NUMBER = 400  # characters; what is longer is no number of a model, and slow to read


class Token(NamedTuple):
    """A piece of the text. A sign's kind is the sign itself."""

    kind: str
    text: str
    offset: int


def tokens(text: str) -> list[Token]:
    """The tokens, the last of kind `end`; TextError where the text holds none."""
    found: list[Token] = []
    offset = 0
    while offset < len(text):
        match = _TOKEN.match(text, offset)
        if match is None:
            if text[offset] == '"' or text[offset : offset + 2] == '%"':
                raise error(text, offset, "a string that ends on its line was expected")
            raise error(text, offset, f"unexpected {text[offset]!r}")
        kind, piece = str(match.lastgroup), match.group()
        if kind == "number" and len(piece) > _LONGEST_NUMBER:
            raise error(text, offset, "the number is too long")
        if kind != "space":
            found.append(Token(piece if kind == "sign" else kind, piece, offset))
        offset = match.end()
    found.append(Token("end", "", len(text)))
    return found


def error(text: str, offset: int, message: str) -> TextError:
    """The error that names the place by line and column, both from 1."""
    line = text.count("\n", 0, offset) + 1
    column = offset - (text.rfind("\n", 0, offset) + 1) + 1
    return TextError(f"{line}:{column}: {message}")

"""How names and strings are written: bare where that is plain, else quoted and escaped, since models are untrusted."""

from __future__ import annotations

import re

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_SYMBOL = re.compile(r"(?:[0-9]{1,18}\*)?[A-Za-z_][A-Za-z0-9_.]*(?:\*[A-Za-z_][A-Za-z0-9_.]*)*")
_PASS = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_ESCAPED = re.compile(r"\\(?:u\{([0-9a-fA-F]{1,6})\}|(.))", re.DOTALL)
_MEANINGS = {"\\": "\\", '"': '"', "n": "\n", "t": "\t", "r": "\r"}


def quoted(text: str) -> str:
    """The string in quotes, on one line, with nothing in it that does not print."""
    made = "".join(_ESCAPES.get(c) or (c if c.isprintable() else f"\\u{{{ord(c):x}}}") for c in text)
    return f'"{made}"'


def unquoted(text: str) -> str:
    """The string that `quoted` wrote; ValueError for an escape that means nothing."""

    def meaning(match: re.Match[str]) -> str:
        code, letter = match.groups()
        if code is not None:
            return chr(int(code, 16))
        if letter not in _MEANINGS:
            raise ValueError(f"unknown escape '\\{letter}'")
        return _MEANINGS[letter]

    return _ESCAPED.sub(meaning, text[1:-1])


def name_text(name: str) -> str:
    """A name, bare if it looks like an identifier."""
    return name if _IDENTIFIER.fullmatch(name) else quoted(name)


def symbol_text(symbol: str) -> str:
    """A symbolic dimension: bare if it is a product of names, `49*N`."""
    return symbol if _SYMBOL.fullmatch(symbol) else quoted(symbol)


def pass_text(name: str) -> str:
    """A pass's name, which may have dashes."""
    return name if _PASS.fullmatch(name) else quoted(name)


def op_text(domain: str, name: str) -> str:
    """An operator: `Conv`, `com.microsoft.Gelu`; `"domain"."name"` if that would not read back as the two."""
    bare = f"{domain}.{name}" if domain else name
    if "." not in name and _IDENTIFIER.fullmatch(bare) and _IDENTIFIER.fullmatch(name):
        return bare
    return f"{quoted(domain)}.{quoted(name)}"

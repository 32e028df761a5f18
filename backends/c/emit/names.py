"""Names for C: whatever a model calls its things, only letters, digits and underscores reach the source."""

from __future__ import annotations

import re
from collections.abc import Iterable

_KEYWORDS = frozenset(
    [
        "auto",
        "break",
        "case",
        "char",
        "const",
        "continue",
        "default",
        "do",
        "double",
        "else",
        "enum",
        "extern",
        "float",
        "for",
        "goto",
        "if",
        "inline",
        "int",
        "long",
        "register",
        "restrict",
        "return",
        "short",
        "signed",
        "sizeof",
        "static",
        "struct",
        "switch",
        "typedef",
        "union",
        "unsigned",
        "void",
        "volatile",
        "while",
        "alignas",
        "alignof",
        "and",
        "asm",
        "bool",
        "catch",
        "class",
        "constexpr",
        "delete",
        "explicit",
        "export",
        "false",
        "friend",
        "mutable",
        "namespace",
        "new",
        "not",
        "nullptr",
        "operator",
        "or",
        "private",
        "protected",
        "public",
        "static_assert",
        "template",
        "this",
        "throw",
        "true",
        "try",
        "typeid",
        "typename",
        "using",
        "virtual",
        "wchar_t",
        "xor",
        "main",
        "context",
    ]
)
_LONGEST = 48


def identifier(text: str, default: str) -> str:
    """A C and C++ identifier that reminds of the text; `default` if nothing of it is left."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower(), flags=re.ASCII).strip("_")[:_LONGEST].strip("_")
    if not name:
        return default
    if name[0].isdigit():
        name = f"{default}_{name}"
    return f"{name}_" if name in _KEYWORDS else name


def identifiers(texts: Iterable[str], default: str) -> list[str]:
    """An identifier for each text, all different."""
    made: list[str] = []
    for index, text in enumerate(texts):
        name = identifier(text, f"{default}{index}")
        while name in made:
            name += "_"
        made.append(name)
    return made


def comment(text: str) -> str:
    """The text as it may stand in a comment or string literal: printable ASCII that closes neither."""
    return re.sub(r"[^A-Za-z0-9_.,:/ ()\[\]-]", "?", text).replace("/", "|")[:80]

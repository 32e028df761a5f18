"""Names for C: whatever a model calls its things, only letters, digits and underscores reach the source."""

from __future__ import annotations

import re
from collections.abc import Iterable

# of C23 and C++23, their alternative tokens among them
_KEYWORDS = (
    "alignas", "alignof", "and", "and_eq", "asm", "auto", "bitand", "bitor", "bool", "break", "case", "catch", "char",
    "char16_t", "char32_t", "char8_t", "class", "co_await", "co_return", "co_yield", "compl", "concept", "const",
    "const_cast", "consteval", "constexpr", "constinit", "continue", "decltype", "default", "delete", "do", "double",
    "dynamic_cast", "else", "enum", "explicit", "export", "extern", "false", "float", "for", "friend", "goto", "if",
    "inline", "int", "long", "mutable", "namespace", "new", "noexcept", "not", "not_eq", "nullptr", "operator", "or",
    "or_eq", "private", "protected", "public", "register", "reinterpret_cast", "requires", "restrict", "return",
    "short", "signed", "sizeof", "static", "static_assert", "static_cast", "struct", "switch", "template", "this",
    "thread_local", "throw", "true", "try", "typedef", "typeid", "typename", "typeof", "typeof_unqual", "union",
    "unsigned", "using", "virtual", "void", "volatile", "wchar_t", "while", "xor", "xor_eq",
)  # fmt: skip
# of the language's headers, and what compilers and common headers define as macros
_STANDARD = (
    "int8_t", "int16_t", "int32_t", "int64_t", "uint8_t", "uint16_t", "uint32_t", "uint64_t", "size_t", "main",
    "assert", "complex", "errno", "far", "i386", "interface", "linux", "near", "stderr", "stdin", "stdout", "unix",
)  # fmt: skip
# of which there is an irc_<name> beside a model's
_RUNTIME = ("barrier", "context", "cpu", "detect", "granted", "pause", "wake", "work", "worker")
_RESERVED = frozenset((*_KEYWORDS, *_STANDARD, *_RUNTIME))
_LONGEST = 48


def identifier(text: str, default: str) -> str:
    """A C and C++ identifier that reminds of the text; `default` if nothing of it is left."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower(), flags=re.ASCII).strip("_")[:_LONGEST].strip("_")
    if not name:
        return default
    if name[0].isdigit():
        name = f"{default}_{name}"[:_LONGEST].strip("_")
    return f"{name}_" if name in _RESERVED else name


def identifiers(texts: Iterable[str], default: str, taken: Iterable[str] = ()) -> list[str]:
    """An identifier for each text, all different and none that is taken."""
    made: list[str] = []
    given = set(taken)
    for index, text in enumerate(texts):
        name = identifier(text, f"{default}{index}")
        while name in given:
            name += "_"
        given.add(name)
        made.append(name)
    return made


def comment(text: str) -> str:
    """The text as it may stand in a comment or string literal: printable ASCII that closes neither."""
    return re.sub(r"[^A-Za-z0-9_.,:/ ()\[\]-]", "_", text).replace("/", "|")[:80]

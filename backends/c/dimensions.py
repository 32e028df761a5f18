"""Dimensions as text: which symbols the inputs of a model have, and what a dimension is once they are known.

    dimension ::= symbol, of any characters | sum
    sum       ::= product (("+" | "-") product)*
    product   ::= factor (("*" | "//") factor)*
    factor    ::= number | name | "(" sum ")"

`batch-size` is a name with a hyphen as well as a difference: it is a difference where the inputs have both, `batch` and
`size`, elsewhere too.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

_LONGEST = 256  # characters of a sum; a longer text is a symbol
_NAME = re.compile(r"[^\W\d][\w.]*")
_SUM = re.compile(r"(?:\s*(?:\d+(?![\w.])|[^\W\d][\w.]*|//|[-+*()]))+\s*")
_HYPHENATED = re.compile(r"[\w.]-[^\W\d]")
_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


@dataclass(frozen=True)
class _Sum:
    """A parsed sum: what it adds, and its names in order, which `what` calls `_0`, `_1`, ..."""

    what: ast.expr
    names: tuple[str, ...]


def symbols_of(dims: Iterable[str]) -> list[str]:
    """The symbols of dimensions, in order: the names in sums, and whole texts that are none."""
    texts = list(dict.fromkeys(dims))
    sums = {text: made for text in texts if (made := _parsed(text)) is not None}
    sure = {name for text, made in sums.items() if not _HYPHENATED.search(text) for name in made.names}
    found: dict[str, None] = {}
    for text in texts:
        made = sums.get(text)
        whole = made is None or (_HYPHENATED.search(text) and not sure.issuperset(made.names))
        found.update(dict.fromkeys((text,) if whole or made is None else made.names))
    return list(found)


def size_of(dim: str, bound: Mapping[str, int]) -> int | None:
    """A dimension as a number; None if not all of its names are bound, or it is no sum."""
    if dim in bound:
        return bound[dim]
    made = _parsed(dim)
    if made is None or not bound.keys() >= set(made.names):
        return None
    try:
        return _value(made.what, [bound[name] for name in made.names])
    except ZeroDivisionError:
        return None


def mentioned(dim: str, names: Iterable[str]) -> list[str]:
    """The names that stand somewhere in the text of a dimension that is no sum, as in `ceil(N/2)`."""
    known = set(names) - {dim}
    return [] if _parsed(dim) is not None else [name for name in _NAME.findall(dim) if name in known]


def _parsed(text: str) -> _Sum | None:
    if len(text) > _LONGEST or not _SUM.fullmatch(text):
        return None
    names: dict[str, str] = {}
    numbered = _NAME.sub(lambda found: names.setdefault(found[0], f"_{len(names)}"), text)
    try:
        what = ast.parse(numbered.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return _Sum(what, tuple(names)) if _is_sum(what) else None


def _is_sum(what: ast.expr) -> bool:
    if isinstance(what, ast.BinOp):
        return type(what.op) in _OPERATORS and _is_sum(what.left) and _is_sum(what.right)
    return isinstance(what, ast.Name | ast.Constant)


def _value(what: ast.expr, sizes: list[int]) -> int:
    if isinstance(what, ast.BinOp):
        return _OPERATORS[type(what.op)](_value(what.left, sizes), _value(what.right, sizes))
    if isinstance(what, ast.Name):
        return sizes[int(what.id[1:])]
    assert isinstance(what, ast.Constant)
    assert isinstance(what.value, int)
    return what.value

"""Casts that change nothing.

    Cast[A](x)             =  x                      where x is of dtype A
    Cast[C](Cast[B](x))    =  Cast[C](x)             where B holds every value of x's dtype A, and C rounds the same

The second needs more than A within B where C is an integer type: what lies outside of C converts to something else from
a float than from an integer. So then A must be within C too, or all three be integers, which wrap around alike.
"""

from __future__ import annotations

from irc.graph import Node
from irc.ops.cast import Cast
from irc.passes.base import Outcome
from irc.passes.edit import read_instead, substitute
from irc.passes.simplify_rules.rule import Table
from irc.types import DType

# significant bits (sign aside), largest and smallest binary exponent of subnormals, of the float types that take part
_FLOATS = {
    DType.BF16: (8, 127, -133),
    DType.F16: (11, 15, -24),
    DType.F32: (24, 127, -149),
    DType.F64: (53, 1023, -1074),
}
_INTEGERS = {d: d.bits - (d.text[0] == "i") for d in DType if d.is_integer and d.bits >= 8}  # bits of the magnitude


def _same(node: Node) -> Outcome:
    op, source = node.op, node.inputs[0]
    assert isinstance(op, Cast)
    if source is None or source.tensor_type is None or source.tensor_type.dtype is not DType.of_onnx(op.to):
        return None
    substitute(node, source)
    return True


def _chain(node: Node) -> Outcome:
    op, between = node.op, node.inputs[0]
    inner = between.producer if between is not None else None
    source = inner.inputs[0] if inner is not None else None
    if inner is None or not isinstance(inner.op, Cast) or source is None or source.tensor_type is None:
        return None
    assert isinstance(op, Cast)
    if not _is_passed(source.tensor_type.dtype, DType.of_onnx(inner.op.to), DType.of_onnx(op.to)):
        return None
    read_instead(node, 0, source)
    return True


def _is_passed(a: DType, b: DType, c: DType) -> bool:
    """Whether A -> B -> C is A -> C."""
    if not holds(b, a):
        return False
    if c in _INTEGERS and not holds(c, a):
        return all(d in _INTEGERS for d in (a, b, c))
    return c in _FLOATS or c in _INTEGERS or c is DType.BOOL


def holds(wide: DType, narrow: DType) -> bool:
    """Whether every value of `narrow` is one of `wide`."""
    if wide is narrow:
        return wide in _FLOATS or wide in _INTEGERS or wide is DType.BOOL
    if narrow is DType.BOOL:
        return wide in _FLOATS or wide in _INTEGERS
    if narrow in _INTEGERS and wide in _INTEGERS:
        signed_to_unsigned = narrow.text[0] == "i" and wide.text[0] == "u"
        return _INTEGERS[narrow] <= _INTEGERS[wide] and not signed_to_unsigned
    if narrow in _INTEGERS and wide in _FLOATS:
        return _INTEGERS[narrow] <= min(_FLOATS[wide][0], _FLOATS[wide][1])
    if narrow in _FLOATS and wide in _FLOATS:
        (bits, high, low), (wide_bits, wide_high, wide_low) = _FLOATS[narrow], _FLOATS[wide]
        return bits <= wide_bits and high <= wide_high and low >= wide_low
    return False


RULES: Table = {Cast: (_same, _chain)}

"""Elementwise ops whose result C leaves undefined for some integers, and tests of numbers; see kernels/integer.h."""

from __future__ import annotations

from irc.backends.c.lowering.builder import Builder
from irc.backends.c.lowering.elementwise import express, lower_simple, operands
from irc.backends.c.lowering.expressions import c_literal, c_type
from irc.backends.c.lowering.rules import lowers
from irc.errors import BackendError
from irc.graph import Node
from irc.ops import binary, unary
from irc.types import DType


@lowers(binary.Div)
def lower_division(b: Builder, node: Node) -> None:
    """Integers are cut towards zero; a division of integers by zero gives 0."""
    dtype = b.dtype(node.output)
    express(b, node, "{0} / {1}" if dtype.is_float else f"irc_divide_{dtype}({{0}}, {{1}})", operands(b, node))


@lowers(binary.Mod)
def lower_modulo(b: Builder, node: Node) -> None:
    """With the sign of the second, or with `fmod` of the first."""
    assert isinstance(node.op, binary.Mod)
    dtype = b.dtype(node.output)
    cut = {DType.F32: "fmodf", DType.F64: "fmod"}.get(dtype, f"irc_remainder_{dtype}")
    function = cut if node.op.fmod else f"irc_modulo_{dtype}"
    express(b, node, f"{function}({{0}}, {{1}})", operands(b, node))


@lowers(binary.BitShift)
def lower_shift(b: Builder, node: Node) -> None:
    """Shifts of any width; to the right with the sign."""
    assert isinstance(node.op, binary.BitShift)
    express(b, node, f"irc_{node.op.direction.lower()}_{b.dtype(node.output)}({{0}}, {{1}})", operands(b, node))


@lowers(binary.Pow)
def lower_power(b: Builder, node: Node) -> None:
    """Squares, cubes and roots without a logarithm; integers to integers by multiplication."""
    dtype, exponent = b.dtype(node.output), node.constant(1)
    number = None if exponent is None or exponent.size != 1 else float(exponent.reshape(())[()])
    one = c_literal(1, dtype)
    simple = {2.0: "{0} * {0}", 3.0: "{0} * {0} * {0}", 1.0: f"{{0}} * {one}"}
    if dtype.is_float:
        simple |= {0.5: "sqrtf({0})" if dtype is DType.F32 else "sqrt({0})", -1.0: f"{one} / {{0}}"}
    if number in simple:
        express(b, node, simple[number], operands(b, node)[:1])
    elif dtype.is_float:
        lower_simple(b, node)
    elif (exponent is not None and exponent.dtype.kind == "f") or b.input(node, 1).dtype.is_float:
        raise BackendError(f"{node!r}: the C backend has no power of {dtype} with a float exponent; cast the base")
    else:
        express(b, node, f"({c_type(dtype)})irc_power((int64_t){{0}}, (int64_t){{1}})", operands(b, node))


@lowers(unary.IsInf)
def lower_is_infinite(b: Builder, node: Node) -> None:
    """Of the signs that are looked for."""
    op = node.op
    assert isinstance(op, unary.IsInf)
    tests = ["{0} == INFINITY"] * bool(op.detect_positive) + ["{0} == -INFINITY"] * bool(op.detect_negative)
    express(b, node, " || ".join(tests) or "{0} != {0} && 0", operands(b, node))

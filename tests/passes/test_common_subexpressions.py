"""Equal computations are done once where the first is seen from the second, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from irc.passes.common_subexpressions import CommonSubexpressions
from irc.passes.context import plain_context
from irc.text import parse_graph

Transform = Callable[..., Any]  # the fixture of conftest.py


def test_equal_chains(transform: Transform) -> None:
    transform(
        CommonSubexpressions(),
        """
        graph main(opset = 21) {
          input %x: f32[2, 3]
          %a: f32[2, 3] = Relu(%x)
          %b: f32[2, 3] = Neg(%a)
          %c: f32[2, 3] = Relu(%x)
          %d: f32[2, 3] = Neg(%c)
          %y: f32[2, 3] = Mul(%b, %d)
          return %y, %d as "z"
        }
        """,
    ).is_text(
        """
        graph main(opset = 21) {
          input %x: f32[2, 3]
          %a: f32[2, 3] = Relu(%x)
          %b: f32[2, 3] = Neg(%a)
          %y: f32[2, 3] = Mul(%b, %b)
          return %y, %b as "z"
        }
        """
    )


@pytest.mark.parametrize(
    ("op", "merged"), [("Add", True), ("Mul", True), ("Sub", False), ("Div", False), ("Max", False)]
)
def test_swapped_inputs(transform: Transform, op: str, merged: bool) -> None:
    made = transform(
        CommonSubexpressions(),
        f"""
        graph main(opset = 21) {{
          input %x: f32[3]
          input %z: f32[3]
          %a: f32[3] = {op}(%x, %z)
          %b: f32[3] = {op}(%z, %x)
          return %a, %b
        }}
        """,
    )
    assert made.ops() == [op] * (1 if merged else 2)


@pytest.mark.parametrize(
    ("first", "second", "count"),
    [
        ("[1, 0]", "[1, 0]", 1),
        ("[1, 0]", "[0, 1]", 2),
        ("none", "[1, 0]", 2),  # the same on a matrix, but not the same attribute
    ],
)
def test_attributes(transform: Transform, first: str, second: str, count: int) -> None:
    made = transform(
        CommonSubexpressions(),
        f"""
        graph main(opset = 21) {{
          input %x: f32[2, 2]
          %a: f32[2, 2] = Transpose(%x) {{perm = {first}}}
          %b: f32[2, 2] = Transpose(%x) {{perm = {second}}}
          return %a, %b
        }}
        """.replace(" {perm = none}", ""),
    )
    assert len(made.ops()) == count


def test_small_constants_by_content(transform: Transform) -> None:
    made = transform(
        CommonSubexpressions(),
        """
        graph main(opset = 21) {
          input %x: f32[2, 3]
          weight %s: i64[1] = [-1]
          weight %t: i64[1] = [-1]
          weight %u: i64[1] = [6]
          %a: f32[6] = Reshape(%x, %s)
          %b: f32[6] = Reshape(%x, %t)
          %c: f32[6] = Reshape(%x, %u)
          return %a, %b, %c
        }
        """,
    )
    assert made.ops() == ["Reshape", "Reshape"]


def test_negative_zero_is_another_constant(transform: Transform) -> None:
    made = transform(
        CommonSubexpressions(),
        """
        graph main(opset = 21) {
          input %x: f32[2]
          weight %p: f32[] = 0.0
          weight %n: f32[] = -0.0
          %a: f32[2] = Div(%x, %p)
          %b: f32[2] = Div(%x, %n)
          return %a, %b
        }
        """,
    )
    assert made.ops() == ["Div", "Div"]


BODIES = """
graph main(opset = 21) {{
  input %x: f32[2]
  input %c: bool[]
  {before}
  %y: f32[2] = If:21(%c) {{
    then_branch = {{
      %t: f32[2] = Exp(%x)
      %u: f32[2] = Neg(%t)
      return %u
    }},
    else_branch = {{
      %e: f32[2] = Exp(%x)
      return %e
    }}
  }}
  {behind}
  return %y, %z
}}
"""
EXP = "%z: f32[2] = Exp(%x)"


def test_body_takes_what_stands_before_it(transform: Transform) -> None:
    made = transform(CommonSubexpressions(), BODIES.format(before=EXP, behind=""))
    assert made.ops() == ["Exp", "If", "Neg"]


def test_body_gives_nothing_to_the_outside_or_to_its_sibling(transform: Transform) -> None:
    made = transform(CommonSubexpressions(), BODIES.format(before="", behind=EXP))
    assert made.ops() == ["If", "Exp", "Neg", "Exp", "Exp"]


def test_quantizers_stay(transform: Transform) -> None:
    made = transform(
        CommonSubexpressions(),
        """
        graph main(opset = 21) {
          input %x: f32[2]
          weight %scale: f32[] = 0.5
          weight %zero: i8[] = 0
          %p: i8[2] = QuantizeLinear(%x, %scale, %zero)
          %q: i8[2] = QuantizeLinear(%x, %scale, %zero)
          return %p, %q
        }
        """,
    )
    assert made.ops() == ["QuantizeLinear", "QuantizeLinear"]


def test_random_ops_stay() -> None:
    graph = parse_graph(
        """graph main(opset = 21) {
          input %x: f32[2]
          %a: f32[2] = RandomNormalLike:21(%x)
          %b: f32[2] = RandomNormalLike:21(%x)
          return %a, %b
        }
        """
    )
    CommonSubexpressions().run(graph, plain_context(graph))
    assert len(graph) == 2

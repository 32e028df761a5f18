"""Shapes computed at run time become constants as far as the types say them, and a symbolic batch stays symbolic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from irc.execution import Executable
from irc.passes.simplify import Simplify

Transform = Callable[..., Any]  # the fixture of conftest.py

FLATTEN = """
graph main(opset = 21) {
  input %x: f32[N, 3, 8]
  weight %zero: i64[] = 0
  weight %axes: i64[1] = [0]
  weight %rest: i64[1] = [-1]
  %shape: i64[3] = Shape(%x)
  %n: i64[] = Gather(%shape, %zero)
  %v: i64[1] = Unsqueeze(%n, %axes)
  %s: i64[2] = Concat(%v, %rest) {axis = 0}
  %y: f32[?, ?] = Reshape(%x, %s)
  return %y
}
"""


def test_flatten_of_a_symbolic_batch(transform: Transform) -> None:
    made = transform(Simplify(), FLATTEN)
    assert made.ops() == ["Reshape"]
    (reshape,) = made.graph
    assert reshape.constant(1).tolist() == [0, -1]
    assert str(reshape.output.type) == "f32[N, 24]"
    for batch in (1, 7):
        assert Executable(made.graph).run_numpy({"x": np.ones((batch, 3, 8), np.float32)})["y"].shape == (batch, 24)


def test_types_behind_get_better_and_simplify_what_follows(transform: Transform) -> None:
    text = FLATTEN.replace(
        "return %y",
        """%t: i64[2] = Shape(%y)
           weight %one: i64[] = 1
           %columns: i64[] = Gather(%t, %one)
           return %y, %columns""",
    )
    made = transform(Simplify(), text)
    assert made.graph.outputs[1].data.tolist() == 24


def test_static_dimension_beside_a_symbolic_one(transform: Transform) -> None:
    made = transform(
        Simplify(),
        """
        graph main(opset = 21) {
          input %x: f32[N, 3, 8]
          weight %from: i64[1] = [1]
          weight %to: i64[1] = [3]
          %shape: i64[3] = Shape(%x)
          %y: i64[2] = Slice(%shape, %from, %to)
          return %y, %shape
        }
        """,
    )
    assert made.ops() == ["Shape"]
    assert made.graph.outputs[0].data.tolist() == [3, 8]


ARITHMETIC = {
    "%y: i64[] = Mul(%c, %k)": 48,
    "%y: i64[] = Add(%c, %k)": 19,
    "%y: i64[] = Sub(%c, %k)": -13,
    "%y: i64[] = Div(%k, %c)": 5,
    "%y: i32[] = Cast(%c) {to = 6}": 3,
    "%m: i64[] = Mul(%n, %k);%y: i64[] = Div(%m, %n)": None,  # 16*N / N is not looked through
    "%m: i64[] = Mul(%n, %k);%q: i64[] = Div(%m, %k);%p: i64[] = Mul(%q, %c);%y: i64[] = Div(%p, %p)": 1,
    "%y: i64[] = Add(%n, %k)": None,
    "%y: i64[] = ReduceProd(%tail) {keepdims = 0}": 24,
    "%y: i64[] = Size(%x)": None,
    "%y: i64[] = Squeeze(%last)": 8,
}


@pytest.mark.parametrize("nodes", ARITHMETIC)
def test_arithmetic(transform: Transform, nodes: str) -> None:
    nodes_text = nodes.replace(";", "\n  ")
    made = transform(
        Simplify(),
        f"""
graph main(opset = 21) {{
  input %x: f32[N, 3, 8]
  weight %zero: i64[] = 0
  weight %one: i64[] = 1
  weight %two: i64[1] = [2]
  weight %three: i64[1] = [3]
  weight %onev: i64[1] = [1]
  weight %k: i64[] = 16
  %shape: i64[3] = Shape(%x)
  %n: i64[] = Gather(%shape, %zero)
  %c: i64[] = Gather(%shape, %one)
  %tail: i64[2] = Slice(%shape, %onev, %three)
  %last: i64[1] = Slice(%shape, %two, %three)
  {nodes_text}
  return %y
}}
""",
    )
    data = made.graph.outputs[0].data
    assert (None if data is None else data.tolist()) == ARITHMETIC[nodes]


def test_division_rounds_towards_zero(transform: Transform) -> None:
    made = transform(
        Simplify(),
        """
        graph main(opset = 21) {
          input %x: f32[7]
          weight %minus_two: i64[1] = [-2]
          %s: i64[1] = Shape(%x)
          %y: i64[1] = Div(%s, %minus_two)
          return %y
        }
        """,
    )
    assert made.graph.outputs[0].data.tolist() == [-3]


def test_expand(transform: Transform) -> None:
    made = transform(
        Simplify(),
        """
        graph main(opset = 21) {
          input %x: f32[N, 1]
          weight %seven: i64[1] = [7]
          %n: i64[1] = Shape(%x) {end = 1}
          %s: i64[2] = Concat(%n, %seven) {axis = 0}
          %y: f32[?, ?] = Expand(%x, %s)
          return %y
        }
        """,
    )
    assert made.ops() == ["Expand"]
    assert str(made.graph.outputs[0].type) == "f32[N, 7]"


def test_slice_up_to_the_symbolic_size_is_nothing(transform: Transform) -> None:
    made = transform(
        Simplify(),
        """
        graph main(opset = 21) {
          input %x: f32[N, 4]
          weight %zero: i64[1] = [0]
          %n: i64[1] = Shape(%x) {end = 1}
          %y: f32[?, 4] = Slice(%x, %zero, %n, %zero)
          return %y
        }
        """,
    )
    assert made.ops() == []


def test_resize_of_a_symbolic_batch(transform: Transform) -> None:
    made = transform(
        Simplify(),
        """
        graph main(opset = 21) {
          input %x: f32[N, 3, 4, 5]
          weight %sizes: i64[2] = [8, 10]
          %head: i64[2] = Shape(%x) {end = 2}
          %s: i64[4] = Concat(%head, %sizes) {axis = 0}
          %y: f32[?, ?, ?, ?] = Resize(%x, _, _, %s) {mode = "linear"}
          return %y
        }
        """,
    )
    assert made.ops() == ["Resize"]
    (resize,) = made.graph
    assert resize.op.axes == (2, 3)
    assert resize.constant(3).tolist() == [8, 10]


UNDECIDED = {
    "two symbols that the input does not have there": ("f32[N, M, 8]", "%m, %n, %eight"),
    "a symbol beside -1": ("f32[N, M, 8]", "%m, %rest"),
}


@pytest.mark.parametrize("case", UNDECIDED)
def test_reshape_that_cannot_be_said_with_constants(transform: Transform, case: str) -> None:
    type, parts = UNDECIDED[case]
    made = transform(
        Simplify(),
        f"""
        graph main(opset = 21) {{
          input %x: {type}
          weight %eight: i64[1] = [8]
          weight %rest: i64[1] = [-1]
          %n: i64[1] = Shape(%x) {{end = 1}}
          %m: i64[1] = Shape(%x) {{end = 2, start = 1}}
          %s: i64[?] = Concat({parts}) {{axis = 0}}
          %y: f32[*] = Reshape(%x, %s)
          return %y
        }}
        """,
    )
    assert "Concat" in made.ops()


def test_one_symbol_of_another_axis_is_what_is_left(transform: Transform) -> None:
    made = transform(
        Simplify(),
        """
        graph main(opset = 21) {
          input %x: f32[8, N]
          weight %eight: i64[1] = [8]
          %n: i64[1] = Shape(%x) {start = 1}
          %s: i64[2] = Concat(%n, %eight) {axis = 0}
          %y: f32[?, 8] = Reshape(%x, %s)
          return %y
        }
        """,
    )
    assert made.ops() == ["Reshape"]
    (reshape,) = made.graph
    assert reshape.constant(1).tolist() == [-1, 8]


def test_in_a_body(transform: Transform) -> None:
    made = transform(
        Simplify(),
        """
        graph main(opset = 21) {
          input %x: f32[N, 3]
          input %c: bool[]
          %shape: i64[2] = Shape(%x)
          weight %one: i64[] = 1
          %y: i64[] = If:21(%c) {
            then_branch = {
              %a: i64[] = Gather(%shape, %one)
              return %a
            },
            else_branch = {
              return %one
            }
          }
          return %y
        }
        """,
    )
    assert made.ops() == ["If"]

"""Each rule of `simplify` fires where it holds, and not where it nearly does; the function stays the same."""

# ruff: noqa: E501, ISC004 - one case a line

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from irc.passes.simplify import Simplify

Transform = Callable[..., Any]  # the fixture of conftest.py

# one line a case: what stands between x and y, and the ops that are left
SHAPED = """
graph main(opset = 21) {{
  input %x: {type}
  {weights}
  {nodes}
  return {out}
}}
"""


def _text(type: str, nodes: str) -> str:
    statements = [line.strip() for line in nodes.split(";") if line.strip()]
    weights = [s for s in statements if s.startswith(("weight", "input"))]
    rest = [s for s in statements if s not in weights]
    out = rest[-1].split(":")[0]
    return SHAPED.format(type=type, weights="\n  ".join(weights), nodes="\n  ".join(rest), out=out)


def _check(transform: Transform, type: str, nodes: str, left: str) -> None:
    made = transform(Simplify(), _text(type, nodes))
    assert " ".join(made.ops()) == left


ELEMENTWISE = [
    ("f32[2, 3]", "weight %c: f32[] = 0.0; %y: f32[2, 3] = Add(%x, %c)", ""),
    ("f32[2, 3]", "weight %c: f32[] = -0.0; %y: f32[2, 3] = Add(%c, %x)", ""),
    ("f32[2, 3]", "weight %c: f32[3] = [0.0, 0.0, 0.0]; %y: f32[2, 3] = Sub(%x, %c)", ""),
    ("f32[2, 3]", "weight %c: f32[3] = [0.0, 0.0, 0.0]; %y: f32[2, 3] = Sub(%c, %x)", "Sub"),
    ("f32[2, 3]", "weight %c: f32[2, 3] = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]; %y: f32[2, 3] = Mul(%x, %c)", ""),
    ("f32[2, 3]", "weight %c: f32[1, 1] = [1.0]; %y: f32[2, 3] = Div(%x, %c)", ""),
    ("f32[2, 3]", "weight %c: f32[1, 1] = [1.0]; %y: f32[2, 3] = Div(%c, %x)", "Div"),
    ("f32[2, 3]", "weight %c: f32[] = 1.0; %y: f32[2, 3] = Pow(%x, %c)", ""),
    ("f32[2, 3]", "weight %c: f32[3] = [0.0, 0.0, 1.0]; %y: f32[2, 3] = Add(%x, %c)", "Add"),
    ("f32[2, 3]", "weight %c: f32[] = 0.0; %y: f32[2, 3] = Mul(%x, %c)", "Mul"),  # NaN * 0 is not 0
    ("f32[2, 1]", "weight %c: f32[3] = [0.0, 0.0, 0.0]; %y: f32[2, 3] = Add(%x, %c)", "Add"),  # broadcasts x
    ("f32[3]", "weight %c: f32[1, 1] = [0.0]; %y: f32[1, 3] = Add(%x, %c)", "Add"),  # adds an axis
    ("f32[N, 3]", "weight %c: f32[1, 3] = [0.0, 0.0, 0.0]; %y: f32[N, 3] = Add(%x, %c)", ""),
    ("f32[N, 3]", "weight %c: f32[2, 3] = splat(0.0); %y: f32[2, 3] = Add(%x, %c)", "Add"),  # N may be 1
    ("i32[3]", "weight %c: i32[] = 0; %y: i32[3] = Add(%x, %c)", ""),
    ("f32[3]", "%a: f32[3] = Neg(%x); %y: f32[3] = Neg(%a)", ""),
    ("bool[3]", "%a: bool[3] = Not(%x); %y: bool[3] = Not(%a)", ""),
    ("f32[3]", "%a: f32[3] = Neg(%x); %b: f32[3] = Neg(%a); %y: f32[3] = Neg(%b)", "Neg"),
    ("f32[2, 3]", "weight %s: f32[3, 1] = splat(0.25); %y: f32[2, 3, 3] = PRelu(%t, %s); input %t: f32[2, 3, 3]", "LeakyRelu"),
    ("f32[2, 3]", "weight %s: f32[1] = [-0.25]; %y: f32[2, 3] = PRelu(%x, %s)", "LeakyRelu"),
    ("f32[2, 3]", "weight %s: f32[3] = [0.25, 0.25, 0.5]; %y: f32[2, 3] = PRelu(%x, %s)", "PRelu"),
    ("f64[2, 3]", "weight %s: f64[1] = [0.1]; %y: f64[2, 3] = PRelu(%x, %s)", "PRelu"),  # alpha is a float32
    ("f32[2, 3]", "input %s: f32[1]; %y: f32[2, 3] = PRelu(%x, %s)", "PRelu"),
    ("f32[3]", "%y: f32[3] = Max(%x)", ""),
    ("f32[3]", "%y: f32[3] = Mean(%x)", ""),
    ("f32[3]", "weight %c: bool[3] = [true, true, true]; weight %d: f32[] = 1.0; %y: f32[3] = Where(%c, %x, %d)", ""),
    ("f32[3]", "weight %c: bool[] = false; weight %d: f32[3] = [1.0, 2.0, 3.0]; %y: f32[3] = Where(%c, %x, %d)", ""),
    ("f32[1]", "weight %c: bool[3] = [true, true, true]; weight %d: f32[] = 1.0; %y: f32[3] = Where(%c, %x, %d)", "Where"),
    ("f32[3]", "weight %c: bool[3] = [true, false, true]; weight %d: f32[] = 1.0; %y: f32[3] = Where(%c, %x, %d)", "Where"),
]

CLAMPS = [
    ("f32[9]", "%a: f32[9] = Relu(%x); %y: f32[9] = Relu(%a)", "Relu"),
    ("f32[9]", "weight %z: f32[] = 0.0; %y: f32[9] = Clip(%x, %z)", "Relu"),
    ("i8[9]", "weight %z: i8[] = 0; %y: i8[9] = Clip(%x, %z)", "Clip"),  # Relu is for floats in runtimes
    ("f32[9]", "%y: f32[9] = Clip(%x)", ""),
    ("f32[9]", "weight %a: f32[] = -inf; weight %b: f32[] = inf; %y: f32[9] = Clip(%x, %a, %b)", ""),
    ("f32[9]", "weight %a: f32[] = -1.0; weight %b: f32[] = 0.5; %r: f32[9] = Relu(%x); %y: f32[9] = Clip(%r, %a, %b)", "Clip"),
    ("f32[9]", "weight %a: f32[] = -1.0; weight %b: f32[] = 0.5; %r: f32[9] = Clip(%x, %a, %b); %y: f32[9] = Relu(%r)", "Clip"),
    ("f32[9]", "weight %a: f32[] = -1.0; %r: f32[9] = Clip(%x, %a); %y: f32[9] = Relu(%r)", "Relu"),
    (
        "f32[9]",
        "weight %a: f32[] = -1.0; weight %b: f32[] = -0.5; weight %c: f32[] = 0.25; weight %d: f32[] = 0.5;"
        "%r: f32[9] = Clip(%x, %a, %b); %y: f32[9] = Clip(%r, %c, %d)",
        "Clip",  # the ranges do not meet: all is 0.25
    ),
    ("f32[9]", "weight %a: f32[] = 1.0; weight %b: f32[] = -1.0; %r: f32[9] = Relu(%x); %y: f32[9] = Clip(%r, %a, %b)", "Relu Clip"),
]

CASTS = [
    ("f32[3]", "%y: f32[3] = Cast(%x) {to = 1}", ""),
    ("f16[3]", "%a: f32[3] = Cast(%x) {to = 1}; %y: f16[3] = Cast(%a) {to = 10}", ""),
    ("f32[3]", "%a: f16[3] = Cast(%x) {to = 10}; %y: f32[3] = Cast(%a) {to = 1}", "Cast Cast"),
    ("f16[3]", "%a: f32[3] = Cast(%x) {to = 1}; %y: f64[3] = Cast(%a) {to = 11}", "Cast"),
    ("i8[3]", "%a: i64[3] = Cast(%x) {to = 7}; %y: i32[3] = Cast(%a) {to = 6}", "Cast"),
    ("i64[3]", "%a: i8[3] = Cast(%x) {to = 3}; %y: i64[3] = Cast(%a) {to = 7}", "Cast Cast"),
    ("i32[3]", "%a: f32[3] = Cast(%x) {to = 1}; %y: i32[3] = Cast(%a) {to = 6}", "Cast Cast"),  # 24 bits of 31
    ("i32[3]", "%a: f64[3] = Cast(%x) {to = 11}; %y: i32[3] = Cast(%a) {to = 6}", ""),
    ("u8[3]", "%a: f32[3] = Cast(%x) {to = 1}; %y: i8[3] = Cast(%a) {to = 3}", "Cast Cast"),  # 200.0 is no i8
    ("bool[3]", "%a: i64[3] = Cast(%x) {to = 7}; %y: bool[3] = Cast(%a) {to = 9}", ""),
    ("f32[3]", "%a: bool[3] = Cast(%x) {to = 9}; %y: f32[3] = Cast(%a) {to = 1}", "Cast Cast"),
]

MOVEMENT = [
    ("f32[2, 3]", "%y: f32[2, 3] = Identity(%x)", ""),
    ("f32[2, 3]", "%y: f32[2, 3] = Dropout(%x)", ""),
    ("f32[2, 3]", "weight %r: f32[] = 0.5; weight %t: bool[] = false; %y: f32[2, 3] = Dropout(%x, %r, %t)", ""),
    ("f32[2, 3]", "%y: f32[2, 3] = Concat(%x) {axis = 1}", ""),
    ("f32[2, 3]", "%y: f32[2, 3] = Split(%x) {axis = 1, num_outputs = 1}", ""),
    ("f32[2, 4]", "%a: f32[2, 2], %b: f32[2, 2] = Split(%x) {axis = 1, num_outputs = 2}; %y: f32[2, 4] = Concat(%a, %b) {axis = -1}", ""),
    ("f32[2, 4]", "%a: f32[2, 2], %b: f32[2, 2] = Split(%x) {axis = 1, num_outputs = 2}; %y: f32[2, 4] = Concat(%b, %a) {axis = 1}", "Split Concat"),
    ("f32[2, 3]", "%y: f32[2, 3] = Transpose(%x) {perm = [0, 1]}", ""),
    ("f32[2, 3, 4]", "%a: f32[3, 4, 2] = Transpose(%x) {perm = [1, 2, 0]}; %y: f32[2, 3, 4] = Transpose(%a) {perm = [2, 0, 1]}", ""),
    ("f32[2, 3, 4]", "%a: f32[3, 4, 2] = Transpose(%x) {perm = [1, 2, 0]}; %y: f32[4, 2, 3] = Transpose(%a) {perm = [1, 2, 0]}", "Transpose"),
    ("f32[2, 3, 4]", "%a: f32[2, 4, 3] = Transpose(%x) {perm = [0, 2, 1]}; %y: f32[4, 2, 3] = Transpose(%a) {perm = [1, 0, 2]}", "Transpose"),
    ("f32[2, 3]", "%a: f32[3, 2] = Transpose(%x); %y: f32[2, 3] = Transpose(%a)", ""),
    ("f32[2, 3]", "%a: f32[3, 2] = Transpose(%x); %y: f32[2, 3] = Transpose(%a) {perm = [1, 0]}", ""),
    ("f32[3]", "%y: f32[3] = Transpose(%x)", ""),
    ("f32[2, 3]", "weight %s: i64[2] = [2, 3]; %y: f32[2, 3] = Reshape(%x, %s)", ""),
    ("f32[N, 3]", "weight %s: i64[2] = [-1, 3]; %y: f32[?, 3] = Reshape(%x, %s)", ""),
    ("f32[N, 3]", "weight %s: i64[2] = [0, -1]; %y: f32[N, 3] = Reshape(%x, %s)", ""),
    ("f32[N, 4]", "weight %s: i64[2] = [-1, 2]; %y: f32[?, 2] = Reshape(%x, %s)", "Reshape"),
    ("f32[2, 6]", "weight %s: i64[1] = [-1]; weight %t: i64[2] = [3, 4]; %a: f32[12] = Reshape(%x, %s); %y: f32[3, 4] = Reshape(%a, %t)", "Reshape"),
    ("f32[2, 6]", "weight %s: i64[2] = [3, 4]; weight %t: i64[2] = [0, 4]; %a: f32[3, 4] = Reshape(%x, %s); %y: f32[3, 4] = Reshape(%a, %t)", "Reshape"),
    ("f32[2, 6]", "weight %s: i64[3] = [2, 3, 2]; weight %t: i64[2] = [0, -1]; %a: f32[2, 3, 2] = Reshape(%x, %s); %y: f32[2, 6] = Reshape(%a, %t)", ""),
    ("f32[2, 6]", "weight %s: i64[2] = [4, 3]; weight %t: i64[2] = [0, -1]; %a: f32[4, 3] = Reshape(%x, %s); %y: f32[4, 3] = Reshape(%a, %t)", "Reshape"),
    ("f32[2, 6]", "%y: f32[2, 6] = Flatten(%x)", ""),
    ("f32[2, 6]", "weight %a: i64[1] = [1]; %u: f32[2, 1, 6] = Unsqueeze(%x, %a); %y: f32[2, 6] = Squeeze(%u, %a)", ""),
    ("f32[2, 1, 6]", "weight %a: i64[1] = [1]; weight %b: i64[1] = [0]; %u: f32[2, 6] = Squeeze(%x, %a); %y: f32[1, 2, 6] = Unsqueeze(%u, %b)", "Squeeze Unsqueeze"),
    ("f32[2, 1, 1]", "%f: f32[2, 1] = Flatten(%x); weight %s: i64[1] = [2]; %y: f32[2] = Reshape(%f, %s)", "Reshape"),
    ("f32[2, 6]", "weight %s: i64[2] = [1, 6]; %y: f32[2, 6] = Expand(%x, %s)", ""),
    ("f32[1, 6]", "weight %s: i64[2] = [2, 6]; %y: f32[2, 6] = Expand(%x, %s)", "Expand"),
    ("f32[2, 6]", "weight %r: i64[2] = [1, 1]; %y: f32[2, 6] = Tile(%x, %r)", ""),
    ("f32[2, 6]", "weight %p: i64[4] = [0, 0, 0, 0]; %y: f32[2, 6] = Pad(%x, %p)", ""),
    ("f32[2, 6]", "weight %p: i64[4] = [1, 0, -1, 0]; %y: f32[2, 6] = Pad(%x, %p)", "Pad"),
    ("f32[2, 6]", "weight %s: i64[1] = [0]; weight %e: i64[1] = [6]; weight %a: i64[1] = [1]; %y: f32[2, 6] = Slice(%x, %s, %e, %a)", ""),
    ("f32[N, 6]", "weight %s: i64[1] = [0]; weight %e: i64[1] = [9223372036854775807]; %y: f32[?, 6] = Slice(%x, %s, %e)", ""),
    (
        "f32[2, 6]",
        "weight %s: i64[1] = [-1]; weight %e: i64[1] = [-9]; weight %a: i64[1] = [1]; weight %t: i64[1] = [-1];"
        "%y: f32[2, 6] = Slice(%x, %s, %e, %a, %t)",
        "Slice",  # the same shape, reversed
    ),
    ("f32[1, 2, 4, 4]", "weight %s: f32[4] = [1.0, 1.0, 1.0, 1.0]; %y: f32[1, 2, 4, 4] = Resize(%x, _, %s) {mode = \"linear\"}", ""),
    ("f32[1, 2, 4, 4]", "weight %s: i64[4] = [1, 2, 4, 4]; %y: f32[1, 2, 4, 4] = Resize(%x, _, _, %s) {mode = \"cubic\"}", ""),
    ("f32[1, 2, 4, 4]", "weight %s: f32[4] = [1.0, 1.0, 1.2, 1.2]; %y: f32[1, 2, 4, 4] = Resize(%x, _, %s) {mode = \"linear\"}", "Resize"),
]

CONTRACTIONS = [
    ("f32[2, 3]", "weight %w: f32[3, 4] = splat(0.5); weight %b: f32[4] = [1.0, 2.0, 3.0, 4.0]; %p: f32[2, 4] = MatMul(%x, %w); %y: f32[2, 4] = Add(%p, %b)", "Gemm"),
    ("f32[N, 3]", "weight %w: f32[3, 4] = splat(0.5); weight %b: f32[1, 4] = [1.0, 2.0, 3.0, 4.0]; %p: f32[N, 4] = MatMul(%x, %w); %y: f32[N, 4] = Add(%b, %p)", "Gemm"),
    ("f32[1, 3]", "weight %w: f32[3, 4] = splat(0.5); weight %b: f32[2, 4] = splat(1.0); %p: f32[1, 4] = MatMul(%x, %w); %y: f32[2, 4] = Add(%p, %b)", "MatMul Add"),
    ("f32[5, 2, 3]", "weight %w: f32[3, 4] = splat(0.5); weight %b: f32[4] = [1.0, 2.0, 3.0, 4.0]; %p: f32[5, 2, 4] = MatMul(%x, %w); %y: f32[5, 2, 4] = Add(%p, %b)", "MatMul Add"),
    ("f32[2, 3]", "weight %w: f32[4, 3] = splat(0.5); weight %b: f32[4] = [1.0, 2.0, 3.0, 4.0]; %p: f32[2, 4] = Gemm(%x, %w) {beta = 0.5, transB = 1}; %y: f32[2, 4] = Add(%p, %b)", "Gemm"),
    ("f32[1, 2, 4, 4]", "weight %w: f32[3, 2, 1, 1] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; weight %b: f32[3, 1, 1] = [1.0, 2.0, 3.0]; %p: f32[1, 3, 4, 4] = Conv(%x, %w); %y: f32[1, 3, 4, 4] = Add(%p, %b)", "Conv"),
    ("f32[1, 2, 4, 3]", "weight %w: f32[3, 2, 1, 1] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; weight %b: f32[3] = [1.0, 2.0, 3.0]; %p: f32[1, 3, 4, 3] = Conv(%x, %w); %y: f32[1, 3, 4, 3] = Add(%p, %b)", "Conv Add"),
    ("f32[1, 2, 4, 4]", "weight %a: i64[2] = [-1, 2]; %y: f32[1, 2, 1, 1] = ReduceMean(%x, %a)", "GlobalAveragePool"),
    ("f16[1, 2, 4, 4]", "weight %a: i64[2] = [2, 3]; %y: f16[1, 2, 1, 1] = ReduceMean(%x, %a)", "GlobalAveragePool"),
    ("f64[1, 2, 4, 4]", "weight %a: i64[2] = [2, 3]; %y: f64[1, 2, 1, 1] = ReduceMean(%x, %a)", "ReduceMean"),
    ("f32[1, 2, 4, 4]", "weight %a: i64[2] = [2, 3]; %y: f32[1, 2] = ReduceMean(%x, %a) {keepdims = 0}", "ReduceMean"),
    ("f32[1, 2, 4, 4]", "weight %a: i64[2] = [1, 2]; %y: f32[1, 1, 1, 4] = ReduceMean(%x, %a)", "ReduceMean"),
]


@pytest.mark.parametrize(("type", "nodes", "left"), ELEMENTWISE)
def test_elementwise(transform: Transform, type: str, nodes: str, left: str) -> None:
    _check(transform, type, nodes, left)


@pytest.mark.parametrize(("type", "nodes", "left"), CLAMPS)
def test_clamps(transform: Transform, type: str, nodes: str, left: str) -> None:
    _check(transform, type, nodes, left)


@pytest.mark.parametrize(("type", "nodes", "left"), CASTS)
def test_casts(transform: Transform, type: str, nodes: str, left: str) -> None:
    _check(transform, type, nodes, left)


@pytest.mark.parametrize(("type", "nodes", "left"), MOVEMENT)
def test_movement(transform: Transform, type: str, nodes: str, left: str) -> None:
    _check(transform, type, nodes, left)


@pytest.mark.parametrize(("type", "nodes", "left"), CONTRACTIONS)
def test_contractions(transform: Transform, type: str, nodes: str, left: str) -> None:
    _check(transform, type, nodes, left)


def test_bounds_of_merged_clips(transform: Transform) -> None:
    transform(
        Simplify(),
        """
        graph main(opset = 21) {
          input %x: f32[9]
          weight %six: f32[] = 6.0
          weight %low: f32[] = -3.0
          %r: f32[9] = Relu(%x)
          %y: f32[9] = Clip(%r, %low, %six)
          return %y
        }
        """,
    ).is_text(
        """
        graph main(opset = 21) {
          input %x: f32[9]
          weight %six: f32[] = 6.0
          weight %y.min: f32[] = 0.0
          %y: f32[9] = Clip(%x, %y.min, %six)
          return %y
        }
        """
    )


def test_clamp_that_is_read_elsewhere_stays_between(transform: Transform) -> None:
    made = transform(
        Simplify(),
        """
        graph main(opset = 21) {
          input %x: f32[9]
          %r: f32[9] = Relu(%x)
          %s: f32[9] = Relu(%r)
          %y: f32[9] = Sub(%r, %s)
          return %y
        }
        """,
    )
    assert made.graph.node("s").inputs[0] is made.graph.node("r").output


def test_in_a_body(transform: Transform) -> None:
    made = transform(
        Simplify(),
        """
        graph main(opset = 21) {
          input %x: f32[2]
          input %c: bool[]
          %n: f32[2] = Neg(%x)
          %y: f32[2] = If:21(%c) {
            then_branch = {
              %a: f32[2] = Neg(%n)
              return %a
            },
            else_branch = {
              %b: f32[2] = Identity(%n)
              return %b
            }
          }
          return %y
        }
        """,
    )
    assert made.ops() == ["Neg", "If"]


def test_loop_body(transform: Transform) -> None:
    made = transform(
        Simplify(),
        """
        graph main(opset = 21) {
          input %x: f32[2]
          weight %trips: i64[] = 3
          weight %go: bool[] = true
          %y: f32[2] = Loop:21(%trips, %go, %x) {
            body = {
              input %i: i64[]
              input %c: bool[]
              input %state: f32[2]
              weight %one: f32[] = 1.0
              %c_out: bool[] = Identity(%c)
              %scaled: f32[2] = Mul(%state, %one)
              %next: f32[2] = Add(%scaled, %x)
              return %c_out, %next
            }
          }
          return %y
        }
        """,
    )
    assert made.ops() == ["Loop", "Add"]

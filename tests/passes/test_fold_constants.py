"""What reads constants only becomes a constant; what may not grow, vary, or says how a weight is stored, does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from irc.graph import Graph
from irc.ops.binary import Add, Mul
from irc.ops.cast import Cast
from irc.ops.linear import MatMul
from irc.ops.shape import Expand, Reshape
from irc.passes.context import plain_context
from irc.passes.fold_constants import FoldConstants
from irc.text import parse_graph
from irc.types import DType, TensorType, tensor

Transform = Callable[..., Any]  # the fixture of conftest.py


def test_chain_in_one_walk(transform: Transform) -> None:
    transform(
        FoldConstants(),
        """
        graph main(opset = 21) {
          input %x: f32[2]
          weight %a: f32[2] = [1.0, 2.0]
          weight %b: f32[] = 3.0
          %c: f32[2] = Add(%a, %b)
          %d: f32[2] = Mul(%c, %c)
          %e: f32[2] = Neg(%d)
          %y: f32[2] = Add(%x, %e)
          return %y
        }
        """,
    ).is_text(
        """
        graph main(opset = 21) {
          input %x: f32[2]
          weight %e_1: f32[2] = [-16.0, -25.0]
          %y: f32[2] = Add(%x, %e_1)
          return %y
        }
        """
    )


def test_unknown_op_by_onnxruntime(transform: Transform) -> None:
    made = transform(
        FoldConstants(),
        """
        graph main(opset = 21) {
          input %x: f32[3]
          weight %start: f32[] = 1.0
          weight %limit: f32[] = 4.0
          weight %delta: f32[] = 1.0
          %r: f32[?] = Range:21(%start, %limit, %delta)
          %y: f32[3] = Mul(%x, %r)
          return %y
        }
        """,
    )
    assert made.ops() == ["Mul"]


def test_shape_and_size(transform: Transform) -> None:
    made = transform(
        FoldConstants(),
        """
        graph main(opset = 21) {
          input %x: f32["N", 3, 8]
          input %z: f32[2, 5]
          %all: i64[3] = Shape(%x)
          %end: i64[2] = Shape(%x) {start = 1}
          %size: i64[] = Size(%z)
          return %all, %end, %size
        }
        """.replace('"N"', "N"),
    )
    assert made.ops() == ["Shape"]
    _, end, size = made.graph.outputs
    assert end.data.tolist() == [3, 8]
    assert size.data.tolist() == 10


@pytest.mark.parametrize(("condition", "op"), [("true", "Relu"), ("false", "Neg")])
def test_if_of_a_constant(transform: Transform, condition: str, op: str) -> None:
    made = transform(
        FoldConstants(),
        f"""
        graph main(opset = 21) {{
          input %x: f32[2]
          weight %c: bool[] = {condition}
          %before: f32[2] = Abs(%x)
          %y: f32[2] = If:21(%c) {{
            then_branch = {{
              weight %one: f32[] = 1.0
              %t: f32[2] = Relu(%before)
              %u: f32[2] = Add(%t, %one)
              return %u
            }},
            else_branch = {{
              weight %two: f32[] = 2.0
              %e: f32[2] = Neg(%before)
              %f: f32[2] = Mul(%e, %two)
              return %f
            }}
          }}
          %z: f32[2] = Exp(%y)
          return %z
        }}
        """,
    )
    assert made.ops()[:2] == ["Abs", op]
    assert made.ops()[3:] == ["Exp"]
    assert all(not node.bodies for node in made.graph)


def test_if_in_a_branch_that_is_taken(transform: Transform) -> None:
    made = transform(
        FoldConstants(),
        """
        graph main(opset = 21) {
          input %x: f32[2]
          input %d: bool[]
          weight %c: bool[] = true
          weight %three: f32[] = 3.0
          %y: f32[2] = If:21(%c) {
            then_branch = {
              %t: f32[2] = If:21(%d) {
                then_branch = {
                  %k: f32[] = Neg(%three)
                  %tt: f32[2] = Add(%x, %k)
                  return %tt
                },
                else_branch = {
                  return %x
                }
              }
              return %t
            },
            else_branch = {
              return %x
            }
          }
          return %y
        }
        """,
    )
    assert made.ops() == ["If", "Add"]


def test_quantized_weights_stay(transform: Transform) -> None:
    made = transform(
        FoldConstants(),
        """
        graph main(opset = 21) {
          input %x: f32[1, 2]
          weight %w: i8[2, 2] = [1, 2, 3, 4]
          weight %f: f32[2, 2] = [1.0, 2.0, 3.0, 4.0]
          weight %s: f32[] = 0.5
          weight %z: i8[] = 0
          %d: f32[2, 2] = DequantizeLinear(%w, %s, %z)
          %q: f32[2, 2] = irc.FakeQuant(%f, %s, %z)
          %p: f32[1, 2] = MatMul(%x, %d)
          %y: f32[1, 2] = MatMul(%p, %q)
          return %y
        }
        """,
    )
    assert made.ops() == ["DequantizeLinear", "FakeQuant", "MatMul", "MatMul"]


def test_random_stays() -> None:
    graph = parse_graph(
        """graph main(opset = 21) {
          weight %w: f32[2] = [1.0, 2.0]
          %a: f32[2] = RandomNormalLike:21(%w)
          return %a
        }
        """
    )
    FoldConstants().run(graph, plain_context(graph))
    assert len(graph) == 1


def _expanded(rows: int) -> Graph:
    graph = Graph()
    x = graph.add_input("x", tensor("f32", rows, 256))
    row = graph.add_constant(np.arange(256, dtype=np.float32), "row")
    shape = graph.add_constant(np.array([rows, 256], np.int64), "shape")
    large = graph.insert(Expand(), [row, shape], name="expand")
    graph.add_output(graph.insert(Add(), [x, large.output], name="add").output, "y")
    return graph


def test_growth_is_declined(transform: Transform) -> None:
    made = transform(FoldConstants(), _expanded(2000))
    assert made.ops() == ["Expand", "Add"]
    assert "2,048,000 bytes would make the model 2,046,960 bytes larger" in made.declined["expand"]


def test_growth_within_the_option(transform: Transform) -> None:
    assert transform(FoldConstants(), _expanded(1000)).ops() == ["Add"]
    assert transform(FoldConstants(max_bytes=3_000_000), _expanded(2000)).ops() == ["Add"]
    assert transform(FoldConstants(max_bytes=100), _expanded(1000)).ops() == ["Expand", "Add"]


def test_large_weight_that_only_changes_its_form(transform: Transform) -> None:
    graph = Graph()
    x = graph.add_input("x", tensor("f32", 2))
    w = graph.add_constant(np.ones(1 << 19, np.float32), "w")
    shape = graph.add_constant(np.array([-1, 2], np.int64), "shape")
    folded = graph.insert(Reshape(), [w, shape])
    graph.add_output(graph.insert(Add(), [folded.output, x], name="add").output, "y")
    assert transform(FoldConstants(), graph).ops() == ["Add"]


def test_transpose_of_a_shared_weight_stays(transform: Transform) -> None:
    made = transform(
        FoldConstants(),
        """
        graph main(opset = 21) {
          input %x: f32[1, 2]
          weight %w: f32[2, 3] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
          %t: f32[3, 2] = Transpose(%w) {perm = [1, 0]}
          %a: f32[1, 3] = MatMul(%x, %w)
          %y: f32[1, 2] = MatMul(%a, %t)
          return %y
        }
        """,
    )
    assert made.ops() == ["Transpose", "MatMul", "MatMul"]
    assert "two copies" in made.declined["t"]


def test_multiple_of_a_shared_weight_stays(transform: Transform) -> None:
    graph = Graph()
    x, w = graph.add_input("x", tensor("f32", 1, 16)), graph.add_constant(np.ones((16, 16), np.float32), "w")
    half = graph.add_constant(np.array(0.5, np.float32), "half")
    scaled = graph.insert(Mul(), [w, half], name="scaled").output
    first = graph.insert(MatMul(), [x, w], name="first").output
    graph.add_output(graph.insert(MatMul(), [first, scaled], name="second").output, "y")
    made = transform(FoldConstants(), graph)
    assert made.ops() == ["Mul", "MatMul", "MatMul"]
    assert "two copies" in made.declined["scaled"]


@pytest.mark.parametrize(("stored", "to"), [(np.float16, np.float32), (np.float32, np.float64)])
def test_weight_in_a_smaller_float_stays(transform: Transform, stored: type, to: type) -> None:
    graph = _cast(np.ones((16, 16), stored), np.dtype(to))
    made = transform(FoldConstants(), graph)
    assert made.ops() == ["Cast", "MatMul"]
    assert "widen=true" in made.declined["cast"]
    assert transform(FoldConstants(widen=True), graph).ops() == ["MatMul"]


@pytest.mark.parametrize(
    ("stored", "to", "rows"), [(np.float16, np.float32, 4), (np.int8, np.float32, 16), (np.float64, np.float32, 16)]
)
def test_any_other_cast_is_folded(transform: Transform, stored: type, to: type, rows: int) -> None:
    """A few numbers, codes without a scale, and weights that get smaller."""
    assert transform(FoldConstants(), _cast(np.ones((rows, 16), stored), np.dtype(to))).ops() == ["MatMul"]


def _cast(data: Any, to: Any) -> Graph:
    graph = Graph()
    dtype = DType.of_numpy(to)
    x, w = graph.add_input("x", TensorType(dtype, (1, len(data)))), graph.add_constant(data, "w")
    cast = graph.insert(Cast(to=dtype.onnx_type), [w], name="cast").output
    graph.add_output(graph.insert(MatMul(), [x, cast], name="product").output, "y")
    return graph


def test_failing_node_is_declined_with_what_it_said() -> None:
    graph = parse_graph(
        """graph main(opset = 21) {
          weight %w: f32[2] = [1.0, 2.0]
          weight %i: i64[1] = [7]
          %a: f32[1] = Gather(%w, %i)
          return %a
        }
        """
    )
    context = plain_context(graph)
    FoldConstants().run(graph, context)
    assert len(graph) == 1
    assert [site.node for site in context.row.declined] == ["a"]
    assert "cannot be evaluated" in context.row.declined[0].reason

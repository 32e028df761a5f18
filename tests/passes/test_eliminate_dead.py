"""What no output depends on is removed, in bodies too, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from irc.passes.eliminate_dead import EliminateDead

Transform = Callable[..., Any]  # the fixture of conftest.py


def test_chain(transform: Transform) -> None:
    made = transform(
        EliminateDead(),
        """
        graph main(opset = 21) {
          input %x: f32[2]
          input %unread: f32[2]
          weight %w: f32[2] = [1.0, 2.0]
          %a: f32[2] = Relu(%x)
          %b: f32[2] = Add(%a, %w)
          %c: f32[2] = Neg(%b)
          return %a as "y"
        }
        """,
    )
    assert [node.name for node in made.graph] == ["a"]  # in one walk
    made.is_text(
        """
        graph main(opset = 21) {
          input %x: f32[2]
          input %unread: f32[2]
          %a: f32[2] = Relu(%x)
          return %a as "y"
        }
        """
    )


def test_body_and_what_it_read(transform: Transform) -> None:
    made = transform(
        EliminateDead(),
        """
        graph main(opset = 21) {
          input %x: f32[2]
          input %c: bool[]
          %read_by_dead: f32[2] = Neg(%x)
          %y: f32[2] = If:21(%c) {
            then_branch = {
              weight %unread: f32[] = 1.0
              %t: f32[2] = Relu(%x)
              %dead: f32[2] = Neg(%read_by_dead)
              return %t
            },
            else_branch = {
              %e: f32[2] = Abs(%x)
              return %e
            }
          }
          return %y
        }
        """,
    )
    assert [node.op.name for node in made.graph.walk()] == ["If", "Relu", "Abs"]
    assert [c.name for g in made.graph.graphs() for c in g.constants] == []


def test_dead_node_with_bodies(transform: Transform) -> None:
    made = transform(
        EliminateDead(),
        """
        graph main(opset = 21) {
          input %x: f32[2]
          input %c: bool[]
          %before: f32[2] = Neg(%x)
          %unread: f32[2] = If:21(%c) {
            then_branch = {
              return %before
            },
            else_branch = {
              return %x
            }
          }
          %y: f32[2] = Relu(%x)
          return %y
        }
        """,
    )
    assert [node.op.name for node in made.graph.walk()] == ["Relu"]

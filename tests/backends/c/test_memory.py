"""Buffers that live at the same time never share a byte, and those that do not share memory."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from irc.backends.c.memory import SLACK, plan_memory
from irc.backends.c.program import Call, Program, Step
from irc.backends.c.views import Buffer
from irc.graph import Graph
from irc.ops.activation import Relu
from irc.types import DType, tensor

_GRAPH = Graph()
_NODE = _GRAPH.insert(Relu(), [_GRAPH.add_input("x", tensor("f32", 1))])


@st.composite
def programs(draw: Any) -> Program:
    """Steps that each write a new buffer and read some that were written before, sometimes in place."""
    made: list[Buffer] = []
    steps = []
    for _ in range(draw(st.integers(1, 12))):
        size = draw(st.integers(1, 1000))
        reads = draw(st.lists(st.sampled_from(made), max_size=3, unique=True)) if made else []
        new = Buffer(DType.U8, size)
        same = [b for b in reads if b.elements == size]
        if reads and draw(st.booleans()):
            new = Buffer(DType.U8, reads[0].elements)
            same = reads[:1]
        made.append(new)
        steps.append(Step(Call("f", ()), _NODE, tuple(reads), (new,), same[0] if same else None))
    return Program([], [], steps)


@given(programs())
def test_lives_do_not_collide(program: Program) -> None:
    plan = plan_memory(program)
    last = {b: t for t, s in enumerate(program.steps) for b in (*s.reads, *s.writes)}
    first = {b: t for t, s in reversed(list(enumerate(program.steps))) for b in (*s.reads, *s.writes)}
    for a in last:
        assert plan.offsets[a] + a.bytes + SLACK <= plan.arena
        for b in last:
            if a is b or first[a] > first[b]:
                continue
            step = program.steps[first[b]]
            if first[b] > last[a] or (first[b] == last[a] and step.in_place is a and b in step.writes):
                continue
            apart = plan.offsets[a] + a.bytes <= plan.offsets[b] or plan.offsets[b] + b.bytes <= plan.offsets[a]
            assert apart, f"{a.bytes} bytes at {plan.offsets[a]} and {b.bytes} at {plan.offsets[b]} live together"


def test_a_chain_needs_two_buffers() -> None:
    buffers = [Buffer(DType.U8, 1000) for _ in range(10)]
    steps = [Step(Call("f", ()), _NODE, (a,), (b,)) for a, b in pairwise(buffers)]
    assert plan_memory(Program([], [], steps)).arena == 2 * 1088


def test_in_place_needs_one() -> None:
    buffers = [Buffer(DType.U8, 1000) for _ in range(10)]
    steps = [Step(Call("f", ()), _NODE, (a,), (b,), a) for a, b in pairwise(buffers)]
    assert plan_memory(Program([], [], steps)).arena == 1088

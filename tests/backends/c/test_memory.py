"""Buffers that live at the same time never share a byte, and those that do not share memory."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
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


Part = tuple[Buffer, int]
PARTS = 2  # of each buffer


@st.composite
def partwise(draw: Any) -> list[tuple[Step, list[Part], list[Part]]]:
    """Steps that write buffers, the parts of another in place of theirs, and read, in any order."""
    sources = [Buffer(DType.U8, 64 * PARTS, name=f"source{i}") for i in range(3)]
    joined = Buffer(DType.U8, 64 * PARTS, name="joined")
    events: list[Buffer | int] = [*sources, *draw(st.lists(st.sampled_from(sources), max_size=2)), *range(PARTS)]
    written: set[Buffer] = set()
    steps = []
    for event in draw(st.permutations(events)):
        buffer = draw(st.sampled_from(sources)) if isinstance(event, int) else event
        reads = [(buffer, part) for part in range(PARTS)] if buffer in written else []
        writes = [] if reads else [(buffer, part) for part in range(PARTS)]
        in_place = None
        if isinstance(event, int):
            reads, writes = [each for each in reads if each[1] == event], [(joined, event)]
            in_place = buffer if reads else None
        written.update(target for target, _ in writes)
        touched = [tuple(dict.fromkeys(each for each, _ in parts)) for parts in (reads, writes)]
        steps.append((Step(Call("f", ()), _NODE, touched[0], touched[1], in_place), reads, writes))
    whole = [(joined, part) for part in range(PARTS)]
    return [*steps, (Step(Call("f", ()), _NODE, (joined,)), whole, [])]


@settings(max_examples=300, deadline=None)
@given(partwise())
def test_every_read_finds_what_was_written(steps: list[tuple[Step, list[Part], list[Part]]]) -> None:
    """Parts of a buffer are written by steps of their own, each perhaps in place, as those of a Concat are."""
    plan = plan_memory(Program([], [], [step for step, _, _ in steps]))
    memory: dict[int, Part] = {}
    for _, reads, writes in steps:
        for buffer, part in reads:
            assert memory[plan.offsets[buffer] + 64 * part] == (buffer, part), f"{buffer.name} was written over"
        memory.update({plan.offsets[buffer] + 64 * part: (buffer, part) for buffer, part in writes})


def test_of_two_buffers_one_is_written_over() -> None:
    """Both are read into their half of a third in place; they live beside each other."""
    u, v, joined = (Buffer(DType.U8, 1000) for _ in range(3))
    steps = [Step(Call("f", ()), _NODE, (), (u,)), Step(Call("f", ()), _NODE, (), (v,))]
    steps += [Step(Call("f", ()), _NODE, (each,), (joined,), each) for each in (v, u)]
    plan = plan_memory(Program([], [], steps))
    assert len({plan.offsets[u], plan.offsets[v]}) == 2
    assert plan.arena == 2 * 1088


def test_a_chain_needs_two_buffers() -> None:
    buffers = [Buffer(DType.U8, 1000) for _ in range(10)]
    steps = [Step(Call("f", ()), _NODE, (a,), (b,)) for a, b in pairwise(buffers)]
    assert plan_memory(Program([], [], steps)).arena == 2 * 1088


def test_in_place_needs_one() -> None:
    buffers = [Buffer(DType.U8, 1000) for _ in range(10)]
    steps = [Step(Call("f", ()), _NODE, (a,), (b,), a) for a, b in pairwise(buffers)]
    assert plan_memory(Program([], [], steps)).arena == 1088

"""The graph's def-use links, order and names are right after any sequence of edits, and an edit takes constant time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irc.errors import GraphError
from irc.graph import Graph, Node, Origin, Use, Value
from irc.ops.activation import Relu
from irc.ops.binary import Add
from irc.ops.onnx_op import OnnxOp
from irc.order import Linked, Order
from irc.types import DType, TensorType, tensor
from irc.verify import verify

F32 = tensor("f32", "N", 3)
T = TypeVar("T")


def chain(length: int = 3) -> Graph:
    """x -> Relu -> Relu -> ... -> y"""
    graph = Graph()
    value = graph.add_input("x", F32)
    for index in range(length):
        value = graph.insert(Relu(), [value], name=f"n{index}").output
    graph.add_output(value, "y")
    return graph


def with_body() -> tuple[Graph, Node, Graph]:
    """An If whose branches read a value, x, and a constant, w, of the graph around them."""
    graph = Graph()
    x, condition = graph.add_input("x", F32), graph.add_input("c", tensor("bool"))
    weight = graph.add_constant(np.ones(3, np.float32), "w")
    before = graph.insert(Relu(), [x], name="before")
    owner = graph.insert(OnnxOp("", "If", 21), [condition], name="if", outputs=["picked"], types=[F32])
    for key in ("then_branch", "else_branch"):
        body = graph.add_body(owner, key)
        body.add_output(body.insert(Add(), [before.output, weight], name="add").output)
    graph.add_output(owner.output, "y")
    return graph, owner, owner.bodies["then_branch"]


# ---- any sequence of edits


class Editor:
    """Makes edits that a caller may make, chosen by numbers that hypothesis draws."""

    def __init__(self, pick: Callable[[int], int]) -> None:
        self.pick = pick
        self.graph = Graph()
        self.graph.add_input("x", F32)
        self.graph.add_input("c", tensor("bool"))
        self.graph.add_output(self.graph.insert(Relu(), [self.graph.value("x")]).output, "y")

    def one_of(self, items: list[T]) -> T:
        return items[self.pick(len(items))]

    def body(self) -> Graph:
        return self.one_of(list(self.graph.graphs()))

    def visible(self, graph: Graph, before: Node | None) -> list[Value]:
        """The float values that a node of `graph` may read if it stands before `before` (at the end if None)."""
        found: list[Value] = []
        while True:
            for value in graph.values:
                behind = value.producer is not None and before is not None and not value.producer.before(before)
                if value.type == F32 and not behind:
                    found.append(value)
            if graph.parent is None:
                return found
            before = graph.parent
            graph = graph.parent.graph

    def insert(self) -> None:
        graph = self.body()
        anchor = self.one_of([None, *graph])
        value = self.one_of(self.visible(graph, anchor))
        if anchor is not None and self.pick(2) and value.producer is not anchor:
            graph.insert(Add(), [value, value], after=anchor)
        else:
            graph.insert(Relu(), [value], before=anchor)

    def insert_if(self) -> None:
        graph = self.body()
        anchor = self.one_of([None, *graph])
        owner = graph.insert(OnnxOp("", "If", 21), [self.graph.value("c")], before=anchor, types=[F32])
        for key in ("then_branch", "else_branch"):
            body = graph.add_body(owner, key)
            body.add_output(body.insert(Relu(), [self.one_of(self.visible(graph, owner))]).output)

    def set_input(self) -> None:
        graph = self.body()
        nodes = [n for n in graph if isinstance(n.op, Relu | Add)]
        if nodes:
            node = self.one_of(nodes)
            node.set_input(0, self.one_of(self.visible(graph, node)))

    def set_output(self) -> None:
        self.graph.set_output(0, self.one_of(self.visible(self.graph, None)))

    def replace(self) -> None:
        graph = self.body()
        nodes = [n for n in graph if len(n.outputs) == 1]
        if nodes:
            node = self.one_of(nodes)
            graph.replace(node, [self.one_of(self.visible(graph, node))])

    def remove(self) -> None:
        graph = self.body()
        dead = [n for n in graph if not any(v.use_count for v in n.outputs)]
        if dead:
            node = self.one_of(dead)
            graph.remove(node)
            assert node.removed

    def move(self) -> None:
        graph = self.body()
        nodes = list(graph)
        if not nodes:
            return
        node = self.one_of(nodes)
        first = next((i for i, n in enumerate(nodes) if reads(n, node)), len(nodes))
        last = max((i for i, n in enumerate(nodes) if reads(node, n)), default=-1)
        target = self.one_of(nodes[last + 1 : first + 1] or [node])
        graph.move(node, before=target)

    def inline(self) -> None:
        owners = [n for n in self.graph.walk() if n.bodies]
        if owners:
            owner = self.one_of(owners)
            branch = owner.bodies["then_branch"]
            owner.graph.inline(branch)
            owner.graph.replace(owner, branch.outputs)

    def copy(self) -> None:
        copied = self.graph.copy()
        assert shape(copied) == shape(self.graph)
        self.graph = copied


def reads(node: Node, other: Node) -> bool:
    """Whether `node`, or a body of it, reads an output of `other`."""
    read = [*node.inputs, *node.captures()]
    return any(v is not None and v.producer is other for v in read)


def shape(graph: Graph) -> list[object]:
    """What a copy must have in common."""
    return [
        [(n.name, n.op, n.origin, [v and v.name for v in n.inputs], [v.name for v in n.outputs]) for n in graph.walk()],
        [(v.name, v.type, v.data is None) for g in graph.graphs() for v in g.values],
        [(v.name, name) for v, name in zip(graph.outputs, graph.output_names, strict=True)],
    ]


EDITS = ("insert", "insert", "insert_if", "set_input", "set_output", "replace", "remove", "move", "inline", "copy")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(EDITS), min_size=5, max_size=40), st.randoms(use_true_random=False))
def test_any_sequence_of_edits_keeps_the_rules(edits: list[str], numbers: random.Random) -> None:
    editor = Editor(numbers.randrange)
    for edit in edits:
        version = editor.graph.version
        counts = [len(list(g)) for g in editor.graph.graphs()]
        getattr(editor, edit)()
        verify(editor.graph)
        if [len(list(g)) for g in editor.graph.graphs()] != counts and edit != "copy":
            assert editor.graph.version > version
        assert list(reversed(editor.graph)) == list(editor.graph)[::-1]
        assert [n.before(m) for n, m in pairwise(editor.graph)] == [True] * (len(editor.graph) - 1)


# ---- single edits


def test_uses_are_ordered_and_follow_the_reads() -> None:
    graph = chain(0)
    x = graph.value("x")
    twice = graph.insert(Add(), [x, x], name="twice")
    once = graph.insert(Relu(), [x], name="once")
    assert list(x.uses) == [Use(graph, 0), Use(twice, 0), Use(twice, 1), Use(once, 0)]
    assert x.users == [twice, once]
    assert (x.use_count, x.is_output) == (4, True)
    twice.set_input(0, once.output)
    assert list(x.uses) == [Use(graph, 0), Use(twice, 1), Use(once, 0)]
    x.replace_uses(once.output, keep=[once])
    assert x.users == [once]
    assert graph.outputs == (once.output,)
    assert graph.output_names == ("y",), "an output keeps its name"


def test_iterating_tolerates_removal() -> None:
    graph = chain(4)
    seen = []
    for node in graph:
        seen.append(node.name)
        graph.replace(node, [graph.value("x")])
    graph.insert(Relu(), [graph.value("x")], name="late")
    assert seen == ["n0", "n1", "n2", "n3"]
    assert [n.name for n in graph] == ["late"]


def test_reverse_iteration_tolerates_removal() -> None:
    graph = chain(4)
    graph.set_output(0, graph.value("x"))
    for node in reversed(graph):
        graph.remove(node)
    assert len(graph) == 0
    verify(graph)


def test_omitted_inputs_are_trimmed_and_kept_between() -> None:
    graph = chain(1)
    x, node = graph.value("x"), graph.node("n0")
    node.set_input(2, x)
    assert list(node.inputs) == [x, None, x]
    node.set_input(2, None)
    assert list(node.inputs) == [x]
    assert x.uses == (Use(node, 0),)


def test_names_stay_unique_in_the_nest_and_are_not_used_again() -> None:
    graph, owner, body = with_body()
    inner = body.insert(Relu(), [graph.value("x")], outputs=["picked"])
    assert inner.output.name == "picked_1"
    body.remove(inner)
    assert graph.insert(Relu(), [graph.value("x")], outputs=["picked"]).output.name == "picked_2"
    assert graph.unique_name("y") == "y_1", "an output of the model has that name"
    assert owner.output.name == "picked"


def test_a_body_sees_what_is_around_it_and_lets_go_of_it() -> None:
    graph, owner, body = with_body()
    before, weight = graph.node("before").output, graph.value("w")
    assert owner.captures() == [before, weight]
    assert body.captures() == [before, weight]
    assert body.find("w") is weight
    assert (weight.use_count, before.use_count) == (2, 2)
    graph.set_output(0, before)
    graph.remove(owner)
    assert (weight.use_count, before.uses) == (0, (Use(graph, 0),))
    graph.remove_constant(weight)
    verify(graph)


def test_inlining_a_branch_keeps_its_values() -> None:
    graph, owner, body = with_body()
    body.insert(Relu(), [body.add_constant(np.ones(3, np.float32), "k")], name="before")
    graph.inline(body)
    assert [n.name for n in graph] == ["before", "if", "add", "before_1"]
    graph.replace(owner, body.outputs)
    verify(graph)
    assert graph.outputs[0].producer is graph.node("add")
    assert [v.name for v in graph.constants] == ["w", "k"]


def test_edits_note_who_made_them_in_bodies_too() -> None:
    graph, _, body = with_body()
    with body.edited_by("inner-pass"):
        body.node("add").set_op(Relu())
    with graph.edited_by("outer-pass"):
        made = graph.insert(Relu(), [graph.value("x")], origin=Origin("layer1"))
        with graph.edited_by("nested"):
            made.set_op(Relu())
        made.set_op(Relu())
    assert body.node("add").origin.passes == ("inner-pass",)
    assert made.origin == Origin("layer1", ("outer-pass", "nested", "outer-pass"))


def test_a_copy_shares_arrays_and_nothing_else() -> None:
    graph, _, _ = with_body()
    graph.info.metadata["author"] = "someone"
    copied = graph.copy()
    assert shape(copied) == shape(graph)
    assert copied.value("w").data is graph.value("w").data
    copied.value("w").data = np.zeros(3, np.float32)
    copied.info.metadata["author"] = "someone else"
    copied.info.opsets["com.microsoft"] = 1
    copied.set_output(0, copied.value("x"))
    copied.remove(copied.node("if"))
    np.testing.assert_array_equal(graph.value("w").data, np.ones(3))
    assert (graph.info.metadata, graph.info.opsets) == ({"author": "someone"}, {"": 21})
    verify(graph)
    verify(copied)


def test_a_constant_cannot_be_written_into() -> None:
    own = np.ones(3, np.float32)
    graph = Graph()
    value = graph.add_constant(own, "w")
    assert np.shares_memory(value.data, own)
    value.data = own
    for constant in (value, graph.copy().value("w")):
        held = constant.data
        assert held is not None
        with pytest.raises(ValueError, match="read-only"):
            held[...] = 2
    own[...] = 3  # it is still its owner's


def test_new_data_gives_a_constant_its_type_and_a_new_version() -> None:
    graph, _, _ = with_body()
    weight, version = graph.value("w"), graph.version
    weight.data = np.ones((2, 3), np.float16)
    assert weight.type == TensorType(DType.F16, (2, 3))
    assert graph.version > version


def _two_neighbours(g: Graph) -> None:
    g.insert(Relu(), [g.value("x")], before=g.node("n0"), after=g.node("n1"))


def _removed_neighbour(g: Graph) -> None:
    node = g.node("n1")
    g.replace(node, [g.value("x")])
    g.insert(Relu(), [g.value("x")], before=node)


def _removed_twice(g: Graph) -> None:
    node = g.node("n2")
    g.replace(node, [g.value("x")])
    g.remove(node)


REFUSED: dict[str, tuple[Callable[[Graph], object], str]] = {
    "two neighbours": (_two_neighbours, "cannot insert Relu: give one neighbour"),
    "a removed neighbour": (_removed_neighbour, "Relu 'n1' is not a node of graph 'main': it was removed"),
    "removing twice": (_removed_twice, "Relu 'n2' is not a node of graph 'main': it was removed"),
    "removing what is read": (
        lambda g: g.remove(g.node("n0")),
        "Relu 'n0' cannot be removed: 'n0' is read by Relu 'n1'",
    ),
    "removing another's": (lambda g: Graph().remove(g.node("n0")), "is not a node of graph"),
    "moving another's": (lambda g: g.move(chain().node("n0"), before=g.node("n0")), "is not a node of graph"),
    "replacing by too few": (lambda g: g.replace(g.node("n0"), []), "has 1 outputs and cannot be replaced by 0"),
    "a read input": (lambda g: g.remove_input(g.value("x")), "input 'x' is still read by Relu 'n0'"),
    "data for a computed value": (lambda g: setattr(g.value("n0"), "data", np.ones(3)), "'n0' is not a constant"),
    "a name twice": (lambda g: g.add_input("x", F32), "graph 'main' has a value 'x' already"),
    "no such value": (lambda g: g.value("z"), "graph 'main' has no value 'z'"),
    "no such node": (lambda g: g.node("z"), "graph 'main' has no node 'z'"),
    "inputs that do not fit": (
        lambda g: g.insert(Add(), [g.value("x"), g.add_constant(np.ones(5, np.float32))], name="sum"),
        "sum",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_edit_is_refused_and_changes_nothing_else(name: str) -> None:
    graph = chain()
    edit, text = REFUSED[name]
    with pytest.raises(GraphError, match=text):
        edit(graph)
    verify(graph)


def test_a_body_cannot_be_copied_alone_nor_inlined_elsewhere() -> None:
    graph, _, body = with_body()
    with pytest.raises(GraphError, match="cannot be copied alone"):
        body.copy()
    with pytest.raises(GraphError, match="cannot be inlined"):
        Graph().inline(body)
    with pytest.raises(GraphError, match="cannot be inlined"):
        graph.inline(graph)


# ---- time


class Counted(Linked):
    """A member of an order that counts how often positions are given."""

    __slots__ = ("place",)
    given = 0

    @property
    def position(self) -> int:
        return self.place

    @position.setter
    def position(self, place: int) -> None:
        self.place = place
        Counted.given += 1


@pytest.mark.parametrize("side", ["before", "after"])
def test_insertions_at_one_place_renumber_few_others(side: str) -> None:
    """20,000 members beside the same one: by Dietz and Sleator's bound each renumbers O(log n) on average."""
    order: Order[Counted] = Order()
    first, last, count = Counted(), Counted(), 20_000
    order.link(first, None)
    order.link(last, first)
    Counted.given = 0
    for _ in range(count):
        order.link(Counted(), first if side == "after" else last.preceding)
    assert Counted.given / count <= 2 * np.log2(count)
    assert sum(1 for _ in order) == count + 2
    assert all(a.position < b.position for a, b in pairwise(order))


def test_edits_at_the_ends_never_renumber(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("renumbered")

    monkeypatch.setattr(Order, "_spread", refuse)
    graph = chain(1)
    for _ in range(500):
        graph.insert(Relu(), [graph.value("x")], before=next(iter(graph)))
        graph.insert(Relu(), [graph.value("x")])
    verify(graph)


def test_an_edit_of_a_large_graph_visits_no_other_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """20,000 nodes replaced one by one while nobody may walk the graph: an edit costs the same whatever its size."""
    graph = chain(20_000)
    nodes = list(graph)

    def refuse(*_: object) -> Iterator[Node]:
        raise AssertionError("walked the graph")

    with monkeypatch.context() as patched:
        for name in ("__iter__", "__reversed__"):
            patched.setattr(Graph, name, refuse)
            patched.setattr(Order, name, refuse)
        for node in nodes[1:-1]:
            made = graph.insert(Relu(), node.inputs, after=node, name="new", types=[F32])
            graph.replace(node, made.outputs)
            graph.move(made, before=made)
    assert len(graph) == 20_000
    verify(graph, types=False)

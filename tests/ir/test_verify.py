"""Every rule of the IR is checked: a graph that is broken in one way is refused, with rule, node and value named."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import numpy as np
import pytest

from irc.errors import VerifyError
from irc.graph import Graph, Node, Use, Value
from irc.ops.onnx_op import OnnxOp
from irc.text import parse_graph
from irc.types import tensor
from irc.verify import RULES, problems, verify

TEXT = """
graph main(opset = {"" = 21, com.microsoft = 1}) {
  input %x: f32[N, 16, 8, 8]
  input %cond: bool[] default bool[] = true
  weight %w: f32[4, 16, 1, 1] = splat(0.5)
  weight %b: f32[4] = [0.0, 1.0, 2.0, 3.0]
  %y: f32[N, 4, 8, 8] = Conv(%x, %w, %b) @"conv"
  %z: f32[N, 4, 8, 8] = Relu(%y) @"relu"
  %r: f32[*] = If:21(%cond) {then_branch = "then" {
    %t: f32[N, 4, 8, 8] = Relu(%z) @"inner"
    return %t
  }, else_branch = {
    return %y
  }} @"if"
  %last: ? = com.microsoft.Gelu:1(%r) @"gelu"
  return %last as "out"
}
"""


GEMM = "graph g { weight %a: f32[1, 1] = [1] %y: ? = Gemm(%a, %a) return %y }"


@pytest.fixture
def graph() -> Graph:
    return parse_graph(TEXT)


def test_a_well_formed_graph_passes(graph: Graph) -> None:
    verify(graph)
    assert list(problems(graph)) == []


def conv(graph: Graph) -> Node:
    return graph.node("conv")


def then(graph: Graph) -> Graph:
    return graph.node("if").bodies["then_branch"]


def swap_positions(graph: Graph) -> None:
    conv(graph).position, graph.node("relu").position = graph.node("relu").position, conv(graph).position


def one_sided_link(graph: Graph) -> None:
    graph.node("relu").preceding = None


def linked_in_a_circle(graph: Graph) -> None:
    graph.node("gelu").following = conv(graph)


def unlisted_node(graph: Graph) -> None:
    del graph._nodes["relu"]


def renamed_behind_the_tables(graph: Graph) -> None:
    conv(graph).name = "other"


def short_list(graph: Graph) -> None:
    graph._order.last = conv(graph)


def removed_but_linked(graph: Graph) -> None:
    conv(graph).removed = True


def foreign_parent(graph: Graph) -> None:
    then(graph).parent = conv(graph)


def other_info(graph: Graph) -> None:
    then(graph).info = Graph().info


def no_else(graph: Graph) -> None:
    graph.node("if").bodies.pop("else_branch")._release()


def silent_branch(graph: Graph) -> None:
    then(graph).remove_output(0)


def branch_with_input(graph: Graph) -> None:
    then(graph).add_input("extra", None)


def foreign_producer(graph: Graph) -> None:
    graph.value("y").producer = graph.node("relu")


def produced_input(graph: Graph) -> None:
    graph.value("x").producer = conv(graph)


def data_on_an_output(graph: Graph) -> None:
    graph.value("y")._data = np.zeros(1, np.float32)


def lost_from_the_table(graph: Graph) -> None:
    del graph._values["x"]


def stray_value(graph: Graph) -> None:
    graph._values["ghost"] = Value(graph, "ghost", None)


def default_of_no_input(graph: Graph) -> None:
    graph.defaults[graph.value("y")] = np.zeros(1, np.float32)


def same_name_in_a_body(graph: Graph) -> None:
    body = then(graph)
    value = body._values.pop("t")
    value._name = "y"
    body._values["y"] = value


def two_outputs_of_one_name(graph: Graph) -> None:
    graph.add_output(graph.value("y"), "out")


def wrong_constant_type(graph: Graph) -> None:
    graph.value("b")._type = tensor("f32", 5)


def wrong_constant_dtype(graph: Graph) -> None:
    graph.value("b")._data = np.zeros(4, np.float64)


def constant_without_data(graph: Graph) -> None:
    graph.value("b")._data = None


def default_of_another_dtype(graph: Graph) -> None:
    graph.defaults[graph.value("cond")] = np.zeros((), np.float32)


def no_outputs(graph: Graph) -> None:
    graph.remove_output(0)


def unnamed_output(graph: Graph) -> None:
    graph._output_names[0] = ""


def output_of_another_graph(graph: Graph) -> None:
    graph.add_output(then(graph).value("t"), "leak")


def output_removed(graph: Graph) -> None:
    value = Value(graph, "gone", None)
    graph._outputs[0] = value
    value._uses[Use(graph, 0)] = None


def reads_what_comes_later(graph: Graph) -> None:
    conv(graph).set_input(0, graph.value("z"))


def body_reads_what_comes_later(graph: Graph) -> None:
    then(graph).node("inner").set_input(0, graph.value("last"))


def body_reads_its_owner(graph: Graph) -> None:
    then(graph).node("inner").set_input(0, graph.value("r"))


def reads_into_a_body(graph: Graph) -> None:
    graph.node("gelu").set_input(0, then(graph).value("t"))


def reads_a_removed_value(graph: Graph) -> None:
    graph.node("relu").set_input(0, graph.value("x"))
    graph.node("if").bodies["else_branch"].set_output(0, graph.value("x"))
    lost = graph.value("y")
    graph.remove(conv(graph))
    graph.node("relu").set_input(0, lost)


def read_without_use(graph: Graph) -> None:
    del graph.value("y")._uses[Use(graph.node("relu"), 0)]


def output_without_use(graph: Graph) -> None:
    del graph.value("last")._uses[Use(graph, 0)]


def use_without_read(graph: Graph) -> None:
    graph.value("x")._uses[Use(graph.node("relu"), 0)] = None


def use_by_a_stranger(graph: Graph) -> None:
    graph.value("x")._uses[Use(parse_graph(TEXT), 0)] = None


def not_imported(graph: Graph) -> None:
    del graph.info.opsets["com.microsoft"]


def too_few_inputs(graph: Graph) -> None:
    for index in (2, 1):
        conv(graph).set_input(index, None)


def too_many_inputs(graph: Graph) -> None:
    graph.node("relu").set_input(1, graph.value("x"))


def required_input_left_out(graph: Graph) -> None:
    conv(graph).set_input(0, None)


def too_many_outputs(graph: Graph) -> None:
    graph.insert(OnnxOp("", "Relu", 21), [graph.value("x")], outputs=2, name="two")


def contradicted_type(graph: Graph) -> None:
    graph.value("z")._type = tensor("f32", "N", 5, 8, 8)


def contradicted_dtype(graph: Graph) -> None:
    graph.value("z")._type = tensor("f16", "N", 4, 8, 8)


def contradicted_rank(graph: Graph) -> None:
    graph.value("z")._type = tensor("f32", "N", 4)


def contradicted_in_a_body(graph: Graph) -> None:
    then(graph).value("t")._type = tensor("i8", "N", 4, 8, 8)


CASES: list[tuple[Callable[[Graph], None], str, str]] = [
    (swap_positions, "node order", "Relu 'relu': stands behind Conv 'conv' but its position does not"),
    (one_sided_link, "node order", "Relu 'relu': the node before it is not the one it is linked to"),
    (linked_in_a_circle, "node order", "Conv 'conv': the node before it is not the one it is linked to"),
    (unlisted_node, "node order", "Relu 'relu': is linked into graph 'main' but is not one of its nodes"),
    (renamed_behind_the_tables, "node order", "Conv 'other': is linked into graph 'main' but is not one of its nodes"),
    (removed_but_linked, "node order", "Conv 'conv': is linked into graph 'main' but is not one of its nodes"),
    (short_list, "node order", "graph 'main': its last node is not the last that is linked into it"),
    (foreign_parent, "bodies", "If 'if': its body 'then_branch' belongs to Conv 'conv'"),
    (other_info, "bodies", "If 'if': its body 'then_branch' does not share the model's info"),
    (no_else, "bodies", "If 'if': has no body 'else_branch'"),
    (silent_branch, "bodies", "If 'if': its body 'then_branch' has 0 outputs, 1 were expected"),
    (branch_with_input, "bodies", "If 'if': its body 'then_branch' has 1 inputs; a branch has none"),
    (foreign_producer, "values", "Conv 'conv': its output 0, value 'y', says Relu 'relu' made it"),
    (produced_input, "values", "value 'x': is an input or constant, yet produced by Conv 'conv'"),
    (data_on_an_output, "values", "Conv 'conv': its output 'y' carries constant data"),
    (lost_from_the_table, "values", "value 'x': is not in the table of graph 'main' that lists it"),
    (stray_value, "values", "graph 'main': values ['ghost'] are neither inputs, constants nor any node's output"),
    (default_of_no_input, "values", "value 'y': has a default but is not an input of graph 'main'"),
    (same_name_in_a_body, "unique names", "value 'y': is defined in graph 'then' and in graph 'main'"),
    (two_outputs_of_one_name, "unique names", "graph 'main': output 'out' is both value 'last' and 'y'"),
    (wrong_constant_type, "constants", "constant 'b': is stated as f32[5], its data is float32[4]"),
    (wrong_constant_dtype, "constants", "constant 'b': is stated as f32[4], its data is float64[4]"),
    (constant_without_data, "constants", "constant 'b': has no data"),
    (default_of_another_dtype, "constants", "value 'cond': is stated as bool[], its default is float32"),
    (no_outputs, "outputs", "graph 'main': has no output"),
    (unnamed_output, "outputs", "graph 'main': its output, value 'last', has no name"),
    (output_of_another_graph, "outputs", "output 'leak', value 't', belongs to graph 'then', which is not around it"),
    (output_removed, "outputs", "graph 'main': its output 'out', value 'gone', has been removed from its graph"),
    (
        reads_what_comes_later,
        "dominance",
        "Conv 'conv': its input 0, value 'z', is computed by Relu 'relu', which does not come before Conv 'conv'",
    ),
    (
        body_reads_what_comes_later,
        "dominance",
        "'last', is computed by com.microsoft.Gelu 'gelu', which does not come before If 'if'",
    ),
    (body_reads_its_owner, "dominance", "value 'r', is computed by If 'if', which does not come before If 'if'"),
    (reads_into_a_body, "dominance", "com.microsoft.Gelu 'gelu': its input 0, value 't', belongs to graph 'then'"),
    (reads_a_removed_value, "dominance", "Relu 'relu': its input 0, value 'y', has been removed from its graph"),
    (read_without_use, "def-use", "Relu 'relu': reads 'y' as input 0, which is not among the value's uses"),
    (output_without_use, "def-use", "graph 'main': gives 'last' out, which is not among the value's uses"),
    (use_without_read, "def-use", "value 'x': its uses name Relu 'relu', input 0, which does not read it"),
    (use_by_a_stranger, "def-use", "value 'x': its uses name <Graph 'main': 4 nodes>, input 0, which does not read it"),
    (not_imported, "domains", "com.microsoft.Gelu 'gelu': domain 'com.microsoft' is not imported"),
    (too_few_inputs, "arity", "Conv 'conv': has 1 inputs; Conv takes 2 to 3"),
    (too_many_inputs, "arity", "Relu 'relu': has 2 inputs; Relu takes 1"),
    (required_input_left_out, "arity", "Conv 'conv': its input 0 is left out, but Conv requires it"),
    (too_many_outputs, "arity", "Relu 'two': has 2 outputs; Relu gives 1"),
    (
        contradicted_type,
        "types",
        "Relu 'relu': its output 'z' is stated as f32[N, 5, 8, 8], but its inputs make it f32[N, 4",
    ),
    (
        contradicted_dtype,
        "types",
        "Relu 'relu': its output 'z' is stated as f16[N, 4, 8, 8], but its inputs make it f32",
    ),
    (
        contradicted_rank,
        "types",
        "Relu 'relu': its output 'z' is stated as f32[N, 4], but its inputs make it f32[N, 4, 8, 8]",
    ),
    (contradicted_in_a_body, "types", "Relu 'inner': its output 't' is stated as i8[N, 4, 8, 8], but"),
]


@pytest.mark.parametrize(("damage", "rule", "message"), CASES, ids=[case[0].__name__ for case in CASES])
def test_damage_is_named(graph: Graph, damage: Callable[[Graph], None], rule: str, message: str) -> None:
    damage(graph)
    with pytest.raises(VerifyError) as caught:
        verify(graph)
    assert message in str(caught.value)
    assert f"(rule '{rule}')" in str(caught.value)


def test_every_rule_has_a_case_and_a_statement() -> None:
    assert {rule for _, rule, _ in CASES} == set(RULES)
    assert all(rule.__doc__ for rule in RULES.values())


def test_a_convolution_of_other_channels_is_named(graph: Graph) -> None:
    graph.value("w").data = np.zeros((4, 8, 1, 1), np.float32)
    wanted = "Conv 'conv': weight has 8 input channels, input has 16; was the producer pruned without its group?"
    with pytest.raises(VerifyError, match=re.escape(wanted)):
        verify(graph)


def test_inputs_that_onnx_refuses_are_named(graph: Graph) -> None:
    graph.insert(parse_graph(GEMM).node("y").op, [graph.value("b"), graph.value("b")], name="gemm", types=[None])
    with pytest.raises(VerifyError, match=r"Gemm 'gemm': does not take \(f32\[4\], f32\[4\]\): .* \(rule 'types'\)"):
        verify(graph)


def test_types_are_inferred_only_if_asked(graph: Graph) -> None:
    contradicted_type(graph)
    verify(graph, types=False)


def test_a_value_may_be_given_out_under_one_name_twice(graph: Graph) -> None:
    graph.add_output(graph.value("last"), "out")
    verify(graph)


def test_a_body_is_checked_with_the_graph_around_it(graph: Graph) -> None:
    read_without_use(graph)
    with pytest.raises(VerifyError, match="'relu'"):
        verify(then(graph))


def chain(length: int) -> Graph:
    graph = Graph()
    value = graph.add_input("x", tensor("f32", "N", 8))
    for index in range(length // 2):
        weight = graph.add_constant(np.full(8, index, np.float32))
        value = graph.insert(OnnxOp("", "Add", 21), [value, weight], types=[value.type]).output
        value = graph.insert(OnnxOp("", "Relu", 21), [value], types=[value.type]).output
    graph.add_output(value, "y")
    return graph


def test_twenty_thousand_nodes_take_well_under_half_a_second() -> None:
    graph = chain(20_000)
    best = min(timed(lambda: verify(graph, types=False)) for _ in range(3))
    assert len(graph) == 20_000
    assert best < 0.5


def timed(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start

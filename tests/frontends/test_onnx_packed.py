"""A file that says what its packed weights are may say anything: it is read or left alone, and nothing small swells."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import irc
from irc.backends.onnx.lowering import lower
from irc.backends.registry import find_target
from irc.frontends.onnx import read_onnx
from irc.frontends.onnx.packed import PACKED
from irc.graph import Graph
from irc.ops.linear import MatMul
from irc.proto.writer import model_proto
from irc.types import Array, tensor

DATA = (np.arange(60 * 70) % 5 + 1).reshape(60, 70).astype(np.float32)


def packed() -> onnx.ModelProto:
    """y = x · w, w of five numbers."""
    graph = Graph()
    graph.info.opsets = {"": 21}
    x = graph.add_input("x", tensor("f32", 2, 60))
    graph.add_output(graph.insert(MatMul(), [x, graph.add_constant(DATA, "w")], name="y").output)
    made = model_proto(lower(graph, find_target("onnx")))
    assert any(n.op_type == "Div" for n in made.graph.node)
    return made


def hand_made(nodes: list[Any], arrays: dict[str, Array], says: Any, infos: list[Any] | None = None) -> onnx.ModelProto:
    """A model with a packed list that somebody else wrote; its input is x, its output y."""
    graph = helper.make_graph(
        [*nodes, helper.make_node("Identity", ["x"], ["y"])],
        "main",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
        value_info=infos or [],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    helper.set_model_props(model, {PACKED: says if isinstance(says, str) else json.dumps(says)})
    return model


def says(model: onnx.ModelProto, text: str) -> onnx.ModelProto:
    """The model with other metadata."""
    del model.metadata_props[:]
    helper.set_model_props(model, {PACKED: text})
    return model


def held(graph: Graph) -> int:
    """Bytes of the constants."""
    return sum(v.data.nbytes for inner in graph.graphs() for v in inner.constants if v.data is not None)


def test_the_weight_comes_back() -> None:
    graph = read_onnx(packed())
    assert [n.op.name for n in graph] == ["MatMul"]
    assert [v.name for v in graph.constants] == ["w"]
    np.testing.assert_array_equal(graph.value("w").data, DATA)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "3",
        "[]",
        '["u_3"]',
        '"u_3"',
        "NaN",
        '{"u_3": 3}',
        '{"u_3": null, "u_4": ["w"], "u_5": {"w": "w"}}',
        '{"nothing": "w", "x": "w", "y": "w", "": "", "codes4": "w"}',
        "[" * 100_000,
        '{"a":' * 100_000,
        "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
        "9" * 10_000,
    ],
    ids=range(15),
)
def test_metadata_that_says_nothing(text: str) -> None:
    model = says(packed(), text)
    wanted = [n.op_type for n in model.graph.node]
    graph = read_onnx(model)
    assert [n.op.name for n in graph] == wanted
    assert PACKED not in graph.info.metadata


def test_every_name_is_called_a_weight() -> None:
    """Values on the way, inputs, outputs and constants: what follows from constants is one, the rest is left alone."""
    model = packed()
    names = {name for n in model.graph.node for name in (*n.input, *n.output)}
    model = says(model, json.dumps(dict.fromkeys(sorted(names), "w")))
    graph = read_onnx(model)
    assert [n.op.name for n in graph] == ["MatMul"]
    assert [o.name for o in graph.outputs] == ["y"]
    x = np.random.default_rng(0).standard_normal((2, 60)).astype(np.float32)
    np.testing.assert_allclose(irc.compile(graph, [])(x), x @ DATA, rtol=1e-5)


@pytest.mark.parametrize("name", ["", "x", "y", "w/../../etc", "a\0b", "%", "é" * 10_000, "u_3", "codes4"])
def test_any_name_for_a_weight(name: str) -> None:
    model = packed()
    value = next(iter(json.loads(model.metadata_props[0].value)))
    graph = read_onnx(says(model, json.dumps({value: name})))
    assert [n.op.name for n in graph] == ["MatMul"]
    assert [v.name for v in graph.inputs] == ["x"]
    assert list(graph.output_names) == ["y"]
    (weight,) = graph.constants
    np.testing.assert_array_equal(weight.data, DATA)


def test_what_depends_on_an_input_is_left_alone() -> None:
    nodes = [helper.make_node("Mul", ["x", "two"], ["a"]), helper.make_node("Add", ["a", "two"], ["b"])]
    graph = read_onnx(hand_made(nodes, {"two": np.array(2, np.float32)}, {"a": "w", "b": "w"}))
    assert [n.op.name for n in graph] == ["Mul", "Add", "Identity"]


def test_what_depends_on_chance_is_left_alone() -> None:
    node = helper.make_node("RandomNormal", [], ["a"], shape=[10])
    graph = read_onnx(hand_made([node, helper.make_node("Add", ["a", "a"], ["b"])], {}, {"a": "w", "b": "w"}))
    assert [n.op.name for n in graph] == ["RandomNormal", "Add", "Identity"]


def test_an_output_that_is_called_a_weight_keeps_its_name() -> None:
    model = hand_made([helper.make_node("Add", ["c", "c"], ["z"])], {"c": np.ones(3, np.float32)}, {"z": "w"})
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [3]))
    graph = read_onnx(model)
    assert list(graph.output_names) == ["y", "z"]
    made = irc.compile(graph, [])(np.ones(2, np.float32))
    np.testing.assert_array_equal(made[1], np.full(3, 2.0, np.float32))


TERA = np.array([1 << 40], np.int64)
LINE, COLUMN = np.ones((1, 1 << 15), np.uint8), np.ones((1 << 15, 1), np.uint8)
NUMBERS: dict[str, Array] = {"t": TERA, "line": LINE, "column": COLUMN, "one": np.ones(1, np.float32)}
SWELLING = {
    "expand": [helper.make_node("Expand", ["one", "t"], ["w"])],
    "shape from elsewhere": [
        helper.make_node("Mul", ["t", "t0"], ["t1"]),
        helper.make_node("Expand", ["one", "t1"], ["w"]),
    ],
    "constant": [helper.make_node("ConstantOfShape", ["t"], ["w"])],
    "tile": [helper.make_node("Tile", ["one", "t"], ["w"])],
    "range": [helper.make_node("Range", ["zero", "t0", "zero1"], ["w"])],
    "outer sum": [helper.make_node("Mul", ["line", "column"], ["w"])],
    "rows": [helper.make_node("Gather", ["rows", "index"], ["w"])],
    "concat": [helper.make_node("Concat", ["line"] * 2000, ["w"], axis=0)],
}
NUMBERS |= {
    "t0": np.array(1, np.int64),
    "zero": np.array(0, np.int64),
    "zero1": np.array(1, np.int64),
    "rows": np.ones((2, 1 << 14), np.float32),
    "index": np.zeros(1 << 14, np.int32),
}


@pytest.mark.parametrize("kind", SWELLING)
@pytest.mark.parametrize("lies", [False, True])
def test_nothing_swells(kind: str, lies: bool) -> None:
    """Nor where the file says that it is small: a type is what the operator makes of its inputs."""
    nodes = SWELLING[kind]
    read = {name for n in nodes for name in n.input}
    arrays: dict[str, Array] = {name: array for name, array in NUMBERS.items() if name in read}
    names = [o for n in nodes for o in n.output]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in names] if lies else []
    size = sum(a.nbytes for a in arrays.values())
    graph = read_onnx(hand_made(nodes, arrays, dict.fromkeys(names, "w"), infos))
    assert held(graph) <= 64 * size
    assert "Identity" in [n.op.name for n in graph]


def test_a_chain_of_weights_does_not_swell_step_by_step() -> None:
    """Each is sixteen times the one before; all together may be computed of what the file holds."""
    nodes, last = [], "c"
    for k in range(8):
        nodes.append(helper.make_node("Concat", [last] * 16, [f"c{k}"], axis=0))
        last = f"c{k}"
    data = np.ones((1, 1 << 11), np.float32)  # of rank 1, onnx would propagate each element
    graph = read_onnx(hand_made(nodes, {"c": data}, {f"c{k}": "w" for k in range(8)}))
    assert held(graph) <= 512 * data.nbytes


def test_many_weights_of_one_constant_do_not_swell_together() -> None:
    nodes = [helper.make_node("Concat", ["c"] * 60, [f"c{k}"], axis=0) for k in range(300)]
    data = np.ones((1, 1 << 11), np.float32)  # of rank 1, onnx would propagate each element
    graph = read_onnx(hand_made(nodes, {"c": data}, {f"c{k}": "w" for k in range(300)}))
    assert held(graph) <= 513 * data.nbytes


def test_a_type_that_is_a_lie_does_not_let_an_outer_sum_pass() -> None:
    """A shape that is computed is not known to onnx's shape inference, which then believes what the file says."""
    arrays: dict[str, Array] = {
        "flat": np.ones(1 << 15, np.uint8),
        "line": np.array([1, -1], np.float32),
        "column": np.array([-1, 1], np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["line"], ["s1"], to=TensorProto.INT64),
        helper.make_node("Cast", ["column"], ["s2"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["flat", "s1"], ["a"]),
        helper.make_node("Reshape", ["flat", "s2"], ["b"]),
        helper.make_node("Mul", ["a", "b"], ["w"]),
    ]
    infos = [helper.make_tensor_value_info("w", TensorProto.UINT8, [1, 1])]
    infos += [helper.make_tensor_value_info(name, TensorProto.UINT8, [1, 1]) for name in ("a", "b")]
    graph = read_onnx(hand_made(nodes, arrays, {"w": "w"}, infos))
    assert held(graph) <= 64 * (1 << 15)


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Gather", ["data", "far"], ["w"]),
        helper.make_node("GatherElements", ["data", "far"], ["w"]),
        helper.make_node("Reshape", ["data", "far"], ["w"]),
        helper.make_node("Split", ["data", "far"], ["w"]),
        helper.make_node("Cast", ["data"], ["w"], to=TensorProto.STRING),
        helper.make_node("Cast", ["data"], ["w"], to=TensorProto.FLOAT8E4M3FN),
        helper.make_node("Div", ["far", "far"], ["w"]),
        helper.make_node("Mod", ["far", "far"], ["w"]),
        helper.make_node("CumSum", ["data", "far"], ["w"]),
        helper.make_node("Transpose", ["data"], ["w"], perm=[0]),
        helper.make_node("Slice", ["data", "far", "far", "far"], ["w"]),
        helper.make_node("Concat", ["data", "data"], ["w"], axis=0),
    ],
    ids=lambda n: n.op_type,
)
@pytest.mark.parametrize("far", [[99], [-99], [0, 0], []])
def test_nodes_that_fail_are_left_to_who_runs_them(node: onnx.NodeProto, far: list[int]) -> None:
    arrays: dict[str, Array] = {"data": np.arange(8, dtype=np.float32), "far": np.array(far, np.int64)}
    read = {name: array for name, array in arrays.items() if name in node.input}
    try:
        read_onnx(hand_made([node], read, {}))
    except irc.errors.ModelError:
        with pytest.raises(irc.errors.ModelError):  # the node itself is wrong, packed or not
            read_onnx(hand_made([node], read, {"w": "w"}))
        return
    graph = read_onnx(hand_made([node], read, {"w": "w"}))
    assert len(list(graph)) in (1, 2)


def test_a_division_that_stops_the_processor() -> None:
    """In the process itself, which the signal would end."""
    arrays: dict[str, Array] = {"least": np.full(8, -(2**31), np.int32), "minus": np.full(8, -1, np.int32)}
    node = helper.make_node("Div", ["least", "minus"], ["w"])
    assert [n.op.name for n in read_onnx(hand_made([node], arrays, {"w": "w"}))] == ["Identity"]


def test_a_cast_to_no_type_that_is_said_to_have_one() -> None:
    node = helper.make_node("Cast", ["data"], ["w"], to=TensorProto.UNDEFINED)
    infos = [helper.make_tensor_value_info("w", TensorProto.FLOAT, [8])]
    graph = read_onnx(hand_made([node], {"data": np.arange(8, dtype=np.float32)}, {"w": "w"}, infos))
    assert [n.op.name for n in graph] == ["Cast", "Identity"]


def test_a_body_that_reads_the_constants_of_the_graph_around_it() -> None:
    body = [helper.make_node("Add", ["c", "c"], ["w"]), helper.make_node("Add", ["x", "w"], ["t"])]
    branches = {}
    for name in ("then", "else"):
        nodes = [helper.make_node(n.op_type, n.input, [f"{n.output[0]}.{name}"]) for n in body]
        nodes[1].input[1] = f"w.{name}"
        branches[f"{name}_branch"] = helper.make_graph(
            nodes, name, [], [helper.make_tensor_value_info(f"t.{name}", TensorProto.FLOAT, [2])]
        )
    nodes = [helper.make_node("If", ["condition"], ["i"], **branches)]
    arrays: dict[str, Array] = {"c": np.ones(2, np.float32), "condition": np.array(True)}
    model = hand_made(nodes, arrays, {"w.then": "one", "w.else": "other", "i": "all"})
    model.graph.output.append(helper.make_tensor_value_info("i", TensorProto.FLOAT, [2]))
    graph = read_onnx(model)
    assert sorted(n.op.name for n in graph.walk()) == ["Add", "Add", "Identity", "If"]
    made = irc.compile(graph, [])(np.ones(2, np.float32))
    np.testing.assert_array_equal(made[1], np.full(2, 3.0, np.float32))


def test_a_cycle_is_an_error_of_the_model_as_it_always_is() -> None:
    nodes = [helper.make_node("Add", ["b", "c"], ["a"]), helper.make_node("Add", ["a", "c"], ["b"])]
    with pytest.raises(irc.errors.ModelError):
        read_onnx(hand_made(nodes, {"c": np.ones(1, np.float32)}, {"a": "w", "b": "w"}))


def test_a_long_chain() -> None:
    """No recursion, however deep."""
    nodes = [helper.make_node("Add", ["c" if not k else f"c{k}", "c"], [f"c{k + 1}"]) for k in range(3000)]
    graph = read_onnx(hand_made(nodes, {"c": np.ones(1000, np.float32)}, {"c3000": "w"}))
    assert len(list(graph)) <= 3001

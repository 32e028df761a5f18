"""What a valid ONNX model says is kept: names, bodies, functions, custom operators, metadata, omissions, types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from irc.execution import Executable
from irc.frontends.onnx import read_onnx
from irc.graph import Graph
from irc.proto.writer import model_proto
from irc.types import tensor
from irc.verify import verify

Array = npt.NDArray[Any]
X = np.arange(-3, 3, dtype=np.float32).reshape(2, 3)
TRUE = np.array(True)


def info(name: str, *shape: int | str, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def node(op: str, inputs: str, outputs: str = "y", **attributes: Any) -> onnx.NodeProto:
    """A node; `_` leaves an input or an output out."""
    read, made = [[name if name != "_" else "" for name in text.split()] for text in (inputs, outputs)]
    return helper.make_node(op, read, made, **attributes)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto] = (info("x", 2, 3),),
    outputs: Sequence[onnx.ValueInfoProto] = (info("y", 2, 3),),
    constants: dict[str, Array] | None = None,
    opsets: dict[str, int] | None = None,
    **more: Any,
) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(a, n) for n, a in (constants or {}).items()]
    graph = helper.make_graph(nodes, "main", inputs, outputs, tensors)
    imports = [helper.make_opsetid(d, v) for d, v in ({"": 21} | (opsets or {})).items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=more.pop("ir_version", 10), **more)


def branch(nodes: Sequence[onnx.NodeProto], output: str, **constants: Array) -> onnx.GraphProto:
    tensors = [numpy_helper.from_array(a, n) for n, a in constants.items()]
    return helper.make_graph(nodes, "branch", [], [info(output, 2, 3)], tensors)


def run(proto: onnx.ModelProto, feed: dict[str, Array]) -> list[Any]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feed))


def kept(original: onnx.ModelProto, feed: dict[str, Array] | None = None) -> tuple[Graph, onnx.ModelProto]:
    """The graph and its export, both of which compute what the original does; the export is a fixed point."""
    feed = {"x": X} if feed is None else feed
    before = original.SerializeToString(deterministic=True)
    wanted = run(original, feed)
    graph = read_onnx(original)
    assert original.SerializeToString(deterministic=True) == before, "the caller's model is not changed"
    verify(graph)
    ours = model_proto(graph)
    onnx.checker.check_model(ours, full_check=True)
    assert [v.name for v in ours.graph.input] == [v.name for v in original.graph.input]
    assert [v.name for v in ours.graph.output] == [v.name for v in original.graph.output]
    again = ours.SerializeToString(deterministic=True)
    assert model_proto(graph).SerializeToString(deterministic=True) == again, "writing twice gives the same bytes"
    assert model_proto(read_onnx(ours)).SerializeToString(deterministic=True) == again
    by_name = dict(zip(graph.output_names, wanted, strict=True))
    executed = Executable(graph).run_numpy(feed)
    for got, array in [*zip(run(ours, feed), wanted, strict=True), *((executed[n], a) for n, a in by_name.items())]:
        np.testing.assert_allclose(got, array, rtol=1e-6)
    return graph, ours


# ---- outputs


@pytest.mark.parametrize(
    ("outputs", "wanted_nodes"),
    [
        ([info("x", 2, 3), info("y", 2, 3)], ["Relu"]),
        ([info("k", 3), info("y", 2, 3)], ["Relu", "Identity"]),
        ([info("y", 2, 3), info("y", 2, 3)], ["Relu"]),
    ],
    ids=["an input", "a constant", "one value twice"],
)
def test_an_output_may_be(outputs: list[onnx.ValueInfoProto], wanted_nodes: list[str]) -> None:
    _, ours = kept(model([node("Relu", "x")], outputs=outputs, constants={"k": np.ones(3, np.float32)}))
    assert [n.op_type for n in ours.graph.node] == wanted_nodes


def test_an_output_keeps_its_name_when_another_value_takes_its_place() -> None:
    graph, _ = kept(model([node("Relu", "x", "r"), node("Neg", "r")], outputs=[info("r", 2, 3), info("y", 2, 3)]))
    first, second = graph.outputs
    graph.set_output(0, second)
    graph.set_output(1, first)
    ours = model_proto(graph)
    onnx.checker.check_model(ours, full_check=True)
    for got, wanted in zip(run(ours, {"x": X}), [-np.maximum(X, 0), np.maximum(X, 0)], strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_an_output_named_as_a_value_of_a_body_moves_that_aside() -> None:
    pick = node("If", "c", "r", then_branch=branch([node("Relu", "x", "t"), node("Neg", "t", "u")], "u"),
                else_branch=branch([node("Neg", "x", "v")], "v"))  # fmt: skip
    inputs = [info("x", 2, 3), info("c", dtype=TensorProto.BOOL)]
    graph, _ = kept(model([node("Abs", "x", "a"), pick, node("Add", "a r")], inputs), {"x": X, "c": TRUE})
    copied = graph.copy()
    copied.remove_output(0)
    copied.add_output(copied.value("a"), "t")  # "t" is also what the branch calls a value, and "a" is made before it
    copied.add_output(copied.value("y"), "y")
    ours = model_proto(copied)
    onnx.checker.check_model(ours, full_check=True)
    wanted = [np.abs(X), np.abs(X) - np.maximum(X, 0)]
    for got, array in zip(run(ours, {"x": X, "c": TRUE}), wanted, strict=True):
        np.testing.assert_array_equal(got, array)


def test_optional_inputs_and_outputs_that_are_left_out_stay_so() -> None:
    lstm = node("LSTM", "s w r _ _ h", "_ _ y", hidden_size=4)
    constants = {
        "w": np.ones((1, 16, 3), np.float32),
        "r": np.ones((1, 16, 4), np.float32),
        "h": np.ones((1, 2, 4), np.float32),
    }
    sequence = {"s": np.ones((5, 2, 3), np.float32)}
    _, ours = kept(model([lstm], [info("s", 5, 2, 3)], [info("y", 1, 2, 4)], constants), sequence)
    assert list(ours.graph.node[0].input) == ["s", "w", "r", "", "", "h"]
    assert list(ours.graph.node[0].output) == ["", "", "y"]


# ---- bodies

CONDITIONAL = (info("x", 2, 3), info("c", dtype=TensorProto.BOOL))


@pytest.mark.parametrize("chosen", [True, False])
def test_sibling_bodies_may_use_the_same_names(chosen: bool) -> None:
    pick = node("If", "c", then_branch=branch([node("Relu", "x", "o")], "o"),
                else_branch=branch([node("Neg", "x", "o")], "o"))  # fmt: skip
    kept(model([pick], CONDITIONAL), {"x": X, "c": np.array(chosen)})


def test_names_of_the_outermost_graph_come_first() -> None:
    pick = node("If", "c", "a", then_branch=branch([node("Relu", "x", "y")], "y"),
                else_branch=branch([node("Neg", "x", "y")], "y"))  # fmt: skip
    graph, _ = kept(model([pick, node("Neg", "a")], CONDITIONAL), {"x": X, "c": TRUE})
    assert [v.name for v in graph.values] == ["x", "c", "a", "y"]


@pytest.mark.parametrize("chosen", [True, False])
def test_nested_bodies_read_what_is_around_them(chosen: bool) -> None:
    def inner(tag: str) -> onnx.NodeProto:
        add = [node("Relu", "x", f"a{tag}"), node("Add", f"a{tag} w", f"b{tag}")]
        return node("If", "c", f"q{tag}", then_branch=branch(add, f"b{tag}"),
                    else_branch=branch([node("Mul", f"r k{tag}", f"d{tag}")], f"d{tag}"))  # fmt: skip

    def middle(tag: str) -> onnx.GraphProto:
        return branch([inner(tag)], f"q{tag}", **{f"k{tag}": np.full(3, 2, np.float32)})

    pick = node("If", "c", then_branch=middle("1"), else_branch=middle("2"))
    nodes = [node("Neg", "x", "r"), pick]
    graph, _ = kept(model(nodes, CONDITIONAL, constants={"w": np.ones(3, np.float32)}), {"x": X, "c": np.array(chosen)})
    assert {v.name for v in graph.node("If").captures()} == {"x", "c", "w", "r"}
    assert len(list(graph.graphs())) == 7


def test_constant_nodes_become_constants_in_bodies_too() -> None:
    one = node("Constant", "", "k", value_floats=[1.0, 2.0, 3.0])
    pick = node("If", "c", then_branch=branch([one, node("Add", "x k", "o")], "o"),
                else_branch=branch([node("Identity", "x", "p")], "p"))  # fmt: skip
    graph, _ = kept(model([pick], CONDITIONAL), {"x": X, "c": TRUE})
    then = graph.node("If").bodies["then_branch"]
    assert [v.name for v in then.constants] == ["k"]
    assert [n.op.name for n in then] == ["Add"]


def test_an_edited_body_may_give_out_what_is_around_it() -> None:
    pick = node("If", "c", then_branch=branch([node("Relu", "x", "o")], "o"),
                else_branch=branch([node("Neg", "r", "p")], "p"))  # fmt: skip
    graph = read_onnx(model([node("Abs", "x", "r"), pick], CONDITIONAL))
    for body in graph.node("If").bodies.values():
        for inner in body:
            body.replace(inner, inner.inputs)  # type: ignore[arg-type]
    verify(graph)
    ours = model_proto(graph)
    onnx.checker.check_model(ours, full_check=True)
    for chosen, wanted in ((True, X), (False, np.abs(X))):
        np.testing.assert_array_equal(run(ours, {"x": X, "c": np.array(chosen)})[0], wanted)
        np.testing.assert_array_equal(Executable(graph).run_numpy({"x": X, "c": np.array(chosen)})["y"], wanted)


@pytest.mark.parametrize("passes_through", [True, False])
def test_loop(passes_through: bool) -> None:
    nodes = [node("Add", "s one", "s2")] + ([] if passes_through else [node("Identity", "go", "go2")])
    flag = "go" if passes_through else "go2"
    body = helper.make_graph(
        nodes,
        "body",
        [info("i", dtype=TensorProto.INT64), info("go", dtype=TensorProto.BOOL), info("s", 2, 3)],
        [info(flag, dtype=TensorProto.BOOL), info("s2", 2, 3)],
        [numpy_helper.from_array(np.ones(1, np.float32), "one")],
    )
    kept(model([node("Loop", "n _ x", body=body)], constants={"n": np.array(3)}))


def test_scan_reads_a_constant_from_around_it() -> None:
    body = helper.make_graph(
        [node("Add", "s e", "s2"), node("Mul", "s2 k", "o")],
        "body",
        [info("s", 3), info("e", 3)],
        [info("s2", 3), info("o", 3)],
    )
    scan = node("Scan", "z x", "f y", num_scan_inputs=1, body=body)
    constants = {"z": np.zeros(3, np.float32), "k": np.array(2, np.float32)}
    kept(model([scan], outputs=[info("f", 3), info("y", 2, 3)], constants=constants))


# ---- functions and custom operators

LOCAL = {"local": 1}


def function(op: str, name: str = "F", overload: str = "") -> onnx.FunctionProto:
    nodes = [node(op, "a", "t"), node("Neg", "t", "b")]
    return helper.make_function("local", name, ["a"], ["b"], nodes, [helper.make_opsetid("", 21)], overload=overload)


def test_functions_are_kept_and_called() -> None:
    original = model([node("F", "x", domain="local")], opsets=LOCAL, functions=[function("Relu")])
    _, ours = kept(original)
    assert [f.SerializeToString() for f in ours.functions] == [f.SerializeToString() for f in original.functions]


def test_overloads_of_a_function_stay_apart() -> None:
    functions = [function("Relu", overload="one"), function("Abs", overload="two")]
    nodes = [node("F", "x", "m", domain="local", overload="two"), node("F", "m", domain="local", overload="one")]
    _, ours = kept(model(nodes, opsets=LOCAL, functions=functions))
    np.testing.assert_array_equal(run(ours, {"x": X})[0], -np.maximum(-np.abs(X), 0))


def test_a_model_with_functions_stays_at_its_opset() -> None:
    original = model(
        [node("F", "x", domain="local")], opsets=LOCAL | {"": 18}, ir_version=8, functions=[function("Relu")]
    )
    original.functions[0].opset_import[0].version = 18
    graph, _ = kept(original)
    assert graph.info.opsets == {"": 18, "local": 1}
    assert "has functions" in graph.info.notes[0]


@pytest.mark.parametrize("opset", [11, 17, 21])
def test_an_unknown_operator_is_written_back_byte_for_byte(opset: int) -> None:
    odd = node("Odd", "x _ k", "m _ n", domain="com.example", floats=[0.1, 2.0], blob=b"\x00\xff", name="odd",
               weight=numpy_helper.from_array(np.ones(2, np.float32)), none="")  # fmt: skip
    nodes = [node("Relu", "x"), odd]
    opsets = {"": opset, "com.example": 3}
    original = model(nodes, constants={"k": np.ones(3, np.float32)}, opsets=opsets, ir_version=6 if opset < 21 else 10)
    graph = read_onnx(original)
    ours = model_proto(graph)
    by_name = {a.name: a.SerializeToString() for a in ours.graph.node[1].attribute}
    assert by_name == {a.name: a.SerializeToString() for a in odd.attribute}
    assert (list(ours.graph.node[1].input), list(ours.graph.node[1].output)) == (list(odd.input), list(odd.output))
    assert {o.domain: o.version for o in ours.opset_import} == {"": max(opset, 21), "com.example": 3}


def test_a_contrib_operator_runs() -> None:
    graph, ours = kept(model([node("Gelu", "x", domain="com.microsoft", name="g")], opsets={"com.microsoft": 1}))
    assert ours.graph.node[0].domain == "com.microsoft"
    assert graph.node("g").op.title == "com.microsoft.Gelu"


# ---- what else a model says


@pytest.mark.parametrize("opset", [17, 21])
def test_metadata_documentation_and_producer_are_kept(opset: int) -> None:
    original = model([node("Relu", "x")], opsets={"": opset}, ir_version=8, doc_string="what it is", producer_name="me")
    original.producer_version, original.domain, original.model_version = "2.1", "org.example", 7
    helper.set_model_props(original, {"author": "ä", "license": "none"})
    graph, ours = kept(original)
    assert graph.info.metadata == {"author": "ä", "license": "none"}
    assert {p.key: p.value for p in ours.metadata_props} == {"author": "ä", "license": "none"}
    assert (ours.doc_string, ours.producer_name, ours.producer_version) == ("what it is", "me", "2.1")
    assert (ours.domain, ours.model_version) == ("org.example", 7)


@pytest.mark.parametrize("opset", [17, 21])
def test_symbols_and_names_are_kept(opset: int) -> None:
    nodes = [node("Relu", "x", "hidden.0", name="layer/act"), node("Neg", "hidden.0", name="layer/neg")]
    dims = ("batch", 3)
    original = model(nodes, [info("x", *dims)], [info("y", *dims)], opsets={"": opset}, ir_version=8)
    graph, ours = kept(original)
    assert [n.name for n in graph] == ["layer/act", "layer/neg"]
    assert graph.value("hidden.0").type == tensor("f32", "batch", 3)
    assert graph.node("layer/act").origin.layer == "layer/act"
    assert ours.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert ours.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_the_exporters_note_of_the_module_is_the_origin() -> None:
    relu = node("Relu", "x", name="node_relu")
    entry = relu.metadata_props.add()
    entry.key, entry.value = "pkg.torch.onnx.name_scopes", "['', 'layer1', 'layer1.act', 'relu']"
    assert read_onnx(model([relu])).node("node_relu").origin.layer == "layer1.act"


def test_ranks_may_be_unknown() -> None:
    def unknown(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)

    graph, _ = kept(model([node("Relu", "x")], outputs=[unknown("y")]))
    assert graph.outputs[0].type == tensor("f32", 2, 3)
    original = model([node("Relu", "x")], [unknown("x")], [unknown("y")])
    for array in (X, X[0]):
        np.testing.assert_array_equal(run(model_proto(read_onnx(original)), {"x": array})[0], np.maximum(array, 0))


def test_in_ir_version_3_an_initializer_is_a_constant_although_it_is_an_input() -> None:
    original = model([node("Add", "x w")], [info("x", 2, 3), info("w", 3)], constants={"w": np.ones(3, np.float32)},
                     opsets={"": 8}, ir_version=3)  # fmt: skip
    graph = read_onnx(original)
    assert [v.name for v in graph.inputs] == ["x"]
    assert graph.value("w").is_constant
    np.testing.assert_array_equal(run(model_proto(graph), {"x": X})[0], X + 1)


@pytest.mark.parametrize("length", [3, 3000])
def test_since_ir_version_4_such_an_initializer_is_a_default(length: int) -> None:
    inputs = [info("x", 2, length), info("w", length)]
    constants = {"w": np.ones(length, np.float32)}
    graph = read_onnx(model([node("Add", "x w")], inputs, [info("y", 2, length)], constants))
    ours = model_proto(graph)
    x = np.zeros((2, length), np.float32)
    assert [v.name for v in graph.defaults] == ["w"]
    for feed, wanted in (({"x": x}, 1), ({"x": x, "w": np.full(length, 5, np.float32)}, 5)):
        assert (run(ours, feed)[0] == wanted).all()
        assert (Executable(graph).run_numpy(feed)["y"] == wanted).all()


def test_sparse_initializers_become_dense() -> None:
    for indices in (np.array([1, 5]), np.array([[0, 1], [1, 2]])):
        original = model([node("Add", "x w")])
        values = numpy_helper.from_array(np.array([10, 20], np.float32), "w")
        original.graph.sparse_initializer.append(
            helper.make_sparse_tensor(values, numpy_helper.from_array(indices, "i"), [2, 3])
        )
        graph = read_onnx(original)
        np.testing.assert_array_equal(graph.value("w").data, [[0, 10, 0], [0, 0, 20]])
        np.testing.assert_array_equal(run(model_proto(graph), {"x": X}), run(original, {"x": X}))


def test_nodes_in_any_order_are_sorted_and_otherwise_keep_theirs() -> None:
    nodes = [node("Add", "b c"), node("Neg", "a", "c"), node("Abs", "a", "b"), node("Relu", "x", "a")]
    graph = read_onnx(model(nodes))
    assert [n.op.name for n in graph] == ["Relu", "Neg", "Abs", "Add"]
    np.testing.assert_array_equal(run(model_proto(graph), {"x": X})[0], np.zeros((2, 3)))


@pytest.mark.parametrize(
    "names",
    [
        ("0", "1", "2"),
        ("a.b", "a/b", "self"),
        ("lambda", "for", "forward"),
        ("ü x", "日本", "ﬁ"),
        ("torch", "x²", "y:0"),
    ],
)
def test_any_name_will_do(names: tuple[str, str, str]) -> None:
    a, b, y = names
    adds = [
        helper.make_node("Add", [a, b], [f"{y}/t"], name=y),
        helper.make_node("Mul", [f"{y}/t", f"{a}.w"], [y], name=f"{y}.w"),
    ]
    weight = numpy_helper.from_array(np.full(3, 3, np.float32), f"{a}.w")
    graph = helper.make_graph(adds, "main", [info(a, 2, 3), info(b, 2, 3)], [info(y, 2, 3)], [weight])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    kept(made, {a: X, b: X})


def test_weights_that_are_all_listed_as_inputs_are_constants() -> None:
    weights = [numpy_helper.from_array(np.ones((2, 2), np.float32), name) for name in ("a", "b")]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in ("x", "a", "b", "y")]
    nodes = [helper.make_node("MatMul", ["x", "a"], ["t"]), helper.make_node("Add", ["t", "b"], ["y"])]
    model = helper.make_model(helper.make_graph(nodes, "g", infos[:3], infos[3:], weights), ir_version=8)
    graph = read_onnx(model)
    assert [v.name for v in graph.inputs] == ["x"]
    assert graph.value("a").is_constant
    assert graph.value("b").is_constant

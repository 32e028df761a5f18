"""An `Executable` computes what onnxruntime computes, shows every value, and trains weights that flow back."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from irc.errors import DataError, ExecutionError
from irc.execution import Executable
from irc.execution.samples import random_sample
from irc.frontends.onnx import read_onnx
from irc.graph import Graph, Value
from irc.op import Op
from irc.ops.activation import Relu
from irc.ops.binary import Add, Mul
from irc.ops.onnx_op import OnnxOp
from irc.ops.schema import op_of_proto
from irc.proto.writer import model_proto
from irc.types import tensor
from irc.verify import verify

Array = npt.NDArray[Any]


def op(name: str, **attributes: Any) -> Op:
    return op_of_proto(onnx.helper.make_node(name, [], [], **attributes), 21)


def onnxruntime(graph: Graph, inputs: dict[str, Array]) -> dict[str, Any]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    model = model_proto(graph)
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(graph.output_names, session.run(None, inputs), strict=True))


def data(graph: Graph, name: str) -> Array:
    found = graph.value(name).data
    assert found is not None
    return found


# ---- meaning

UNARY = ["Relu", "Neg", "Abs", "Sigmoid", "Tanh", "Identity", "Exp", "Softmax", "Floor", "HardSwish", "Erf"]
BINARY = ["Add", "Mul", "Sub", "Max", "MatMul"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_graphs_compute_what_onnxruntime_does(draw: st.DataObject) -> None:
    graph = Graph()
    values = [graph.add_input("x", tensor("f32", "N", 4)), graph.add_input("z", tensor("f32", "N", 4))]
    square = graph.add_constant(np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4), "square")
    values.append(graph.add_constant(np.linspace(-1, 1, 4, dtype=np.float32), "row"))
    for _ in range(draw.draw(st.integers(1, 8))):
        name = draw.draw(st.sampled_from(UNARY + BINARY))
        picked = [draw.draw(st.sampled_from(values)) for _ in range(2)]
        read = [picked[0], square] if name == "MatMul" else picked[: 2 if name in BINARY else 1]
        values.append(graph.insert(op(name), read).output)
    for index in range(draw.draw(st.integers(1, 3))):
        graph.add_output(draw.draw(st.sampled_from(values)), f"y{index}")
    verify(graph)
    inputs = random_sample(graph, 0, symbol=3)
    wanted, got = onnxruntime(graph, inputs), Executable(graph).run_numpy(inputs)
    assert list(got) == list(wanted)
    for name, array in wanted.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_allclose(got[name], array, rtol=1e-4, atol=1e-4)


def conditional() -> Graph:
    """y = c ? relu(a) * w : neg(a), with a = abs(x), and an If inside the first branch."""
    graph = Graph()
    x, condition = graph.add_input("x", tensor("f32", "N", 3)), graph.add_input("c", tensor("bool"))
    before = graph.insert(op("Abs"), [x], name="a", outputs=["a"])
    owner = graph.insert(OnnxOp("", "If", 21), [condition], name="pick", outputs=["y"], types=[tensor("f32", "N", 3)])
    then, other = graph.add_body(owner, "then_branch", "then"), graph.add_body(owner, "else_branch", "else")
    weight = then.add_constant(np.array([1, 2, 3], np.float32), "then.w")
    inner = then.insert(OnnxOp("", "If", 21), [condition], name="inner", outputs=["r"], types=[tensor("f32", "N", 3)])
    for key, name in (("then_branch", "Relu"), ("else_branch", "Exp")):
        deep = then.add_body(inner, key, key)
        deep.add_output(deep.insert(op(name), [before.output], outputs=[f"deep.{name}"]).output)
    then.add_output(then.insert(Mul(), [inner.output, weight], outputs=["t"]).output)
    other.add_output(other.insert(op("Neg"), [before.output], outputs=["e"]).output)
    graph.add_output(owner.output, "y")
    verify(graph)
    return graph


@pytest.mark.parametrize("chosen", [True, False])
def test_branches_run_and_every_value_is_shown_once(chosen: bool) -> None:
    graph = conditional()
    inputs = {"x": np.array([[-1, 2, -3]], np.float32), "c": np.array(chosen)}
    run = Executable(graph)
    np.testing.assert_array_equal(run.run_numpy(inputs)["y"], onnxruntime(graph, inputs)["y"])
    seen: list[tuple[str, list[float]]] = []
    values = [v for g in graph.graphs() for v in g.values]
    made = run.observe(inputs, values, lambda v, t: seen.append((v.name, t.reshape(-1).tolist())))
    a, picked = [1, 2, 3], [1, 4, 9] if chosen else [-1, -2, -3]
    branch = [("deep.Relu", a), ("r", a), ("t", picked)] if chosen else [("e", picked)]
    constants = [("then.w", [1, 2, 3])] if chosen else []
    expected = [("x", [-1, 2, -3]), ("c", [chosen]), ("a", a), *constants, *branch, ("y", picked)]
    assert sorted(seen) == sorted(expected)
    assert made["y"].tolist() == [picked]


def test_only_the_wanted_values_are_shown_in_the_order_of_computing() -> None:
    graph = Graph()
    value = graph.add_input("x", tensor("f32", 2))
    wanted: list[Value] = []
    for index in range(4):
        value = graph.insert(Relu(), [value], name=f"n{index}").output
        wanted += [value] * (index % 2)
    graph.add_output(value)
    seen: list[Value] = []
    Executable(graph).observe({"x": np.ones(2, np.float32)}, wanted, lambda v, _: seen.append(v))
    assert seen == wanted


def test_an_output_of_several_and_an_omitted_one() -> None:
    graph = Graph()
    x = graph.add_input("x", tensor("f32", 2, 4))
    halves = graph.insert(op("Split", axis=1, num_outputs=2), [x], outputs=2)
    once = graph.insert(op("Unique"), [halves.outputs[1]], outputs=["values", None, "places"])
    graph.add_output(halves.outputs[0], "left")
    graph.add_output(once.outputs[2], "places")
    inputs = {"x": np.array([[1, 2, 4, 3], [1, 2, 3, 3]], np.float32)}
    got = Executable(graph).run_numpy(inputs)
    assert {n: a.tolist() for n, a in got.items()} == {n: a.tolist() for n, a in onnxruntime(graph, inputs).items()}
    assert got["places"].tolist() == [1, 0, 0, 0]


# ---- what torch lacks


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64", "int8", "float16"])
def test_arithmetic_of_types_that_torch_may_lack(dtype: str) -> None:
    graph = Graph()
    x = graph.add_input("x", tensor({"uint": "u", "int8": "i", "floa": "f"}[dtype[:4]] + dtype.strip("uintfloa"), 3))
    graph.add_output(graph.insert(Add(), [x, graph.insert(Mul(), [x, x]).output]).output, "y")
    inputs = {"x": np.array([1, 2, 9]).astype(dtype)}
    got = Executable(graph).run_numpy(inputs)["y"]
    assert got.dtype == dtype
    assert got.tolist() == [2, 6, 90]


@pytest.mark.parametrize("dtype", [ml_dtypes.int4, ml_dtypes.uint4, ml_dtypes.int2, ml_dtypes.uint2])
def test_types_below_a_byte_go_through_onnxruntime(dtype: type) -> None:
    number = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    value = onnx.helper.make_tensor_value_info
    nodes = [
        onnx.helper.make_node("Transpose", ["x"], ["t"]),
        onnx.helper.make_node("Cast", ["t"], ["y"], to=onnx.TensorProto.FLOAT),
    ]
    outputs = [value("y", onnx.TensorProto.FLOAT, [3, 2]), value("t", number, [3, 2])]
    model = onnx.helper.make_graph(nodes, "main", [value("x", number, [2, 3])], outputs)
    graph = read_onnx(onnx.helper.make_model(model, opset_imports=[onnx.helper.make_opsetid("", 25)], ir_version=13))
    x: Array = np.array([[1, 0, 1], [0, 1, 1]]).astype(dtype)
    got = Executable(graph).run_numpy({"x": x})
    assert got["y"].tolist() == [[1, 0], [0, 1], [1, 1]]
    assert got["t"].dtype == dtype
    assert got["t"].astype(int).tolist() == [[1, 0], [0, 1], [1, 1]]


def test_strings_and_sequences_go_through_onnxruntime() -> None:
    value = onnx.helper.make_tensor_value_info
    nodes = [
        onnx.helper.make_node("StringConcat", ["s", "s"], ["ss"]),
        onnx.helper.make_node("SplitToSequence", ["x"], ["parts"], axis=0),
        onnx.helper.make_node("SequenceAt", ["parts", "k"], ["last"]),
        onnx.helper.make_node("Relu", ["last"], ["y"]),
    ]
    inputs = [value("s", onnx.TensorProto.STRING, [2]), value("x", onnx.TensorProto.FLOAT, [2, 3])]
    outputs = [value("ss", onnx.TensorProto.STRING, [2]), value("y", onnx.TensorProto.FLOAT, [1, 3])]
    constants = [onnx.numpy_helper.from_array(np.array(-1), "k")]
    model = onnx.helper.make_graph(nodes, "main", inputs, outputs, constants)
    graph = read_onnx(onnx.helper.make_model(model, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10))
    got = Executable(graph).run_numpy({"s": np.array(["a", "ä"], object), "x": np.array([[1, 2, 3], [-4, 5, 6]], "f")})
    assert got["ss"].tolist() == ["aa", "ää"]
    assert got["y"].tolist() == [[0, 5, 6]]


def test_a_loop_runs_in_onnxruntime() -> None:
    value = onnx.helper.make_tensor_value_info
    body = onnx.helper.make_graph(
        [onnx.helper.make_node("Mul", ["s", "w"], ["s2"]), onnx.helper.make_node("Identity", ["go"], ["go2"])],
        "body",
        [value("i", onnx.TensorProto.INT64, []), value("go", onnx.TensorProto.BOOL, []), value("s", 1, [2])],
        [value("go2", onnx.TensorProto.BOOL, []), value("s2", 1, [2])],
    )
    loop = onnx.helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)
    inputs = [value("n", onnx.TensorProto.INT64, []), value("x", 1, [2])]
    constants = [onnx.numpy_helper.from_array(np.array([2, 3], np.float32), "w")]
    model = onnx.helper.make_graph([loop], "main", inputs, [value("y", 1, [2])], constants)
    graph = read_onnx(onnx.helper.make_model(model, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10))
    run = Executable(graph)
    for count in (0, 1, 3):
        got = run.run_numpy({"n": np.array(count), "x": np.ones(2, np.float32)})["y"]
        assert got.tolist() == [2.0**count, 3.0**count]


# ---- the module


def mlp() -> Graph:
    graph = Graph()
    x = graph.add_input("x", tensor("f32", "N", 4))
    for name in ("layers.0", "layers.1"):
        weight = graph.add_constant(np.eye(4, dtype=np.float32) + 0.1, f"{name}.weight")
        bias = graph.add_constant(np.full(4, 0.1, np.float32), f"{name}.bias")
        x = graph.insert(op("Gemm"), [x, weight, bias], name=name).output
        x = graph.insert(Relu(), [x], name=f"{name}/act").output
    graph.add_output(x, "y")
    return graph


def step(run: Executable, rate: float = 0.1) -> None:
    optimizer = torch.optim.SGD(run.module.parameters(), lr=rate)
    loss = run.module(torch.ones(2, 4))[0].square().mean()
    loss.backward()
    optimizer.step()


def test_the_module_is_named_as_the_model() -> None:
    module = Executable(mlp(), trainable=True).module
    assert isinstance(module, torch.fx.GraphModule)
    assert list(module.state_dict()) == ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"]
    assert [n for n, _ in module.named_parameters()] == list(module.state_dict())
    assert {"layers.0", "layers.0.act", "layers.1", "layers.1.act"} <= {n for n, _ in module.named_modules()}
    assert not module.training


def test_one_step_changes_the_weights_and_they_flow_back_into_the_file() -> None:
    graph = mlp()
    untouched = {v.name: v.data.copy() for v in graph.constants if v.data is not None}
    run, inputs = Executable(graph, trainable=True), {"x": np.ones((2, 4), np.float32)}
    before, version = run.run_numpy(inputs)["y"], graph.version
    step(run)
    assert all(np.array_equal(data(graph, n), a) for n, a in untouched.items()), "not before write_back"
    trained = run.run_numpy(inputs)["y"]
    assert np.square(trained).mean() < np.square(before).mean()
    run.write_back()
    assert graph.version > version
    assert not any(np.array_equal(data(graph, n), a) for n, a in untouched.items())
    read_again = read_onnx(model_proto(graph))
    for name in untouched:
        np.testing.assert_array_equal(read_again.value(name).data, graph.value(name).data)
    np.testing.assert_allclose(onnxruntime(graph, inputs)["y"], trained, rtol=1e-5)
    step(run)
    np.testing.assert_allclose(onnxruntime(graph, inputs)["y"], trained, rtol=1e-5, err_msg="written back by copy")


def test_weights_in_branches_train_too() -> None:
    graph = conditional()
    run = Executable(graph, trainable=True)
    assert [n for n, _ in run.module.named_parameters()] == ["pick.then_branch.then.w"]
    made = run.module(torch.ones(1, 3), torch.tensor(True))[0]
    made.sum().backward()
    torch.optim.SGD(run.module.parameters(), lr=0.5).step()
    run.write_back()
    then = graph.node("pick").bodies["then_branch"]
    assert data(then, "then.w").tolist() == [0.5, 1.5, 2.5]


def test_a_weight_that_is_read_twice_is_one_parameter() -> None:
    graph = Graph()
    x = graph.add_input("x", tensor("f32", "N", 4))
    weight = graph.add_constant(np.eye(4, dtype=np.float32), "tied")
    first = graph.insert(op("MatMul"), [x, weight]).output
    graph.add_output(graph.insert(op("MatMul"), [first, weight]).output, "y")
    run = Executable(graph, trainable=True)
    assert [n for n, _ in run.module.named_parameters()] == ["tied"]
    run.module(torch.ones(1, 4))[0].sum().backward()
    parameter = next(run.module.parameters())
    assert parameter.grad is not None
    assert parameter.grad.tolist() == [[2.0] * 4] * 4


def test_without_training_the_weights_are_the_constants_own_memory() -> None:
    graph = mlp()
    module = Executable(graph).module
    assert list(module.parameters()) == []
    for value in graph.constants:
        assert value.data is not None
        assert module.get_buffer(value.name).data_ptr() == value.data.ctypes.data


def test_settings_and_statistics_are_not_trained() -> None:
    graph = Graph()
    x = graph.add_input("x", tensor("f32", 1, 3, 4))
    names = ("scale", "shift", "mean", "var")
    stats = [graph.add_constant(np.ones(3, np.float32), name) for name in names]
    normed = graph.insert(op("BatchNormalization"), [x, *stats]).output
    low = graph.add_constant(np.array(0, np.float32), "low")
    places = graph.add_constant(np.array([0, 2]), "places")
    clipped = graph.insert(op("Clip"), [normed, low]).output
    graph.add_output(graph.insert(op("Gather", axis=1), [clipped, places]).output, "y")
    run = Executable(graph, trainable=True)
    assert [n for n, _ in run.module.named_parameters()] == ["scale", "shift"]
    assert {n for n, _ in run.module.named_buffers()} == {"mean", "var", "low", "places"}


ODD = [
    ("w.weight", "w/weight", "w"),
    ("forward", "training", "parameters"),
    ("self", "self.self", "self.forward"),
    ("0", "0.1", "0.1.weight"),
    ("class", "None", "a.lambda.b"),
    ("größe", "日本/語", "x²"),
    ("ﬁ", "fi", "a b"),
    ("op", "op.op", "op.label"),
    (".", "/", "..a//b"),
    ("relu", "relu.fallback", "relu.places.asked"),
]


@pytest.mark.parametrize("names", ODD)
def test_any_names_live_together(names: tuple[str, str, str]) -> None:
    graph = Graph()
    total = graph.add_input(names[0], tensor("f32", 2))
    for index, name in enumerate(names):
        weight = graph.add_constant(np.full(2, index + 1, np.float32), f"{name}" if index else f"{name}_")
        total = graph.insert(Add(), [total, weight], name=name).output
        total = graph.insert(Relu(), [total], name=weight.name).output
    graph.add_output(total, names[1])
    run = Executable(graph, trainable=True)
    made = run.run_numpy({names[0]: np.zeros(2, np.float32)})
    assert {n: a.tolist() for n, a in made.items()} == {names[1]: [6, 6]}
    assert len(list(run.module.parameters())) == 3
    run.module(torch.zeros(2))[0].sum().backward()
    torch.optim.SGD(run.module.parameters(), lr=1).step()
    run.write_back()
    assert [v.data.tolist() for v in graph.constants if v.data is not None] == [[0, 0], [1, 1], [2, 2]]


def test_weights_that_were_not_there_to_be_trained_cannot_be_put_back() -> None:
    with pytest.raises(ExecutionError, match=r"no weights to put into .*: make it with trainable=True"):
        Executable(mlp()).write_back()


def test_a_copy_of_the_module_trains_on_its_own() -> None:
    graph = mlp()
    run = Executable(graph, trainable=True)
    run.run({"x": np.ones((2, 4), np.float32)})
    copied = copy.deepcopy(run.module)
    step(run)
    assert torch.equal(copied.get_parameter("layers.0.weight").data, torch.from_numpy(data(graph, "layers.0.weight")))
    assert not torch.equal(copied.get_parameter("layers.0.bias"), run.module.get_parameter("layers.0.bias"))


def test_a_large_module_can_be_copied_although_onnxruntime_runs_part_of_it() -> None:
    graph = Graph()
    value = graph.add_input("x", tensor("u16", 2))
    for _ in range(2000):
        value = graph.insert(Add(), [value, value]).output
    graph.add_output(value, "y")
    run = Executable(graph)
    x = torch.zeros(2, dtype=torch.uint16)
    first = run.module.get_submodule("Add")
    first(x, x)
    copied = copy.deepcopy(first)
    assert copied(x, x).tolist() == [0, 0]
    assert len(list(copy.deepcopy(run.module).children())) == 2000


# ---- errors


WRONG: dict[str, tuple[Callable[[Executable], object], type[Exception], str]] = {
    "a missing input": (lambda e: e.run({}), DataError, "input 'x' is missing; the model takes x"),
    "an unknown input": (
        lambda e: e.run({"x": np.ones((1, 4), np.float32), "z": 1}),
        DataError,
        "input 'z' is none of the model's; the model takes x",
    ),
    "a shape that does not fit": (
        lambda e: e.run({"x": np.ones((1, 5), np.float32)}),
        ExecutionError,
        r"Gemm 'layers.0' on inputs of shapes \(1, 5\), \(4, 4\), \(4,\)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input(name: str) -> None:
    call, error, text = WRONG[name]
    with pytest.raises(error, match=text):
        call(Executable(mlp()))


def test_what_onnxruntime_says_names_the_node() -> None:
    graph = Graph()
    x = graph.add_input("x", tensor("f32", 2))
    graph.info.opsets["com.example"] = 1
    odd = graph.insert(OnnxOp("com.example", "Odd", 1), [x], name="odd", types=[tensor("f32", 2)])
    graph.add_output(odd.output)
    with pytest.raises(ExecutionError, match=r"com\.example\.Odd 'odd' cannot be run by onnxruntime"):
        Executable(graph).run({"x": np.ones(2, np.float32)})

"""LSTM, GRU and If, which the graph keeps as ONNX has them, give in C what onnxruntime gives, and for If either branch.

Tolerance: sums of float32 in another order, and gates through functions of a few units in the last place; 2e-6 is
some 16 roundings of numbers of 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import irc
from irc.backends.c.artifact import CArtifact
from irc.backends.c.lower import lower
from irc.errors import BackendError
from irc.execution import Executable
from irc.graph import Graph
from irc.text import parse_graph
from irc.types import Array, TensorType

TOLERANCE = 2e-6
GATES = {"LSTM": 4, "GRU": 3}
STEPS, BATCH, INPUTS = 5, 3, 4


def recurrent(
    kind: str, hidden: int, given: str, wanted: str, **attributes: Any
) -> tuple[ModelProto, dict[str, Array]]:
    """A model of one node, and inputs for it.

    given : of `b` bias, `l` lengths, `h` and `c` initial states, `p` peepholes, `w` weights as inputs of the model
    wanted : of `y` the sequence, `h` and `c` the last states
    """
    random = np.random.default_rng(0)
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    gates = GATES[kind] * hidden
    state = (directions, BATCH, hidden)

    def draw(*shape: int) -> Array:
        return random.standard_normal(shape).astype(np.float32)

    arrays = {
        "x": draw(STEPS, BATCH, INPUTS), "w": draw(directions, gates, INPUTS), "r": draw(directions, gates, hidden),
        "b": draw(directions, 2 * gates), "l": np.array([5, 2, 1], np.int32), "h": draw(*state), "c": draw(*state),
        "p": draw(directions, 3 * hidden),
    }  # fmt: skip
    names = [*"xwr", *(n if n in given else "" for n in ("blhcp" if kind == "LSTM" else "blh"))]
    constants = set("p") | (set() if "w" in given else set("wrb"))
    feeds = {n: arrays[n] for n in names if n and n not in constants}
    outs = [n if n in wanted else "" for n in ("yhc" if kind == "LSTM" else "yh")]
    outs = [f"out_{n}" if n else "" for n in outs]
    node = helper.make_node(kind, names, outs, hidden_size=hidden, **attributes)
    graph = helper.make_graph(
        [node],
        "recurrent",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in feeds.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outs if n],
        [numpy_helper.from_array(arrays[n], n) for n in names if n in constants],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10), feeds


CASES = [
    ("LSTM", 4, "b", "yhc", {}),
    ("LSTM", 17, "blhc", "yhc", {"direction": "bidirectional"}),
    ("LSTM", 4, "bp", "h", {"direction": "reverse"}),
    ("LSTM", 4, "bhcw", "yc", {"clip": 0.5}),
    ("LSTM", 5, "", "y", {"input_forget": 1}),
    (
        "LSTM", 4, "b", "yhc",
        {"activations": ["HardSigmoid", "Softsign", "ScaledTanh"], "activation_alpha": [0.3, 1.7],
         "activation_beta": [0.4, 0.6]},
    ),
    ("GRU", 4, "b", "yh", {}),
    ("GRU", 17, "blh", "yh", {"direction": "bidirectional", "linear_before_reset": 1}),
    ("GRU", 4, "w", "h", {"direction": "reverse"}),
    ("GRU", 4, "b", "yh", {"activations": ["Sigmoid", "LeakyRelu"], "activation_alpha": [0.2]}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "hidden", "given", "wanted", "attributes"), CASES)
def test_recurrent(kind: str, hidden: int, given: str, wanted: str, attributes: dict[str, Any]) -> None:
    model, feeds = recurrent(kind, hidden, given, wanted, **attributes)
    artifact = irc.compile(model, [], target="c:host", threads=2)
    assert isinstance(artifact, CArtifact)
    got = artifact(feeds)
    plain = CArtifact(artifact.graph, artifact.target, artifact.report, isa="portable")(feeds)
    made, same = (list(m) if isinstance(m, tuple) else [m] for m in (got, plain))
    for array, other, want in zip(made, same, Executable(irc.load(model)).run_numpy(feeds).values(), strict=True):
        np.testing.assert_array_equal(array, other)
        np.testing.assert_allclose(array, want, rtol=TOLERANCE, atol=TOLERANCE)


def test_lengths_are_held_within_the_sequence() -> None:
    model, feeds = recurrent("GRU", 4, "bl", "yh")
    artifact = irc.compile(model, [], target="c:host")
    want = artifact(feeds | {"l": np.array([5, 0, 5], np.int32)})
    got = artifact(feeds | {"l": np.array([2**31 - 1, -(2**31), 6], np.int32)})
    for array, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(array, other)


def test_unknown_activation_is_refused() -> None:
    model, _ = recurrent("LSTM", 4, "b", "y")
    model.graph.node[0].attribute.append(helper.make_attribute("activations", ["Sine", "Tanh", "Tanh"]))
    with pytest.raises(BackendError, match="not all of the activations sine"):
        irc.compile(model, [], target="c:host")


WRONG: list[tuple[str, str, dict[str, tuple[int, ...]], dict[str, Any], str]] = [
    ("LSTM", "b", {}, {"activations": ["Sigmoid", "Tanh"]}, "2 activations; with 1 directions they are 3"),
    ("GRU", "b", {}, {"activations": ["Sigmoid"] * 4}, "4 activations"),
    ("LSTM", "b", {"w": (1, 16, 3)}, {}, "its W is"),
    ("LSTM", "b", {"w": (1, 15, INPUTS)}, {}, "its W is"),
    ("LSTM", "b", {"r": (1, 15, 4)}, {}, "its R is"),
    ("LSTM", "b", {"r": (2, 16, 4)}, {}, "its R is"),
    ("GRU", "b", {"b": (1, 12)}, {}, "its B is"),
    ("GRU", "bl", {"l": (2,)}, {}, "its sequence_lens is"),
    ("GRU", "bh", {"h": (1, 2, 4)}, {}, "its initial_h is"),
    ("LSTM", "bc", {"c": (1, BATCH, 5)}, {}, "its initial_c is"),
    ("LSTM", "bp", {"p": (1, 11)}, {}, "its P is"),
]


@pytest.mark.parametrize(("kind", "given", "shapes", "attributes", "said"), WRONG)
def test_what_does_not_fit_is_refused(
    kind: str, given: str, shapes: dict[str, tuple[int, ...]], attributes: dict[str, Any], said: str
) -> None:
    """The kernel would read past the end of what is too small."""
    graph = irc.load(recurrent(kind, 4, given + "w", "y", **attributes)[0])
    wrong = Graph()
    values = {}
    for value in (*graph.inputs, *graph.constants):
        type = value.tensor_type
        assert type is not None
        type = TensorType(type.dtype, shapes.get(value.name, type.shape))
        values[value] = wrong.add_input(value.name, type)
    (node,) = graph
    taken = [None if v is None else values[v] for v in node.inputs]
    made = wrong.insert(node.op, taken, outputs=len(node.outputs), types=[v.type for v in node.outputs], name="layer")
    wrong.add_output(made.outputs[0])
    with pytest.raises(BackendError, match=f"{kind}.* 'layer': .*{said}"):
        lower(wrong)


BRANCHES = """graph main(opset = 21) {
  input %c: bool[]
  input %x: f32[2, 4, 8, 8]
  weight %w1: f32[4, 4, 3, 3] = splat(0.5)
  weight %w2: f32[4, 4, 1, 1] = splat(0.5)
  weight %b2: f32[4] = splat(0.5)
  weight %two: f32[] = 2.0
  %a: f32[2, 4, 8, 8] = Conv(%x, %w1) {pads = [1, 1, 1, 1]} @"conv"
  %once: f32[2, 4, 8, 8] = Mul(%x, %two) @"once"
  %y: f32[2, 4, 8, 8], %z: f32[2, 4, 8, 8] = If:21(%c) {then_branch = "then" {
    %t: f32[2, 4, 8, 8] = Conv(%a, %w2, %b2) @"inner"
    %u: f32[2, 4, 8, 8] = Relu(%t) @"inner.relu"
    %n: bool[] = Not(%c) @"not"
    %i: f32[2, 4, 8, 8] = If:21(%n) {then_branch = "then_then" {
      %p: f32[2, 4, 8, 8] = Neg(%u) @"never"
      return %p
    }, else_branch = "then_else" {
      %q: f32[2, 4, 8, 8] = Add(%u, %once) @"add"
      return %q
    }} @"nested"
    return %i, %x
  }, else_branch = "else" {
    %e: f32[2, 4, 8, 8] = Conv(%x, %w1) {pads = [1, 1, 1, 1]} @"other"
    return %e, %a
  }} @"if"
  %r: f32[2, 4, 8, 8] = Sub(%y, %z) @"sub"
  return %r, %z
}
"""


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("condition", [True, False])
def test_if_takes_the_branch_of_its_condition(condition: bool, threads: int) -> None:
    graph = parse_graph(BRANCHES)
    random = np.random.default_rng(0)
    for value in graph.constants:
        assert value.data is not None
        if value.data.ndim:
            value.data = (random.standard_normal(value.data.shape) / 6).astype(np.float32)
    artifact = irc.compile(graph, [], target="c:host", threads=threads)
    for _ in range(50):  # threads that went ahead would show sooner or later
        sample = {"c": np.array(condition), "x": random.standard_normal((2, 4, 8, 8)).astype(np.float32)}
        for got, want in zip(artifact(sample), Executable(graph).run_numpy(sample).values(), strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE * np.abs(want).max())


def test_loop_is_refused_by_name() -> None:
    def place(name: str, dtype: int, *shape: int) -> Any:
        return helper.make_tensor_value_info(name, dtype, shape)

    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Add", ["v", "v"], ["w"])],
        "body",
        [place("i", TensorProto.INT64), place("c", TensorProto.BOOL), place("v", TensorProto.FLOAT, 2)],
        [place("d", TensorProto.BOOL), place("w", TensorProto.FLOAT, 2)],
    )
    count = numpy_helper.from_array(np.array(3), "n")
    node = helper.make_node("Loop", ["n", "", "x"], ["y"], name="again", body=body)
    x, y = place("x", TensorProto.FLOAT, 2), place("y", TensorProto.FLOAT, 2)
    graph = helper.make_graph([node], "loop", [x], [y], [count])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    with pytest.raises(BackendError, match=r"no kernel for Loop 'again'.*target 'onnx'"):
        irc.compile(model, [], target="c:host")

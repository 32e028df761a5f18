"""The text form holds the whole graph, exactly in both directions, and no text crashes the parser."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, TypeProto, helper

from irc.errors import IrcError, ModelError, OutputError, TextError
from irc.graph import Graph, ModelInfo, Origin, Value
from irc.op import Op
from irc.ops.onnx_op import OnnxOp
from irc.text import load_text, parse_graph, print_graph, save_text
from irc.types import Array, DType, OpaqueType, TensorType, Type

# ---- graphs of all kinds

NASTY = [
    "0",
    "a b",
    'say "hi"',
    "back\\slash",
    "new\nline",
    "é",
    "\u202e",
    "//",
    "%x",
    "{",
    "a-b",
    "inf",
    "_",
    "return",
]
TYPED_OPS = [example.op for cls in list(Op.registry.values()) for example in cls.examples()]
OPAQUE = helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, ["N", 2])).SerializeToString()

names = st.one_of(st.sampled_from(NASTY), st.from_regex(r"[a-z_][a-z0-9_.]{0,5}", fullmatch=True), st.text(min_size=1))
dims = st.one_of(st.none(), st.integers(0, 1 << 40), st.sampled_from(["N", "49*N", "a*b", "N+1", "x y", "?", '"']))
types: st.SearchStrategy[Type | None] = st.one_of(
    st.none(),
    st.just(OpaqueType(OPAQUE)),
    st.builds(TensorType, st.sampled_from(DType), st.one_of(st.none(), st.lists(dims, max_size=3).map(tuple))),
)


@st.composite
def arrays(draw: st.DrawFn) -> Array:
    dtype = draw(st.sampled_from(DType))
    shape = tuple(draw(st.lists(st.integers(0, 5), max_size=3)))
    size = math.prod(shape)
    if dtype is DType.STRING:
        flat = np.empty(size, dtype=object)
        flat[:] = draw(st.lists(st.one_of(st.text(), st.binary()), min_size=size, max_size=size))
    elif draw(st.booleans()):
        flat = np.full(size, draw(st.sampled_from([0, 1]))).astype(dtype.numpy)
    else:
        codes = np.frombuffer(draw(st.binary(min_size=size * 16, max_size=size * 16)), np.uint8)
        if dtype.bits < 8:
            low = codes[:size].astype(np.int16) % (1 << dtype.bits)
            signed = low - (1 << dtype.bits) * (low >> (dtype.bits - 1))
            flat = low.astype(np.uint8).view(dtype.numpy) if dtype is DType.F4E2M1 else low.astype(dtype.numpy)
            flat = signed.astype(dtype.numpy) if dtype in (DType.I2, DType.I4) else flat
        else:
            flat = (codes % 2 if dtype is DType.BOOL else codes).view(dtype.numpy)[:size].copy()
    return flat.reshape(shape)


def attribute(name: str, value: Any) -> tuple[str, bytes]:
    return name, helper.make_attribute(name, value).SerializeToString(deterministic=True)


@st.composite
def onnx_ops(draw: st.DrawFn) -> OnnxOp:
    single = st.floats(width=32)
    value = st.one_of(
        st.integers(-(1 << 63), (1 << 63) - 1),
        single,
        st.text(),
        st.binary(),
        st.lists(st.integers(-9, 9), min_size=1, max_size=3),
        st.lists(single, min_size=1, max_size=3),
        st.lists(st.text(), min_size=1, max_size=3),
        st.just(onnx.numpy_helper.from_array(np.arange(3))),
    )
    chosen = draw(st.dictionaries(names, value, max_size=4))
    kept = [attribute(key, item) for key, item in chosen.items()]
    kept.append(("empty", AttributeProto(name="empty", type=AttributeProto.INTS).SerializeToString()))
    domain = draw(st.sampled_from(["", "com.microsoft", "my-domain", "a b", "x."]))
    return OnnxOp(domain, draw(names), draw(st.integers(0, 30)), tuple(kept))


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    graph = Graph(draw(names))
    texts = st.dictionaries(names, st.text(), max_size=2)
    function = helper.make_function("d", "f", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], [])
    graph.info = ModelInfo(
        opsets=draw(st.one_of(st.just({"": 21}), st.dictionaries(st.one_of(st.just(""), names), st.integers(0, 99)))),
        ir_version=draw(st.integers(1, 12)),
        metadata=draw(texts),
        doc=draw(st.text()),
        producer=draw(st.text()),
        producer_version=draw(st.text()),
        domain=draw(st.text()),
        model_version=draw(st.integers(-5, 5)),
        functions=draw(st.sampled_from([(), (function.SerializeToString(),)])),
        notes=tuple(draw(st.lists(st.text(), max_size=2))),
    )
    fill(draw, graph, [], 0)
    return graph


def fill(draw: st.DrawFn, graph: Graph, outer: list[Value], depth: int) -> None:
    """Inputs, constants and nodes; bodies too, which read values of `outer`."""
    fresh = graph.unique_name
    seen = list(outer)
    for _ in range(draw(st.integers(0, 2))):
        default = draw(st.one_of(st.none(), arrays()))
        seen.append(graph.add_input(fresh(draw(names)), draw(types), default))
    seen.extend(graph.add_constant(draw(arrays()), draw(names)) for _ in range(draw(st.integers(0, 2))))
    for _ in range(draw(st.integers(0, 4))):
        op = draw(st.one_of(st.sampled_from(TYPED_OPS), onnx_ops()))
        inputs = draw(st.lists(st.one_of(st.none(), st.sampled_from(seen)) if seen else st.none(), max_size=4))
        stated = draw(st.lists(types, max_size=2))
        origin = Origin(draw(st.one_of(st.just(""), names)), tuple(draw(st.lists(names, max_size=2))))
        wanted = [draw(names) for _ in stated]
        node = graph.insert(op, inputs, name=draw(names), outputs=wanted, types=stated, origin=origin)
        if depth < 2 and draw(st.integers(0, 4)) == 0:
            for key in draw(st.lists(names, min_size=1, max_size=2, unique=True)):
                if key not in op.attributes():
                    fill(draw, graph.add_body(node, key, draw(st.sampled_from(["body", "x", "a b"]))), seen, depth + 1)
        seen.extend(node.outputs)
    if seen:
        for value in draw(st.lists(st.sampled_from(seen), max_size=2)):
            graph.add_output(value, draw(st.one_of(st.just(""), names)))


def described(graph: Graph) -> list[Any]:
    """Everything a graph holds, as data that compares: an array by its bytes, an op by its repr, for NaN is not NaN."""

    def data(array: Array | None) -> Any:
        if array is None:
            return None
        return array.shape, str(array.dtype), array.tolist() if array.dtype == object else array.tobytes()

    return [
        graph.name,
        [(v.name, v.type, data(graph.defaults.get(v))) for v in graph.inputs],
        [(v.name, v.type, data(v.data)) for v in graph.constants],
        [
            (
                node.name,
                repr(node.op),
                node.origin,
                [v and v.name for v in node.inputs],
                [(v.name, v.type) for v in node.outputs],
                [(key, described(body)) for key, body in node.bodies.items()],
            )
            for node in graph
        ],
        [v.name for v in graph.outputs],
        graph.output_names,
    ]


def weights_of(graph: Graph) -> dict[str, Array]:
    """Every array of the graph by name: those of constants and defaults."""
    found = {v.name: v.data for g in graph.graphs() for v in g.constants if v.data is not None}
    return found | {v.name: array for g in graph.graphs() for v, array in g.defaults.items()}


QUIET = settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))


@QUIET
@given(graphs())
def test_a_graph_comes_back_as_it_was(graph: Graph) -> None:
    text = print_graph(graph)
    again = parse_graph(text, weights_of(graph))
    assert described(again) == described(graph)
    assert again.info == graph.info
    assert print_graph(again) == text


@QUIET
@given(graph=graphs())
def test_files_hold_the_graph_with_every_dtype(tmp_path_factory: pytest.TempPathFactory, graph: Graph) -> None:
    path = tmp_path_factory.mktemp("text") / "model.irc"
    save_text(graph, path)
    again = load_text(path)
    assert described(again) == described(graph)
    assert {p.name for p in path.parent.iterdir()} <= {"model.irc", "model.safetensors"}


# ---- any text

PIECES = [
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    ",",
    "%x",
    "%",
    '"',
    "_",
    "= ",
    ": ",
    "0x",
    "-inf",
    "nan",
    "9" * 30,
    "1e999",
    "?",
    "*",
]
PIECES += [
    "graph",
    "weight",
    "f32[2]",
    "i4[]",
    "splat(1)",
    "opaque<0x0a>",
    "\\u{110000}",
    "\0",
    "99999999",
    "@",
    "as",
    ".",
]


@settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
@given(graphs(), st.data())
def test_mutated_text_is_a_graph_or_an_irc_error(graph: Graph, data: st.DataObject) -> None:
    text = print_graph(graph)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 8)))
        text = text[:start] + data.draw(st.one_of(st.sampled_from(PIECES), st.text(max_size=3))) + text[end:]
    try:
        parsed = parse_graph(text, weights_of(graph))
    except IrcError:
        return
    again = print_graph(parsed)
    assert print_graph(parse_graph(again, weights_of(parsed))) == again


@settings(deadline=None, max_examples=200)
@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map(" ".join)))
def test_arbitrary_text_is_an_irc_error(text: str) -> None:
    with pytest.raises(IrcError):
        parse_graph(text)


def test_deep_nesting_is_an_error_and_not_a_crash() -> None:
    with pytest.raises(TextError, match="nested deeper than 64"):
        parse_graph("graph g { () = A:1() {a = " + "[" * 1000)
    with pytest.raises(TextError, match="nested deeper than 64"):
        parse_graph("graph g { " + "() = A:1() {a = { " * 1000)


# ---- what the text looks like

TEXT = """\
graph main(opset = {"" = 21, com.microsoft = 1}, producer = "pytorch") {
  input %x: f32[N, 3, 224, 224]
  input %shift: f32[1] default f32[1] = [nan]
  weight %w: f32[32, 3, 3, 3]
  weight %zero: f16[4, 8] = splat(-0.0)
  weight %axes: i64[2] = [1, -1]
  weight %label: string[] = "a \\"b\\""
  weight %payload: f32[1] = 0x0100c07f
  %y: f32[N, 32, 112, 112] = Conv(%x, %w) {strides = [2, 2]} @"layer1.0.conv1" from "layer1.0" by fold-batch-norm
  %small: ? = LeakyRelu(%y) {alpha = 0.1f}
  %z: f32[*], %"0": ? = If:21(%axes) {then_branch = "a b" {
    %r: ? = com.microsoft.Gelu:1(%y) {beta = 0.1, mode = "x"}
    return %r as "y"
  }, else_branch = {
    return %x
  }} @"if"
  return %z as "out", %y
}
"""


def test_the_form() -> None:
    weight = np.arange(32 * 27, dtype=np.float32).reshape(32, 3, 3, 3)
    graph = parse_graph(TEXT, {"w": weight})
    assert print_graph(graph) == TEXT
    conv = graph.node("layer1.0.conv1")
    assert conv.inputs == (graph.value("x"), graph.value("w"))
    assert conv.origin == Origin("layer1.0", ("fold-batch-norm",))
    assert getattr(graph.node("small").op, "alpha") == float(np.float32(0.1))  # noqa: B009  # the op's class is not of interest
    gelu = graph.node("if").bodies["then_branch"].node("r")
    assert gelu.inputs == (graph.value("y"),)
    assert np.shares_memory(graph.value("w").data, weight)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1:1: 'graph' was expected, found the end"),
        ("graph g {\n  %y: f32[2] = Relu(%x)\n  return %y\n}", "2:21: value '%x' is read but not defined here"),
        ("graph g {\n  input %x: f99[2]\n", "2:13: 'f99' is no element type"),
        ("graph g {\n  input %x: f32[2]\n  input %x: f32[2]\n  return }", "3:9: value '%x' is defined twice"),
        ("graph g {\n  weight %w: i8[1] = [300]\n", "2:10: value '%w', i8[1], cannot hold 300"),
        ("graph g {\n  weight %w: i8[2] = [3]\n", "2:10: value '%w', i8[2], takes 2 elements, 1 were given"),
        ("graph g {\n  weight %w: f32[20]\n", "2:10: value '%w' has no data here and none in the weights"),
        ("graph g {\n  weight %w: f32[N] = [1]\n", "type must be a tensor's of known shape"),
        ("graph g {\n  weight %w: f32[99999999, 9999] = splat(1)\n", "is too large for a splat"),
        ("graph g {\n  %y: ? = Frobnicate()\n", "2:11: irc has no op 'Frobnicate'; with its opset"),
        ("graph g {\n  %y: ? = Relu() {alpha = 1}\n", "2:11: Relu has no attribute 'alpha'"),
        ("graph g {\n  %y: ? = Conv() {group = [1]}\n", "2:11: attribute 'group' of Conv cannot be [1]"),
        ("graph g {\n  %y: ? = A:1() {a = []}\n", "takes numbers, strings and non-empty lists"),
        ("graph g {\n  () = A:1()\n", "a node needs a name"),
        ("graph g {\n  %a: ? = A:1()\n  %b: ? = A:1() @a\n  return }", "3:18: graph 'g' has a node 'a' already"),
        ("graph g {\n  %y: ? = A:1(%y)\n  return }", "2:15: value '%y' is read but not defined here"),
        (
            "graph g {\n  %y: ? = A:1() {b = {\n return %y }}\n  return }",
            "3:9: value '%y' is read before it is defined",
        ),
        ('graph "g', "1:7: a string that ends on its line was expected"),
        ('graph "\\q" {', "1:7: unknown escape '\\q'"),
        ("graph g(opset = 21, opset = x) {", "1:29: an opset was expected, found x"),
        ('graph g(functions = ["?"]) {', "1:22: the function is not base64"),
    ],
)
def test_an_error_names_the_place_and_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(TextError) as caught:
        parse_graph(text)
    assert message in str(caught.value)


def test_a_nan_attribute_keeps_its_bits() -> None:
    nans = np.array([0x7FC00000, 0xFFC00000, 0x7FC00001], np.uint32).view(np.float32)
    for kept in (tuple(attribute("a", [float(v)]) for v in nans), tuple(attribute("a", float(v)) for v in nans)):
        for each in kept:
            graph = Graph()
            graph.insert(OnnxOp("", "A", 1, (each,)), [], name="a", outputs=0)
            assert parse_graph(print_graph(graph)).node("a").op == graph.node("a").op


def test_weights_of_another_type_are_refused() -> None:
    with pytest.raises(TextError, match=r"'%w' is f32\[20\], but its weights are float64\[20\]"):
        parse_graph("graph g {\n  weight %w: f32[20]\n  return }", {"w": np.zeros(20)})


# ---- files


def small_graph() -> Graph:
    graph = Graph()
    graph.add_output(graph.add_constant(np.arange(100, dtype=np.float32), "w"))
    return graph


def test_a_failed_write_leaves_the_old_files(tmp_path: Path) -> None:
    (tmp_path / "m.irc").write_text("old")
    (tmp_path / "m.safetensors").mkdir()  # cannot be replaced by a file
    with pytest.raises(OutputError, match=r"m\.safetensors' cannot be written"):
        save_text(small_graph(), tmp_path / "m.irc")
    assert (tmp_path / "m.irc").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.irc", "m.safetensors"]


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot read '.*none\.irc'"):
        load_text(tmp_path / "none.irc")
    save_text(small_graph(), tmp_path / "m.irc")
    data = (tmp_path / "m.safetensors").read_bytes()
    (tmp_path / "m.safetensors").write_bytes(data[:50])
    with pytest.raises(ModelError, match=r"cannot read '.*m\.safetensors'"):
        load_text(tmp_path / "m.irc")
    (tmp_path / "m.safetensors").unlink()
    with pytest.raises(TextError, match="'%w' has no data here and none in the weights"):
        load_text(tmp_path / "m.irc")


def test_an_opaque_type_is_checked() -> None:
    assert TypeProto.FromString(OPAQUE).HasField("sequence_type")
    with pytest.raises(TextError, match="the bytes are no TypeProto"):
        parse_graph("graph g {\n  input %x: opaque<0xff>\n  return }")

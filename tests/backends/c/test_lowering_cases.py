"""Where memory is shared, padded or left to a kernel, the C code does what the graph does, or it is refused by name.

Each graph is one in which a rule's usual way does not hold. Integers must be equal. Tolerance of floats: as of the
examples of ops, 32 roundings relative to the largest magnitude.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from irc.backends.c.compilers import find_compiler
from irc.backends.c.emit.sources import Sources
from irc.backends.c.isa import AVX2, PORTABLE, host_isas
from irc.backends.c.lower import legalize, lower
from irc.backends.c.program import Program
from irc.backends.c.runner import Runner
from irc.backends.c.targets import TARGETS
from irc.backends.c.toolchain import build_library
from irc.errors import BackendError
from irc.execution import Executable
from irc.graph import Graph, Value
from irc.op import Op
from irc.ops.activation import Relu, Sigmoid
from irc.ops.binary import Add, Sum
from irc.ops.cast import Cast
from irc.ops.conv import Conv
from irc.ops.index import Concat, Pad, Slice
from irc.ops.int8 import QBatchMatMul, QConv, QMatMul
from irc.ops.linear import MatMul
from irc.ops.misc import OneHot
from irc.ops.norm import LRN, LayerNormalization
from irc.ops.pool import MaxPool
from irc.ops.quantize import QuantizeLinear
from irc.ops.reduce import ReduceMean, ReduceSum
from irc.ops.shape import Reshape, Tile, Transpose
from irc.ops.softmax import LogSoftmax, Softmax
from irc.ops.unary import Neg, Sqrt
from irc.text import parse_graph
from irc.types import Array, TensorType, Type, tensor, type_of_array

TOLERANCE = 32 * 2.0**-24


class Model:
    """A graph in the making, and what it is fed with."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.feeds: dict[str, Array] = {}
        self.random = np.random.default_rng(0)

    def __call__(self, op: Op, *inputs: Value | Array | None, type: Type | None = None, name: str = "") -> Value:
        """The output of a new node; arrays are constants."""
        values = [self.graph.add_constant(v) if isinstance(v, np.ndarray) else v for v in inputs]
        return self.graph.insert(op, values, types=None if type is None else [type], name=name).output

    def given(self, array: Array, name: str = "x") -> Value:
        """A new input of the graph, and its array."""
        value = self.graph.add_input(name, type_of_array(array))
        self.feeds[value.name] = array
        return value

    def floats(self, *shape: int) -> Array:
        return self.random.standard_normal(shape).astype(np.float32)

    def codes(self, *shape: int) -> Array:
        return self.random.integers(0, 256, shape).astype(np.uint8)

    def weights(self, *shape: int) -> Array:
        return self.random.integers(-127, 128, shape).astype(np.int8)

    def factors(self, channels: int, terms: int) -> tuple[Array, Array]:
        """Scale and bias that spread sums of so many terms over the codes."""
        scale = self.random.uniform(0.5, 1.0, channels) * 80 / (148 * 74 * terms**0.5)
        return scale.astype(np.float32), self.random.uniform(80, 160, channels).astype(np.float32)


def program_of(model: Model) -> Program:
    return lower(legalize(model.graph, TARGETS["c:portable"]))


def check(model: Model, *outputs: Value, legal: bool = True) -> Program:
    """Compare what the C code gives, with and without AVX2, with what the graph gives.

    legal : whether the graph must first be legalized, which inference may refuse
    """
    for value in outputs:
        model.graph.add_output(value, f"y{len(model.graph.outputs)}")
    program = program_of(model) if legal else lower(model.graph)
    isas = [isa for isa in (PORTABLE, AVX2) if isa in host_isas()]
    made = Sources("case", program, isas, "x86-64")
    library = build_library(made.files, made.objects, find_compiler("x86-64"), "-O1")
    want = Executable(model.graph).run_numpy(model.feeds)
    assert [p.name for p in program.outputs] == list(want)
    for isa in isas:
        runner = Runner(library, "case", len(program.inputs), program.output_types, threads=2, isa=isa.name)
        for _ in range(2):  # what the first run leaves in the arena must do no harm
            got = runner([np.ascontiguousarray(model.feeds[p.name]) for p in program.inputs])
            for array, wanted in zip(got, want.values(), strict=True):
                assert array.shape == wanted.shape
                bound = TOLERANCE * np.abs(wanted).max(initial=0) if wanted.dtype.kind == "f" else 0
                np.testing.assert_allclose(array, wanted, rtol=0, atol=bound)
    return program


def refused(model: Model, value: Value, match: str) -> None:
    """The graph that gives out the value is refused, and the text says why."""
    model.graph.add_output(value)
    with pytest.raises(BackendError, match=match):
        program_of(model)


def whole(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


# ---- borders


def qconv(
    model: Model,
    x: Value,
    channels: tuple[int, int],
    residual: Value | None = None,
    type: Type | None = None,
    **options: Any,
) -> Value:
    """A 3x3 QConv padded by 1."""
    inner, outer = channels
    w = model.weights(outer, inner // options.get("group", 1), 3, 3)
    op = replace(QConv(pads=(1, 1, 1, 1), zero_point=77), **options)
    return model(op, x, w, *model.factors(outer, w[0].size), residual, type=type)


def test_a_crop_has_no_border() -> None:
    """What lies around a crop are the cells that were cut off, not padding."""
    model = Model()
    x = qconv(model, model.given(model.codes(1, 4, 10, 10)), (4, 8))
    crop = model(Slice(), x, whole(1, 1), whole(-1, -1), whole(2, 3))
    y = qconv(model, crop, (8, 8))
    f = model(Relu(), model(Conv(), model.given(model.floats(1, 3, 9, 9), "f"), model.floats(5, 3, 1, 1)))
    part = model(Slice(), f, whole(1, 1), whole(-1, -1), whole(2, 3))
    z = model(Conv(pads=(1, 1, 1, 1)), part, model.floats(6, 5, 3, 3))
    check(model, y, z)


@pytest.mark.parametrize(("axis", "size"), [(2, (2, 4)), (3, (4, 2))])
def test_a_part_of_a_concat_has_no_border(axis: int, size: tuple[int, int]) -> None:
    """The other parts lie beside it; together they are as large as its border would be."""
    model = Model()
    names = ["a", "x", "b"]
    parts = [qconv(model, model.given(model.codes(1, 4, *size), name), (4, 8)) for name in names]
    joined = model(Concat(axis=axis), *parts)
    check(model, qconv(model, parts[1], (8, 8)), model(MaxPool(kernel_shape=(1, 1)), joined))


def test_channels_beside_others_are_not_adjacent() -> None:
    """Along an axis on which a part has one element, the memory of a Concat may go before its channels."""
    model = Model()
    wide, x = model.given(model.codes(1, 8, 1, 5), "wide"), model.given(model.codes(1, 4, 1, 1))
    part = model(QMatMul(), wide, model.weights(5, 3), *model.factors(3, 5))
    check(model, model(Neg(), model(Cast(to=6), model(Concat(axis=3), part, qconv(model, x, (4, 8))))))


def test_readers_with_and_without_padding_share_a_value() -> None:
    model = Model()
    x = qconv(model, model.given(model.codes(1, 4, 7, 9)), (4, 16))
    wide = qconv(model, x, (16, 8), pads=(2, 2, 2, 2), dilations=(2, 2))
    other = qconv(model, x, (16, 8), zero_point=0)
    check(model, qconv(model, x, (16, 16), x), wide, other, qconv(model, x, (16, 16), group=16, pads=(0, 0, 0, 0)))


@pytest.mark.parametrize("pads", [(-1, -1, -1, -1), (-1, 0, 1, -2), (2, -1, -2, 1)])
def test_negative_pads_of_a_convolution_cut_off(pads: tuple[int, ...]) -> None:
    model = Model()
    x = qconv(model, model.given(model.codes(1, 4, 11, 12)), (4, 8))
    size = 9 + pads[0] + pads[2], 10 + pads[1] + pads[3]
    y = qconv(model, x, (8, 8), type=tensor("u8", 1, 8, *size), pads=pads)
    check(model, y, legal=False)


@pytest.mark.parametrize("group", [1, 8])
def test_a_residual_of_the_caller_is_not_read_past_its_end(group: int) -> None:
    """A kernel reads whole registers: it may do so in the arena alone."""
    model = Model()
    r = model.given(model.codes(1, 8, 5, 5), "r")
    moved = model.given(model.codes(1, 5, 5, 8), "moved")
    x = model.given(model.codes(1, 8, 5, 5))
    ys = [qconv(model, x, (8, 8), each, group=group) for each in (r, model(Transpose((0, 3, 1, 2)), moved))]
    program = check(model, *ys)
    for step in program.steps:
        if step.call.function in ("irc_conv_u8", "irc_depthwise_u8"):
            assert {b.place.value for b in step.reads} == {"arena"}


# ---- memory


def test_two_writers_in_place_of_one_buffer() -> None:
    """Both parts of a Concat could be written over what they are computed from, but only one may be."""
    model = Model()
    x = model.given(model.floats(3, 16))
    u, v = (model(MatMul(), x, model.floats(16, 16)) for _ in range(2))
    left = model(Relu(), model(Slice(), v, whole(0), whole(8), whole(1)))
    right = model(Sigmoid(), model(Slice(), u, whole(8), whole(16), whole(1)))
    check(model, model(Neg(), model(Concat(axis=1), left, right)))


def test_branches_that_give_out_outer_values() -> None:
    text = """graph main(opset = 21) {
      input %c: bool[]
      input %x: f32[3, 16]
      %a: f32[3, 16] = Exp(%x) @"a"
      %b: f32[3, 16] = MatMul(%x, %w) @"b"
      weight %w: f32[16, 16] = splat(0.25)
      %y: f32[3, 16], %z: f32[3, 16] = If:21(%c) {then_branch = "then" {
        return %a, %b
      }, else_branch = "else" {
        %n: f32[3, 16] = Sigmoid(%a) @"n"
        return %b, %n
      }} @"if"
      %r: f32[3, 16] = Sub(%y, %z) @"r"
      %s: f32[3, 16] = Mul(%r, %b) @"s"
      return %s
    }
    """
    lines = text.splitlines()
    weight = next(line for line in lines if "weight" in line)
    lines.remove(weight)
    lines.insert(1, weight)
    for condition in (True, False):
        model = Model()
        model.graph = parse_graph("\n".join(lines))
        model.feeds = {"c": np.array(condition), "x": model.floats(3, 16)}
        check(model)


# ---- products


@pytest.mark.parametrize("shape", [(5, 7), (3, 5, 7), (5, 5, 7)])
@pytest.mark.parametrize("order", [1, -1])
def test_a_product_with_a_vector_and_a_constant_behind_it(shape: tuple[int, ...], order: int) -> None:
    """The constant has a number a row of the product, which here has no columns."""
    model = Model()
    x, w = model.given(model.floats(*shape)), model.given(model.floats(7), "w")
    pair: list[Value | Array] = [model(MatMul(), x, w), model.floats(5)]
    vector = model(MatMul(), x, model.floats(7))
    check(model, model(Add(), *pair[::order]), model(Add(), vector, model.floats(5)))


def test_a_vector_times_a_matrix_and_a_constant() -> None:
    model = Model()
    x, y = model.given(model.floats(7)), model.given(model.floats(3, 7, 5), "y")
    check(model, model(Add(), model(MatMul(), x, model.floats(7, 5)), model.floats(5)),
          model(Add(), model(MatMul(), x, y), model.floats(5)),
          model(Add(), model(MatMul(), x, model.floats(7)), np.array(2, np.float32)))  # fmt: skip


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_quantized_products_side_by_side(axis: int) -> None:
    """In the memory of the Concat their rows are no one line."""
    model = Model()
    shapes = [[2, 4, 8], [2, 4, 8]]
    shapes[1][axis] = 3 if axis != 2 else 8
    parts = []
    for name, shape in zip("ab", shapes, strict=True):
        w = model.weights(8, 6)
        parts.append(model(QMatMul(), model.given(model.codes(*shape), name), w, *model.factors(6, 8)))
    check(model, model(Concat(axis=axis), *parts))


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_quantized_products_of_data_side_by_side(axis: int) -> None:
    model = Model()
    shape = [2, 3, 4, 5]
    parts = []
    for name in "ab":
        a, b = (model.given(model.codes(*s), name + i) for i, s in (("0", (2, 3, 4, 8)), ("1", (2, 3, 8, shape[3]))))
        parts.append(model(QBatchMatMul(128, 128, 0.002, 117.0), a, b))
    check(model, model(Concat(axis=axis), *parts))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_quantized_norms_side_by_side(axis: int) -> None:
    model = Model()
    parts = []
    for name, size in (("a", 4), ("b", 3)):
        shape = [2, 4, 8]
        shape[axis] = size
        x = model(LayerNormalization(axis=1), model.given(model.floats(*shape), name), model.floats(*shape[1:]))
        parts.append(model(QuantizeLinear(), x, np.array(0.02, np.float32), np.array(120, np.uint8)))
    last = [model(LayerNormalization(), model.given(model.floats(2, n, 8), f"l{n}"), model.floats(8)) for n in (4, 3)]
    check(model, model(Concat(axis=axis), *parts), model(Concat(axis=1), *last))


# ---- outputs


def test_outputs_have_the_names_of_the_graph() -> None:
    model = Model()
    y = model(Sqrt(), model.given(np.abs(model.floats(3, 4))))
    z = model(Neg(), y)
    check(model, y, z, y)


def test_an_input_given_out_twice() -> None:
    model = Model()
    x = model.given(model.floats(3, 4))
    check(model, x, model(Neg(), x), x)


# ---- rows


ROWS: list[tuple[str, Callable[[Model, Value], Value]]] = [
    ("Softmax", lambda m, x: m(Softmax(axis=1), x)),
    ("LogSoftmax", lambda m, x: m(LogSoftmax(), x)),
    ("LayerNormalization", lambda m, x: m(LayerNormalization(), x, np.ones(6))),
    ("ReduceMean", lambda m, x: m(ReduceMean(), x, whole(2))),
    ("LRN", lambda m, x: m(LRN(size=3), x)),
]


@pytest.mark.parametrize(("name", "made"), ROWS)
def test_rows_of_float64_are_refused(name: str, made: Callable[[Model, Value], Value]) -> None:
    model = Model()
    x = model.given(model.floats(2, 3, 6).astype(np.float64))
    refused(model, made(model, x), f"{name} '.*f64")


def test_rows_of_many_strides() -> None:
    model = Model()
    x = model.given(model.floats(2, 3, 4, 5, 6))
    turned = model(Transpose((0, 3, 2, 1, 4)), x)
    zero = np.array(9, np.uint8)
    outs = [
        model(Softmax(), turned),
        model(LogSoftmax(), turned),
        model(LayerNormalization(), turned, model.floats(6)),
        model(QuantizeLinear(), model(Softmax(), turned), np.array(1 / 255, np.float32), zero),
        model(Softmax(axis=2), turned),
    ]
    back = model(Transpose((0, 3, 2, 1, 4)), model(Softmax(), x))
    check(model, *outs, model(Reshape(), back, whole(2, -1)))


def test_codes_of_a_softmax_that_are_signed() -> None:
    model = Model()
    x = model.given(model.floats(3, 16))
    scale = np.array(1 / 255, np.float32)
    signed = model(QuantizeLinear(output_dtype=3), model(Softmax(), x), scale)
    point = model.given(np.array(30, np.uint8), "point")
    computed = model(
        QuantizeLinear(), model(LayerNormalization(), x, model.floats(16)), np.array(0.02, np.float32), point
    )
    usual = model(QuantizeLinear(), model(Softmax(), x), scale)
    check(model, signed, computed, usual)


# ---- what must be constant


def computed(model: Model, *numbers: int) -> Value:
    """The numbers as an input of the graph."""
    return model.given(whole(*numbers), f"given{len(model.graph.inputs)}")


def f32(*shape: int) -> TensorType:
    return tensor("f32", *shape)


COMPUTED: list[tuple[str, Callable[[Model, Value], Value]]] = [
    ("starts", lambda m, x: m(Slice(), x, computed(m, 1), whole(3), type=f32(2, 6), name="node")),
    ("ends", lambda m, x: m(Slice(), x, whole(1), computed(m, 3), type=f32(2, 6), name="node")),
    ("axes", lambda m, x: m(Slice(), x, whole(1), whole(3), computed(m, 1), type=f32(4, 2), name="node")),
    ("steps", lambda m, x: m(Slice(), x, whole(0), whole(3), whole(1), computed(m, 1), type=f32(4, 3), name="node")),
    ("pads", lambda m, x: m(Pad(), x, computed(m, 1, 0, 0, 0), type=f32(5, 6), name="node")),
    ("axes", lambda m, x: m(Pad(), x, whole(1, 0), None, computed(m, 0), type=f32(5, 6), name="node")),
    ("repeats", lambda m, x: m(Tile(), x, computed(m, 2, 1), type=f32(8, 6), name="node")),
    ("axes", lambda m, x: m(ReduceSum(), x, computed(m, 1), type=f32(4, 1), name="node")),
    ("axes", lambda m, x: m(ReduceMean(), x, computed(m, 0), type=f32(1, 6), name="node")),
]


@pytest.mark.parametrize(("what", "made"), COMPUTED)
def test_what_must_be_constant_is_refused_by_name(what: str, made: Callable[[Model, Value], Value]) -> None:
    model = Model()
    value = made(model, model.given(model.floats(4, 6)))
    refused(model, value, f"'node'.* {what}.* constant")


def test_a_pad_with_a_computed_number() -> None:
    model = Model()
    x, number = model.given(model.floats(4, 6)), model.given(np.array(3.5, np.float32), "number")
    vector = model.given(np.array([-2.5], np.float32), "vector")
    check(model, model(Pad(), x, whole(1, 0, 2, 3), number), model(Pad(), model(Neg(), x), whole(0, 1, 0, 2), vector))


def test_an_unknown_mode_of_a_pad_is_refused() -> None:
    model = Model()
    x = model.given(model.floats(4, 6))
    refused(model, model(Pad(mode="mirror"), x, whole(1, 0, 0, 0), type=f32(5, 6), name="node"), "'node'.*mirror")


# ---- sizes


def test_a_tile_is_one_step() -> None:
    model = Model()
    x = model.given(model.floats(2, 3, 4))
    program = check(model, model(Tile(), x, whole(1, 3000, 1)), model(Tile(), model(Neg(), x), whole(2, 3, 2)),
                    model(Tile(), x, whole(2, 0, 1)))  # fmt: skip
    assert len(program.steps) <= 4


def test_a_long_chain_of_elementwise_ops() -> None:
    model = Model()
    x = model.given(model.floats(3, 5))
    for _ in range(2000):
        x = model(Neg(), model(Sigmoid(), x))
    model.graph.add_output(x)
    assert 1 < len(program_of(model).steps) < 200


def test_a_sum_of_very_many() -> None:
    model = Model()
    terms = [model.given(np.full(3, i % 7, np.float32), f"x{i}") for i in range(1500)]
    model.graph.add_output(model(Sum(), *terms))
    assert 1 < len(program_of(model).steps) < 100


def test_one_hot_of_a_scalar() -> None:
    model = Model()
    index = model.given(np.array(2, np.int64))
    hot = model(OneHot(), index, np.array(4, np.int64), np.array([0, 1], np.float32), type=tensor("f32", 4))
    check(model, hot, model(Neg(), hot))

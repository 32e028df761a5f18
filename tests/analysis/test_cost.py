"""Costs are those that one counts by hand: parameters, bytes, multiply-accumulates and the activations alive."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irc.analysis.cost import Cost, cost, layers, stored_bytes
from irc.analysis.liveness import peak_memory
from irc.graph import Graph
from irc.ops.onnx_op import OnnxOp
from irc.text import parse_graph
from irc.types import tensor

CNN = """
graph main(opset = 21) {
  input %x: f32[N, 3, 8, 8]
  weight %w: f32[16, 3, 3, 3] = splat(0.5)
  weight %b: f32[16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
  weight %d: f32[16, 1, 3, 3] = splat(0.5)
  weight %shape: i64[2] = [0, -1]
  weight %fc: f32[10, 1024] = splat(0.5)
  weight %unread: f32[100] = splat(1)
  %c: f32[N, 16, 8, 8] = Conv(%x, %w, %b) {pads = [1, 1, 1, 1]}
  %r: f32[N, 16, 8, 8] = Relu(%c)
  %e: f32[N, 16, 8, 8] = Conv(%r, %d) {group = 16, pads = [1, 1, 1, 1]}
  %s: f32[N, 16, 8, 8] = Add(%e, %r)
  %f: f32[N, 1024] = Reshape(%s, %shape)
  %y: f32[N, 10] = Gemm(%f, %fc) {transB = 1}
  return %y
}
"""


def test_a_small_network_by_hand() -> None:
    parameters = 16 * 3 * 9 + 16 + 16 * 9 + 10 * 1024
    assert cost(parse_graph(CNN), packed=False) == Cost(
        nodes=6,
        parameters=parameters,
        bytes=4 * parameters + 2 * 8,
        macs=16 * 64 * 27 + 16 * 64 * 9 + 10240,
        peak_memory=3 * 4096,  # at Add: r, e and s
    )


def test_layers_sum_up_to_the_whole() -> None:
    graph = parse_graph(CNN)
    rows, whole = layers(graph, packed=False), cost(graph, packed=False)
    assert [row.name for row in rows] == ["c", "r", "e", "s", "f", "y"]
    assert [row.op for row in rows] == ["Conv", "Relu", "Conv", "Add", "Reshape", "Gemm"]
    assert rows[0].type == tensor("f32", "N", 16, 8, 8)
    assert [row.parameters for row in rows] == [448, 0, 144, 0, 0, 10240]
    assert [row.bytes for row in rows] == [1792, 0, 576, 0, 16, 40960]
    assert [row.macs for row in rows] == [27648, 0, 9216, 0, 0, 10240]
    assert sum(row.bytes for row in rows) == whole.bytes


# of splat(0.5): a code of one bit an element, all zero, and a book of one number; of w, d and b 1728, 576 and 64 bytes
# d would save 576 - 18 - 4 = 554 of 576 bytes, b nothing
PACKED_CNN = {"c": 16 * 3 * 9 // 8 + 4 + 16 * 4, "e": 16 * 9 // 8 + 4, "f": 2 * 8, "y": 10 * 1024 // 8 + 4}


def test_weights_of_one_number_take_a_bit_an_element() -> None:
    graph = parse_graph(CNN)
    assert {row.name: row.bytes for row in layers(graph) if row.bytes} == PACKED_CNN
    assert cost(graph).bytes == sum(PACKED_CNN.values())
    assert cost(graph).parameters == cost(graph, packed=False).parameters


def test_weights_of_many_numbers_take_what_they_took() -> None:
    graph = parse_graph(CNN)
    rng = np.random.default_rng(0)
    for name in ("w", "d", "fc"):
        value = graph.value(name)
        assert value.data is not None
        value.data = rng.standard_normal(value.data.shape).astype(np.float32)
    assert cost(graph) == cost(graph, packed=False)
    assert layers(graph) == layers(graph, packed=False)


@pytest.mark.parametrize(("alive", "wanted"), [(1024, 1280 + 4 * 1024), (5120, 1280 + 4 * 5120), (9216, 40960)])
def test_zeros_take_a_bit_each(alive: int, wanted: int) -> None:
    """Of 10240 elements; the last saves less than a fifth."""
    graph = parse_graph(CNN)
    data = np.zeros(10 * 1024, np.float32)
    data[::-1][:alive] = np.random.default_rng(0).standard_normal(alive) + 10
    graph.value("fc").data = data.reshape(10, 1024)
    assert layers(graph)[-1].bytes == wanted


def test_sixteen_numbers_in_float_and_quantized() -> None:
    """Codes of four bits either way, and a book of sixteen floats or of sixteen bytes."""
    text = QUANTIZED.replace("QMIN", "-128").replace("QMAX", "127").replace("[8, 4, 1, 1]", "[8, 4, 9, 9]")
    graph = parse_graph(text)
    size = 8 * 4 * 81
    graph.value("w").data = (np.arange(size, dtype=np.float32) % 16).reshape(8, 4, 9, 9)
    assert stored_bytes(graph.value("w")) == size // 2 + 16
    assert stored_bytes(graph.value("w"), packed=False) == size
    graph.add_output(graph.value("w"), "raw")
    assert stored_bytes(graph.value("w")) == size // 2 + 16 * 4
    assert stored_bytes(graph.value("w"), packed=False) == 4 * size


def test_codes_of_less_than_a_byte_are_not_encoded_again() -> None:
    graph = parse_graph(QUANTIZED.replace("QMIN", "-8").replace("QMAX", "7").replace("[8, 4, 1, 1]", "[8, 4, 9, 9]"))
    size = 8 * 4 * 81
    graph.value("w").data = (np.arange(size, dtype=np.float32) % 2).reshape(8, 4, 9, 9)
    assert stored_bytes(graph.value("w")) == stored_bytes(graph.value("w"), packed=False) == size // 2


def test_a_shared_weight_counts_once() -> None:
    graph = parse_graph(CNN)
    whole = cost(graph, packed=False)
    graph.node("e").set_input(2, graph.value("b"))
    again = cost(graph, packed=False)
    assert (again.parameters, again.bytes) == (whole.parameters, whole.bytes)
    assert [row.parameters for row in layers(graph)] == [448, 0, 144, 0, 0, 10240]


QUANTIZED = """
graph main(opset = 21) {
  input %x: f32[1, 4, 8, 8]
  weight %w: f32[8, 4, 1, 1] = splat(0.5)
  weight %ws: f32[8] = [1, 1, 1, 1, 1, 1, 1, 1]
  weight %s: f32[] = 0.5
  weight %z: u8[] = 3
  %xq: f32[1, 4, 8, 8] = irc.FakeQuant(%x, %s, %z) {qmin = 0, qmax = 255}
  %wq: f32[8, 4, 1, 1] = irc.FakeQuant(%w, %ws) {axis = 0, qmin = QMIN, qmax = QMAX}
  %c: f32[1, 8, 8, 8] = Conv(%xq, %wq)
  %r: f32[1, 8, 8, 8] = Relu(%c)
  %rq: f32[1, 8, 8, 8] = irc.FakeQuant(%r, %s, %z) {qmin = 0, qmax = 255}
  %p: f32[1, 8, 4, 4] = MaxPool(%rq) {kernel_shape = [2, 2], strides = [2, 2]}
  %pq: f32[1, 8, 4, 4] = irc.FakeQuant(%p, %s, %z) {qmin = 0, qmax = 255}
  return %pq
}
"""


@pytest.mark.parametrize(
    ("qmin", "qmax", "weight_bytes"), [(-128, 127, 32), (-127, 127, 32), (-8, 7, 16), (-2, 1, 8), (-32768, 32767, 64)]
)
def test_a_fake_quantized_weight_takes_the_bytes_of_its_codes(qmin: int, qmax: int, weight_bytes: int) -> None:
    graph = parse_graph(QUANTIZED.replace("QMIN", str(qmin)).replace("QMAX", str(qmax)))
    assert cost(graph).parameters == 32
    assert cost(graph).bytes == weight_bytes + 8 * 4 + 4 + 1
    conv = next(row for row in layers(graph) if row.name == "c")
    assert (conv.parameters, conv.bytes) == (32, weight_bytes + 8 * 4)


def test_a_weight_that_is_read_in_float_too_keeps_its_bytes() -> None:
    graph = parse_graph(QUANTIZED.replace("QMIN", "-128").replace("QMAX", "127"))
    before = cost(graph).bytes
    graph.add_output(graph.value("w"), "raw")
    assert cost(graph).bytes == before + 32 * 3


def test_quantized_activations_take_the_bits_of_their_codes() -> None:
    graph = parse_graph(QUANTIZED.replace("QMIN", "-128").replace("QMAX", "127"))
    # the float input, then (its codes, 256, with) the codes of the convolution, 512: rounding and Relu take none
    assert peak_memory(graph) == 4 * 256
    graph.node("c").set_input(0, graph.value("x"))
    graph.remove(graph.node("xq"))
    assert peak_memory(graph) == 4 * 256 + 512
    graph.add_output(graph.value("r"), "raw")  # now the float values are needed
    assert peak_memory(graph) == 2 * 4 * 512


QDQ = """
graph main(opset = 21) {
  input %x: u8[1, 4, 8, 8]
  weight %w: i8[8, 4, 1, 1] = splat(3)
  weight %p: i4[3] = [1, 2, 3]
  weight %s: f32[] = 0.5
  weight %z: u8[] = 3
  %xf: f32[1, 4, 8, 8] = DequantizeLinear(%x, %s, %z)
  %wf: f32[8, 4, 1, 1] = DequantizeLinear(%w, %s)
  %pf: f32[3] = DequantizeLinear(%p, %s)
  %c: f32[1, 8, 8, 8] = Conv(%xf, %wf)
  return %c, %pf
}
"""


def test_stored_integers_are_parameters_where_they_are_dequantized() -> None:
    found = cost(parse_graph(QDQ))
    assert found.parameters == 32 + 3
    assert found.bytes == 32 + 2 + 4 + 1


BODIES = """
graph main(opset = 21) {
  input %x: f32[1, 64]
  input %c: bool[]
  weight %n: i64[] = 5
  weight %big: f32[64, 64] = splat(1)
  weight %small: f32[64, 1] = splat(1)
  %i: f32[*] = If:21(%c) {then_branch = {
    %t: f32[1, 64] = MatMul(%x, %big)
    %u: f32[1, 64] = Relu(%t)
    return %u
  }, else_branch = {
    %e: f32[1, 1] = MatMul(%x, %small)
    return %e
  }}
  %l: f32[1, 64] = Loop:21(%n, _, %x) {body = {
    input %k: i64[]
    input %go: bool[]
    input %carried: f32[1, 64]
    %m: f32[1, 64] = MatMul(%carried, %big)
    return %go, %m
  }}
  return %i, %l
}
"""


def test_an_if_costs_its_costlier_branch_and_a_loop_one_turn() -> None:
    found = cost(parse_graph(BODIES))
    assert found.macs == 64 * 64 + 64 * 64
    assert found.nodes == 6
    assert found.parameters == 64 * 64 + 64
    # at the Loop: i (of unknown shape: one element), x, l, and in the body go, carried and m; nothing reads k
    assert found.peak_memory == 4 + 256 + 256 + (1 + 256 + 256)
    assert [row.macs for row in layers(parse_graph(BODIES))] == [0, 64 * 64, 0, 64, 0, 64 * 64]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_peak_memory_is_the_largest_sum_of_overlapping_lives(data: st.DataObject) -> None:
    graph = Graph()
    values = [graph.add_input(f"x{k}", tensor("f32", data.draw(st.integers(1, 50)))) for k in range(2)]
    for _ in range(data.draw(st.integers(1, 12))):
        read = data.draw(st.lists(st.sampled_from(values), max_size=3))
        made = tensor(data.draw(st.sampled_from(["f32", "i8", "f16"])), data.draw(st.integers(1, 50)))
        values.append(graph.insert(OnnxOp("x", "Any", 1), read, types=[made]).output)
    for value in data.draw(st.lists(st.sampled_from(values), min_size=1, max_size=2)):
        graph.add_output(value)
    order = {node: step for step, node in enumerate(graph, 1)}
    sums = np.zeros(len(order) + 1)
    for value in values:
        born = order[value.producer] if value.producer is not None else 0
        died = max([born, *(order[node] for node in value.users)])
        type = value.tensor_type
        assert type is not None
        sums[born : len(order) + 1 if value.is_output else died + 1] += type.bytes()
    assert peak_memory(graph) == sums.max()

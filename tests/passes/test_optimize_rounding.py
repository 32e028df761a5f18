"""Optimized rounding leaves less error in what layers give out than nearest rounding, and keeps to the codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import irc.passes.optimize_rounding as module
from irc.analysis.gptq import round_rows
from irc.backends.registry import find_target
from irc.errors import OptionError
from irc.execution import Executable
from irc.graph import Graph
from irc.ops import Conv, Flatten, Gemm, GlobalAveragePool, Relu
from irc.ops.fake_quant import FakeQuant
from irc.passes import Calibrate, CorrectBias, InsertFakeQuant, OptimizeRounding, Quantize
from irc.passes.context import Context, plain_context
from irc.types import Array, tensor


def correlated(random: np.random.Generator, inner: int, count: int) -> torch.Tensor:
    """Patches whose inputs go together and have a mean, as activations do; shape (1, inner, count)."""
    mix = random.standard_normal((inner, max(inner // 4, 1)))
    x = mix @ random.standard_normal((mix.shape[1], count)) + 0.1 * random.standard_normal((inner, count))
    return torch.from_numpy(np.maximum(x, 0))[None]


@pytest.mark.parametrize("inner", [1, 2, 7, 64, 65, 200])
def test_less_output_error_than_nearest(inner: int) -> None:
    random = np.random.default_rng(inner)
    rows, x = torch.from_numpy(random.standard_normal((1, 5, inner))), correlated(random, inner, 500)
    scale = rows.abs().amax(2, keepdim=True) / 7  # 4 bits, so that rounding matters
    codes = round_rows(rows, x @ x.mT / 500, scale, -7, 7, damping=0.01)
    nearest = torch.round(rows / scale).clamp(-7, 7)

    def error(chosen: torch.Tensor) -> float:
        return float((((chosen * scale - rows) @ x) ** 2).mean())

    assert torch.equal(codes, codes.round())
    assert codes.abs().max() <= 7
    if inner >= 7:
        assert error(codes) < 0.5 * error(nearest)
    else:
        assert error(codes) <= 1.001 * error(nearest)  # the damping may cost a little where there is nothing to gain


def test_uncorrelated_inputs_are_rounded_to_nearest() -> None:
    rows = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 10)))
    scale = rows.abs().amax(2, keepdim=True) / 127
    codes = round_rows(rows, torch.eye(10).expand(2, 10, 10), scale, -127, 127, damping=0.01)
    assert torch.equal(codes, torch.round(rows / scale))


def test_pairs_never_sum_to_more_than_128() -> None:
    random = np.random.default_rng(3)
    rows = torch.from_numpy(np.abs(random.standard_normal((1, 4, 31))) + 1)  # all of one sign and large: pairs would
    x = correlated(random, 31, 300)
    scale = rows.abs().amax(2, keepdim=True) / 127
    free = round_rows(rows, x @ x.mT, scale, -127, 127, damping=0.01)
    kept = round_rows(rows, x @ x.mT, scale, -127, 127, damping=0.01, together=torch.arange(31) // 2)
    assert (free[:, :, 0:30:2] + free[:, :, 1:31:2]).max() > 128
    assert (kept[:, :, 0:30:2] + kept[:, :, 1:31:2]).max() <= 128


def test_moments_that_are_not_finite_are_refused() -> None:
    moment = torch.full((1, 2, 2), np.nan)
    with pytest.raises(ValueError, match="not finite"):
        round_rows(torch.ones(1, 1, 2), moment, torch.ones(1, 1, 1), -7, 7, damping=0.01)


def net() -> Graph:
    random = np.random.default_rng(0)

    def weight(*shape: int) -> Array:
        scaled: Array = random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        return scaled.astype(np.float32)

    graph = Graph()
    value = graph.add_input("x", tensor("f32", "N", 3, 12, 12))
    for index, (op, shape) in enumerate(
        [
            (Conv(pads=(1, 1, 1, 1)), (16, 3, 3, 3)),
            (Conv(pads=(1, 1, 1, 1), group=16), (16, 1, 3, 3)),
            (Conv(), (24, 16, 1, 1)),
        ]
    ):
        bias = graph.add_constant(weight(shape[0], 1)[:, 0], f"b{index}")
        weights = [graph.add_constant(weight(*shape), f"w{index}"), bias]
        value = graph.insert(Relu(), [graph.insert(op, [value, *weights], name=f"conv{index}").output]).output
    graph.add_output(value, "features")
    value = graph.insert(Flatten(), [graph.insert(GlobalAveragePool(), [value]).output]).output
    value = graph.insert(Gemm(transB=1), [value, graph.add_constant(weight(10, 24), "head")], name="head").output
    graph.add_output(value, "y")
    return graph


def samples(count: int = 8) -> list[Array]:
    random = np.random.default_rng(1)
    return [random.standard_normal((1, 3, 12, 12)).cumsum(axis=2).astype(np.float32) for _ in range(count)]


def prepared(bits: int | None = None) -> tuple[Graph, Context]:
    graph = net()
    context = plain_context(graph, calibration=samples(), target=find_target("onnx"))
    InsertFakeQuant(weight_bits=bits).run(graph, context)
    Calibrate().run(graph, context)
    return graph, context


def error(graph: Graph) -> float:
    run, wanted = Executable(graph), Executable(net())
    outputs = [(run.run_numpy({"x": x})["features"], wanted.run_numpy({"x": x})["features"]) for x in samples()]
    return float(np.mean([(a - b) ** 2 for a, b in outputs]))


def test_beats_bias_correction_alone() -> None:
    nearest, context = prepared(bits=4)
    CorrectBias().run(nearest, context)
    rounded, context = prepared(bits=4)
    OptimizeRounding().run(rounded, context)
    assert not context.row.declined
    assert error(rounded) < 0.8 * error(nearest)  # through three layers; activations, 8 bits, lose the same in both


def test_weights_lie_on_the_grid_and_keep_their_names() -> None:
    graph, context = prepared()
    OptimizeRounding().run(graph, context)
    fakes = [n for n in graph if isinstance(n.op, FakeQuant) and n.constant(0) is not None]
    assert [n.inputs[0].name for n in fakes if n.inputs[0] is not None] == ["w0", "w1", "w2", "head"]
    for fake in fakes:
        weight, scale = fake.constant(0), fake.constant(1)
        assert weight is not None
        assert scale is not None
        codes = weight / scale.reshape(-1, *[1] * (weight.ndim - 1))
        np.testing.assert_allclose(codes, np.rint(codes), atol=1e-4)  # float32 of code * scale
        assert np.abs(codes).max() <= 127.001


def test_nothing_is_left_for_correct_bias() -> None:
    graph, context = prepared()
    OptimizeRounding().run(graph, context)
    version = graph.version
    CorrectBias().run(graph, context)
    assert graph.version == version


def test_several_streams_give_the_same_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    once, context = prepared()
    OptimizeRounding().run(once, context)
    often, context = prepared()
    monkeypatch.setattr(module, "_BUDGET", 1)
    OptimizeRounding().run(often, context)
    for name in ("w0", "w1", "w2", "head", "b0"):
        np.testing.assert_array_equal(once.value(name).data, often.value(name).data)


def test_a_shared_weight_is_left_alone() -> None:
    graph = net()
    first = graph.node("conv2")
    again = graph.insert(Conv(), list(first.inputs), after=first, name="again")
    graph.add_output(again.output, "z")
    context = plain_context(graph, calibration=samples(), target=find_target("onnx"))
    Quantize().run(graph, context)
    assert again.name in {n.name for n in graph}
    assert error_free(graph)


def error_free(graph: Graph) -> bool:
    """Whether the graph still runs and gives finite numbers."""
    return all(bool(np.isfinite(v).all()) for v in Executable(graph).run_numpy({"x": samples(1)[0]}).values())


def test_damping_must_be_positive() -> None:
    graph, context = prepared()
    with pytest.raises(OptionError, match="damping"):
        OptimizeRounding(damping=0.0).run(graph, context)


def structured(weight: Array) -> tuple[Graph, Context, Array]:
    """A Gemm with that weight, its context for onnx, and the correlated samples that calibrate, shape (64, K)."""
    graph = Graph()
    graph.add_input("x", tensor("f32", "N", weight.shape[1]))
    gemm = graph.insert(Gemm(transB=1), [graph.inputs[0], graph.add_constant(weight, "w")])
    graph.add_output(gemm.output, "y")
    rows = correlated(np.random.default_rng(1), weight.shape[1], 64)[0].T.float().numpy()
    calibration = [{"x": row[None]} for row in rows]
    return graph, plain_context(graph, calibration=calibration, target=find_target("onnx")), rows


def rounded_weight(graph: Graph) -> tuple[Array, Array]:
    """The weight constant and the scales, shape (N, 1), of the Gemm's FakeQuant."""
    (gemm,) = [node for node in graph if node.op.name == "Gemm"]
    fake = gemm.input(1)
    assert fake is not None
    assert fake.producer is not None
    weight, scale = fake.producer.constant(0), fake.producer.constant(1)
    assert weight is not None
    assert scale is not None
    return weight, scale.reshape(-1, 1)


@pytest.mark.parametrize("keep", [True, False])
def test_zeros_of_a_pruned_weight_stay(keep: bool) -> None:
    random = np.random.default_rng(0)
    weight = random.standard_normal((16, 64)).astype(np.float32)
    zeros = random.random(weight.shape) < 0.5
    weight[zeros] = 0
    graph, context, rows = structured(weight)
    Quantize(weight_bits=4, keep_structure=keep).run(graph, context)
    made, scale = rounded_weight(graph)
    assert (made[zeros] == 0).all() == keep
    nearest = np.round(weight / scale) * scale
    assert not np.allclose(made[~zeros], nearest[~zeros])  # the others make up for what is lost

    def error(chosen: Array) -> float:
        return float(np.square(rows @ (chosen - weight).T).mean())

    assert error(made) < 0.7 * error(nearest.astype(np.float32))


@pytest.mark.parametrize("keep", [True, False])
def test_equal_elements_of_a_clustered_weight_get_equal_codes(keep: bool) -> None:
    random = np.random.default_rng(0)
    weight = random.choice(random.standard_normal(8), (16, 64)).astype(np.float32)
    graph, context, _ = structured(weight)
    Quantize(keep_structure=keep).run(graph, context)
    made, scale = rounded_weight(graph)
    codes = np.round(made / scale)
    most = max(np.unique(row).size for row in codes)
    assert (most <= 8) == keep
    declined = [site.reason for site in context.row.declined]
    assert any("clustered" in reason for reason in declined) == keep

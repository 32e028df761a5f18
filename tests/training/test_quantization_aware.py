"""`insert-fake-quant, calibrate, fine-tune` learns weights and scales for few bits; the result exports as before."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import irc.api
from irc.analysis.saturation import largest_sums
from irc.backends.registry import find_target
from irc.execution import Executable
from irc.execution.training.weights import trained_weights
from irc.graph import Graph
from irc.ops.fake_quant import FakeQuant
from irc.passes import Calibrate, FineTune, FoldBatchNorm, InsertFakeQuant
from irc.passes.base import Pass
from irc.passes.context import Context
from irc.passes.scale_limits import scale_against_saturation
from irc.target import Target
from irc.text import parse_graph
from irc.types import Array
from irc.verify import verify
from tests.training.nets import accuracy, constants, graph_of, network, pairs

ITEMS = pairs(128)


def quantized(*more: Pass, bits: int = 8, target: str = "onnx", **calibrate: Any) -> tuple[Graph, Target]:
    graph, goal = graph_of(network()), find_target(target)
    from irc.execution.samples import Samples

    context = Context(goal, graph.copy(), calibration=Samples([x for x, _ in ITEMS[:16]], graph))
    for each in (FoldBatchNorm(), InsertFakeQuant(weight_bits=bits), Calibrate(**calibrate), *more):
        each.run(graph, context)
    verify(graph)
    return graph, goal


def scales(graph: Graph) -> dict[str, Array]:
    return {n.name: s for n in graph if isinstance(n.op, FakeQuant) and (s := n.constant(1)) is not None}


def test_weights_and_scales_move_zero_points_do_not() -> None:
    before, _ = quantized(bits=4)
    after, _ = quantized(FineTune(data=ITEMS, epochs=3, batch=16), bits=4)
    old, new = scales(before), scales(after)
    assert old.keys() == new.keys()
    assert all((new[name] != old[name]).any() for name in old)
    assert all((array > 0).all() for array in new.values())
    for a, b in zip(before, after, strict=True):
        assert a.op == b.op
        if isinstance(a.op, FakeQuant):
            assert np.array_equal(a.constant(2), b.constant(2))  # type: ignore[arg-type]  # both are there


def test_single_numbers_of_arithmetic_stay_as_they_are_when_quantized() -> None:
    graph = parse_graph(
        """\
graph main(opset = 21) {
  input %x: f32[N, 4]
  weight %half: f32[1] = splat(0.5)
  weight %w: f32[4, 5] = splat(0.1)
  weight %s: f32[] = 0.01
  weight %t: f32[] = 0.01
  weight %z: i8[] = 0
  %q: f32[1] = irc.FakeQuant(%half, %s, %z)
  %v: f32[4, 5] = irc.FakeQuant(%w, %t, %z)
  %m: f32[N, 4] = Mul(%x, %q)
  %y: f32[N, 5] = MatMul(%m, %v)
  return %y
}
"""
    )
    assert [v.name for v in trained_weights(Executable(graph, trainable=True), (), (), "test", {})] == ["w", "t"]


def test_scales_stay_positive_whatever_the_learning_rate() -> None:
    def shrink(outputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        return (outputs["output"] ** 2).sum() * 100

    graph, _ = quantized(FineTune(data=ITEMS, loss=(shrink,), batch=16, lr=1.0, clip=1.0), bits=4)
    assert all((array > 0).all() for array in scales(graph).values())


def test_a_batch_in_parts_teaches_the_steps_what_the_whole_batch_does(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = quantized(FineTune(data=ITEMS, batch=16), bits=4)

    monkeypatch.setattr("irc.passes.training.can_stack", lambda runs, items: False)
    parts, _ = quantized(FineTune(data=ITEMS, batch=16), bits=4)
    for name, array in constants(whole).items():
        np.testing.assert_allclose(constants(parts)[name], array, atol=2e-5, err_msg=name)


def test_weights_still_do_not_saturate_in_16_bits() -> None:
    graph, goal = quantized(FineTune(data=ITEMS, epochs=8, batch=16, lr=0.1))
    free, _ = quantized(Calibrate(), FineTune(data=ITEMS, epochs=8, batch=16, lr=0.1), vnni=True)

    def worst(made: Graph) -> float:
        found = []
        for node in made:
            if node.op.quant.weight is None or node.op.name != "Conv":
                continue
            weight = node.inputs[1]
            assert weight is not None
            assert weight.producer is not None
            data, scale = weight.producer.constant(0), weight.producer.constant(1)
            assert data is not None
            assert scale is not None
            found.append(float((scale_against_saturation(node, data, goal.policy) / scale).max()))
            assert largest_sums(node, data, 2, by_rows=False).max() > 0
        return max(found)

    assert worst(graph) <= 1 + 1e-5
    assert worst(free) > 1.05, "else training alone would keep to it"


@pytest.mark.parametrize("target", ["onnx", "onnx:tensorrt"])
def test_the_file_fuses_as_without_training(target: str, tmp_path: Path) -> None:
    def compiled(*more: Pass) -> Any:
        passes = [FoldBatchNorm(), InsertFakeQuant(), Calibrate(), *more]
        return irc.api.compile(
            graph_of(network()), passes, calibration=[x for x, _ in ITEMS[:16]], target=target, check="numerics"
        )

    plain, tuned = compiled(), compiled(FineTune(data=ITEMS, batch=16, lr=0.05))
    assert [n.op for n in tuned.graph] == [n.op for n in plain.graph]
    if target == "onnx":
        assert str(tuned.fusion) == str(plain.fusion)
    path = tmp_path / "tuned.onnx"
    tuned.save(path)
    again = irc.api.open(path)
    score = accuracy(ITEMS)
    assert score(again) == pytest.approx(score(tuned), abs=0.02)


@pytest.mark.slow
def test_few_bits_of_mnist_cnn_come_back() -> None:
    sys.path.insert(0, "examples")
    from openset import mnist_cnn

    (images, labels), _ = mnist_cnn.digits()
    data = [(images[i : i + 1], int(labels[i])) for i in range(2000)]

    def top1(run: Any) -> float:
        return mnist_cnn.evaluate(lambda inputs: [run(inputs["x"])])["top1"]

    small = irc.api.compile(
        mnist_cnn.trained(),
        [
            FoldBatchNorm(),
            InsertFakeQuant(weight_bits=2),
            Calibrate(weights="mean"),
            FineTune(data=data, epochs=2, lr=0.002),
        ],
        example_inputs=(torch.zeros(1, 1, 28, 28),),
        calibration=[image for image, _ in data[:64]],
        evaluate=top1,
    )
    float32, *_, before, after = (row.metric for row in small.report.rows)
    assert float32 is not None
    assert before is not None
    assert after is not None
    assert before < 0.6, "two bits without training"
    assert after > float32 - 0.03

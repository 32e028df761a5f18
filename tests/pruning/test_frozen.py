"""Channels stay whole where something else depends on how many or which there are: places, sizes, codes, operands."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from irc.graph import Value
from irc.ops.activation import PRelu, Relu, Sigmoid
from irc.ops.binary import Add, Mul
from irc.ops.cast import Cast
from irc.ops.conv import Conv
from irc.ops.index import Gather, GatherElements, Pad, Slice
from irc.ops.linear import Gemm, MatMul
from irc.ops.norm import BatchNormalization, InstanceNormalization, LayerNormalization
from irc.ops.quantize import DequantizeLinear, QuantizeLinear
from irc.ops.reduce import ReduceMean, ReduceSum
from irc.ops.resize import Resize
from irc.ops.shape import Expand, Reshape, Tile
from irc.passes import PruneChannels
from irc.passes.context import Context, plain_context
from irc.types import tensor
from irc.verify import verify
from tests.pruning.random_graphs import Builder
from tests.pruning.removal import Traced, check_equal, draw, run, traced

INT64 = 7  # ONNX's number


def numbers(b: Builder, *wanted: int) -> Value:
    """Whole numbers that are computed from channels, one from each: here always `wanted`."""
    h = b.op(Conv(), b.graph.inputs[0], b.weight(len(wanted), 3, 1, 1))
    mean = b.op(ReduceMean(keepdims=0), h, b.ints(0, 2, 3))
    none = b.op(Mul(), mean, b.graph.add_constant(np.zeros(1, np.float32)))
    half = b.graph.add_constant(np.array(wanted, np.float32) + 0.5)
    return b.op(Cast(INT64), b.op(Add(), none, half))


def pruned(b: Builder) -> tuple[Traced, Context]:
    """The channels of the graph as it was, and what the pass had to say; the graph is still one that runs."""
    model = traced(b.graph)
    for seed in range(2):
        units = draw(model.channels, seed)
        if units:
            check_equal(model, units)
    left = b.graph.copy()
    context = plain_context(left)
    PruneChannels(ratio=0.5).run(left, context)
    verify(left)
    assert {k: v.shape for k, v in run(left, model.inputs).items()} == {
        k: v.shape for k, v in run(b.graph, model.inputs).items()
    }
    return model, context


def names(model: Traced) -> list[str]:
    return [group.name for group in model.channels.groups]


def declined(context: Context, op: str) -> list[str]:
    """Why channels of nodes of an op stay."""
    said = [each.reason for each in context.row.declined if each.op == op]
    assert all(each.startswith("its channels stay: ") for each in said)
    return [each.removeprefix("its channels stay: ") for each in said]


def images(b: Builder) -> Value:
    """Four dimensions of 8 channels that can go."""
    b.conv(b.graph.inputs[0], 8, 3)
    return b.op(Relu(), b.open[-1])


def _head(b: Builder, x: Value) -> None:
    b.graph.add_output(b.op(Conv(), x, b.weight(2, 8, 1, 1)), "y")


MOVED: dict[str, Callable[[Builder, Value], Value]] = {
    "Gather": lambda b, x: b.op(Gather(axis=2), x, numbers(b, 1, 3, 0)),
    "GatherElements": lambda b, x: b.op(
        GatherElements(axis=2), x, b.op(Reshape(), numbers(b, *range(5)), b.ints(1, 1, 5, 1))
    ),
    "Slice": lambda b, x: b.op(Slice(), x, numbers(b, 1, 2), b.ints(4, 4), b.ints(2, 3)),
    "Reshape": lambda b, x: b.op(Reshape(), x, numbers(b, 2, 8, 9, 4)),
    "Expand": lambda b, x: b.op(
        Expand(), b.op(ReduceMean(), x, b.ints(2, 3)), numbers(b, 1, 1, 3, 3)
    ),
    "Tile": lambda b, x: b.op(Tile(), x, numbers(b, 1, 1, 2, 3)),
    "Pad": lambda b, x: b.op(Pad(), x, numbers(b, 0, 0, 1, 1, 0, 0, 1, 1)),
    "Resize": lambda b, x: b.op(Resize(), x, None, None, numbers(b, 2, 8, 9, 9)),
    "ReduceSum": lambda b, x: b.op(ReduceSum(), x, numbers(b, 2, 3)),
}  # fmt: skip
PARAMETERS: dict[str, Callable[[Builder, Value], Value]] = {
    "BatchNormalization": lambda b, x: b.op(BatchNormalization(), x, *(floats(b, 8) for _ in range(4))),
    "InstanceNormalization": lambda b, x: b.op(InstanceNormalization(), x, floats(b, 8), b.weight(8)),
    "LayerNormalization": lambda b, x: b.op(
        LayerNormalization(axis=1), x, b.op(Reshape(), floats(b, 8), b.ints(8, 1, 1))
    ),
    "QuantizeLinear": lambda b, x: b.op(
        DequantizeLinear(), b.op(QuantizeLinear(), x, scale := floats(b, 8)), scale
    ),
    "PRelu": lambda b, x: b.op(PRelu(), x, b.op(Reshape(), floats(b, 8), b.ints(8, 1, 1))),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVED)
@pytest.mark.parametrize("labelled", [False, True], ids=["of the input", "of channels"])
def test_channels_that_say_where_stay(name: str, labelled: bool) -> None:
    """Places, sizes and axes that are computed from channels: as many as there were, whatever they are of."""
    b = Builder()
    x = images(b) if labelled else b.graph.add_input("z", tensor("f32", 2, 8, 6, 6))
    made = MOVED[name](b, x)
    if name == "GatherElements":
        b.graph.add_output(made, "y")
    else:
        _head(b, made)
    model, _ = pruned(b)
    stated = next(node for node in b.graph if isinstance(node.op, Cast)).output
    held = model.channels.labels.get(stated)
    assert held is None or not held.any()


def floats(b: Builder, count: int) -> Value:
    """Positive numbers that are computed from as many channels."""
    h = b.op(Conv(), b.graph.inputs[0], b.weight(count, 3, 1, 1))
    return b.op(Sigmoid(), b.op(ReduceMean(keepdims=0), h, b.ints(0, 2, 3)))


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("labelled", [False, True], ids=["of the input", "of channels"])
def test_parameters_that_are_computed_stay(name: str, labelled: bool) -> None:
    """Scales from channels of their own, of an input or of other channels, are as many as those."""
    b = Builder()
    x = images(b) if labelled else b.graph.add_input("z", tensor("f32", 2, 8, 6, 6))
    _head(b, PARAMETERS[name](b, x))
    pruned(b)


def test_what_is_added_to_a_product_without_channels_stays() -> None:
    """Gemm of two inputs: its third operand has channels, which the product has not."""
    b = Builder()
    left, right = (b.graph.add_input(name, tensor("f32", *shape)) for name, shape in (("l", (2, 4)), ("r", (4, 8))))
    pooled = b.op(ReduceMean(keepdims=0), images(b), b.ints(2, 3))
    b.graph.add_output(b.op(Gemm(), b.op(Relu(), b.op(Gemm(), left, right, pooled)), b.weight(8, 3)), "y")
    model, context = pruned(b)
    assert names(model) == []
    assert declined(context, "Gemm") == ["it is added to a product without channels"]


@pytest.mark.parametrize("block", [0, 2])
def test_a_weight_with_scales_of_blocks_is_none_that_is_pruned(block: int) -> None:
    """One scale a channel goes with it; a scale for each block of input channels does not let them go."""
    b = Builder()
    x = b.graph.add_input("tokens", tensor("f32", 2, 5, 8))
    h = b.op(Relu(), b.linear(x, 6))
    codes = b.graph.add_constant(b.random.integers(-127, 127, (6, 4), np.int8, endpoint=True), "codes")
    scale = b.graph.add_constant(b.random.uniform(0.01, 0.02, (3, 4) if block else 4).astype(np.float32), "scale")
    weight = b.op(DequantizeLinear(axis=0 if block else 1, block_size=block), codes, scale)
    b.graph.add_output(b.linear(b.op(Relu(), b.op(MatMul(), h, weight)), 3), "y")
    model, context = pruned(b)
    assert names(model) == ([] if block else ["MatMul", "MatMul_1"])
    said = f"it multiplies them with '{weight.name}', which is not pruned"
    assert declined(context, "MatMul") == ([said] if block else [])


def test_what_meets_an_input_stays_and_is_declined() -> None:
    """An operand that has no channels to lose."""
    b = Builder()
    x = images(b)
    _head(b, b.op(Add(), x, b.graph.add_input("z", tensor("f32", 2, 8, 6, 6))))
    model, context = pruned(b)
    assert names(model) == []
    assert declined(context, "Add") == ["it combines them with 'z', which is not pruned"]


@pytest.mark.parametrize("of_channels", [False, True])
def test_a_bias_that_is_computed_keeps_its_channels(of_channels: bool) -> None:
    b = Builder()
    x = images(b)
    bias = floats(b, 8) if of_channels else b.graph.add_input("bias", tensor("f32", 8))
    _head(b, b.op(Relu(), b.op(Conv(), x, b.weight(8, 8, 1, 1, fan=8), bias)))
    model, context = pruned(b)
    assert names(model) == ["Conv"]  # whose channels the convolution with that bias reads
    assert declined(context, "Conv") == ["its bias is computed", *["it is a bias that is computed"] * of_channels]

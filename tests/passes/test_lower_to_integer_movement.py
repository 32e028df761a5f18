"""Every op that moves or selects elements does so on codes, and the numbers stay what they were to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from irc import ops
from irc.execution import Executable
from irc.graph import Graph
from irc.op import Example, QuantKind
from irc.ops.index import Concat
from irc.ops.quantize import DequantizeLinear, QuantizeLinear
from irc.passes import LowerToInteger
from irc.passes.context import Context, plain_context
from irc.passes.integer_rules import INTEGER_POLICY
from irc.target import Target
from irc.types import Array, DType, TensorType, type_of_array
from irc.verify import verify

SCALE, ZERO_POINT = np.array(0.03, np.float32), np.array(101, np.uint8)
EXAMPLES = [
    pytest.param(example, id=f"{cls.__name__}-{k}")
    for cls in ops.TYPED
    for k, example in enumerate(cls.examples())
    if example.op.quant.kind is QuantKind.MOVEMENT
    and example.inputs[0] is not None
    and example.inputs[0].dtype == np.float32
    and example.op.name != "Dropout"
]


def moved(example: Example, count: int = 1) -> Graph:
    """Q and DQ in front of the op's data, its other inputs constants."""
    graph = Graph()
    scale, zero_point = graph.add_constant(SCALE, "scale"), graph.add_constant(ZERO_POINT, "zero_point")
    reads = []
    for index, array in enumerate(example.inputs):
        if array is None or index >= count:
            reads.append(None if array is None else graph.add_constant(array, f"c{index}"))
            continue
        x = graph.add_input(f"x{index}", type_of_array(array))
        codes = graph.insert(QuantizeLinear(), [x, scale, zero_point]).output
        reads.append(graph.insert(DequantizeLinear(), [codes, scale, zero_point]).output)
    node = graph.insert(example.op, reads, name="moved", outputs=example.outputs)
    for value in node.outputs:
        graph.add_output(value)
    return graph


def lower(graph: Graph) -> Context:
    context = plain_context(graph, target=Target("integer", "c", "", INTEGER_POLICY))
    LowerToInteger().run(graph, context)
    verify(graph)
    return context


def same(graph: Graph, lowered: Graph, example: Example) -> None:
    inputs = {v.name: example.inputs[k] for k, v in enumerate(graph.inputs)}
    for (name, made), wanted in zip(
        Executable(lowered).run_numpy(inputs).items(), Executable(graph).run_numpy(inputs).values(), strict=True
    ):
        assert name in graph.output_names
        assert made.dtype == wanted.dtype
        np.testing.assert_array_equal(made, wanted)


def refused(example: Example) -> bool:
    """Whether the example computes: interpolates, or pads with what is on no grid."""
    if example.op.name == "Resize":
        crop = getattr(example.op, "coordinate_transformation_mode", "") == "tf_crop_and_resize"
        return crop or getattr(example.op, "mode", "nearest") != "nearest"
    value: Array | None = example.inputs[2] if example.op.name == "Pad" and len(example.inputs) > 2 else None
    return value is not None and getattr(example.op, "mode", "constant") == "constant" and bool(value.any())


@pytest.mark.parametrize("example", EXAMPLES)
def test_movement(example: Example) -> None:
    graph = moved(example)
    lowered = graph.copy()
    context = lower(lowered)
    same(graph, lowered, example)
    source = lowered.node("moved").inputs[0]
    assert source is not None
    on_codes = isinstance(source.type, TensorType) and source.type.dtype is DType.U8
    assert on_codes is not refused(example)
    assert bool(context.row.declined) is refused(example)


@pytest.mark.parametrize("example", [pytest.param(e, id=str(k)) for k, e in enumerate(Concat.examples())])
def test_concat_of_one_scale(example: Example) -> None:
    graph = moved(example, len(example.inputs))
    lowered = graph.copy()
    lower(lowered)
    same(graph, lowered, example)
    assert [n.op.name for n in lowered][-2:] == ["Concat", "DequantizeLinear"]


def test_a_resize_that_crops_puts_a_float_around_its_input() -> None:
    op = ops.Resize(coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=1.5)
    x, roi = np.linspace(-1, 1, 4, dtype=np.float32), np.array([-0.5, 1.5], np.float32)
    example = Example(op, (x, roi, None, np.array([8], np.int64)))
    graph = moved(example)
    lowered = graph.copy()
    context = lower(lowered)
    same(graph, lowered, example)
    (site,) = context.row.declined
    assert site.reason == "outside of its input it puts a float, which is no code"


def test_every_movement_is_tried() -> None:
    tried = {parameter.values[0].op.name for parameter in EXAMPLES}  # type: ignore[union-attr]
    assert tried >= {"Reshape", "Transpose", "Slice", "Split", "Pad", "MaxPool", "GlobalMaxPool", "Gather", "Resize"}
    assert len(EXAMPLES) > 60


def test_movement_of_a_constant_is_a_constant() -> None:
    graph = Graph()
    scale, x = graph.add_constant(SCALE, "scale"), graph.add_input("x", TensorType(DType.F32, (4, 3)))
    held = graph.add_constant(np.arange(12, dtype=np.uint8).reshape(3, 4), "held")
    real = graph.insert(DequantizeLinear(), [held, scale]).output
    turned = graph.insert(ops.Transpose((1, 0)), [real], name="turned").output
    graph.add_output(graph.insert(ops.Add(), [turned, x]).output, "y")
    before = graph.copy()
    lower(graph)
    assert [n.op.name for n in graph] == ["DequantizeLinear", "Add"]
    inputs = {"x": np.ones((4, 3), np.float32)}
    np.testing.assert_array_equal(
        Executable(graph).run_numpy(inputs)["y"], Executable(before).run_numpy(inputs)["y"]
    )

"""A sequence of parts that is only taken apart becomes a Split; any other use of it leaves it as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest

from irc.frontends.onnx import read_onnx
from irc.graph import Graph
from irc.ops.index import Split
from irc.passes.context import plain_context
from irc.passes.simplify import Simplify

Transform = Callable[..., Any]  # the fixture of conftest.py, which compares the outputs before and after

node = onnx.helper.make_node


def model(
    nodes: Sequence[onnx.NodeProto],
    outputs: Sequence[str],
    *,
    split: int | list[int] | None = 2,
    positions: Sequence[int] = (0, 1, 2),
    axis: int = 1,
    size: int | str = 6,
    sequence: bool = False,
    keepdims: int = 1,
) -> Graph:
    """A graph that splits x, f32[4, size], into `parts` along an axis, with constants p0, p1, … for the positions.

    sequence : whether the outputs are sequences
    """
    value = onnx.helper.make_tensor_value_info
    constants = [onnx.numpy_helper.from_array(np.array(p, np.int64), f"p{k}") for k, p in enumerate(positions)]
    if split is not None:
        constants.append(onnx.numpy_helper.from_array(np.array(split, np.int64), "split"))
    inputs = ["x"] if split is None else ["x", "split"]
    made = [node("SplitToSequence", inputs, ["parts"], name="parts", axis=axis, keepdims=keepdims), *nodes]
    info = (
        [onnx.helper.make_tensor_sequence_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs]
        if sequence
        else [value(name, onnx.TensorProto.FLOAT, None) for name in outputs]
    )
    given = [value("x", onnx.TensorProto.FLOAT, [4, size]), value("k", onnx.TensorProto.INT64, [])]
    graph = onnx.helper.make_graph(made, "main", given, info, constants)
    return read_onnx(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10))


def taken(*positions: int) -> list[onnx.NodeProto]:
    """Nodes that take the elements at the positions p0, p1, … and give y0, y1, …"""
    return [node("SequenceAt", ["parts", f"p{k}"], [f"y{k}"]) for k in range(len(positions))]


def names(positions: Sequence[int]) -> list[str]:
    return [f"y{k}" for k in range(len(positions))]


def sizes(graph: Graph) -> list[int]:
    """Of the parts of the one Split of the graph."""
    (split,) = [each for each in graph if isinstance(each.op, Split)]
    stated = split.constant(1)
    assert stated is not None
    assert len(stated) == len(split.outputs)
    return [int(n) for n in stated]


SPLIT = [
    ({"split": 2}, (0, 1, 2), [2, 2, 2]),
    ({"split": 4}, (0, 1), [4, 2]),  # the last part is what is left
    ({"split": [1, 3, 2]}, (2, 0, 1), [1, 3, 2]),
    ({"split": [1, 3, 2]}, (1,), [1, 3, 2]),  # the others are read by nothing
    ({"split": [1, 3, 2]}, (-1, -3, 1, -1), [1, 3, 2]),  # from the end, and twice
    ({"split": 3, "axis": -1}, (1, 0), [3, 3]),
    ({"split": 3, "axis": 0}, (1, 0), [3, 1]),
    ({"split": 1, "axis": 0}, (3, 0), [1, 1, 1, 1]),
    ({"split": [1, 5], "size": "n"}, (0, 1), [1, 5]),  # sizes that are stated need no other
    ({"split": 2, "keepdims": 1}, (0, 2), [2, 2, 2]),
    *[({"split": [1, 1, 4], "keepdims": k}, (0, 2), [1, 1, 4]) for k in (0, 1)],  # with sizes it is ignored
]


@pytest.mark.parametrize(("options", "positions", "wanted"), SPLIT, ids=str)
def test_parts_are_outputs(transform: Transform, options: Any, positions: tuple[int, ...], wanted: list[int]) -> None:
    sample = {"x": np.arange(24, dtype=np.float32).reshape(4, 6)} if "size" in options else {}
    made = transform(Simplify(), model(taken(*positions), names(positions), positions=positions, **options), **sample)
    assert not [each for each in made.graph if "Sequence" in each.op.name]
    assert sizes(made.graph) == wanted


@pytest.mark.parametrize("split", [6, 9, [6]])
def test_a_single_part_is_the_whole(transform: Transform, split: int | list[int]) -> None:
    assert transform(Simplify(), model(taken(-1), ["y0"], split=split, positions=(-1,))).ops() == []


def test_a_size_without_keepdims_stays(transform: Transform) -> None:
    """By ONNX the axis stays, in onnxruntime it goes."""
    made = transform(Simplify(), model(taken(0), ["y0"], split=1, keepdims=0))
    assert made.ops() == ["SplitToSequence", "SequenceAt"]


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axis", [0, 1])
def test_parts_of_one_element_stay(transform: Transform, keepdims: int, axis: int) -> None:
    """Without sizes `keepdims` says whether parts have the axis; irc leaves them alone."""
    made = transform(
        Simplify(), model(taken(0, -1), names((0, -1)), split=None, positions=(0, -1), axis=axis, keepdims=keepdims)
    )
    assert made.ops() == ["SplitToSequence", "SequenceAt", "SequenceAt"]


OTHERWISE: dict[str, tuple[list[onnx.NodeProto], list[str]]] = {
    "its length": (
        [*taken(0), node("SequenceLength", ["parts"], ["n"]), node("Cast", ["n"], ["c"], to=1)], ["y0", "c"]
    ),
    "put together again": ([*taken(0), node("ConcatFromSequence", ["parts"], ["all"], axis=1)], ["y0", "all"]),
    "another sequence": (
        [node("SequenceErase", ["parts", "p0"], ["rest"]), node("SequenceAt", ["rest", "p0"], ["y"])], ["y"]
    ),
    "a position that is an input": ([node("SequenceAt", ["parts", "k"], ["y"])], ["y"]),
}  # fmt: skip


@pytest.mark.parametrize("use", OTHERWISE)
def test_a_sequence_that_is_used_otherwise_stays(transform: Transform, use: str) -> None:
    nodes, outputs = OTHERWISE[use]
    made = transform(Simplify(), model(nodes, outputs), k=np.array(1))
    assert "SplitToSequence" in made.ops()
    assert "Split" not in made.ops()


def test_a_sequence_that_is_an_output_stays() -> None:
    graph = model([], ["parts"], sequence=True)
    before = [each.op.name for each in graph]
    Simplify().run(graph, plain_context(graph))
    assert [each.op.name for each in graph] == before == ["SplitToSequence"]


def test_sizes_that_are_not_known_stay(transform: Transform) -> None:
    """How many parts of two there are depends on the run."""
    made = transform(Simplify(), model(taken(0), ["y0"], size="n"), x=np.ones((4, 6), np.float32))
    assert made.ops() == ["SplitToSequence", "SequenceAt"]


@pytest.mark.parametrize("position", [3, -4])
def test_a_position_that_there_is_not_stays(position: int) -> None:
    """It is the model's error, and stays one."""
    graph = model(taken(position), ["y0"], positions=(position,))
    Simplify().run(graph, plain_context(graph))
    assert [each.op.name for each in graph] == ["SplitToSequence", "SequenceAt"]

"""`cast-float` among other passes: stored weights stay stored, in files that are compiled again too, and train."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

import irc
from irc.analysis.cost import cost
from irc.analysis.error import relative_error
from irc.backends.c.lower import legalize
from irc.backends.registry import find_target
from irc.errors import OptionError
from irc.execution import Executable
from irc.graph import Graph
from irc.ops.linear import MatMul
from irc.passes import CastFloat, Distill
from irc.text import parse_graph
from irc.types import DType, tensor
from tests.passes.cast_float_nets import CHAIN, WEIGHTS, cast, floats, layers


@pytest.mark.parametrize("to", ["float16", "bfloat16", "float8"])
def test_stored_weights_stay_stored(to: str, tmp_path: Path) -> None:
    """Whoever compiles the file again gets one of the same size; widen=true gives float32 back."""
    small = irc.compile(layers(), [CastFloat(to, compute=False)])
    small.save(tmp_path / "small.onnx")
    again = irc.compile(str(tmp_path / "small.onnx"), irc.api.DEFAULT_PASSES)
    assert cost(again.graph).bytes == cost(small.graph).bytes
    assert {site.reason.split()[-1] for site in again.report.ledger.declined("fold-constants")} == {"type"}
    wide = irc.compile(str(tmp_path / "small.onnx"), "fold-constants{widen=true}")
    rows = ["Gather"] if to == "float8" else ["Gather", "Cast"]  # whose rows become float32, not the table
    assert [node.op.name for node in wide.graph] == [*rows, "MatMul", "Conv"]
    sample = {"i": np.array([[3, 1, 7]]), "x": floats(1, 16, 6, 6)}
    for name, array in Executable(small.graph).run_numpy(sample).items():
        assert np.array_equal(array, Executable(wide.graph).run_numpy(sample)[name])


def test_stored_weights_may_be_computed_in() -> None:
    """Of the Cast from float16 that read a weight nothing is left."""
    stored, _ = cast(layers(), CastFloat("float16", compute=False))
    made, _ = cast(stored)
    at_once, _ = cast(layers())
    assert [n.op.name for n in made] == [n.op.name for n in at_once]


def test_the_c_backend_takes_stored_weights() -> None:
    graph = Graph()
    x, w = graph.add_input("x", tensor("f32", 2, 16)), graph.add_constant(floats(16, 24), "w")
    graph.add_output(graph.insert(MatMul(), [x, w], name="m").output, "y")
    stored, _ = cast(graph, CastFloat("bfloat16"))
    made = legalize(stored, find_target("c:portable"))
    assert "Cast" not in {node.op.name for node in made}
    assert {c.tensor_type.dtype for c in made.constants if c.tensor_type} == {DType.F32}


def test_training_behind_it_is_refused() -> None:
    with pytest.raises(OptionError, match="'cast-float' must stand after 'distill'"):
        irc.compile(layers(), "cast-float{to=float16}, distill")


def test_a_float32_teacher_of_a_float16_model() -> None:
    """The teacher takes the student's float16 samples as the float32 that it computes in."""
    teacher = parse_graph(dedent(CHAIN), WEIGHTS)
    student, _ = cast(teacher, CastFloat("float16", io=True))
    data = [floats(2, 8).astype(np.float16) for _ in range(4)]
    made = irc.compile(student, [Distill(teacher=teacher, epochs=1)], calibration=data)
    x = floats(2, 8)
    wanted, got = (Executable(graph).run_numpy({"x": x})["y"] for graph in (teacher, made.graph))
    assert relative_error(wanted, got.astype(np.float32)) < 0.1  # it was near before, and one epoch moves little

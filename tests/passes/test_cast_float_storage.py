"""`cast-float` that only stores: weights rounded as numpy rounds, a scale a channel for float8, the rest float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from irc.analysis.error import relative_error
from irc.backends.registry import find_target
from irc.execution import Executable
from irc.graph import Graph
from irc.ops.linear import MatMul
from irc.passes import CastFloat
from irc.passes.context import Context
from irc.types import tensor
from irc.verify import verify
from tests.passes.cast_float_nets import cast, declined, floats, layers, run_onnx


@pytest.mark.parametrize(("to", "dtype"), [("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)])
def test_stored_weights_are_rounded_as_numpy_rounds(to: str, dtype: Any, tmp_path: Path) -> None:
    graph = layers()
    made, context = cast(graph, CastFloat(to, compute=False))
    assert context.row.notes == [f"3 weights are stored as {to}; everything computes in float32"]
    rounded = graph.copy()
    for name in ("table", "conv", "w"):
        value = rounded.value(name)
        assert value.data is not None
        value.data = value.data.astype(dtype).astype(np.float32)
        assert made.value(name).data.dtype == dtype  # type: ignore[union-attr]  # a constant
    assert [n.name for n in made if n.op.name == "Cast"] == ["rows.float32", "w.float32", "conv.float32"]
    sample = {"i": np.array([[3, 1, 7]]), "x": floats(1, 16, 6, 6)}
    wanted, got = (Executable(g).run_numpy(sample) for g in (rounded, made))
    for name, array, other in zip(wanted, wanted.values(), run_onnx(made, tmp_path, **sample), strict=True):
        assert np.array_equal(array, got[name])
        assert relative_error(array, other) < 1e-5  # sums in another order


@pytest.mark.parametrize("target", ["onnx", "onnx:tensorrt"])
@pytest.mark.parametrize(
    ("to", "dtype", "most"), [("float8", ml_dtypes.float8_e4m3fn, 448), ("float8e5m2", ml_dtypes.float8_e5m2, 57344)]
)
def test_float8_has_a_scale_for_each_channel(to: str, dtype: Any, most: float, target: str, tmp_path: Path) -> None:
    graph = layers()
    made = graph.copy()
    CastFloat(to).run(made, Context(find_target(target), graph))
    verify(made)
    read = ["Cast", "Mul"] if target == "onnx" else ["DequantizeLinear"]
    assert [n.op.name for n in made] == [*read, "Gather", *read, "MatMul", *read, "Conv"]
    rounded = graph.copy()
    for name, axis in (("table", 0), ("conv", 0), ("w", 1)):
        value, stored = rounded.value(name), made.value(name).data
        assert value.data is not None
        assert stored is not None
        assert stored.dtype == dtype
        others = tuple(k for k in range(stored.ndim) if k != axis)
        scale = (np.abs(value.data).max(others, keepdims=True).astype(np.float64) / most).astype(np.float32)
        assert np.abs(stored.astype(np.float32)).max(others).min() == most
        value.data = (value.data / scale).astype(dtype).astype(np.float32) * scale
    sample = {"i": np.array([[3, 1, 7]]), "x": floats(1, 16, 6, 6)}
    wanted, got = (Executable(g).run_numpy(sample) for g in (rounded, made))
    for name, array, other in zip(wanted, wanted.values(), run_onnx(made, tmp_path, **sample), strict=True):
        assert relative_error(array, got[name]) < 1e-6
        assert relative_error(array, other) < 1e-5


def test_a_shared_weight_is_stored_once() -> None:
    graph = Graph()
    x, w = graph.add_input("x", tensor("f32", 16, 16)), graph.add_constant(floats(16, 16), "w")
    for name in ("one", "two"):
        graph.add_output(graph.insert(MatMul(), [x, w], name=name).output, name)
    made, _ = cast(graph, CastFloat("float8"))
    assert [n.op.name for n in made] == ["DequantizeLinear", "MatMul", "MatMul"]


def test_weights_that_stay() -> None:
    graph = layers()
    value = graph.value("w")
    value.data = np.full((16, 24), np.nan, np.float32)
    _, context = cast(graph, CastFloat("float8", keep=("conv",)))
    assert declined(context) == {"m": "'w' holds NaN or infinity", "c": "'conv' is in keep"}

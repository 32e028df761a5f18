"""LSTM and GRU have the bits of their reference, compiled in any way, and the reference is onnxruntime's function."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from irc.backends.c.reference import recurrent
from irc.backends.c.reference.arithmetic import same_bits
from irc.backends.c.reference.native import Native
from irc.backends.c.reference.variants import VARIANTS, built
from irc.types import Array

GUARD = 7.0
drawn = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
few = st.integers(1, 3)
seeds = st.integers(0, 2**32 - 1)
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy, for states that grow without bound


@pytest.fixture(scope="module", params=VARIANTS)
def native(request: pytest.FixtureRequest) -> Native:
    if missing := VARIANTS[request.param].missing:
        pytest.skip(f"needs {missing}")
    return built(request.param)


def floats(rng: np.random.Generator, *shape: int) -> Array:
    return rng.normal(0, 1, shape).astype(np.float32)


@st.composite
def recurrences(draw: Any) -> dict[str, Any]:
    lstm, directions = draw(st.booleans()), draw(st.integers(1, 2))
    plain = draw(st.booleans())
    kinds = [draw(st.integers(0, 10)) for _ in range(3 * directions)]
    return {
        "lstm": lstm, "directions": directions, "reverse": directions == 1 and draw(st.booleans()),
        "steps": draw(st.integers(1, 4)), "batch": draw(few), "inputs": draw(st.integers(1, 6)),
        "hidden": draw(st.sampled_from([1, 3, 8, 17])), "bias": draw(st.booleans()), "lengths": draw(st.booleans()),
        "states": draw(st.booleans()), "peephole": lstm and draw(st.booleans()), "clip": 0.5 * draw(st.booleans()),
        "linear_before_reset": draw(st.booleans()), "input_forget": draw(st.booleans()),
        "activations": [0, 1, 1] * directions if plain else kinds,
    }  # fmt: skip


def recurrent_arrays(d: dict[str, Any], rng: np.random.Generator) -> dict[str, Array | None]:
    """The inputs of the ONNX op, None for one that is left out."""
    gates, n, each, b = 4 if d["lstm"] else 3, d["hidden"], d["directions"], d["batch"]
    state = (each, b, n)
    of_lstm: dict[str, Array | None] = {
        "c": floats(rng, *state) if d["states"] else None,
        "p": floats(rng, each, 3 * n) if d["peephole"] else None,
    }
    return {
        "x": floats(rng, d["steps"], b, d["inputs"]),
        "w": floats(rng, each, gates * n, d["inputs"]),
        "r": floats(rng, each, gates * n, n),
        "b": floats(rng, each, 2 * gates * n) if d["bias"] else None,
        "lengths": rng.integers(1, d["steps"] + 1, b).astype(np.int32) if d["lengths"] else None,
        "h": floats(rng, *state) if d["states"] else None,
    } | (of_lstm if d["lstm"] else {})


def alpha_beta(kind: int) -> tuple[float, float]:
    """Numbers for every activation that takes some."""
    return (0.3 if kind in (3, 4, 6, 7, 8) else 0.25 if kind == 5 else 0.0), (0.6 if kind in (3, 6, 7) else 0.0)


def reference_run(d: dict[str, Any], v: dict[str, Array | None]) -> tuple[Array, Array, Array]:
    per = 3 if d["lstm"] else 2
    cells = []
    for i in range(d["directions"]):
        w, r = v["w"], v["r"]
        assert w is not None
        assert r is not None
        kinds = [d["activations"][3 * i + k] for k in range(per)]
        b, p = v["b"], v.get("p")
        cells.append(
            recurrent.Cell(
                w[i], r[i], None if b is None else b[i], [(k, *alpha_beta(k)) for k in kinds], d["clip"],
                None if p is None else p[i], d["input_forget"], d["linear_before_reset"],
            )
        )  # fmt: skip
    x, zero = v["x"], np.zeros((d["directions"], d["batch"], d["hidden"]), np.float32)
    assert x is not None
    h = v["h"] if v["h"] is not None else zero
    c = (v["c"] if v["c"] is not None else zero) if d["lstm"] else None
    return recurrent.run(cells, d["reverse"], x, v["lengths"], h, c)


def native_run(native: Native, d: dict[str, Any], v: dict[str, Array | None], threads: int) -> list[Array]:
    each, b, n, t = d["directions"], d["batch"], d["hidden"], d["steps"]
    gates, per = (4, 3) if d["lstm"] else (3, 2)
    w, r = v["w"], v["r"]
    assert w is not None
    assert r is not None
    kinds = [d["activations"][3 * i + k] for i in range(each) for k in range(per)]
    p: dict[str, Any] = {"directions": each, "batch": b, "steps": t, "inputs": d["inputs"], "hidden": n}
    p["reverse"] = int(d["reverse"])
    p |= {"x_step": b * d["inputs"], "x_batch": d["inputs"], "y_step": each * b * n, "y_direction": b * n, "y_batch": n}
    p |= {"state_direction": b * n, "state_batch": n, "activation": np.array(kinds, np.int32), "clip": d["clip"]}
    p |= {"w_direction": w[0].size, "w_input": gates * n, "w_gate": 1, "r_direction": r[0].size, "r_hidden": gates * n}
    p |= {"r_gate": 1, "input_forget": int(d["input_forget"]), "linear_before_reset": int(d["linear_before_reset"])}
    p |= {name: np.array([alpha_beta(k)[i] for k in kinds], np.float32) for i, name in enumerate(("alpha", "beta"))}
    turned = [np.ascontiguousarray(a.swapaxes(1, 2)) for a in (w, r)]
    y, last = np.full((t, each, b, n), GUARD, np.float32), np.zeros((each, b, n), np.float32)
    scratch = np.zeros(6 * n if d["lstm"] else 5 * n, np.float32)
    if d["lstm"]:
        states = (v["lengths"], v["h"], v["c"], v["p"], scratch, y, last, last.copy())
        return native.threads("irc_lstm_f32", threads, p, v["x"], *turned, v["b"], *states)[-3:]
    rest = (v["b"], v["lengths"], v["h"], scratch, y, last)
    return native.threads("irc_gru_f32", threads, p, v["x"], *turned, *rest)[-2:]


NAMES = (
    "Sigmoid", "Tanh", "Relu", "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu", "Softsign",
    "Softplus",
)  # fmt: skip


def onnx_run(d: dict[str, Any], v: dict[str, Array | None]) -> list[Array]:
    """onnxruntime's results."""
    per = 3 if d["lstm"] else 2
    kinds = [d["activations"][3 * i + k] for i in range(d["directions"]) for k in range(per)]
    attributes: dict[str, Any] = {"hidden_size": d["hidden"], "activations": [NAMES[k] for k in kinds]}
    attributes["direction"] = "bidirectional" if d["directions"] == 2 else "reverse" if d["reverse"] else "forward"
    if d["clip"]:
        attributes["clip"] = d["clip"]
    if not d["lstm"]:
        attributes["linear_before_reset"] = int(d["linear_before_reset"])
    names = ["" if value is None else name for name, value in v.items()]
    outputs = ["y", "y_h", "y_c"][:per]
    node = helper.make_node("LSTM" if d["lstm"] else "GRU", names, outputs, **attributes)
    types = {np.dtype(np.float32): onnx.TensorProto.FLOAT, np.dtype(np.int32): onnx.TensorProto.INT32}
    inputs = [helper.make_tensor_value_info(k, types[a.dtype], a.shape) for k, a in v.items() if a is not None]
    results = [helper.make_tensor_value_info(o, onnx.TensorProto.FLOAT, None) for o in outputs]
    graph = helper.make_graph([node], "g", inputs, results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[Array] = session.run(None, {k: a for k, a in v.items() if a is not None})
    return found


@drawn
@given(recurrences(), few, seeds)
def test_recurrent(native: Native, d: dict[str, Any], threads: int, seed: int) -> None:
    v = recurrent_arrays(d, np.random.default_rng(seed))
    for found, wanted in zip(native_run(native, d, v, threads), reference_run(d, v), strict=False):
        same_bits(found, wanted)


@pytest.mark.parametrize("kind", range(len(NAMES)))
@pytest.mark.parametrize("lstm", [False, True])
def test_activations_keep_nan(native: Native, kind: int, lstm: bool) -> None:
    """Whatever a gate's function is, a sum that is not a number makes a state that is none."""
    d: dict[str, Any] = {
        "lstm": lstm, "directions": 1, "reverse": False, "steps": 2, "batch": 1, "inputs": 2, "hidden": 3,
        "bias": False, "lengths": False, "states": False, "peephole": False, "clip": 0.0, "linear_before_reset": False,
        "input_forget": False, "activations": [kind] * 3,
    }  # fmt: skip
    v = recurrent_arrays(d, np.random.default_rng(0))
    v["x"] = np.full_like(v["x"], np.nan)
    for found in native_run(native, d, v, 1):
        assert np.isnan(found).all(), NAMES[kind]


@settings(max_examples=40, deadline=None)
@given(recurrences(), seeds)
def test_recurrent_is_onnxruntimes(d: dict[str, Any], seed: int) -> None:
    """With the usual activations, and as far as onnxruntime follows ONNX: its input_forget is another."""
    d = d | {"activations": [0, 1, 1] * d["directions"], "input_forget": False}
    v = recurrent_arrays(d, np.random.default_rng(seed))
    for found, wanted in zip(reference_run(d, v), onnx_run(d, v), strict=False):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-5)  # its tanh and sigmoid are good to 1e-6

"""Tensors without elements have nothing to quantize, and stop nothing else from being quantized."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import irc
from irc.text import parse_graph

METHODS = ["min-max", "percentile", "entropy", "mse"]


@pytest.mark.parametrize("method", METHODS)
def test_a_sample_without_rows_counts_for_nothing(net: Any, typical: Any, method: str) -> None:
    graph = net("depthwise")
    samples = typical(graph)
    empty = {"x": np.zeros((0, 6, 9, 9), np.float32)}
    passes = f"quantize{{method={method}}}"
    with_empty = irc.compile(graph, passes, calibration=[empty, *samples, empty])
    without = irc.compile(graph, passes, calibration=samples)
    assert np.array_equal(with_empty(samples[0]), without(samples[0]))
    assert with_empty(empty).shape == (0, 5)


@pytest.mark.parametrize(("inner", "outer"), [(0, 4), (3, 0), (0, 0)])
def test_an_empty_weight_stays_float(inner: int, outer: int) -> None:
    graph = parse_graph(f"""\
graph main(opset = 21) {{
  input %x: f32[2, {inner}]
  weight %w: f32[{inner}, {outer}] = splat(1.0)
  weight %b: f32[{outer}] = splat(0.5)
  %y: f32[2, {outer}] = Gemm(%x, %w, %b) @"gemm"
  return %y
}}
""")
    x = np.ones((2, inner), np.float32)
    made = irc.compile(graph, "quantize", calibration=[x])
    (site,) = [d for row in made.report.rows for d in row.declined]
    assert (site.node, site.reason) == ("gemm", "its weight has no elements")
    assert np.array_equal(made(x), np.full((2, outer), 0.5, np.float32))

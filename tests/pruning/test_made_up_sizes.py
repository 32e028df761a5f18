"""Symbolic dimensions: the trace finds sizes with which the model runs, or takes a sample's, or says what to do."""

from __future__ import annotations

import numpy as np
import pytest

from irc.analysis.channels import trace_channels
from irc.analysis.channels.concrete import sizes_in, symbols
from irc.errors import DataError
from irc.graph import Graph
from irc.passes.context import plain_context
from irc.passes.prune_channels import PruneChannels
from irc.text import parse_graph
from irc.types import Array


def filtered(taps: int, rest: str = "%y: f32[B, 4, U] = Conv(%r, %v)") -> Graph:
    """Two convolutions over a signal, the first of so many taps: shorter ones it cannot read."""
    return parse_graph(f"""
        graph main(opset = 21) {{
          input %x: f32[B, 1, T]
          weight %w: f32[8, 1, {taps}] = splat(0.5)
          weight %v: f32[4, 8, 1] = splat(0.5)
          %h: f32[B, 8, U] = Conv(%x, %w) @"first"
          %r: f32[B, 8, U] = Relu(%h)
          {rest} @"second"
          return %y
        }}
    """)


def signal(length: int, batch: int = 1) -> dict[str, Array]:
    return {"x": np.zeros((batch, 1, length), np.float32)}


@pytest.mark.parametrize("taps", [1, 65, 250, 1000])
def test_long_enough_sizes_are_found(taps: int) -> None:
    channels = trace_channels(filtered(taps))
    assert [len(group.units) for group in channels.groups] == [8]
    assert channels.dims["T"] >= taps
    assert channels.dims["B"] == 2 or channels.dims["T"] < 128


def test_a_sample_says_what_is_long_enough() -> None:
    graph = filtered(5000)
    with pytest.raises(DataError, match="give sizes of its symbolic dimensions: --dims of irc show, or calibration"):
        PruneChannels(ratio=0.5, multiple=1).run(graph, plain_context(graph))
    with_samples = plain_context(graph, calibration=[signal(6000), signal(7000)])
    PruneChannels(ratio=0.5, multiple=1).run(graph, with_samples)
    weight = graph.value("w").data
    assert weight is not None
    assert weight.shape == (4, 1, 5000)


def test_sizes_that_are_given_are_taken() -> None:
    channels = trace_channels(filtered(5000), {"T": 5001})
    assert channels.dims == {"B": 2, "T": 5001}


def test_the_batch_of_a_sample_is_not_its_size() -> None:
    graph = filtered(3)
    assert symbols(graph) == {"B", "T"}
    assert sizes_in(signal(77, batch=5), graph) == {"T": 77}


def test_a_signal_without_a_batch_has_the_length_of_its_sample() -> None:
    graph = parse_graph("""
        graph main(opset = 21) {
          input %x: f32[T]
          weight %axes: i64[2] = [0, 1]
          weight %w: f32[8, 1, 5000] = splat(0.5)
          weight %v: f32[4, 8, 1] = splat(0.5)
          %s: f32[1, 1, T] = Unsqueeze(%x, %axes)
          %h: f32[1, 8, U] = Conv(%s, %w)
          %y: f32[1, 4, U] = Conv(%h, %v)
          return %y
        }
    """)
    sample = {"x": np.zeros(6000, np.float32)}
    assert sizes_in(sample, graph) == {"T": 6000}
    PruneChannels(ratio=0.5, multiple=1).run(graph, plain_context(graph, calibration=[sample]))
    weight = graph.value("w").data
    assert weight is not None
    assert weight.shape == (4, 1, 5000)


def test_errors_of_the_trace_are_one_line() -> None:
    with pytest.raises(DataError) as error:
        trace_channels(filtered(5000))
    assert "\n" not in str(error.value)

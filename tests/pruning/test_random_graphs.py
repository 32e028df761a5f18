"""On any graph that moves, splits, joins and mixes channels, pruned equals masked, and the rest saves and reloads."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from irc.analysis.channels import Channels, Unit
from tests.pruning.random_graphs import STEPS, Step, build, variants
from tests.pruning.removal import JUMP, check_equal, check_file, draw, jump, traced

A_STEP = st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 3), st.integers(0, 5))


@pytest.mark.parametrize("name", STEPS)
def test_every_step_alone(name: str) -> None:
    """Every variant of every step, before layers that can lose channels; a unit that stays in is seen."""
    for steps in variants(name):
        model = traced(build(steps))
        for seed in range(3):
            units = draw(model.channels, seed)
            assert units, steps
            _, made = check_equal(model, units)
        assert jump(model, units, made) > JUMP, steps


def empties(channels: Channels, units: list[Unit]) -> bool:
    """Whether heads and dimensions of heads, drawn apart, together leave nothing of a value: that is refused."""
    keep = channels.keep(units)
    return any(not channels.mask(value, keep).any() for value in channels.flaws(keep) if value in channels.labels)


@settings(deadline=None, max_examples=150)
@given(steps=st.lists(A_STEP, min_size=2, max_size=10), seed=st.integers(0, 5))
def test_steps_in_any_order(steps: list[Step], seed: int) -> None:
    model = traced(build(steps))
    units = draw(model.channels, seed)
    assume(units and not empties(model.channels, units))
    left, made = check_equal(model, units)
    again = traced(left)
    more = draw(again.channels, seed + 1)
    if more and not empties(again.channels, more):
        check_equal(again, more)
    with TemporaryDirectory() as folder:
        check_file(left, model.inputs, made, Path(folder) / "pruned.onnx")

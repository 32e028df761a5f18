"""The cost model of blocks, and what tuning tries beside it; that no bit changes is drawn in test_kernels_conv."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irc.backends.c.blocking import SIZES, block_size, with_other_blocks
from irc.backends.c.emit.sources import KERNELS
from irc.backends.c.program import Struct
from tests.backends.c.conftest import Compile, images


def test_sizes_are_those_of_the_kernels() -> None:
    text = (KERNELS / "conv_block.h").read_text()
    assert f"#define IRC_POSITIONS {SIZES[-1]}\n" in text


@pytest.mark.parametrize(
    ("positions", "window", "adds", "channels", "wanted"),
    [
        (196, 80, 80, 480, 240),  # all fits a near cache: one block
        (49, 4608, 512, 512, 240),  # large weights, windows that overlap: they are read once
        (3136, 2048, 2048, 256, 96),  # a block of more would leave the second cache
        (3136, 64, 64, 256, 240),
    ],
)
def test_choice(positions: int, window: int, adds: int, channels: int, wanted: int) -> None:
    assert block_size(positions, window, adds, channels) == wanted


@given(st.integers(1, 10**6), st.integers(0, 10**5), st.integers(0, 10**4), st.integers(1, 4096))
def test_any_layer_has_one(positions: int, window: int, adds: int, channels: int) -> None:
    assert block_size(positions, window, adds, channels) in SIZES


def blocks(program: Any) -> list[list[int]]:
    """Of each product the sizes of its candidates."""
    structs = [[call.arguments[0] for call in step.candidates("portable")] for step in program.steps]
    return [
        [dict(s.fields)["positions"] for s in of]
        for of in structs
        if isinstance(of[0], Struct) and of[0].type == "irc_conv"
    ]


def test_tuning_tries_half_and_twice(compile_small: Compile) -> None:
    """Where a block holds all positions anyway, there is nothing to try; the result is the same whatever is chosen."""
    artifact = compile_small("c:portable")
    before, after = blocks(artifact.program), blocks(with_other_blocks(artifact.program, "portable"))
    assert [sizes[:1] for sizes in after] == before
    assert any(len(sizes) > 1 for sizes in after)
    assert all(other in (sizes[0] // 2, sizes[0] * 2) for sizes in after for other in sizes[1:])
    (image,) = images(1)
    tuned = compile_small("c:portable", tune=True, isa="portable")
    assert tuned.tuning is not None
    np.testing.assert_array_equal(tuned(image), artifact(image))

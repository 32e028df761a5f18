"""How many output positions a product takes at a time: a cost model of the caches, and what tuning tries beside it.

    for each block of positions:
        for each panel of weights, which the first-level cache holds:
            for each tile of the block:  activations of the tile x panel

Large blocks read the weights seldom; small ones find their activations in a near cache each time a panel passes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import ceil, prod

from irc.backends.c.program import Call, Program, Step, Struct

SIZES = (12, 24, 48, 96, 144, 192, 240)  # of blocks; the last one is IRC_POSITIONS of kernels/conv_block.h
_PANEL, _BLOCK = 16 * 1024, 16  # bytes of a panel of weights; channels that it has at least
_EACH = 500.0  # cycles that a block takes beside its products
_NEAR, _SECOND = 16 * 1024, 192 * 1024  # bytes of activations that the caches of a core hold beside other things
# cycles a byte takes on its way to the registers; in order of distance
_FROM_NEAR, _FROM_SECOND, _FROM_FAR = 0.0, 1 / 32, 1 / 8


def block_size(positions: int, window: int, adds: int, channels: int) -> int:
    """The size of the blocks that the model expects to be fastest; the larger one of two that are as good.

    positions : output positions
    window : bytes of a window, the depth of the product
    adds : bytes of activations that one more position touches
    channels : output channels
    """
    return min(reversed(SIZES), key=lambda size: _cycles(size, positions, window, adds, channels))


def _cycles(size: int, positions: int, window: int, adds: int, channels: int) -> float:
    """What reading weights and activations again takes, and the work that a block makes."""
    weights, active = window * channels, window + (min(size, positions) - 1) * adds
    blocks, panels = ceil(positions / size), ceil(weights / max(_PANEL, window * _BLOCK, 1))
    weights_again = _FROM_SECOND if weights + active <= _SECOND else _FROM_FAR
    activations_again = _FROM_NEAR if active <= _NEAR else _FROM_SECOND if active <= _SECOND else _FROM_FAR
    read_again = (blocks - 1) * weights * weights_again + (panels - 1) * positions * window * activations_again
    return blocks * _EACH + read_again


def with_other_blocks(program: Program, isa: str) -> Program:
    """The program with further candidates for its products: blocks of other sizes."""
    steps = [_with_other_blocks(step, isa) for step in program.steps]
    return Program(program.inputs, program.outputs, steps)


def _with_other_blocks(step: Step, isa: str) -> Step:
    others = tuple(made for call in step.candidates(isa) for made in _variants(call))
    return replace(step, others=step.others | {isa: (*step.others.get(isa, ()), *others)}) if others else step


def _variants(call: Call) -> Iterable[Call]:
    """The call with half and with twice the block; none where a block holds all positions either way."""
    struct = call.arguments[0] if call.arguments else None
    if not isinstance(struct, Struct) or struct.type != "irc_conv" or call.function == "irc_winograd_u8":
        return
    fields = dict(struct.fields)
    size, *counts = (_whole(fields[name]) for name in ("positions", "batch", "rows", "cols"))
    for other in (size // 2, size * 2):
        if SIZES[0] <= other <= SIZES[-1] and min(other, size) < prod(counts):
            changed = Struct.of(struct.type, fields | {"positions": other})
            yield replace(call, arguments=(changed, *call.arguments[1:]))


def _whole(value: object) -> int:
    assert isinstance(value, int)
    return value

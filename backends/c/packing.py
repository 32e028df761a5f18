"""Weights in the order in which the kernels read them: one packing for all ISAs.

    dense      [ceil(N/16)][runs][ceil(run/4)][16 channels][4 k]   int8, zeros where there is no channel or no k
    run        a contiguous piece of the window: a kernel row of kw * C codes, or one tap of C codes

The same 64 bytes are one zmm of AVX-512 VNNI, two ymm of AVX2, a row of an AMX tile, and four vectors of `sdot`.
"""

from __future__ import annotations

import numpy as np

from irc.types import Array

LANES = 16  # output channels of a block
STEP = 4  # products that one lane adds up at a time
INT16_MAX = 32767
# the flags of irc_conv and irc_depthwise in kernels/irc_types.h
PAIRS_SAFE, QUADS_SAFE, CODES_FIT = 1, 2, 4


def pack_dense(runs: Array) -> Array:
    """Weights int8 (N, runs, run length) in the kernels' order, one dimension."""
    n, count, length = runs.shape
    padded = np.zeros((-(-n // LANES) * LANES, count, -(-length // STEP) * STEP), np.int8)
    padded[:n, :, :length] = runs
    steps = padded.shape[2] // STEP
    blocks = padded.reshape(-1, LANES, count, steps, STEP)
    return np.ascontiguousarray(blocks.transpose(0, 2, 3, 1, 4)).reshape(-1)


def pack_depthwise(taps: Array) -> Array:
    """Weights int8 (taps, channels) with channels padded by zeros to a whole number of blocks, one dimension."""
    count, channels = taps.shape
    padded = np.zeros((count, -(-channels // LANES) * LANES), np.int8)
    padded[:, :channels] = taps
    return padded.reshape(-1)


def fit_flags(packed: Array) -> int:
    """What the packed weights promise: PAIRS_SAFE, and QUADS_SAFE if they do. Runs count as one row of steps."""
    pairs = packed.reshape(-1, LANES, 2, 2)
    if not _fits(pairs):
        return 0
    steps = packed.reshape(-1, LANES, 2, 2)
    if len(steps) % 2:
        return PAIRS_SAFE
    quads = steps.reshape(-1, 2, LANES, 2, 2).transpose(0, 2, 3, 1, 4).reshape(-1, LANES, 2, 4)
    return PAIRS_SAFE | (QUADS_SAFE if _fits(quads) else 0)


def codes_fit(runs: Array, scale: Array, bias: Array, residual_scale: float) -> bool:
    """Whether no sum, requantized, can leave int32; runs (N, ...), scale and bias (N,)."""
    largest = 255.0 * np.abs(runs.reshape(len(runs), -1).astype(np.int64)).sum(axis=1)
    bound = largest * np.abs(scale.astype(np.float64)) + np.abs(bias.astype(np.float64)) + 255 * abs(residual_scale)
    return bool((bound < 2.0**31 * 0.999).all())


def _fits(groups: Array) -> bool:
    """Whether sums of products with uint8 over the last axis stay in int16, those of one sign alone."""
    wide = groups.astype(np.int32)
    high = np.maximum(wide, 0).sum(axis=-1).max(initial=0) * 255
    low = np.minimum(wide, 0).sum(axis=-1).min(initial=0) * 255
    return bool(high <= INT16_MAX and low >= -INT16_MAX - 1)


WINOGRAD_CHANNELS = 32  # from which on, in and out, Winograd's algorithm pays
WINOGRAD_BOUND = 1 << 25  # of an accumulator's magnitude, past which a tile's sums leave int32


def is_winograd_shape(weight: tuple[int, ...], group: int, steps: tuple[int, ...]) -> bool:
    """Whether a convolution of that weight's shape is one for kernels/winograd.h; steps: its strides and dilations."""
    if weight[2:] != (3, 3) or group != 1 or any(s != 1 for s in steps):
        return False
    return weight[1] % 4 == 0 and min(weight[:2]) >= WINOGRAD_CHANNELS


def fits_winograd(weight: Array, group: int, steps: tuple[int, ...]) -> bool:
    """Whether it computes the convolution with these codes exactly, too."""
    if not is_winograd_shape(weight.shape, group, steps):
        return False
    wide = weight.reshape(len(weight), -1).astype(np.int64)
    largest = np.maximum(np.maximum(wide, 0).sum(axis=1), -np.minimum(wide, 0).sum(axis=1)).max()
    return int(largest) * 255 < WINOGRAD_BOUND

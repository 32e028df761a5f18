"""Compiles the integer kernels of an instruction set into a library, and calls them from numpy.

Kernels are called for one thread after the other; outputs lie between guard bytes, inputs end IRC_SLACK bytes before
the end of their memory.
"""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from ctypes import c_float, c_int32, c_int64, c_void_p
from pathlib import Path

import numpy as np
import torch

from irc.backends.c.isa import MACHINES, host_isas
from irc.ops.int8.contract import fma32
from irc.types import Array

KERNELS = Path(__file__).parents[3] / "backends" / "c" / "kernels"
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
SLACK = 64
GUARD = 0xA5

SOURCE = r"""
#include "isa_%(isa)s.h"
#include "conv.h"
#include "depthwise.h"
#include "pack_b.h"
#include "winograd.h"

void run_conv(const irc_conv *p, const uint8_t *x, const int8_t *w, const int32_t *init, const int32_t *rows,
              const float *scale, const float *bias, const uint8_t *residual, void *y, void *scratch, int threads)
{
    for (int t = 0; t < threads; t++) {
        if (scratch)
            irc_conv_scratch_u8(p, x, w, init, rows, scale, bias, residual, y, scratch, t, threads);
        else
            irc_conv_u8(p, x, w, init, rows, scale, bias, residual, y, t, threads);
    }
}

void run_winograd(const irc_conv *p, const uint8_t *x, const int8_t *w, const float *scale, const float *bias,
                  const uint8_t *residual, void *y, void *scratch, int threads)
{
    for (int t = 0; t < threads; t++)
        irc_winograd_u8(p, x, w, scale, bias, residual, y, scratch, t, threads);
}

void run_depthwise(const irc_depthwise *p, const uint8_t *x, const int8_t *w, const float *scale, const float *bias,
                   const uint8_t *residual, void *y, int threads)
{
    for (int t = 0; t < threads; t++)
        irc_depthwise_u8(p, x, w, scale, bias, residual, y, t, threads);
}

void run_pack_b(const irc_pack_b *p, const uint8_t *b, int8_t *w, int32_t *column, int threads)
{
    for (int t = 0; t < threads; t++)
        irc_pack_b_u8(p, b, w, column, t, threads);
}

void run_row_sums(const irc_row_sums *p, const uint8_t *a, int32_t *row, int threads)
{
    for (int t = 0; t < threads; t++)
        irc_row_sums_u8(p, a, row, t, threads);
}

int scratch_bytes(void) { return IRC_CONV_SCRATCH > IRC_WINOGRAD_SCRATCH ? IRC_CONV_SCRATCH : IRC_WINOGRAD_SCRATCH; }
"""


def _struct(name: str, **fields: type) -> type[ctypes.Structure]:
    return type(name, (ctypes.Structure,), {"_fields_": list(fields.items())})


_POSITIONS = {f"{t}_{a}": c_int64 for t in "xyr" for a in ("batch", "row", "col", "group")}
_CLAMP = {"residual_scale": c_float, "lo": c_float, "hi": c_float, "float_output": c_int32, "flags": c_int32}
Conv = _struct(
    "Conv",
    **dict.fromkeys(("batch", "rows", "cols", "n", "groups", "runs", "run_length"), c_int32),
    run_offset=c_void_p,
    **_POSITIONS,
    **_CLAMP,
    positions=c_int32,
)
Depthwise = _struct(
    "Depthwise",
    **dict.fromkeys(("batch", "rows", "cols", "channels", "kh", "kw"), c_int32),
    **dict.fromkeys(("x_batch", "x_row", "x_col", "tap_row", "tap_col"), c_int64),
    **dict.fromkeys(("y_batch", "y_row", "y_col", "r_batch", "r_row", "r_col"), c_int64),
    **_CLAMP,
)
PackB = _struct(
    "PackB",
    **dict.fromkeys(("matrices", "k", "n"), c_int32),
    **dict.fromkeys(("b_matrix", "b_k", "b_n"), c_int64),
    a_zero_point=c_int32,
    b_zero_point=c_int32,
)
RowSums = _struct(
    "RowSums",
    **dict.fromkeys(("matrices", "m", "k"), c_int32),
    **dict.fromkeys(("a_matrix", "a_row"), c_int64),
    multiplier=c_int32,
)


def fields(struct: type[ctypes.Structure], **values: float) -> ctypes.Structure:
    """A struct by the names of its fields; those not named are 0."""
    return struct(**values)


def kernels() -> list[str]:
    """Instruction sets of this machine that kernels are written for, and the portable one."""
    names = ["portable", *(isa.name for isa in host_isas())]
    return [n for n in dict.fromkeys(names) if (KERNELS / f"isa_{n}.h").exists()]


@functools.cache
def library(isa: str, compiler: str = "gcc") -> ctypes.CDLL:
    """The kernels of `isa`, compiled once a session."""
    cc = shutil.which(compiler)
    assert cc, f"{compiler} is not installed"
    flags = next(i.flags for machine in MACHINES.values() for i in machine if i.name == isa)
    folder = Path(tempfile.mkdtemp(prefix="irc-kernels-"))
    (folder / "kernels.c").write_text(SOURCE % {"isa": isa})
    command = [cc, *WARNINGS, "-O2", *flags, "-ffp-contract=off", "-fPIC", "-shared", f"-I{KERNELS}", "kernels.c"]
    subprocess.run([*command, "-o", "kernels.so", "-lm"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "kernels.so"))


def with_slack(data: Array) -> Array:
    """A copy that is followed by readable memory, filled with what must not matter."""
    data = np.ascontiguousarray(data)
    raw = np.full(data.nbytes + SLACK, GUARD, np.uint8)
    raw[: data.nbytes] = data.reshape(-1).view(np.uint8)
    return raw[: data.nbytes].view(data.dtype).reshape(data.shape)


def pointer(data: Array | None, offset: int = 0) -> c_void_p:
    return c_void_p(None if data is None else data.ctypes.data + offset)


def scratch(library: ctypes.CDLL) -> Array:
    """Scratch memory of one thread, aligned to 64 bytes."""
    size = library.scratch_bytes()
    raw = np.full(size + 64, GUARD, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size]


def guarded(elements: int, float_output: bool) -> tuple[Array, Array, Callable[[Array], None]]:
    """Memory, the output inside it, and a check that all bytes outside `written`, a mask of it, are untouched."""
    width = 4 if float_output else 1
    raw = np.full(elements * width + 2 * SLACK, GUARD, np.uint8)
    inside = raw[SLACK : SLACK + elements * width]
    output = inside.view(np.float32) if float_output else inside

    def check(written: Array) -> None:
        mask = np.zeros(len(raw), bool)
        mask[SLACK : SLACK + elements * width] = np.repeat(written, width)
        assert (raw[~mask] == GUARD).all(), "a kernel wrote outside its output"

    return raw, output, check


def expected(
    acc: Array, scale: Array, bias: Array, residual: Array | None, residual_scale: float, lo: int, hi: int, floats: bool
) -> Array:
    """The contract: acc int64 (..., n), scale and bias float32 (n,), residual uint8 (..., n) or None."""
    assert np.abs(acc).max(initial=0) < 2**31
    one = torch.from_numpy(acc.astype(np.float32))
    t = fma32(one, torch.from_numpy(scale), torch.from_numpy(bias))
    if residual is not None:
        t = fma32(torch.from_numpy(residual.astype(np.float32)), torch.tensor(residual_scale, dtype=torch.float32), t)
    if floats:
        return t.numpy()
    return torch.round(t).clamp(lo, hi).to(torch.uint8).numpy()


def product(values: Sequence[int]) -> int:
    return int(np.prod(values, dtype=np.int64))

"""The integer kernels on the layers of five networks: time, speed, and the fraction of the machine's measured limit.

    python benchmarks/kernels.py [--isa avx2] [--models resnet18 ...] [--weights real|half] [--layers]

Each layer runs alone with its weights cold (flushed from the caches before every run, as in a network, where all other
layers' weights have passed since) and its activations warm. The limit is the int8 products of a loop on registers with
the instruction set's own instructions; 2 operations a product. Winograd kernels save products, and AVX2's kernels for
weights that may be added by fours save sums: both can pass 100 %. Weights: `real` are drawn from a bell curve and
scaled so that each channel's largest is 127, `half` so that it is 64.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from kernel_layers import MODELS, Layer, merged
from numpy.typing import NDArray

from irc.backends.c.compilers import COMMON_FLAGS, GCC_FLAGS
from irc.backends.c.emit.sources import KERNELS
from irc.backends.c.isa import MACHINES, host_isas
from irc.backends.c.machine import peak_gops
from irc.backends.c.packing import CODES_FIT, fit_flags, is_winograd_shape, pack_dense, pack_depthwise

Bytes = NDArray[np.uint8]

DRIVER = r"""
#define _POSIX_C_SOURCE 200809L
#include "isa_%(isa)s.h"
#include "conv.h"
#include "depthwise.h"
#include "winograd.h"
#include <stdlib.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static void flush(const void *p, size_t bytes)
{
#if defined(__x86_64__)
    for (size_t i = 0; i < bytes; i += 64)
        __builtin_ia32_clflush((const char *)p + i);
    __builtin_ia32_mfence();
#else
    (void)p, (void)bytes;
#endif
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* us: min and median of `turns` runs */
#define BENCH(CALL) \
    double each[1000]; \
    for (int i = 0; i < turns; i++) { \
        flush(w, bytes); \
        each[i] = now(); \
        CALL; \
        each[i] = now() - each[i]; \
    } \
    qsort(each, (size_t)turns, sizeof *each, by_value); \
    us[0] = each[0], us[1] = each[turns / 2];

void bench_conv(const irc_conv *p, const uint8_t *x, const int8_t *w, const float *scale, const float *bias, void *y,
                void *scratch, long bytes, int winograd, int turns, double *us)
{
    if (winograd) {
        BENCH(irc_winograd_u8(p, x, w, scale, bias, NULL, y, scratch, 0, 1))
    } else {
        BENCH(irc_conv_scratch_u8(p, x, w, NULL, NULL, scale, bias, NULL, y, scratch, 0, 1))
    }
}

void bench_depthwise(const irc_depthwise *p, const uint8_t *x, const int8_t *w, const float *scale, const float *bias,
                     void *y, long bytes, int turns, double *us)
{
    BENCH(irc_depthwise_u8(p, x, w, scale, bias, NULL, y, 0, 1))
}

int scratch_bytes(void) { return IRC_CONV_SCRATCH > IRC_WINOGRAD_SCRATCH ? IRC_CONV_SCRATCH : IRC_WINOGRAD_SCRATCH; }
"""


def build(isa: str, compiler: str) -> ctypes.CDLL:
    """The driver, compiled for `isa`."""
    flags = next(i.flags for machine in MACHINES.values() for i in machine if i.name == isa)
    folder = Path(tempfile.mkdtemp(prefix="irc-bench-"))
    (folder / "driver.c").write_text(DRIVER % {"isa": isa})
    own = GCC_FLAGS if "gcc" in compiler else ()
    command = [shutil.which(compiler) or compiler, "-std=c99", *COMMON_FLAGS, *own, *flags, "-fPIC", "-shared"]
    subprocess.run([*command, f"-I{KERNELS}", "driver.c", "-o", "driver.so", "-lm"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "driver.so"))


class Bench:
    """Runs layers with one library."""

    def __init__(self, isa: str, compiler: str, weights: str, turns: int) -> None:
        self.library = build(isa, compiler)
        self.highest = {"real": 127, "half": 64}[weights]
        self.turns = turns
        self.scratch = _aligned(self.library.scratch_bytes())
        self.rng = np.random.default_rng(0)

    def _weights(self, n: int, k: int) -> NDArray[np.int8]:
        w = self.rng.normal(size=(n, k))
        made: NDArray[np.int8] = np.rint(w / np.abs(w).max(axis=1, keepdims=True) * self.highest).astype(np.int8)
        return made

    def time(self, layer: Layer, winograd: bool) -> tuple[float, float]:
        """us min and median."""
        k, s = layer.kernel, layer.stride
        height, width, n = (layer.height - 1) * s + k, (layer.width - 1) * s + k, layer.n
        channels = n if layer.depthwise else layer.channels
        x = self.rng.integers(0, 256, height * width * channels + 64).astype(np.uint8)
        w = self._weights(n, k * k * (1 if layer.depthwise else channels))
        scale, bias = (np.full(n + 16, v, np.float32) for v in (1e-4, 128.0))
        y, us = np.empty(layer.height * layer.width * n, np.uint8), np.zeros(2)
        strides = (channels * width * s, channels * s, layer.width * n, n)
        if layer.depthwise:
            packed, struct = pack_depthwise(w.T), _depthwise(layer, channels * width, strides)
            inputs: list[NDArray[Any]] = [x, _slack(packed), scale, bias, y]
            run, options = self.library.bench_depthwise, [self.turns]
        else:
            packed, offsets = pack_dense(w.reshape(n, k, -1)), np.arange(k, dtype=np.int32) * (channels * width)
            struct = _conv(layer, offsets, strides, fit_flags(packed) | CODES_FIT)
            inputs = [x, _slack(packed), scale, bias, y, self.scratch]
            run, options = self.library.bench_conv, [int(winograd), self.turns]
        run(ctypes.byref(struct), *map(_at, inputs), ctypes.c_long(packed.nbytes), *options, _at(us))
        return us[0], us[1]


_I, _L, _F = ctypes.c_int32, ctypes.c_int64, ctypes.c_float


class _Conv(ctypes.Structure):
    _fields_ = [(f"a{i}", t) for i, t in enumerate([_I] * 7 + [ctypes.c_void_p] + [_L] * 12 + [_F] * 3 + [_I] * 3)]


class _Depthwise(ctypes.Structure):
    _fields_ = [(f"a{i}", t) for i, t in enumerate([_I] * 6 + [_L] * 11 + [_F] * 3 + [_I] * 2)]


def _conv(layer: Layer, offsets: NDArray[np.int32], strides: tuple[int, ...], flags: int) -> ctypes.Structure:
    """irc_conv of one image without residual."""
    x_row, x_col, y_row, y_col = strides
    return _Conv(
        1, layer.height, layer.width, layer.n, 1, layer.kernel, layer.kernel * layer.channels, offsets.ctypes.data,
        0, x_row, x_col, 0, 0, y_row, y_col, 0, 0, 0, 0, 0, 0.0, 0.0, 255.0, 0, flags, 0,
    )  # fmt: skip


def _depthwise(layer: Layer, line: int, strides: tuple[int, ...]) -> ctypes.Structure:
    """irc_depthwise of one image without residual; line: bytes of a row of x."""
    x_row, x_col, y_row, y_col = strides
    return _Depthwise(
        1, layer.height, layer.width, layer.n, layer.kernel, layer.kernel, 0, x_row, x_col, line, layer.n,
        0, y_row, y_col, 0, 0, 0, 0.0, 0.0, 255.0, 0, CODES_FIT,
    )  # fmt: skip


def _aligned(size: int) -> Bytes:
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size]


def _slack(packed: NDArray[np.int8]) -> NDArray[np.uint8]:
    made = _aligned(packed.nbytes + 64)
    made[: packed.nbytes] = packed.view(np.uint8)
    return made


def _at(data: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(data.ctypes.data)


def by_winograd(layer: Layer, isa: str) -> bool:
    """Whether irc_winograd_u8 is the kernel of that layer."""
    weight, stride = (layer.n, layer.channels, layer.kernel, layer.kernel), layer.stride
    fits = is_winograd_shape(weight, 1, (stride, stride, 1, 1)) and layer.height * layer.width >= 16
    return isa == "avx2" and not layer.depthwise and fits


def report(bench: Bench, isa: str, model: str, layers: list[Layer], show: bool) -> None:
    """One line a layer if `show`, and the sum of the model."""
    total, ideal, limit = 0.0, 0.0, peak_gops(isa)
    for layer in merged(layers):
        winograd = by_winograd(layer, isa)
        low, median = bench.time(layer, winograd)
        gops = 2e-3 * layer.macs / low
        total += low * layer.count
        ideal += 2e-3 * layer.macs / limit * layer.count
        if show:
            speed = f"{gops:7.1f} GOP/s {gops / limit:6.1%}{' winograd' if winograd else ''}"
            print(f"  {layer.count:3} x {layer.name:32} {low:9.1f} us (median {median:9.1f}) {speed}")
    print(f"{model:14} {total:9.0f} us, at the limit {ideal:9.0f} us: {ideal / total:6.1%}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isa", default=host_isas()[-1].name)
    parser.add_argument("--compiler", default="gcc")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--weights", default="real", choices=("real", "half"))
    parser.add_argument("--turns", type=int, default=50, choices=range(1, 1001), metavar="1..1000")
    parser.add_argument("--layers", action="store_true", help="a line for each layer")
    options = parser.parse_args()
    bench = Bench(options.isa, options.compiler, options.weights, options.turns)
    print(f"{options.isa}: limit {peak_gops(options.isa):.0f} GOP/s")
    for model in options.models:
        report(bench, options.isa, model, MODELS[model], options.layers)


if __name__ == "__main__":
    main()

"""The integer kernels on the layers of five networks: time, speed, and the fraction of the machine's measured limit.

    python benchmarks/kernels.py [--isa avx2] [--models resnet18 ...] [--threads 1] [--weights real|half] [--layers]

Each layer runs alone with its weights cold (flushed from the caches before every run, as in a network, where all other
layers' weights have passed since) and its activations warm. The limit is the int8 products of a loop of vpmaddubsw,
vpmaddwd and vpaddd on registers, taken beside each layer; 2 operations a product. Winograd kernels save products, so that
they pass 100 %. Weights: `real` are drawn from a bell curve and scaled so that each channel's largest is 127, `half` so
that it is 64.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from irc.backends.c.isa import MACHINES, host_isas
from irc.backends.c.packing import fit_flags, pack_dense, pack_depthwise

KERNELS = Path(__file__).parents[1] / "backends" / "c" / "kernels"
CODES_FIT = 4
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

void bench_conv(const irc_conv *p, const uint8_t *x, const int8_t *w, const float *scale, const float *bias, void *y, void *scratch,
                long bytes, int winograd, int turns, double *us)
{
    if (winograd) {
        BENCH(irc_winograd_u8(p, x, w, scale, bias, NULL, y, scratch, 0, 1))
    } else {
        BENCH(irc_conv_scratch_u8(p, x, w, NULL, NULL, scale, bias, NULL, y, scratch, 0, 1))
    }
}

void bench_depthwise(const irc_depthwise *p, const uint8_t *x, const int8_t *w, const float *scale, const float *bias, void *y,
                     long bytes, int turns, double *us)
{
    BENCH(irc_depthwise_u8(p, x, w, scale, bias, NULL, y, 0, 1))
}

/* giga-operations a second of the loop that bounds products of int8, without winograd */
double limit(void)
{
    double best = 1e30;
#if defined(__x86_64__)
    for (int i = 0; i < 20; i++) {
        double t = now();
        for (int n = 0; n < 2000; n++)
            __asm__ volatile(
#define LANE(a) "vpmaddubsw %%%%ymm14,%%%%ymm15,%%%%ymm12\n\tvpmaddwd %%%%ymm14,%%%%ymm12,%%%%ymm12\n\tvpaddd %%%%ymm12,%%%%ymm" #a ",%%%%ymm" #a "\n\t"
                LANE(0) LANE(1) LANE(2) LANE(3) LANE(4) LANE(5) LANE(6) LANE(7) LANE(8) LANE(9)
                ::: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm12");
        t = now() - t;
        best = t < best ? t : best;
    }
    return 2000.0 * 10 * 32 * 2 / best * 1e-3;
#else
    return best;
#endif
}

int scratch_bytes(void) { return IRC_CONV_SCRATCH > IRC_WINOGRAD_SCRATCH ? IRC_CONV_SCRATCH : IRC_WINOGRAD_SCRATCH; }
"""


@dataclass(frozen=True)
class Layer:
    """Output size, channels, kernel and stride; `count` layers alike."""

    height: int
    width: int
    channels: int
    n: int
    kernel: int = 1
    stride: int = 1
    count: int = 1
    depthwise: bool = False

    @property
    def macs(self) -> int:
        depth = 1 if self.depthwise else self.channels
        return self.height * self.width * self.n * depth * self.kernel**2

    @property
    def name(self) -> str:
        kind = f"{'dw ' if self.depthwise else ''}{self.kernel}x{self.kernel}"
        return f"{kind} s{self.stride} {self.height}x{self.width} {self.channels}->{self.n}"


def _mobile(stem: int, blocks: list[tuple[int, int, int, int, int]], head: int, size: int = 112) -> list[Layer]:
    """Inverted residuals (expansion, outputs, count, stride, kernel)."""
    layers, channels = [Layer(size, size, 3, stem, 3, 2)], stem
    for expansion, outputs, count, stride, kernel in blocks:
        for i in range(count):
            wide = channels * expansion
            if expansion > 1:
                layers.append(Layer(size, size, channels, wide))
            step = stride if i == 0 else 1
            size //= step
            layers.append(Layer(size, size, wide, wide, kernel, step, depthwise=True))
            layers.append(Layer(size, size, wide, outputs))
            channels = outputs
    return [*layers, Layer(size, size, channels, head), Layer(1, 1, head, 1000)]


def _resnet(blocks: tuple[int, ...], bottleneck: bool) -> list[Layer]:
    layers, channels = [Layer(112, 112, 3, 64, 7, 2)], 64
    for stage, count in enumerate(blocks):
        width, size = 64 << stage, 56 >> stage
        outputs = width * (4 if bottleneck else 1)
        for i in range(count):
            step = 2 if stage and not i else 1
            if bottleneck:
                layers.append(Layer(size * step, size * step, channels, width))
            layers.append(Layer(size, size, width if bottleneck else channels, width, 3, step))
            layers.append(Layer(size, size, width, outputs, 1 if bottleneck else 3))
            if channels != outputs:
                layers.append(Layer(size, size, channels, outputs, 1, step))
            channels = outputs
    return [*layers, Layer(1, 1, channels, 1000)]


MODELS: dict[str, list[Layer]] = {
    "effnet_lite0": _mobile(
        32, [(1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)], 1280
    ),
    "mobilenet_v2": _mobile(
        32, [(1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 32, 3, 2, 3), (6, 64, 4, 2, 3), (6, 96, 3, 1, 3), (6, 160, 3, 2, 3), (6, 320, 1, 1, 3)], 1280
    ),
    "resnet18": _resnet((2, 2, 2, 2), False),
    "resnet50": _resnet((3, 4, 6, 3), True),
    "minilm": [Layer(1, 128, 384, 384, count=24), Layer(1, 128, 384, 1536, count=6), Layer(1, 128, 1536, 384, count=6)],
}  # fmt: skip


def merged(layers: list[Layer]) -> list[Layer]:
    """Equal layers as one with their count."""
    counts: dict[Layer, int] = {}
    for layer in layers:
        key = Layer(**{**layer.__dict__, "count": 1})
        counts[key] = counts.get(key, 0) + layer.count
    return [Layer(**{**layer.__dict__, "count": n}) for layer, n in counts.items()]


def build(isa: str, compiler: str) -> ctypes.CDLL:
    """The driver, compiled for `isa`."""
    flags = next(i.flags for machine in MACHINES.values() for i in machine if i.name == isa)
    folder = Path(tempfile.mkdtemp(prefix="irc-bench-"))
    (folder / "driver.c").write_text(DRIVER % {"isa": isa})
    command = [shutil.which(compiler) or compiler, "-std=c99", "-O2", *flags, "-ffp-contract=off", "-fPIC", "-shared"]
    subprocess.run([*command, f"-I{KERNELS}", "driver.c", "-o", "driver.so", "-lm"], cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "driver.so"))
    library.limit.restype = ctypes.c_double
    return library


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
        return np.rint(w / np.abs(w).max(axis=1, keepdims=True) * self.highest).astype(np.int8)

    def time(self, layer: Layer, winograd: bool) -> tuple[float, float, float]:
        """us min and median, and the limit in GOP/s beside it."""
        k, s = layer.kernel, layer.stride
        height, width, n = (layer.height - 1) * s + k, (layer.width - 1) * s + k, layer.n
        channels = n if layer.depthwise else layer.channels
        x = self.rng.integers(0, 256, height * width * channels + 64).astype(np.uint8)
        w = self._weights(n, k * k * (1 if layer.depthwise else channels))
        scale, bias = (np.full(n + 16, v, np.float32) for v in (1e-4, 128.0))
        y, us = np.empty(layer.height * layer.width * n, np.uint8), np.zeros(2)
        strides = (channels * width * s, channels * s, layer.width * n, n)
        if layer.depthwise:
            from_struct, packed = self._depthwise(layer, channels, width, strides), pack_depthwise(w.T)
            self.library.bench_depthwise(
                ctypes.byref(from_struct), *map(_at, (x, _slack(packed), scale, bias, y)), ctypes.c_long(packed.nbytes), self.turns, _at(us)
            )
        else:
            packed = pack_dense(w.reshape(n, k, -1))
            offsets = np.arange(k, dtype=np.int32) * (channels * width)
            struct = self._conv(layer, channels, offsets, strides, fit_flags(packed) | CODES_FIT)
            self.library.bench_conv(
                ctypes.byref(struct), *map(_at, (x, _slack(packed), scale, bias, y, self.scratch)), ctypes.c_long(packed.nbytes),
                int(winograd), self.turns, _at(us),
            )  # fmt: skip
        return us[0], us[1], self.library.limit()

    def _conv(self, layer: Layer, channels: int, offsets: NDArray[np.int32], strides: tuple[int, ...], flags: int) -> ctypes.Structure:
        x_row, x_col, y_row, y_col = strides
        return _Conv(
            1, layer.height, layer.width, layer.n, 1, layer.kernel, layer.kernel * channels, offsets.ctypes.data,
            0, x_row, x_col, 0, 0, y_row, y_col, 0, 0, 0, 0, 0, 0.0, 0.0, 255.0, 0, flags, 0,
        )  # fmt: skip

    def _depthwise(self, layer: Layer, channels: int, width: int, strides: tuple[int, ...]) -> ctypes.Structure:
        x_row, x_col, y_row, y_col = strides
        return _Depthwise(
            1, layer.height, layer.width, layer.n, layer.kernel, layer.kernel, 0, x_row, x_col, channels * width, channels,
            0, y_row, y_col, 0, 0, 0, 0.0, 0.0, 255.0, 0, CODES_FIT,
        )  # fmt: skip


_I, _L, _F = ctypes.c_int32, ctypes.c_int64, ctypes.c_float


class _Conv(ctypes.Structure):
    _fields_ = [(f"a{i}", t) for i, t in enumerate([_I] * 7 + [ctypes.c_void_p] + [_L] * 12 + [_F] * 3 + [_I] * 3)]


class _Depthwise(ctypes.Structure):
    _fields_ = [(f"a{i}", t) for i, t in enumerate([_I] * 6 + [_L] * 11 + [_F] * 3 + [_I] * 2)]


def _aligned(size: int) -> Bytes:
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size]


def _slack(packed: NDArray[np.int8]) -> NDArray[np.uint8]:
    made = _aligned(packed.nbytes + 64)
    made[: packed.nbytes] = packed.view(np.uint8)
    return made


def _at(data: NDArray) -> ctypes.c_void_p:  # type: ignore[type-arg]
    return ctypes.c_void_p(data.ctypes.data)


def winograd_fits(layer: Layer) -> bool:
    """Where irc_winograd_u8 is the better kernel: the rule of winograd.h."""
    return not layer.depthwise and layer.kernel == 3 and layer.stride == 1 and layer.channels % 4 == 0 and layer.channels >= 32


def report(bench: Bench, model: str, layers: list[Layer], show: bool) -> None:
    """One line a layer if `show`, and the sum of the model."""
    total = ideal = 0.0
    for layer in merged(layers):
        winograd = winograd_fits(layer)
        low, median, limit = bench.time(layer, winograd)
        gops = 2e-3 * layer.macs / low
        total += low * layer.count
        ideal += 2e-3 * layer.macs / limit * layer.count
        if show:
            mark = " winograd" if winograd else ""
            print(f"  {layer.count:3} x {layer.name:32} {low:9.1f} us (median {median:9.1f}) {gops:7.1f} GOP/s {gops / limit:6.1%}{mark}")
    print(f"{model:14} {total:9.0f} us, at the limit {ideal:9.0f} us: {ideal / total:6.1%}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isa", default=host_isas()[-1].name)
    parser.add_argument("--compiler", default="gcc")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--weights", default="real", choices=("real", "half"))
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--layers", action="store_true", help="a line for each layer")
    options = parser.parse_args()
    bench = Bench(options.isa, options.compiler, options.weights, options.turns)
    print(f"{options.isa}: limit {bench.library.limit():.0f} GOP/s")
    for model in options.models:
        report(bench, model, MODELS[model], options.layers)


if __name__ == "__main__":
    main()

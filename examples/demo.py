"""Compress the real EfficientNet-Lite0 to int8 ONNX, and see what it costs and gains: make demo

torch module --load--> Graph --passes--> int8 Graph --save--> build/efficientnet_lite0.int8.onnx --> onnxruntime
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import irc
import openset
from irc.api import DEFAULT_PASSES
from irc.backends.onnx.fusion import fusion_report
from irc.report.progress import bar

BUILD = Path(__file__).resolve().parents[1] / "build"
ROUNDS, RUNS = 12, 20  # of the timing: the models take turns of so many runs


def main() -> None:
    """Compress the model, save it, run it, and print what came of it."""
    network = openset.load("effnet_lite0")
    print("EfficientNet-Lite0 (torch, ImageNet) to int8 for onnxruntime, calibrated with 32 crops of photographs\n")

    graph = irc.load(network.model, network.example_inputs)
    original = irc.compile(graph, passes=[])  # as it came in, for comparison
    small = irc.compile(graph, f"{DEFAULT_PASSES}, quantize", calibration=network.calibration(32), progress=bar)
    print(small.report)

    BUILD.mkdir(exist_ok=True)
    float_file, int8_file = BUILD / "efficientnet_lite0.onnx", BUILD / "efficientnet_lite0.int8.onnx"
    original.save(float_file)
    small.save(int8_file)

    before, after = openset.onnx_run(str(float_file)), openset.onnx_run(str(int8_file))
    times = take_turns(lambda: before(network.example_inputs), lambda: after(network.example_inputs))
    rows = [
        ("top-1 on 20 labelled photographs", *(f"{network.evaluate(run)['top1']:.2f}" for run in (before, after))),
        ("file, MB", *(f"{file.stat().st_size / 1e6:.2f}" for file in (float_file, int8_file))),
        ("latency, one thread, ms: least", *(f"{min(t):.2f}" for t in times)),
        ("                         median", *(f"{median(t):.2f}" for t in times)),
    ]
    print(f"\n{'in onnxruntime':<34}{'float32':>10}{'int8':>10}")
    for what, float_figure, int8_figure in rows:
        print(f"{what:<34}{float_figure:>10}{int8_figure:>10}")
    print(f"\n{fusion_report(int8_file, small.target)}\n\nsaved: {int8_file.relative_to(BUILD.parent)}")


def take_turns(*calls: Callable[[], object]) -> list[list[float]]:
    """Milliseconds of each run of each call; they take turns, so that what disturbs the machine disturbs all alike."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, taken in zip(calls, times, strict=True):
            call()  # the first run after a switch finds the caches full of the other model
            call()
            for _ in range(RUNS):
                start = time.perf_counter()
                call()
                taken.append((time.perf_counter() - start) * 1e3)
    return times


if __name__ == "__main__":
    main()

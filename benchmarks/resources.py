"""Time and memory of a compilation: PYTHONPATH=examples python benchmarks/resources.py

1. EfficientNet-Lite0 from the torch module to the int8 file, with 32 and with 320 calibration inputs.
2. A made-up model of 2.5 GB, its weights beside it, through the default passes.

Every figure is of a process of its own; memory is the whole process's, Python, torch and mapped files included.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import onnx
from measure import Measured, machine, measured, verdict
from numpy.typing import NDArray
from onnx import TensorProto, helper

# The bars. A single peak moves by some per cent from run to run, so `SAME` compares the medians of `RUNS` runs each.
SECONDS, PEAK, SAME = 30.0, 1.2e9, 1.05
RUNS = 3
OVERHEAD = 0.7e9  # what a large model may take beyond its own size
WIDTH, LAYERS = 4096, 38  # of the made-up model: 38 matrices of 67 MB
DATA = "large.onnx.data"


def compile_lite0(samples: int) -> dict[str, float]:
    """Seconds of each step from the torch module to the int8 file."""
    start = time.perf_counter()
    steps: dict[str, float] = {}

    def lap(name: str) -> None:
        steps[name] = time.perf_counter() - start - sum(steps.values())

    import openset

    network = openset.load("effnet_lite0")
    lap("torch and the model, before irc")
    import irc
    from irc.api import DEFAULT_PASSES

    lap("import irc")
    graph = irc.load(network.model, network.example_inputs)
    lap("torch.export and reading")
    small = irc.compile(graph, f"{DEFAULT_PASSES}, quantize", calibration=network.calibration(samples))
    lap("passes")
    with tempfile.TemporaryDirectory() as folder:
        small.save(Path(folder) / "small.onnx")
    lap("save")
    inside = {f"  {row.name}": row.seconds for row in small.report.rows if row.seconds >= 0.05}
    return {**steps, **inside, "  measuring SQNR, verifying": steps["passes"] - sum(inside.values())}


def make_large(folder: str) -> int:
    """Write a chain of MatMul and Gemm, one matrix after the other; bytes of the weights, of which one is in memory."""
    nodes, weights, offset = [], [], 0
    with (Path(folder) / DATA).open("wb") as file:
        for layer in range(LAYERS):
            data = weight(layer)
            file.write(data.data)
            tensor = TensorProto(name=f"w{layer}", data_type=TensorProto.FLOAT, dims=data.shape)
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", DATA), ("offset", str(offset)), ("length", str(data.nbytes))):
                tensor.external_data.add(key=key, value=value)
            weights.append(tensor)
            offset += data.nbytes
            op, inputs = ("MatMul", "Gemm")[layer % 2], [f"x{layer}", f"w{layer}"]
            nodes.append(helper.make_node(op, inputs, [f"x{layer + 1}"], name=f"layer{layer}"))
    ends = [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, ["batch", WIDTH]) for i in (0, LAYERS)]
    graph = helper.make_graph(nodes, "large", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    (Path(folder) / "large.onnx").write_bytes(model.SerializeToString())
    return offset


def weight(layer: int) -> NDArray[np.float32]:
    """The matrix of a layer, the same for the same layer."""
    random = np.random.default_rng(layer)
    return (random.random((WIDTH, WIDTH), np.float32) - np.float32(0.5)) * np.float32(2 / np.sqrt(WIDTH))


def compile_large(folder: str) -> float:
    """Seconds from the large model's file to the compiled one's."""
    import irc

    start = time.perf_counter()
    irc.compile(Path(folder) / "large.onnx").save(Path(folder) / "compiled.onnx")
    return time.perf_counter() - start


def check_large(folder: str) -> int:
    """Have onnx check the compiled file and compare every weight with what went in; how many there are.

    Raises
    ------
    ValueError : a weight is missing or differs.
    """
    path = Path(folder) / "compiled.onnx"
    onnx.checker.check_model(str(path))
    for tensor in onnx.load(path, load_external_data=False).graph.initializer:
        where = {entry.key: entry.value for entry in tensor.external_data}
        file, offset = Path(folder) / where["location"], int(where["offset"])
        found = np.memmap(file, np.float32, "r", offset, tuple(tensor.dims))
        if not np.array_equal(found, weight(int(tensor.name.removeprefix("w")))):
            raise ValueError(f"weight '{tensor.name}' of the compiled model differs from the one that went in")
    return LAYERS


def main() -> int:
    """Print the figures and how they stand to the bars; 1 if one is missed."""
    print(machine())
    passed = _lite0()
    with tempfile.TemporaryDirectory() as folder:
        passed &= _large(folder)
    return 0 if passed else 1


def _lite0() -> bool:
    turns = [[measured(compile_lite0, samples) for samples in (32, 320)] for _ in range(RUNS)]
    runs = dict(zip((32, 320), turns[0], strict=True))
    few_peaks, many_peaks = ([run.peak_bytes for run in column] for column in zip(*turns, strict=True))
    print(f"\n{'EfficientNet-Lite0 to int8, seconds':<40}{'32 samples':>12}{'320 samples':>12}")
    few, many = (run.result for run in runs.values())
    for step in dict.fromkeys([*few, *many]):
        print(f"{step:<40}{few.get(step, 0.0):>12.2f}{many.get(step, 0.0):>12.2f}")
    for title, figures in (
        ("whole process", [run.seconds for run in runs.values()]),
        ("its processor time", [run.cpu_seconds for run in runs.values()]),
        *((f"its peak memory, MB: run {n}", [run.peak_bytes / 1e6 for run in turn]) for n, turn in enumerate(turns, 1)),
    ):
        print(f"{title:<40}" + "".join(f"{figure:>12.1f}" for figure in figures))
    seconds, peak, ratio = _seconds_of_irc(few), max(few_peaks), median(many_peaks) / median(few_peaks)
    return all(
        [
            _bar(f"torch module to file in {seconds:.1f} s, <= {SECONDS:g} s", seconds <= SECONDS),
            _bar(f"peak memory {peak / 1e6:.0f} MB, < {PEAK / 1e6:.0f} MB", peak < PEAK),
            _bar(f"10x the samples: {ratio:.3f}x the memory, medians of {RUNS} runs, <= {SAME}x", ratio <= SAME),
        ]
    )


def _seconds_of_irc(steps: dict[str, float]) -> float:
    """From the torch module in memory to the file: all that irc does, its own import included."""
    return sum(steps[name] for name in ("import irc", "torch.export and reading", "passes", "save"))


def _large(folder: str) -> bool:
    size: int = measured(make_large, folder).result
    run: Measured = measured(compile_large, folder)
    checked = measured(check_large, folder).result
    beyond = run.peak_bytes - size
    print(f"\n{size / 1e9:.2f} GB of weights through the default passes: {run.result:.1f} s")
    print(f"onnx.checker is content with the result, and its {checked} weights are those that went in")
    peak, more = f"{run.peak_bytes / 1e9:.2f} GB", f"{beyond / 1e9:.2f} GB more than the weights"
    return _bar(f"peak memory {peak}, {more}, < {OVERHEAD / 1e9:g} GB more", beyond < OVERHEAD)


def _bar(title: str, passed: bool) -> bool:
    print(f"{verdict(passed)}  {title}")
    return passed


if __name__ == "__main__":
    sys.exit(main())

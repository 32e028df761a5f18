"""irc against onnxruntime's own quantizer, on EfficientNet-Lite0: PYTHONPATH=examples python benchmarks/peers.py

The same 32 calibration inputs for all. The float model that the peer quantizes is irc's export after its exact passes
(batch norms and padding folded) and the peer's own `quant_pre_process`; then `quantize_static`: QDQ, uint8 activations,
int8 weights per channel, with each of its three calibration methods. On a processor without VNNI the peer's 8-bit
weights saturate. There its remedy is tried too (`reduce_range`: 7-bit weights). Each file is also run without integer
kernels, which gives what a processor with VNNI would; irc, as this machine runs it, has to beat the best of all that.

Prints accuracy, what is really integer, latency with one thread, and how irc stands to the bars. The files stay in
`build/peers`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from latency import Timed, interleaved
from measure import has_vnni, machine, measured, verdict
from numpy.typing import NDArray

import openset

BUILD = Path(__file__).resolve().parents[1] / "build" / "peers"
FLOAT, PREPARED, IRC = BUILD / "float32.onnx", BUILD / "prepared.onnx", BUILD / "irc.onnx"
SAMPLES = 32
METHODS = ("MinMax", "Percentile", "Entropy")

# the bars
FLOAT_ERROR, FILE_MB, TOP1, CROPS_DB, PHOTOGRAPHS_DB, LATENCY = 1e-4, 5.2, 0.85, 4.0, 3.0, 1.0


def compile_irc() -> None:
    """Write the float export and irc's int8 file."""
    import irc
    from irc.api import DEFAULT_PASSES

    network = openset.load("effnet_lite0")
    graph = irc.load(network.model, network.example_inputs)
    irc.compile(graph).save(FLOAT)
    irc.compile(graph, f"{DEFAULT_PASSES}, quantize", calibration=network.calibration(SAMPLES)).save(IRC)


def prepare_peer() -> None:
    """Prepare the float model as the peer recommends."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(str(FLOAT), str(PREPARED))


def quantize_peer(method: str, reduce_range: bool) -> None:
    """Quantize the prepared model with onnxruntime."""
    from onnxruntime import quantization as peer

    class Reader(peer.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self.samples: Iterator[Any] = openset.load("effnet_lite0").calibration(SAMPLES)

        def get_next(self) -> Any:
            return next(self.samples, None)

    logging.disable()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its steps
        peer.quantize_static(
            str(PREPARED),
            str(peer_file(method, reduce_range)),
            Reader(),
            quant_format=peer.QuantFormat.QDQ,
            activation_type=peer.QuantType.QUInt8,
            weight_type=peer.QuantType.QInt8,
            per_channel=True,
            reduce_range=reduce_range,
            calibrate_method=peer.CalibrationMethod[method],
        )


def peer_file(method: str, reduce_range: bool) -> Path:
    """Where the peer's model goes."""
    return BUILD / f"onnxruntime-{method.lower()}{'-7bit' if reduce_range else ''}.onnx"


@dataclass(frozen=True)
class Quality:
    """What a file is worth.

    top1 : on the 20 labelled photographs
    agreement : on 108 crops that did not calibrate, the share of the torch model's class
    db : SQNR of the logits against the torch model's, on the crops and on the photographs, which are from other sources
    db_without_kernels : the same, in float arithmetic between the codes: no kernel can saturate
    error : the largest difference of a logit on the crops, relative to the largest logit
    counts : for each operator how many are integer in onnxruntime, of how many
    left : Q and DQ that onnxruntime still runs, at the graph's ends and inside
    """

    name: str
    megabytes: float
    top1: float
    agreement: float
    db: tuple[float, float]
    db_without_kernels: tuple[float, float]
    error: float
    counts: dict[str, tuple[int, int]]
    left: tuple[int, int]

    @property
    def all_integer(self) -> bool:
        """Whether every node is, with no Q or DQ between them."""
        return all(integer == whole for integer, whole in self.counts.values()) and self.left[1] == 0

    @property
    def best_db(self) -> tuple[float, float]:
        """The better of with and without kernels."""
        return max(self.db[0], self.db_without_kernels[0]), max(self.db[1], self.db_without_kernels[1])

    def row(self) -> str:
        """A line of the table."""
        integer = ", ".join(f"{integer}/{whole} {op}" for op, (integer, whole) in self.counts.items())
        figures = "".join(f"{db:>8.1f}" for db in (*self.db, *self.db_without_kernels))
        start = f"{self.name:<29}{self.megabytes:>6.2f}{self.top1:>7.2f}{self.agreement:>7.2f}{figures}"
        return f"{start}   {integer}; Q/DQ {self.left[0]} + {self.left[1]}"


HEADING = (
    f"{'':<49}{'SQNR, dB':>16}{'without kernels':>16}\n"
    f"{'file':<29}{'MB':>6}{'top-1':>7}{'agree':>7}{'crops':>8}{'photos':>8}{'crops':>8}{'photos':>8}"
    "   integer in onnxruntime; Q/DQ left at the ends + inside"
)


class Judge:
    """Holds files against the torch model, which has been run once."""

    def __init__(self) -> None:
        from openset import effnet_lite0

        self.network = openset.load("effnet_lite0")
        self.sets = (self.network.validation(108), effnet_lite0.photographs())
        self.wanted = self._logits(self.network.run())

    def quality(self, name: str, path: Path) -> Quality:
        """Run the file in onnxruntime and ask what became of its nodes."""
        from irc.analysis.error import relative_error, sqnr_db
        from irc.backends.onnx.fusion import fusion_report
        from irc.backends.registry import find_target

        run = openset.onnx_run(str(path))
        logits, plain = self._logits(run), self._logits(_run_without_kernels(path))
        fusion = fusion_report(path, find_target("onnx"))
        return Quality(
            name,
            path.stat().st_size / 1e6,
            self.network.evaluate(run)["top1"],
            float(np.mean(logits[0].argmax(1) == self.wanted[0].argmax(1))),
            (sqnr_db(self.wanted[0], logits[0]), sqnr_db(self.wanted[1], logits[1])),
            (sqnr_db(self.wanted[0], plain[0]), sqnr_db(self.wanted[1], plain[1])),
            relative_error(self.wanted[0], logits[0]),
            fusion.counts(),
            (fusion.left_at_ends, fusion.left_inside),
        )

    def _logits(self, run: openset.Run) -> list[NDArray[Any]]:
        """The logits on the crops, shape (108, 1000), and on the photographs, (20, 1000)."""
        return [np.concatenate([run(sample)[0] for sample in inputs]) for inputs in self.sets]


def _run_without_kernels(path: Path) -> openset.Run:
    """The file as it stands: each operator in float between its DQ and Q."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda inputs: list(session.run(None, inputs))


def main() -> int:
    """Make the files, print the tables and how irc stands to the bars; 1 if one is missed."""
    files = _make_files()
    judge = Judge()
    print(f"\n{HEADING}")
    original, ours, *peers = (judge.quality(name, path) for name, path in files.items())
    for each in (original, ours, *peers):
        print(each.row())
    best = max(peers, key=lambda each: each.best_db[0])
    timed = _time({name: files[name] for name in (original.name, ours.name, best.name)})
    return 0 if _verdicts(original, ours, peers, timed[ours.name].ratio(timed[best.name])) else 1


def _make_files() -> dict[str, Path]:
    """Float, irc's, and the peer's; each made in a process of its own."""
    BUILD.mkdir(parents=True, exist_ok=True)
    print(f"{machine()}\n\n{'making the files':<29}{'seconds':>8}{'CPU s':>8}{'peak MB':>9}")
    _make("irc (imports torch)", compile_irc)
    _make("onnxruntime, preparation", prepare_peer)
    files = {"float32": FLOAT, "irc": IRC}
    for reduce_range in (False,) if has_vnni() else (False, True):
        for method in METHODS:
            name = f"onnxruntime {method}{' 7-bit' if reduce_range else ''}"
            _make(name, quantize_peer, method, reduce_range)
            files[name] = peer_file(method, reduce_range)
    return files


def _make(title: str, function: Callable[..., None], *arguments: Any) -> None:
    took = measured(function, *arguments)
    print(f"{title:<29}{took.seconds:>8.1f}{took.cpu_seconds:>8.1f}{took.peak_bytes / 1e6:>9.0f}", flush=True)


def _time(files: dict[str, Path]) -> dict[str, Timed]:
    """Time the files in onnxruntime with one thread, in turns, and print the table."""
    example = openset.load("effnet_lite0").example_inputs
    timed = interleaved(
        {name: partial(openset.onnx_run(str(path), threads=1), example) for name, path in files.items()}
    )
    print(f"\n{'one thread, in turns, ms':<29}{'least':>8}{'median':>8}{'CPU':>8}{'runs':>6}")
    for name, each in timed.items():
        runs = sum(map(len, each.wall))
        print(f"{name:<29}{each.least:>8.2f}{each.median:>8.2f}{each.median_cpu:>8.2f}{runs:>6}")
    return timed


def _verdicts(original: Quality, ours: Quality, peers: list[Quality], ratio: float) -> bool:
    crops, photographs = (ours.db[i] - max(each.best_db[i] for each in peers) for i in (0, 1))
    integer = all(each.all_integer for each in (ours, *peers))
    bars = [
        (f"float file equals torch to {original.error:.1e}, <= {FLOAT_ERROR:g}", original.error <= FLOAT_ERROR),
        ("every node of every int8 file is integer, with no Q or DQ inside", integer),
        (f"file {ours.megabytes:.2f} MB, <= {FILE_MB}", ours.megabytes <= FILE_MB),
        (f"top-1 on 20 photographs {ours.top1:.2f}, >= {TOP1}", ours.top1 >= TOP1),
        (f"{crops:+.1f} dB over the best peer on crops, >= {CROPS_DB:+g}", crops >= CROPS_DB),
        (f"{photographs:+.1f} dB on photographs, >= {PHOTOGRAPHS_DB:+g}", photographs >= PHOTOGRAPHS_DB),
        (f"{ratio:.3f} of the best peer's time, <= {LATENCY:g}", ratio <= LATENCY),
    ]
    print()
    for title, passed in bars:
        print(f"{verdict(passed)}  {title}")
    return all(passed for _, passed in bars)


if __name__ == "__main__":
    sys.exit(main())

"""irc against onnxruntime's own quantizer, on EfficientNet-Lite0: PYTHONPATH=examples python benchmarks/peers.py

The same 32 calibration inputs for all. The float model that the peer quantizes is irc's export after its exact passes
(batch norms and padding folded) and the peer's own `quant_pre_process`; then `quantize_static`: QDQ, uint8 activations,
int8 weights per channel, with each of its three calibration methods. On a processor without VNNI the peer's 8-bit weights
saturate there, and it is tried with its remedy too, `reduce_range` (7-bit weights). Prints accuracy, what is really
integer, and latency with one thread; then how irc stands to the bars. The files stay in `build/peers`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from latency import Timed, interleaved
from measure import has_vnni, machine, measured, verdict
from numpy.typing import NDArray

BUILD = Path(__file__).resolve().parents[1] / "build" / "peers"
FLOAT, PREPARED, IRC = BUILD / "float32.onnx", BUILD / "prepared.onnx", BUILD / "irc.onnx"
SAMPLES = 32
METHODS = ("MinMax", "Percentile", "Entropy")
FLOAT_TOLERANCE = 1e-4  # of the exact passes, relative to the largest logit

# the bars
FILE_MB, TOP1, CROPS_DB, PHOTOGRAPHS_DB, LATENCY = 5.2, 0.85, 4.0, 3.0, 1.0


@dataclass(frozen=True)
class Quality:
    """What a file is worth.

    top1 : on the 20 labelled photographs
    agreement, crops_db : with the torch model, on 108 crops that did not calibrate: same class; SQNR of the logits
    photographs_db : SQNR of the logits on the labelled photographs, which are from other sources than the calibration's
    error : largest difference of a logit, relative to the largest logit
    counts : for each operator how many are integer in onnxruntime, of how many
    left : Q and DQ that onnxruntime still runs, at the graph's ends and inside
    """

    name: str
    megabytes: float
    top1: float
    agreement: float
    crops_db: float
    photographs_db: float
    error: float
    counts: dict[str, tuple[int, int]]
    left: tuple[int, int]

    @property
    def all_integer(self) -> bool:
        """Whether every node is, with no Q or DQ between them."""
        return all(integer == whole for integer, whole in self.counts.values()) and self.left[1] == 0

    def row(self) -> str:
        """A line of the table."""
        integer = ", ".join(f"{integer}/{whole} {op}" for op, (integer, whole) in self.counts.items())
        figures = f"{self.megabytes:>6.2f}{self.top1:>7.2f}{self.agreement:>7.2f}"
        figures += f"{self.crops_db:>7.1f} dB{self.photographs_db:>7.1f} dB"
        return f"{self.name:<26}{figures}   {integer}; Q/DQ {self.left[0]} + {self.left[1]}"


def compile_irc() -> None:
    """Write the float export and irc's int8 file."""
    import irc
    import openset
    from irc.api import DEFAULT_PASSES

    network = openset.load("effnet_lite0")
    graph = irc.load(network.model, network.example_inputs)
    irc.compile(graph).save(FLOAT)
    irc.compile(graph, f"{DEFAULT_PASSES}, quantize", calibration=network.calibration(SAMPLES)).save(IRC)


def prepare_peer() -> None:
    """The peer's own preparation of the float model."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(str(FLOAT), str(PREPARED))


def quantize_peer(method: str, reduce_range: bool) -> None:
    """Quantize the prepared model with onnxruntime."""
    from onnxruntime import quantization as peer

    import openset

    class Reader(peer.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self.samples: Iterator[Any] = openset.load("effnet_lite0").calibration(SAMPLES)

        def get_next(self) -> Any:
            return next(self.samples, None)

    logging.disable()
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


class Judge:
    """Holds files against the torch model, which has been run once."""

    def __init__(self) -> None:
        import openset
        from openset import effnet_lite0

        self.network = openset.load("effnet_lite0")
        self.sets = (self.network.validation(108), effnet_lite0.photographs())
        run = self.network.run()
        self.wanted = [self._logits(run, inputs) for inputs in self.sets]

    def quality(self, name: str, path: Path) -> Quality:
        """Run the file in onnxruntime and ask what became of its nodes."""
        import openset
        from irc.analysis.error import relative_error, sqnr_db
        from irc.backends.onnx.fusion import fusion_report
        from irc.backends.registry import find_target

        run = openset.onnx_run(str(path))
        crops, photographs = (self._logits(run, inputs) for inputs in self.sets)
        fusion = fusion_report(path, find_target("onnx"))
        return Quality(
            name,
            path.stat().st_size / 1e6,
            self.network.evaluate(run)["top1"],
            fmean(crops.argmax(1) == self.wanted[0].argmax(1)),
            sqnr_db(self.wanted[0], crops),
            sqnr_db(self.wanted[1], photographs),
            relative_error(self.wanted[0], crops),
            fusion.counts(),
            (fusion.left_at_ends, fusion.left_inside),
        )

    @staticmethod
    def _logits(run: Any, inputs: Any) -> NDArray[np.float32]:
        return np.concatenate([run(sample)[0] for sample in inputs])


def latencies(files: dict[str, Path]) -> dict[str, Timed]:
    """Each file in onnxruntime with one thread, in turns."""
    import openset

    example = openset.load("effnet_lite0").example_inputs
    runs = {name: openset.onnx_run(str(path), threads=1) for name, path in files.items()}
    return interleaved({name: partial(run, example) for name, run in runs.items()})


def main() -> int:
    """Make the files, print the tables and how irc stands to the bars; 1 if one is missed."""
    BUILD.mkdir(parents=True, exist_ok=True)
    print(f"{machine()}\n\n{'quantizing, own process':<26}{'seconds':>8}{'CPU s':>8}{'peak MB':>9}")
    _make("irc (with torch)", compile_irc)
    _make("onnxruntime preparation", prepare_peer)
    files = {}
    for reduce_range in (False,) if has_vnni() else (False, True):
        for method in METHODS:
            name = f"onnxruntime {method}{' 7-bit' if reduce_range else ''}"
            _make(name, quantize_peer, method, reduce_range)
            files[name] = peer_file(method, reduce_range)

    judge = Judge()
    print(f"\n{'file':<26}{'MB':>6}{'top-1':>7}{'agree':>7}{'108 crops':>10}{'20 photos':>10}   integer in onnxruntime")
    original, ours = judge.quality("float32", FLOAT), judge.quality("irc", IRC)
    peers = [judge.quality(name, path) for name, path in files.items()]
    for each in (original, ours, *peers):
        print(each.row())

    best = max(peers, key=lambda each: each.crops_db)
    timed = latencies({"float32": FLOAT, "irc": IRC, best.name: files[best.name]})
    print(f"\n{'one thread, in turns, ms':<26}{'least':>8}{'median':>8}{'CPU':>8}{'runs':>6}")
    for name, each in timed.items():
        runs = sum(map(len, each.wall))
        print(f"{name:<26}{each.least:>8.2f}{each.median:>8.2f}{each.median_cpu:>8.2f}{runs:>6}")
    print()
    return 0 if _verdicts(original, ours, peers, best, timed) else 1


def _make(title: str, function: Any, *arguments: Any) -> None:
    took = measured(function, *arguments)
    print(f"{title:<26}{took.seconds:>8.1f}{took.cpu_seconds:>8.1f}{took.peak_bytes / 1e6:>9.0f}", flush=True)


def _verdicts(original: Quality, ours: Quality, peers: list[Quality], best: Quality, timed: dict[str, Timed]) -> bool:
    crops = ours.crops_db - max(each.crops_db for each in peers)
    photographs = ours.photographs_db - max(each.photographs_db for each in peers)
    ratio = timed["irc"].ratio(timed[best.name])
    bars = [
        (
            f"the float file equals torch to {original.error:.1e}, <= {FLOAT_TOLERANCE:g}",
            original.error <= FLOAT_TOLERANCE,
        ),
        ("irc: every node integer, no Q or DQ inside", ours.all_integer),
        (f"irc: file {ours.megabytes:.2f} MB, <= {FILE_MB}", ours.megabytes <= FILE_MB),
        (f"irc: top-1 on 20 photographs {ours.top1:.2f}, >= {TOP1}", ours.top1 >= TOP1),
        (f"irc over the best peer: {crops:+.1f} dB on crops, >= +{CROPS_DB:g}", crops >= CROPS_DB),
        (
            f"irc over the best peer: {photographs:+.1f} dB on photographs, >= +{PHOTOGRAPHS_DB:g}",
            photographs >= PHOTOGRAPHS_DB,
        ),
        (f"irc's time over {best.name}'s: {ratio:.3f}, <= {LATENCY:g}", ratio <= LATENCY),
    ]
    for title, passed in bars:
        print(f"{verdict(passed)}  {title}")
    return all(passed for _, passed in bars)


if __name__ == "__main__":
    sys.exit(main())

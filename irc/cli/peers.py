"""The runtimes that `irc bench` sets beside the compiled C: onnxruntime, and OpenVINO where it is installed."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from irc.analysis.error import sqnr_db
from irc.types import Array

if TYPE_CHECKING:
    from irc.backends.artifact import Artifact
    from irc.backends.c.artifact import CArtifact
    from irc.execution.samples import Sample
    from irc.graph import Graph

Call = Callable[[], list[Array]]
Runtimes = dict[str, tuple[Call, float | None]]


def runtimes(artifact: CArtifact, graph: Graph, sample: Sample, threads: int, quantized: Artifact | None) -> Runtimes:
    """Each runtime by name: what runs the sample once, and its SQNR against the float model in onnxruntime.

    artifact, graph : the compiled model, and the model as it came in
    quantized : the model compiled for onnxruntime, if it was quantized
    """
    import irc.api

    original = irc.api.compile(graph, [], target="onnx")
    arrays = [np.ascontiguousarray(sample[port.name]) for port in artifact.program.inputs]
    with tempfile.TemporaryDirectory(prefix="irc-") as name:
        folder = Path(name)
        calls: dict[str, Call] = {"irc c": lambda: artifact.runner(arrays)}
        calls["onnxruntime"] = _onnxruntime(original, folder / "float.onnx", sample, threads)
        if quantized is not None:
            calls["onnxruntime int8"] = _onnxruntime(quantized, folder / "int8.onnx", sample, threads)
        if importlib.util.find_spec("openvino") is not None:
            for title, file in (("OpenVINO", "float.onnx"), ("OpenVINO int8", "int8.onnx")):
                if (folder / file).exists():
                    calls[title] = _openvino(folder / file, sample, threads)
    wanted = calls["onnxruntime"]()
    made: Runtimes = {}
    for title, call in calls.items():
        got = call()
        same = len(got) == len(wanted) and all(a.shape == b.shape for a, b in zip(got, wanted, strict=True))
        made[title] = call, _error(wanted, got) if same else None
    made["onnxruntime"] = calls["onnxruntime"], None
    return made


def _error(wanted: list[Array], got: list[Array]) -> float | None:
    pairs = [(a, b) for a, b in zip(wanted, got, strict=True) if a.dtype.kind == "f"]
    return min((sqnr_db(a, b) for a, b in pairs), default=None)


def _onnxruntime(artifact: Artifact, file: Path, sample: Sample, threads: int) -> Call:
    from irc.backends.onnx.session import make_session

    artifact.save(file)
    session = make_session(file, threads=threads, signed=artifact.target.policy.activation.signed)
    feed = dict(sample)
    return lambda: list(session.run(None, feed))


def _openvino(file: Path, sample: Sample, threads: int) -> Call:
    import openvino as ov

    core = ov.Core()
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    compiled = core.compile_model(core.read_model(file), "CPU", settings)
    request = compiled.create_infer_request()
    feed = dict(sample)
    return lambda: [np.array(v) for v in request.infer(feed).values()]

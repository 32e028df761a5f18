"""The runtimes that `irc bench` sets beside the compiled C: onnxruntime, and OpenVINO where it is installed."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from irc.analysis.error import sqnr_db
from irc.errors import BackendError
from irc.types import Array

if TYPE_CHECKING:
    from irc.backends.artifact import Artifact
    from irc.backends.c.artifact import CArtifact
    from irc.execution.samples import Sample
    from irc.graph import Graph

Run = Callable[[], Sequence[Array]]

# the last ones are of files that came quantized
_QUANTIZING = frozenset({"FakeQuant", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv"})


@dataclass(frozen=True)
class Contender:
    """A model in a runtime.

    runtime, model : for the table; the model is `float` or `quantized`, and as given or for which target
    run : runs the sample once
    error : SQNR in dB of its outputs against the model as given in onnxruntime; None of that itself
    """

    runtime: str
    model: str
    run: Run
    error: float | None = None


def contenders(
    artifact: CArtifact, graph: Graph, sample: Sample, threads: int, compiled: Callable[[str], Artifact] | None
) -> list[Contender]:
    """What is timed: the compiled C first, then the model as given in onnxruntime, then the others.

    artifact, graph : the compiled model, and the model as it came in
    compiled : the model after the same passes, for the target of that name; None if there are none

    Raises
    ------
    DataError : the sample does not fit what the C is for.
    BackendError : a runtime gives outputs of other shapes than onnxruntime, so that it does not do the same work.
    """
    artifact(sample)  # checks it, once; what is timed is the C alone
    arrays = [np.ascontiguousarray(sample[port.name]) for port in artifact.program.inputs]
    ours = Contender("irc c", _model(artifact.graph, artifact.target.name), lambda: artifact.runner(arrays))
    feed = {name: np.ascontiguousarray(array) for name, array in sample.items()}
    with tempfile.TemporaryDirectory(prefix="irc-") as folder:
        first, *others = _peers(graph, feed, threads, compiled, Path(folder))
    wanted = first.run()
    return [_measured(ours, wanted), first, *(_measured(each, wanted) for each in others)]


def _peers(
    graph: Graph, feed: Sample, threads: int, compiled: Callable[[str], Artifact] | None, folder: Path
) -> Iterator[Contender]:
    import irc.api

    original, as_given = irc.api.compile(graph, [], target="onnx"), _model(graph, "as given")
    yield Contender("onnxruntime", as_given, _onnxruntime(original, folder / "given.onnx", feed, threads))
    if compiled is not None:
        made = compiled("onnx")
        run = _onnxruntime(made, folder / "onnxruntime.onnx", feed, threads)
        yield Contender("onnxruntime", _model(made.graph, "onnx"), run)
    if importlib.util.find_spec("openvino") is None:
        return
    yield Contender("OpenVINO", as_given, _openvino(original, folder / "given.onnx", feed, threads))
    if compiled is not None:
        made = compiled("onnx:openvino")
        run = _openvino(made, folder / "openvino.onnx", feed, threads)
        yield Contender("OpenVINO", _model(made.graph, "onnx:openvino"), run)


def _model(graph: Graph, origin: str) -> str:
    """What a table says of a model."""
    quantized = any(node.op.name in _QUANTIZING for node in graph.walk())
    return f"{'quantized' if quantized else 'float'}, {origin}"


def _measured(contender: Contender, wanted: Sequence[Array]) -> Contender:
    """The same with its error."""
    got = contender.run()
    shapes = [[list(array.shape) for array in outputs] for outputs in (got, wanted)]
    if shapes[0] != shapes[1]:
        raise BackendError(
            f"{contender.runtime} ({contender.model}) gives outputs of shapes {shapes[0]}, the model as given "
            f"{shapes[1]} in onnxruntime; their times cannot be compared"
        )
    errors = (sqnr_db(a, b) for a, b in zip(wanted, got, strict=True) if a.dtype.kind == "f")
    return Contender(contender.runtime, contender.model, contender.run, min(errors, default=None))


def _onnxruntime(artifact: Artifact, file: Path, feed: Sample, threads: int) -> Run:
    from irc.backends.onnx.session import make_session

    artifact.save(file)
    session = make_session(file, threads=threads, signed=artifact.target.policy.activation.signed)
    return lambda: list(session.run(None, feed))


def _openvino(artifact: Artifact, file: Path, feed: Sample, threads: int) -> Run:
    """Its fastest way: tuned for latency, one stream, inputs and outputs shared with numpy."""
    import openvino as ov

    artifact.save(file)
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    try:
        request = ov.Core().compile_model(str(file), "CPU", settings).create_infer_request()
    except RuntimeError as error:
        said = (str(error).strip().splitlines() or [""])[-1]
        raise BackendError(f"OpenVINO refuses the model: {said}") from None
    return lambda: list(request.infer(feed, share_inputs=True, share_outputs=True).values())

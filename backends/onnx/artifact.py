"""A compiled ONNX model: saved as a file, run by onnxruntime."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from functools import cached_property
from pathlib import Path
from typing import Any

import onnxruntime as ort

from irc.backends.artifact import Artifact
from irc.backends.onnx.fusion import FusionReport, fusion_report
from irc.backends.onnx.lowering import lower
from irc.backends.onnx.save import save_graph
from irc.backends.onnx.session import make_session
from irc.execution.samples import check_sample, input_signature
from irc.graph import Graph
from irc.report.report import Report
from irc.target import Target


class OnnxArtifact(Artifact):
    """An ONNX model for one of the `onnx` targets."""

    def __init__(self, graph: Graph, target: Target, report: Report, opset: int | None = None) -> None:
        super().__init__(graph, target, report)
        self.lowered = lower(graph, target, opset)
        self._folder = Path(tempfile.mkdtemp(prefix="irc-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def save(self, path: str | Path) -> None:
        """Write the model; weights past 1.5 GB go to `path`.data beside it.

        Raises
        ------
        OutputError : the folder does not exist or cannot be written to.
        """
        save_graph(self.lowered, Path(path))

    def __call__(self, *inputs: Any) -> Any:
        graph = self.lowered
        signature = input_signature(graph)
        item = inputs[0] if len(inputs) == 1 else inputs
        made = self.session.run(None, check_sample(item, signature))
        return made[0] if len(made) == 1 else tuple(made)

    @cached_property
    def session(self) -> ort.InferenceSession:
        """The onnxruntime session that calls run in, with onnxruntime's own choice of threads."""
        return make_session(self._file, signed=self.target.policy.activation.signed)

    @cached_property
    def fusion(self) -> FusionReport:
        """Which nodes onnxruntime runs as integer, and why it does not run the others so."""
        return fusion_report(self._file, self.target)

    @cached_property
    def _file(self) -> Path:
        path = self._folder / "model.onnx"
        self.save(path)
        return path

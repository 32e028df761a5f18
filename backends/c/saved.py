"""A saved model read back from its folder, to be compiled again."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from irc.backends.c.folder import MODEL_FILE, stored_options
from irc.backends.c.remembered import content_key, read_manifest
from irc.backends.registry import target_of
from irc.errors import ModelError
from irc.frontends.onnx import read_onnx
from irc.graph import Graph
from irc.report.ledger import Ledger, Row
from irc.report.report import Report
from irc.target import Target


@dataclass(frozen=True)
class Saved:
    """What a folder holds.

    options : the name and tuning, as `CArtifact` takes them
    key : what a library of it is remembered by; empty if it is not to be remembered
    """

    graph: Graph
    target: Target
    report: Report
    options: dict[str, Any]
    key: str


def read_saved(folder: Path) -> Saved:
    """Read the folder.

    Raises
    ------
    ModelError : there is no model, or it cannot be read.
    """
    manifest = read_manifest(folder)
    graph, model = _read(folder / MODEL_FILE)
    key = content_key(model, manifest) if model else ""
    return Saved(graph, target_of(graph), opened_report(graph), stored_options(manifest), key)


def _read(path: Path) -> tuple[Graph, bytes]:
    """The graph and the sha256 of the very bytes that it was read from, whoever writes to the file meanwhile.

    It is empty for a model of which a part may lie in further files, which nobody has hashed: such a part, in whatever
    attribute or body, states its "location".
    """
    with suppress(OSError, ModelError, DecodeError, ValueError):  # the text of an error shall name the file
        content = path.read_bytes()
        if b"location" in content:
            return read_onnx(path), b""
        return read_onnx(onnx.load_model_from_string(content)), hashlib.sha256(content).digest()
    return read_onnx(path), b""


def opened_report(graph: Graph) -> Report:
    """The report of a model that was not compiled just now."""
    return Report(Ledger([Row("opened", notes=list(graph.info.notes))]))

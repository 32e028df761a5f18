"""The folder of a saved model: written by `CArtifact.save`, and read back by `irc.open` to be compiled again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, Message

from irc.atomic import atomic_folder
from irc.backends.c.build_cache import folder_key, model_key
from irc.backends.c.manifest import MANIFEST_FILE, MODEL_FILE, Manifest, Tuning, manifest_bytes
from irc.backends.c.specialize import symbols
from irc.backends.c.toolchain import write_files
from irc.backends.onnx.lowering import lower as lower_to_onnx
from irc.backends.onnx.save import external_data, save_graph
from irc.backends.registry import target_of
from irc.errors import ModelError
from irc.frontends.onnx import read_onnx
from irc.graph import Graph
from irc.report.ledger import Ledger, Row
from irc.report.report import Report
from irc.target import Target

_DIMS = "irc.dims"  # in the model's metadata: what its symbols are bound to


@dataclass(frozen=True)
class SavedModel:
    """What a folder holds.

    name, tuning : as `CArtifact` takes them
    key : of the model in the build cache; empty if it is not to be kept there
    """

    graph: Graph
    target: Target
    report: Report
    name: str
    tuning: Tuning | None
    key: str


def write_saved_model(
    path: Path, graph: Graph, target: Target, manifest: Manifest, files: Mapping[str, str | bytes]
) -> str:
    """Write the folder, with the C files of the graph; its key in the build cache, empty if nobody can tell.

    Raises
    ------
    OutputError : the folder cannot be written, or there is something else under that name.
    """
    with atomic_folder(path, marker=MANIFEST_FILE) as folder:
        write_files(folder, files)
        model = lower_to_onnx(graph, target)
        if manifest.dims:
            model.info.metadata[_DIMS] = json.dumps(manifest.dims)
        save_graph(model, folder / MODEL_FILE)
        (folder / MANIFEST_FILE).write_text(manifest.to_json())
        return "" if external_data(folder / MODEL_FILE).exists() else folder_key(folder)


def read_saved_model(folder: Path) -> SavedModel:
    """Read the folder. One without a manifest is a model that has no name and was not tuned.

    Raises
    ------
    ModelError : there is no model, or one of the files cannot be read.
    """
    content = manifest_bytes(folder)
    graph, model = _read(folder / MODEL_FILE)
    key = model_key(model, content) if model else ""
    manifest = None if content is None else Manifest.from_json(content, folder / MANIFEST_FILE)
    name, tuning = ("model", None) if manifest is None else (manifest.name, manifest.tuning)
    return SavedModel(graph, target_of(graph), opened_report(graph), name, tuning, key)


def _read(path: Path) -> tuple[Graph, bytes]:
    """The graph and the sha256 of the very bytes that it was read from, whoever writes to the file meanwhile.

    It is empty for a model of which a part lies in further files, which nobody has hashed.
    """
    with suppress(OSError, ModelError, DecodeError, ValueError):  # the text of an error shall name the file
        content = path.read_bytes()
        model = onnx.load_model_from_string(content)
        if b"location" not in content or not _has_parts_elsewhere(model):  # where they are is their "location"
            return read_onnx(model), hashlib.sha256(content).digest()
    return read_onnx(path), b""


def _has_parts_elsewhere(message: Message) -> bool:
    """Whether a tensor in it, in whatever attribute or body, says that its data lie in a file of their own."""
    if isinstance(message, onnx.TensorProto) and (message.external_data or message.data_location):
        return True
    held = (value for field, value in message.ListFields() if field.message_type is not None)
    return any(_has_parts_elsewhere(m) for value in held for m in ((value,) if isinstance(value, Message) else value))


def opened_report(graph: Graph) -> Report:
    """The report of a model that was not compiled just now."""
    return Report(Ledger([Row("opened", notes=list(graph.info.notes))]))


def saved_dims(graph: Graph) -> dict[str, int]:
    """What the symbols of a saved model were bound to; nothing if the text is not irc's."""
    with suppress(ValueError):
        held = json.loads(graph.info.metadata.get(_DIMS, "{}"))
        if isinstance(held, dict):
            known = symbols(graph)
            return {k: v for k, v in held.items() if k in known and isinstance(v, int) and v > 0}
    return {}

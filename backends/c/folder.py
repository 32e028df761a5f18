"""The folder of a saved model: what its files are called, and what its manifest tells of it.

A folder may come from anybody. Its C is never compiled here: `irc.open` makes the C again, of the model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from irc.backends.c.emit.names import identifier

MODEL_FILE = "model.onnx"  # the graph, so that `irc.open` brings the artifact back
MANIFEST = "irc.json"


@dataclass(frozen=True)
class Tuning:
    """Which candidate each step takes on an instruction set, as measured."""

    isa: str
    choices: tuple[int, ...]


def stored_options(manifest: bytes) -> dict[str, Any]:
    """The name and tuning that a manifest gives to `CArtifact`, but for what `save` writes otherwise."""
    try:
        held = json.loads(manifest)
    except (ValueError, RecursionError):
        return {}
    name, tuning = (held.get("name"), held.get("tuning")) if isinstance(held, dict) else (None, None)
    options: dict[str, Any] = {"name": name} if isinstance(name, str) and name == identifier(name, "model") else {}
    if isinstance(tuning, dict) and isinstance(tuning.get("isa"), str) and isinstance(tuning.get("choices"), list):
        options["tuning"] = Tuning(tuning["isa"], tuple(tuning["choices"]))
    return options

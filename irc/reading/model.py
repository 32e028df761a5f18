"""A model by name: a path, or a function that makes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from irc.errors import ModelError, TextError
from irc.names import call, is_function_name

if TYPE_CHECKING:
    from irc.graph import Graph


def read_model(text: str) -> Graph:
    """The Graph of what the text names.

    A function returns a model that `irc.load` takes, alone or in a tuple with the example inputs and, third, the
    dynamic shapes.

    Raises
    ------
    ModelError : there is no such model, or it cannot be read.
    TextError : the text of an .irc file is no graph.
    """
    from irc.api import load

    if not is_function_name(text):
        return _read_folder(Path(text)) if Path(text).is_dir() else read_file(Path(text))
    model, inputs, shapes = parts(call(text, ModelError), f"'{text}' returned")
    return load(model, inputs, dynamic_shapes=shapes)


def read_file(path: Path) -> Graph:
    """The Graph of an .onnx or .irc file; errors as `read_model` raises them."""
    from irc.api import load

    try:
        return load(path)
    except TextError as error:
        raise TextError(f"'{path}', line {error}") from None


def parts(made: Any, where: str) -> tuple[Any, Any, Any]:
    """A model, its example inputs and dynamic shapes, of a model alone or a tuple of up to three.

    Raises
    ------
    ModelError : the tuple has another length.
    """
    if not isinstance(made, tuple):
        return made, None, None
    if not 1 <= len(made) <= 3:
        raise ModelError(f"{where} {len(made)} things; give the model, example inputs, dynamic shapes")
    model, inputs, shapes = (*made, None, None)[:3]
    return model, inputs, shapes


def _read_folder(path: Path) -> Graph:
    """The graph that a compiled C model keeps beside its code."""
    from irc.api import load
    from irc.backends.c.manifest import MANIFEST_FILE, MODEL_FILE

    if not (path / MANIFEST_FILE).is_file():
        raise ModelError(f"'{path}' is a folder; give the .onnx file in it")
    return load(path / MODEL_FILE)

"""MODEL on the command line: a path, or a function that makes the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from irc.errors import ModelError, TextError
from irc.names import call, is_function_name

if TYPE_CHECKING:
    from irc.graph import Graph

HELP = "An .onnx or .irc file, or package.module:function returning a torch module and its example inputs."


def read_model(text: str) -> Graph:
    """The Graph of what MODEL names.

    A function returns a model that `irc.load` takes, alone or in a tuple with the example inputs and, third, the
    dynamic shapes.

    Raises
    ------
    ModelError : there is no such model, or it cannot be read.
    TextError : the text of an .irc file is no graph.
    """
    from irc.api import load

    if not is_function_name(text):
        if Path(text).is_dir():
            return _read_folder(Path(text))
        try:
            return load(text)
        except TextError as error:
            raise TextError(f"'{text}', line {error}") from None
    made = call(text, ModelError)
    if not isinstance(made, tuple):
        return load(made)
    if not 1 <= len(made) <= 3:
        raise ModelError(f"'{text}' returned {len(made)} things; give the model, example inputs, dynamic shapes")
    model, inputs, shapes = (*made, None, None)[:3]
    return load(model, inputs, dynamic_shapes=shapes)


def _read_folder(path: Path) -> Graph:
    """The graph that a compiled C model keeps beside its code."""
    from irc.api import load
    from irc.backends.c.folder import MANIFEST, MODEL_FILE

    if not (path / MANIFEST).is_file():
        raise ModelError(f"'{path}' is a folder; give the .onnx file in it")
    return load(path / MODEL_FILE)

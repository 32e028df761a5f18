"""The manifest of a saved model: what the C in its folder is, for whoever does not read the C.

    folder    ::=  model.onnx, irc.json, and the files of `emit/sources.py`
    irc.json  ::=  the fields of Manifest in their order; `tuning` may be null or left out

`irc.open` takes `name` and `tuning` from it and the rest from the model; the other keys are for people and programs.
A folder may come from anybody: what it says is checked as it is read.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from irc.backends.c.emit.names import identifier
from irc.errors import ModelError

MODEL_FILE = "model.onnx"  # the graph, so that `irc.open` brings the artifact back
MANIFEST_FILE = "irc.json"
_NAMES = {str: "a text", int: "a whole number, 0 or more", tuple: "a list", dict: "an object"}


@dataclass(frozen=True)
class Tuning:
    """Which candidate each step takes on an instruction set, as measured."""

    isa: str
    choices: tuple[int, ...]


@dataclass(frozen=True)
class Manifest:
    """What `irc.json` says; its keys are the names of the fields.

    target : what the model was compiled for;  isas : the instruction sets that its code carries
    name : in the names of its files and functions
    dims : of each symbolic dimension of the inputs, the size that the code is for
    tuning : the kernels that were chosen by measuring; None if none were
    arena_bytes, constant_bytes : what the code needs for activations, and holds in weights and tables
    """

    target: str
    name: str
    isas: tuple[str, ...]
    dims: dict[str, int]
    tuning: Tuning | None
    arena_bytes: int
    constant_bytes: int

    def to_json(self) -> str:
        """The text of the file."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @staticmethod
    def from_json(content: bytes, file: Path) -> Manifest:
        """What `to_json` gave; keys that nobody knows are for later versions.

        file : which the error names

        Raises
        ------
        ModelError : it is no manifest.
        """
        try:
            made: Manifest = _typed(_parsed(content), Manifest, "it")
            if made.name != identifier(made.name, "model"):
                raise ValueError("'name' must be one for C: small letters, digits and _")
        except ValueError as error:
            raise ModelError(
                f"'{file}' is no manifest of a compiled model: {error}; save the model again, or delete the file to "
                "open it under another name and without its tuning"
            ) from None
        return made


def manifest_bytes(folder: Path) -> bytes | None:
    """What the manifest's file holds; None if there is none.

    Raises
    ------
    ModelError : there is one that cannot be read.
    """
    try:
        return (folder / MANIFEST_FILE).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelError(f"'{folder / MANIFEST_FILE}' cannot be read: {error.strerror}") from None


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):  # ValueError: a number has more digits than Python takes, too
        raise ValueError("it is no JSON") from None


def _typed(held: Any, kind: Any, what: str) -> Any:
    """A value of JSON as what a field is declared to be; ValueError says what must be something else."""
    arguments = get_args(kind)
    if NoneType in arguments:
        return None if held is None else _typed(held, arguments[0], what)
    is_record = is_dataclass(kind)
    origin = dict if is_record else get_origin(kind) or kind
    fits = type(held) is (list if origin is tuple else origin)  # a bool is no int
    if not fits or (origin is int and held < 0):
        raise ValueError(f"{what} must be {_NAMES[origin]}")
    if is_record:
        hints = get_type_hints(kind)
        return kind(**{name: _typed(held.get(name), hint, repr(name)) for name, hint in hints.items()})
    if origin is tuple:
        return tuple(_typed(each, arguments[0], f"each of {what}") for each in held)
    if origin is dict:
        return {name: _typed(each, arguments[1], f"each of {what}") for name, each in held.items()}
    return held

"""The state of a training in one file: safetensors, with everything that is no tensor as JSON in its header. No pickle.

    tree  ::= None | bool | number | text | tensor | [tree …] | {key: tree}           a tensor is stood for by its name

The file appears whole or not at all, so that a killed process leaves the one before.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from irc.atomic import atomic_file
from irc.errors import DataError, OptionError, OutputError

FILE = "checkpoint.safetensors"
_FORMAT = "irc training checkpoint 1"


def write_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write the state as the folder's checkpoint.

    Raises
    ------
    OptionError : it holds something that a checkpoint cannot.
    OutputError : the file cannot be written.
    """
    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps(_packed(state, "", tensors))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"checkpoint folder '{folder}' cannot be made: {error.strerror}") from None
    with atomic_file(folder / FILE) as file:
        file.write(save(tensors, {"format": _FORMAT, "state": text}))


def read_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The state that the folder holds; None if there is none yet.

    Raises
    ------
    DataError : the file is no checkpoint.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise DataError(f"'{path}' is no checkpoint of irc; remove it, or give another checkpoint folder")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no dict
        state: dict[str, Any] = _unpacked(json.loads(metadata["state"]), tensors)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"'{path}' cannot be read as a checkpoint: {error}; remove it to start anew") from None
    return state


def _packed(tree: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(tree, torch.Tensor):
        name = path or "tensor"
        tensors[name] = tree.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(tree, dict):
        return {"keys": [[_key(k), _packed(v, f"{path}/{k}" if path else str(k), tensors)] for k, v in tree.items()]}
    if isinstance(tree, list | tuple):
        return [_packed(each, f"{path}/{i}", tensors) for i, each in enumerate(tree)]
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    raise OptionError(f"a checkpoint cannot hold the {type(tree).__name__} at {path} of the optimizer's state")


def _key(key: Any) -> str | int:
    return key if isinstance(key, int) else str(key)


def _unpacked(tree: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(tree, dict):
        if "tensor" in tree:
            return tensors[tree["tensor"]]
        return {key: _unpacked(value, tensors) for key, value in tree["keys"]}
    if isinstance(tree, list):
        return [_unpacked(each, tensors) for each in tree]
    return tree

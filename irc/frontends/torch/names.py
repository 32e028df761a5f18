"""What things are called: nodes after the user's layers, inputs after arguments, outputs after keys."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils import _pytree as pytree

_CALL = re.compile(r"@\d+")  # torch counts the calls of a module that is called again: `head@1`


def _innermost(node: torch.fx.Node) -> tuple[str, str]:
    """The innermost module that the node belongs to: the key of this call of it, and its path."""
    stack = node.meta.get("nn_module_stack") or {}
    for key, (path, _) in reversed(stack.items()):
        if not str(path).startswith("_empty_nn_module_stack"):  # torch's mark of a node that belongs to none
            return str(key), _CALL.sub("", str(path))
    return "", ""


def layer_of(node: torch.fx.Node) -> str:
    """Path of the innermost module that the node belongs to, as in `named_modules()`; empty for the model itself."""
    return _innermost(node)[1]


def operator_name(target: Any) -> str:
    """`conv2d` of `aten.conv2d.default`."""
    parts = str(target).split(".")
    return (parts[1] if len(parts) > 2 else parts[-1]).strip("_")


class LayerNames:
    """Names for the nodes: the layer's path if the operator is all that it does, else `path.operator`."""

    def __init__(self, nodes: Iterable[torch.fx.Node]) -> None:
        self._calls = Counter(_innermost(node) for node in nodes)

    def of(self, node: torch.fx.Node) -> str:
        layer, operator = layer_of(node), operator_name(node.target)
        if layer and self._calls[_innermost(node)] == 1:
            return layer
        return f"{layer}.{operator}" if layer else operator


def _key_name(key: Any) -> str:
    """A step into a container: the key, the field or the index."""
    return str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", ""))))


def output_names(spec: pytree.TreeSpec, count: int) -> list[str]:
    """Names for the leaves of what the model returns.

    `output` if it is one tensor, `output_0` … for a tuple, the keys or field names of a dict, dataclass or named
    tuple; deeper ones joined by `_`: `hidden_states_0`.
    """
    try:
        leaves, _ = pytree.tree_flatten_with_path(pytree.tree_unflatten(list(range(count)), spec))
        paths = [[_key_name(key) for key in path] for path, _ in leaves]
    except Exception:  # a container type of the user's that does not unflatten into placeholders
        paths = [[str(i)] for i in range(count)]
    if len(paths) != count:
        paths = [[str(i)] for i in range(count)]
    joined = ["_".join(path) for path in paths]
    return [f"output_{n}" if n[:1].isdigit() else n or "output" for n in joined]

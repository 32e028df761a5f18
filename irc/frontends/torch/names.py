"""What things are called: nodes after the user's layers, inputs after arguments, outputs after keys."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils import _pytree as pytree

_CALL = re.compile(r"@\d+")  # torch counts the calls of a module that is called again: `head@1`


def _call_path(node: torch.fx.Node) -> str:
    """Path of the innermost module that the node belongs to, with the count of its call."""
    stack = node.meta.get("nn_module_stack") or {}
    path = str(next(reversed(stack.values()))[0]) if stack else ""
    return "" if path.startswith("_empty_nn_module_stack") else path


def layer_of(node: torch.fx.Node) -> str:
    """Path of the innermost module that the node belongs to, as in `named_modules()`; empty for the model itself."""
    return _CALL.sub("", _call_path(node))


def operator_name(target: Any) -> str:
    """`conv2d` of `aten.conv2d.default`."""
    parts = str(target).split(".")
    return (parts[1] if len(parts) > 2 else parts[-1]).strip("_")


class LayerNames:
    """Names for the nodes: the layer's path if the operator is all that it does, else `path.operator`."""

    def __init__(self, nodes: Iterable[torch.fx.Node]) -> None:
        self._calls = Counter(_call_path(node) for node in nodes)

    def of(self, node: torch.fx.Node) -> str:
        layer, operator = layer_of(node), operator_name(node.target)
        if layer and self._calls[_call_path(node)] == 1:
            return layer
        return f"{layer}.{operator}" if layer else operator


def output_names(spec: pytree.TreeSpec, count: int) -> list[str]:
    """Names for the leaves of what the model returns.

    `output` if it is one tensor, `output_0` … for a tuple, the keys or field names of a dict, dataclass or named
    tuple; deeper ones joined by `_`: `hidden_states_0`.
    """
    try:
        leaves, _ = pytree.tree_flatten_with_path(pytree.tree_unflatten(list(range(count)), spec))
        paths = [[str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", "")))) for k in path] for path, _ in leaves]
    except Exception:  # a container type of the user's that does not unflatten into placeholders
        paths = [[str(i)] for i in range(count)]
    if len(paths) != count:
        paths = [[str(i)] for i in range(count)]
    joined = ["_".join(path) for path in paths]
    return [f"output_{n}" if n[:1].isdigit() else n or "output" for n in joined]

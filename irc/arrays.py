"""What callers give and get: arrays, or torch's tensors, which are told without importing torch to look for them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from irc.types import Array


def is_tensor(value: Any) -> bool:
    """Whether it is one of torch's: nothing is where nobody has imported torch."""
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)
    return tensor is not None and isinstance(value, tensor)


def has_tensor(item: Any) -> bool:
    """Whether a tensor is among the inputs of a call: one value, several in order, or a dict by name."""
    values = item.values() if isinstance(item, Mapping) else item if isinstance(item, tuple | list) else (item,)
    return any(is_tensor(value) for value in values)


def without_tensors(value: Any) -> Any:
    """The value, or list of values, with arrays of the same memory in the place of tensors."""
    if isinstance(value, list | tuple):
        return [without_tensors(each) for each in value]
    if not is_tensor(value):
        return value
    try:
        return value.detach().cpu().resolve_conj().resolve_neg().numpy()
    except TypeError:  # numpy has no such type: what knows how is not imported for the others
        from irc.execution.convert import to_numpy

        return to_numpy(value)


def as_tensor(array: Array) -> Any:
    """An array that may be written to as a tensor of the same memory; the array itself if torch has no such type."""
    if array.dtype.kind in "fiub" and array.dtype.num < 256:  # numpy's own types
        return sys.modules["torch"].from_numpy(array)
    from irc.execution.convert import to_torch

    return to_torch(array)

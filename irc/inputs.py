"""One sample of a model's inputs, by name, held against what the model takes; without torch and onnx."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from irc.arrays import without_tensors
from irc.errors import DataError
from irc.types import Array, TensorType

Sample = dict[str, Array]
Signature = list[tuple[str, TensorType | None, bool]]  # of each input: name, type, whether it may be left out


def check_sample(item: Any, signature: Signature, number: int = 0) -> Sample:
    """The sample by input name, its arrays checked against the inputs' types.

    Raises
    ------
    DataError : an input is missing, unknown, or of another dtype or shape than the model takes.
    """
    where = f"sample {number}"
    names = [name for name, _, _ in signature]
    if isinstance(item, Mapping):
        unknown = [str(k) for k in item if k not in names]
        if unknown:
            raise DataError(f"{where}: the model has no input '{unknown[0]}'; its inputs are {', '.join(names)}")
        given = dict(item)
    else:
        values = list(item) if isinstance(item, tuple | list) else [item]
        if len(values) > len(names):
            raise DataError(f"{where}: {len(values)} values for {len(names)} inputs ({', '.join(names)})")
        given = dict(zip(names, values, strict=False))
    sample = {}
    for name, type, optional in signature:
        if name in given:
            sample[name] = _check_array(given[name], type, f"{where}, input '{name}'")
        elif not optional:
            raise DataError(f"{where}: input '{name}' is missing; the model takes {', '.join(names)}")
    return sample


def _check_array(value: Any, type: TensorType | None, where: str) -> Array:
    try:
        array = np.asarray(without_tensors(value))
    except ValueError:
        raise DataError(f"{where} is no array: its rows differ in length") from None
    if type is None:
        return array
    if array.dtype != type.dtype.numpy and not (array.dtype.kind in "OUS" and type.dtype.numpy.kind == "O"):
        raise DataError(f"{where} is {array.dtype}, the model takes {type.dtype.numpy}; convert it with .astype()")
    if type.shape is not None and (
        array.ndim != len(type.shape)
        or any(isinstance(want, int) and want != got for want, got in zip(type.shape, array.shape, strict=True))
    ):
        raise DataError(f"{where} has shape {list(array.shape)}, the model takes {type}")
    return array

"""Arrays as torch tensors and back, without copying where both can hold the element type.

A value torch cannot hold (strings, int4, sequences) stays what it is: a numpy array, or a list of values.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

from irc.ops.tensors import TORCH_DTYPES
from irc.types import AnyDType, Array

Held = Any  # torch.Tensor, or a numpy array or a list for what torch cannot hold

# types that torch has and numpy knows through ml_dtypes only: carried over by their bits
_BITS: dict[int, tuple[type[np.generic], torch.dtype]] = {8: (np.uint8, torch.uint8), 16: (np.int16, torch.int16)}
_BY_BITS: dict[torch.dtype, tuple[AnyDType, type[np.generic], torch.dtype]] = {
    torch_type: (dtype.numpy, *_BITS[dtype.bits])
    for dtype, torch_type in TORCH_DTYPES.items()
    if dtype.numpy.num >= 256
}
_TO_TORCH = {numpy: (torch_type, bits) for torch_type, (numpy, bits, _) in _BY_BITS.items()}


def to_torch(array: Array, *, copy: bool = False) -> Held:
    """The array as a tensor that shares its memory (or not, with `copy`); the array itself if torch has no such type.

    A tensor that shares memory with a read-only array must not be written to.
    """
    if array.dtype in _TO_TORCH:
        torch_type, bits = _TO_TORCH[array.dtype]
        return to_torch(array.view(bits), copy=copy).view(torch_type)
    if array.dtype.kind not in "fiubc" or array.dtype.itemsize > 16 or array.dtype.num >= 256:
        return array
    if copy or not array.flags.c_contiguous:
        array = np.array(array, order="C")
    if array.flags.writeable:
        return torch.from_numpy(array)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has no read-only tensors and says so; nothing writes to these
        return torch.from_numpy(array)


def to_numpy(value: Held) -> Any:
    """The tensor as an array that shares its memory; lists element by element; anything else as it is."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        if value.dtype in _BY_BITS:
            numpy, bits, torch_bits = _BY_BITS[value.dtype]
            return value.contiguous().view(torch_bits).numpy().view(bits).view(numpy)
        return value.resolve_conj().resolve_neg().numpy()
    if isinstance(value, list | tuple):
        return [to_numpy(v) for v in value]
    return value

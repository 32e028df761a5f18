"""Parameters and buffers as numpy arrays that share their memory, and torch's element types as irc's."""

from __future__ import annotations

import ml_dtypes
import torch

from irc.frontends.torch.rules import Unsupported
from irc.ops.tensors import torch_dtype
from irc.types import Array, DType


def _all_dtypes() -> dict[torch.dtype, DType]:
    found = {}
    for dtype in DType:
        try:
            found[torch_dtype(dtype)] = dtype
        except NotImplementedError:
            continue
    return found


_DTYPES = _all_dtypes()
_CARRIERS = {1: torch.uint8, 2: torch.int16}  # what carries, to numpy, the bits of a dtype that numpy itself lacks


def weight_of(tensor: torch.Tensor) -> Array:
    """The tensor's data as an array, of the same memory if it is on the CPU.

    Raises
    ------
    Unsupported : the tensor has no data (meta device) or a layout or element type that irc lacks.
    """
    if tensor.device.type == "meta":
        raise Unsupported("a parameter on the meta device, which has no data")
    if tensor.layout is not torch.strided or tensor.is_quantized:
        raise Unsupported(f"a parameter of layout {tensor.layout} and type {tensor.dtype}")
    numpy = dtype_of(tensor.dtype).numpy
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    if numpy.type.__module__ != ml_dtypes.bfloat16.__module__:
        return tensor.numpy()
    return tensor.view(_CARRIERS[numpy.itemsize]).numpy().view(numpy)


def dtype_of(dtype: torch.dtype) -> DType:
    """irc's element type of a torch dtype; `Unsupported` if there is none."""
    if dtype not in _DTYPES:
        raise Unsupported(f"element type {dtype}")
    return _DTYPES[dtype]

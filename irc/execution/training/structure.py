"""Zeros and equal elements of weights, which training leaves zero and equal.

    pruned weight      zeros stay zero                      gradient * mask
    clustered weight   elements of one centroid move alike  gradient of a centroid = sum over its elements

What is pruned and clustered shows in the numbers (`irc.analysis.structure`): so the masks and codebooks of any earlier
pass, or of another tool, survive. Source of trained centroids: Han et al. 2016, "Deep Compression", section 3.3.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from irc.analysis.structure import clustered, pruned
from irc.graph import Value
from irc.types import Array


class Structure:
    """Holds the structure of the parameters that have some."""

    def __init__(self, trained: Mapping[Value, nn.Parameter]) -> None:
        self.codes: dict[nn.Parameter, tuple[torch.Tensor, int]] = {}
        self.masks: dict[nn.Parameter, torch.Tensor] = {}
        for value, parameter in trained.items():
            if value.data is None:
                continue
            if (zeros := pruned(value.data)) is not None:
                self._mask(parameter, ~zeros)
            if (codes := clustered(value.data)) is not None:
                self._tie(parameter, codes)

    def hold(self) -> None:
        """Make equal again what rounding has moved apart."""
        with torch.no_grad():
            for parameter, (codes, count) in self.codes.items():
                flat = parameter.detach().reshape(-1).double()
                sums = torch.zeros(count, dtype=torch.float64).index_add_(0, codes, flat)
                means = sums / torch.bincount(codes, minlength=count).clamp(min=1)
                parameter.copy_(means[codes].reshape(parameter.shape).to(parameter.dtype))
            for parameter, mask in self.masks.items():
                parameter.mul_(mask)

    def _mask(self, parameter: nn.Parameter, alive: Array) -> None:
        mask = torch.from_numpy(alive).to(parameter.dtype)
        self.masks[parameter] = mask
        parameter.register_hook(lambda gradient: gradient * mask)  # type: ignore[no-untyped-call]  # torch

    def _tie(self, parameter: nn.Parameter, codes: Array) -> None:
        index, count = torch.from_numpy(codes.reshape(-1).astype(np.int64)), int(codes.max()) + 1
        self.codes[parameter] = index, count

        def tied(gradient: torch.Tensor) -> torch.Tensor:
            sums = torch.zeros(count, dtype=gradient.dtype).index_add_(0, index, gradient.reshape(-1))
            return sums[index].reshape(gradient.shape)

        parameter.register_hook(tied)  # type: ignore[no-untyped-call]  # torch
